"""Backups go to a real LXD and come back from one. Needs Debian's package `lxd` (5.0); a private daemon of it is started beside ours."""

import os
import pathlib
import shutil
import subprocess
import unittest

from troupe_e2e import DaemonTest, run

READY_SECONDS = 90


class Lxd:
    """A real LXD with a state folder of its own: no network, a pool "default" of type dir."""

    def __init__(self, home):
        self.dir, self.conf, self.log = home / "lxd", home / "lxd-client", home / "lxd.log"
        for folder in (self.dir, self.conf):
            folder.mkdir(mode=0o711)
        (self.conf / "config.yml").write_text("default-remote: local\nremotes:\n  local:\n    addr: unix://\n    public: false\n")
        self.env = {**os.environ, "LXD_DIR": str(self.dir), "LXD_CONF": str(self.conf), "HOME": str(home)}
        self.process = subprocess.Popen([shutil.which("lxd"), "--group", "root", "--logfile", self.log], env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def is_ready(self):
        asked = run("lxd", "waitready", f"--timeout={READY_SECONDS}", env=self.env, check=False, timeout=READY_SECONDS + 30)
        if asked.returncode != 0 or self.process.poll() is not None:
            return False
        run("lxd", "init", "--preseed", env=self.env, stdin="storage_pools:\n- {name: default, driver: dir}\nprofiles:\n- name: default\n"
            "  devices:\n    root: {type: disk, path: /, pool: default}\n")
        return True

    def lxc(self, *args, **more):
        return run("lxc", *args, env=self.env, **more)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        mounted = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if f" {self.dir}/" in line]
        for folder in sorted(mounted, reverse=True):
            run("umount", "-l", folder, check=False)


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
