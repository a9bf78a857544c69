"""A whole distribution: Debian 12 with systemd, built here, in unprivileged containers."""

import unittest

from troupe_e2e import Daemon, DaemonTest, eventually

BUILD_SECONDS = 780
UNREACHABLE = ("Temporary failure resolving", "Could not resolve", "Could not connect", "Unable to connect", "Connection timed out", "Failed to fetch")


class Debian(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon("btrfs")
        try:
            cls.daemon.start().set_up()
            cls.daemon.troupe("image", "build", "debian/12", timeout=BUILD_SECONDS)
        except BaseException as failed:
            cls.daemon.close()
            if any(words in str(failed) for words in UNREACHABLE):
                raise unittest.SkipTest("Debian's mirror is not reachable") from failed
            raise

    def settled(self, name):
        """systemd's own word once it has booted, else None."""
        word = self.daemon.exec(name, "systemctl", "is-system-running", "--wait", check=False).stdout.strip()
        return word if word in ("running", "degraded", "maintenance") else None

    def test_systemd_boots_to_running_and_the_network_works_by_name(self):
        first, second = (self.daemon.launch(word, "debian/12") for word in ("deb1", "deb2"))
        for name in (first, second):
            state = eventually(lambda name=name: self.settled(name), f"systemd in {name}", 60)
            failed = self.daemon.exec(name, "systemctl", "--failed", "--no-pager", check=False).stdout
            self.assertEqual(state, "running", failed)
            self.assertTrue(self.daemon.address(name, 60).startswith(self.daemon.subnet + "."))
            self.assertEqual(self.daemon.exec(name, "hostname").stdout.strip(), name)
        owner = self.daemon.exec(first, "cat", "/proc/self/uid_map").stdout.split()
        self.assertNotEqual(owner[1], "0", "the container must be unprivileged")
        eventually(lambda: self.daemon.address(second) in self.daemon.exec(first, "getent", "hosts", second, check=False).stdout, "the peer's name")
        self.daemon.exec(first, "ping", "-c", "1", "-W", "5", second)
        self.assertNotEqual(self.daemon.exec(first, "cat", "/etc/machine-id").stdout, self.daemon.exec(second, "cat", "/etc/machine-id").stdout)
        self.daemon.lxc("stop", first, "--timeout", "60")
        self.assertEqual(self.daemon.status(first), "Stopped")


if __name__ == "__main__":
    unittest.main(verbosity=2)
