"""The examples, built as a stranger builds them: against an installed libtroupe, outside the tree."""

import os
import pathlib
import tempfile
import unittest

from troupe_e2e import BIN, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD_SECONDS = 900


class InstallTest(unittest.TestCase):
    def test_the_examples_build_against_the_installed_library(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            prefix, build = pathlib.Path(folder) / "prefix", pathlib.Path(folder) / "build"
            run("cmake", "--install", BIN.parent, "--prefix", prefix, "--component", "client")
            run("cmake", "-S", ROOT / "examples", "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Debug")
            run("cmake", "--build", build, "-j", "2", timeout=BUILD_SECONDS)
            programs = [p for p in build.glob("example_*") if os.access(p, os.X_OK) and p.is_file()]
            self.assertEqual(len(programs), len(list((ROOT / "examples").glob("*.cpp"))))


if __name__ == "__main__":
    unittest.main()
