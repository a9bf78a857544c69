"""Many instances at once, sizes by name, warnings, and what the host has."""

import os
import signal
import unittest

from troupe_e2e import DaemonTest, eventually


class FleetTest(DaemonTest):
    def test_one_request_changes_the_state_of_all(self):
        names = [self.daemon.launch(word) for word in ("one", "two", "three")]
        for name in names:
            self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        states = lambda: [self.daemon.status(name) for name in names]
        change = lambda **state: self.daemon.outcome("PUT", "/1.0/instances", {"state": state})
        self.assertEqual(change(action="freeze"), (200, ""))
        self.assertEqual(states(), ["Frozen"] * 3)
        self.assertEqual(change(action="unfreeze"), (200, ""))
        self.daemon.lxc("stop", "--all", "-f")
        self.assertEqual(states(), ["Stopped"] * 3)
        self.assertEqual(change(action="stop", force=True), (200, ""))  # there is none left
        self.daemon.lxc("start", "--all")
        self.assertEqual(states(), ["Running"] * 3)
        self.assertEqual(change(action="fly")[0], 400)
        # One that cannot be changed is named, and does not hold up the others.
        self.daemon.exec(names[0], "sh", "-c", "trap '' PWR TERM; true")
        status, error = change(action="restart", timeout=0)
        self.assertEqual(status, 400)
        self.assertIn(names[0], error)
        self.assertEqual(change(action="stop", force=True), (200, ""))
        self.assertEqual(states(), ["Stopped"] * 3)

    def test_a_type_stands_for_limits(self):
        name = self.daemon.launch("size", "busybox", "-t", "c1-m0.25")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        config = self.daemon.get(f"/1.0/instances/{name}")["config"]
        self.assertEqual((config["limits.cpu"], config["limits.memory"]), ("1", "256MiB"))
        refused = self.daemon.lxc("init", "busybox", self.daemon.name("none"), "-t", "huge", check=False)
        self.assertIn("Unknown instance type", refused.stderr)

    def test_warnings_are_seen_acknowledged_and_deleted(self):
        self.assertEqual(self.daemon.get("/1.0/warnings"), [])
        pids = lambda: [int(p) for p in os.listdir("/proc") if p.isdigit() and self.is_dnsmasq(p)]
        first = eventually(pids, "dnsmasq")[0]
        os.kill(first, signal.SIGKILL)
        found = eventually(lambda: self.daemon.get("/1.0/warnings?recursion=1"), "a warning")[0]
        self.assertEqual((found["status"], found["count"], found["severity"]), ("new", 1, "high"))
        self.assertEqual(found["entity_url"], f"/1.0/networks/{self.daemon.bridge}")
        self.assertIn(found["uuid"], self.daemon.lxc_out("warning", "list", "--format", "csv", "-c", "u"))
        self.daemon.lxc("warning", "acknowledge", found["uuid"])
        self.assertEqual(self.daemon.get(f"/1.0/warnings/{found['uuid']}")["status"], "acknowledged")
        second = eventually(lambda: [p for p in pids() if p != first], "another dnsmasq")[0]
        os.kill(second, signal.SIGKILL)
        eventually(lambda: self.daemon.get(f"/1.0/warnings/{found['uuid']}")["count"] == 2, "the same warning again")
        self.assertEqual(self.daemon.get(f"/1.0/warnings/{found['uuid']}")["status"], "acknowledged")
        self.assertEqual(self.daemon.outcome("PUT", f"/1.0/warnings/{found['uuid']}", {"status": "else"})[0], 400)
        self.daemon.lxc("warning", "delete", found["uuid"])
        self.assertEqual(self.daemon.outcome("GET", f"/1.0/warnings/{found['uuid']}")[0], 404)

    def is_dnsmasq(self, pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            return False
        return b"dnsmasq" in words.split(b"\0")[0] and str(self.daemon.dir).encode() in words

    def test_resources_are_shown(self):
        shown = self.daemon.get("/1.0/resources")
        for kind in ("cpu", "memory", "gpu", "network", "storage", "usb", "pci", "system"):
            self.assertIn(kind, shown)
        self.assertEqual(shown["cpu"]["total"], os.cpu_count())
        self.assertEqual(len(shown["pci"]["devices"]), shown["pci"]["total"])
        text = self.daemon.lxc_out("info", "--resources")
        self.assertIn("CPU", text)
        self.assertIn("Memory:", text)


if __name__ == "__main__":
    unittest.main(verbosity=2)
