"""Copies and moves between pools and projects, refreshed copies, rebuilding, and the tiers that keep scheduled snapshots."""

import unittest

from troupe_e2e import DaemonTest, eventually


class CopiesTest(DaemonTest):
    driver = "btrfs"
    made = 0

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.lxc("storage", "create", "plain", "dir")
        cls.daemon.lxc("storage", "create", "other", "btrfs", "size=1GiB")

    def keep(self, word):
        """A name that is deleted in the end."""
        type(self).made += 1
        name = self.daemon.name(f"{word}{self.made}")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        return name

    def launch(self, word, pool="default"):
        name = self.keep(word)
        self.daemon.lxc("launch", "busybox", name, "-s", pool)
        return name

    def write(self, name, text, path="/root/file"):
        self.daemon.exec(name, "sh", "-c", f"echo {text} >{path}")

    def read(self, name, path="/root/file"):
        return self.daemon.exec(name, "cat", path).stdout.strip()

    def snapshots(self, name):
        return [each["name"] for each in self.daemon.get(f"/1.0/instances/{name}/snapshots?recursion=1")]

    def pool_of(self, name):
        return self.daemon.get(f"/1.0/instances/{name}")["expanded_devices"]["root"]["pool"]

    def volumes(self, pool, kind):
        folder = self.daemon.dir / "storage-pools" / pool / kind
        return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []

    def prepared(self, word, pool):
        """Stopped; a snapshot `one` with an older file; something removed that came with the image; root's own device node."""
        name = self.launch(word, pool)
        self.write(name, "old")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "new")
        self.daemon.exec(name, "sh", "-c", "rm /etc/os-release; ln /root/file /root/link; mkfifo /root/pipe; chown 1000:1001 /root/link")
        self.daemon.lxc("stop", "-f", name)
        return name

    def check_contents(self, name):
        self.daemon.lxc("start", name)
        self.assertEqual(self.read(name), "new")
        look = "test ! -e /etc/os-release && test -p /root/pipe && stat -c '%h %u %g' /root/file"
        self.assertEqual(self.daemon.exec(name, "sh", "-c", look).stdout.split(), ["2", "1000", "1001"])
        self.daemon.lxc("restore", name, "one")
        self.assertEqual(self.read(name), "old")
        self.assertEqual(self.daemon.exec(name, "ls", "/etc/os-release").returncode, 0)

    def test_a_copy_goes_to_another_pool_with_its_snapshots(self):
        for source, target in (("plain", "default"), ("default", "plain"), ("default", "other")):
            with self.subTest(source=source, target=target):
                name, copy = self.prepared("from", source), self.keep("to")
                self.daemon.lxc("copy", name, copy, "-s", target)
                self.assertEqual((self.pool_of(name), self.pool_of(copy)), (source, target))
                self.assertEqual(self.snapshots(copy), ["one"])
                self.daemon.lxc("delete", name)
                self.check_contents(copy)

    def test_a_running_container_and_a_snapshot_are_copied_to_another_pool(self):
        name, copy, old = self.launch("runs", "plain"), self.keep("copy"), self.keep("old")
        self.write(name, "first")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "second")
        self.daemon.lxc("copy", name, copy, "-s", "default", "--instance-only")
        self.daemon.lxc("copy", f"{name}/one", old, "-s", "default")
        self.assertEqual(self.daemon.status(name), "Running")
        self.daemon.lxc("start", copy, old)
        self.assertEqual((self.read(copy), self.read(old)), ("second", "first"))
        self.assertEqual((self.snapshots(copy), self.snapshots(old)), ([], []))

    def test_a_move_to_another_pool_leaves_nothing_behind(self):
        before = {pool: self.volumes(pool, "containers") + self.volumes(pool, "snapshots") for pool in ("plain", "default")}
        name = self.prepared("move", "plain")
        self.daemon.lxc("move", name, "-s", "default")
        self.assertEqual(self.pool_of(name), "default")
        left = lambda: self.volumes("plain", "containers") + self.volumes("plain", "snapshots")
        eventually(lambda: left() == before["plain"], "the old volumes' end")
        self.check_contents(name)
        refused = self.daemon.lxc("move", name, "-s", "plain", check=False)
        self.assertNotEqual(refused.returncode, 0, "it runs")
        self.assertEqual(self.pool_of(name), "default")

    def test_what_cannot_move_stays_as_it_is(self):
        name = self.prepared("stay", "default")
        path = f"/1.0/instances/{name}"
        facts = lambda: (self.pool_of(name), self.snapshots(name), self.volumes("default", "containers"), self.volumes("plain", "containers"))
        before = facts()
        for body, status in (({"name": name, "migration": True, "pool": "nowhere"}, 404),
                             ({"name": name, "migration": True, "project": "nowhere"}, 404),
                             ({"name": name, "migration": True, "pool": "default"}, 400),
                             ({"name": "a/b", "migration": True, "pool": "plain"}, 400)):
            self.assertEqual(self.daemon.outcome("POST", path, body)[0], status, body)
        self.daemon.lxc("config", "device", "set", name, "root", "size=100MiB")
        status, problem = self.daemon.outcome("POST", path, {"name": name, "migration": True, "pool": "plain"})
        self.assertEqual(status, 400, problem)
        self.assertIn("cannot limit", problem)
        self.assertEqual(facts(), before)

    def test_a_move_to_another_project(self):
        project = self.daemon.name("proj")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        name, new = self.prepared("leave", "default"), self.daemon.name("arrive")
        self.daemon.lxc("move", name, new, "--target-project", project)
        self.addCleanup(self.daemon.lxc, "delete", "-f", new, "--project", project, check=False)
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}")[0], 404)
        there = self.daemon.get(f"/1.0/instances/{new}/snapshots?recursion=1&project={project}")
        self.assertEqual([each["name"] for each in there], ["one"])
        self.daemon.lxc("start", new, "--project", project)
        self.assertEqual(self.daemon.lxc_out("exec", new, "--project", project, "--", "cat", "/root/file").strip(), "new")

    def test_a_project_takes_in_what_its_limits_and_rules_allow_only(self):
        project = self.daemon.name("tight")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false",
                        "-c", "limits.instances=1", "-c", "restricted=true", "-c", "restricted.devices.nic=allow")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        moved = lambda name: self.daemon.outcome("POST", f"/1.0/instances/{name}", {"name": name, "migration": True, "project": project})
        first, second = self.keep("first"), self.keep("second")
        for name in (first, second):
            self.daemon.lxc("init", "busybox", name)
            self.addCleanup(self.daemon.lxc, "delete", "-f", name, "--project", project, check=False)
        self.daemon.lxc("config", "set", first, "security.privileged", "true")
        self.assertEqual(moved(first)[0], 403)
        self.daemon.lxc("config", "unset", first, "security.privileged")
        self.assertEqual(moved(first)[0], 200)
        status, problem = moved(second)
        self.assertEqual(status, 403, problem)
        self.assertIn("limits.instances", problem)
        self.assertEqual(self.daemon.status(second), "Stopped")

    def test_a_copy_is_refreshed(self):
        name, copy = self.prepared("refresh", "plain"), self.keep("copy")
        self.daemon.lxc("copy", name, copy, "-s", "default", "--refresh")  # not there yet
        self.daemon.lxc("start", name)
        self.write(name, "newer")
        self.daemon.lxc("snapshot", name, "two")
        self.daemon.lxc("delete", f"{name}/one")
        self.daemon.lxc("snapshot", copy, "own")
        self.daemon.lxc("config", "set", copy, "user.mark", "kept")
        kept = self.volumes("default", "snapshots")
        self.daemon.lxc("copy", name, copy, "-s", "default", "--refresh")
        self.assertEqual(self.snapshots(copy), ["two"])
        self.assertEqual(self.pool_of(copy), "default")
        self.daemon.lxc("start", copy)
        self.assertEqual(self.read(copy), "newer")
        status, problem = self.daemon.outcome("POST", "/1.0/instances", {"name": copy, "source": {"type": "copy", "source": name, "refresh": True}})
        self.assertEqual(status, 400, problem)
        self.assertIn("running", problem)
        eventually(lambda: len(self.volumes("default", "snapshots")) == len(kept) - 1, "the old snapshots' end")

    def test_a_container_is_rebuilt(self):
        name = self.prepared("rebuild", "default")
        self.daemon.lxc("config", "set", name, "user.mark", "kept")
        fingerprint = self.daemon.get(f"/1.0/instances/{name}")["config"]["volatile.base_image"]
        path = f"/1.0/instances/{name}/rebuild"
        self.assertEqual(self.daemon.outcome("POST", path, {"source": {"type": "image", "alias": "none"}})[0], 404)
        self.assertEqual(self.daemon.outcome("POST", path, {"source": {"type": "copy", "source": "x"}})[0], 400)
        self.assertEqual(self.daemon.outcome("POST", path, {"source": {"type": "image", "fingerprint": fingerprint}})[0], 200)
        self.daemon.lxc("start", name)
        self.assertNotEqual(self.daemon.exec(name, "ls", "/root/file", check=False).returncode, 0)
        self.assertEqual(self.daemon.exec(name, "hostname").stdout.strip(), name, "templates were applied again")
        config = self.daemon.get(f"/1.0/instances/{name}")["config"]
        self.assertEqual((config["user.mark"], config["volatile.base_image"]), ("kept", fingerprint))
        status, problem = self.daemon.outcome("POST", path, {"source": {"type": "none"}})
        self.assertEqual(status, 400, problem)
        self.daemon.lxc("restore", name, "one")
        self.assertEqual(self.read(name), "old", "its snapshots are still there")
        self.daemon.lxc("stop", "-f", name)
        self.assertEqual(self.daemon.outcome("POST", path, {"source": {"type": "none"}})[0], 200)
        config = self.daemon.get(f"/1.0/instances/{name}")["config"]
        self.assertFalse([key for key in config if key.startswith("image.") or key == "volatile.base_image"])
        rootfs = self.daemon.dir / "storage-pools" / "default" / "containers" / name / "rootfs"
        self.assertEqual(list(rootfs.iterdir()), [])

    def test_tiers_keep_scheduled_snapshots(self):
        name = self.launch("tiers")
        self.daemon.lxc("config", "set", name, "snapshots.schedule", "@startup")
        self.daemon.lxc("snapshot", name, "mine")
        for count in (1, 2):
            self.daemon.lxc("restart", "-f", name)
            eventually(lambda: len(self.snapshots(name)) == count + 1, "the snapshot of the start")
        preview = self.daemon.get(f"/1.0/instances/{name}/retention?keep-daily=1")
        self.assertEqual([(each["name"], each["kept_by"]) for each in preview], [("snap1", ["daily"]), ("snap0", [])])
        self.assertIn("daily", self.daemon.troupe("retention", "show", name, "--keep-daily", "1").stdout)
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}/retention?keep-daily=x")[0], 400)
        self.assertEqual(self.daemon.outcome("POST", f"/1.0/instances/{name}/retention")[0], 200)
        self.assertEqual(len(self.snapshots(name)), 3, "there are no tiers yet")
        self.daemon.lxc("config", "set", name, "snapshots.keep.daily", "1")
        plan = self.daemon.request("POST", f"/1.0/instances/{name}/retention?plan=true")[1]["metadata"]
        self.assertEqual([step["kind"] for step in plan["steps"]], ["volume.destroy"])
        self.assertEqual(len(self.snapshots(name)), 3, "a plan changes nothing")
        self.daemon.troupe("retention", "apply", name)
        self.assertEqual(self.snapshots(name), ["mine", "snap1"])
        self.daemon.lxc("restart", "-f", name)  # the next one takes the place of the last, by itself
        eventually(lambda: self.snapshots(name) == ["mine", "snap2"], "the end of the snapshot that no tier keeps")


if __name__ == "__main__":
    unittest.main()
