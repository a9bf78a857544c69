"""Backups go to a real LXD and come back from one. Needs Debian's package `lxd` (5.0); a private daemon of it is started beside ours."""

import shutil
import unittest

from real_lxd import Lxd
from troupe_e2e import DaemonTest


@unittest.skipUnless(shutil.which("lxd"), "the package lxd is not installed")
class ExchangeTest(DaemonTest):
    driver = "dir"

    def setUp(self):
        super().setUp()
        self.lxd = Lxd(self.daemon.home)
        self.addCleanup(self.lxd.close)
        if not self.lxd.is_ready():
            self.skipTest("LXD does not start on this host")

    def test_there_and_back_with_a_snapshot(self):
        name, back = self.daemon.launch("there"), self.daemon.name("back")
        ours, theirs = self.daemon.home / "ours.tar.gz", self.daemon.home / "theirs.tar.gz"
        write = lambda text: self.daemon.exec(name, "sh", "-c", f"echo {text} >/root/file; chown 5:6 /root/file")
        write("then")
        self.daemon.lxc("snapshot", name, "one")
        write("now")
        self.daemon.lxc("config", "set", name, "user.mark", "here")
        self.daemon.lxc("export", name, ours)
        self.daemon.lxc("delete", "-f", name)
        self.lxd.lxc("import", ours, "guest")
        self.addCleanup(self.lxd.lxc, "delete", "-f", "guest", check=False)
        self.assertEqual(self.lxd.lxc("file", "pull", "guest/root/file", "-").stdout, "now\n")
        self.assertEqual(self.lxd.lxc("config", "get", "guest", "user.mark").stdout.strip(), "here")
        self.assertIn("one", self.lxd.lxc("info", "guest").stdout)
        self.lxd.lxc("export", "guest", theirs)
        self.daemon.lxc("import", theirs, back)
        self.addCleanup(self.daemon.lxc, "delete", "-f", back)
        self.daemon.lxc("start", back)
        self.assertEqual(self.daemon.exec(back, "cat", "/root/file").stdout, "now\n")
        self.assertEqual(self.daemon.exec(back, "stat", "-c", "%u:%g", "/root/file").stdout.strip(), "5:6")
        self.assertEqual(self.daemon.lxc_out("config", "get", back, "user.mark"), "here")
        self.daemon.lxc("restore", back, "one")
        self.assertEqual(self.daemon.exec(back, "cat", "/root/file").stdout, "then\n")


if __name__ == "__main__":
    unittest.main()
