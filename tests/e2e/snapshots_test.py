"""Snapshots and copies of containers, as the stock client drives them."""

import unittest

from troupe_e2e import DaemonTest, eventually


class Snapshots:
    """What must hold on every storage driver."""

    def launch(self, word):
        name = self.daemon.launch(word)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        return name

    def copy_name(self, word):
        name = self.daemon.name(word)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        return name

    def write(self, name, text, path="/root/file"):
        self.daemon.exec(name, "sh", "-c", f"echo {text} >{path}")

    def read(self, name, path="/root/file"):
        return self.daemon.exec(name, "cat", path).stdout.strip()

    def names(self, name):
        return [each["name"] for each in self.daemon.get(f"/1.0/instances/{name}/snapshots?recursion=1")]

    def volumes(self):
        return sum(1 for each in (self.daemon.dir / "storage-pools" / "default" / "snapshots").iterdir())

    def test_a_running_container_goes_back_to_what_it_was(self):
        name = self.launch("back")
        self.write(name, "first")
        self.daemon.lxc("config", "set", name, "user.mark", "first")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "second")
        self.daemon.exec(name, "rm", "/etc/os-release")
        self.daemon.lxc("config", "set", name, "user.mark", "second")
        self.daemon.lxc("restore", name, "one")
        self.assertEqual(self.daemon.status(name), "Running", "it ran before")
        self.assertEqual(self.read(name), "first")
        self.assertEqual(self.daemon.exec(name, "ls", "/etc/os-release").returncode, 0)
        self.assertEqual(self.daemon.lxc_out("config", "get", name, "user.mark").strip(), "first")

    def test_a_snapshot_can_be_restored_again_and_again(self):
        name = self.launch("again")
        self.write(name, "kept")
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("snapshot", name, "base")
        for turn in ("a", "b"):
            self.daemon.lxc("start", name)
            self.write(name, turn)
            self.daemon.lxc("stop", "-f", name)
            self.daemon.lxc("restore", name, "base")
            self.assertEqual(self.daemon.status(name), "Stopped", "it was stopped before")
        self.daemon.lxc("start", name)
        self.assertEqual(self.read(name), "kept")

    def test_names_are_numbered_and_lists_show_them(self):
        name = self.launch("named")
        self.daemon.lxc("snapshot", name)
        self.daemon.lxc("snapshot", name)
        self.daemon.lxc("snapshot", name, "mine")
        self.daemon.lxc("snapshot", name)
        self.assertEqual(self.names(name), ["snap0", "snap1", "mine", "snap2"])
        self.assertIn("snap1", self.daemon.lxc_out("info", name))
        full = self.daemon.get(f"/1.0/instances/{name}?recursion=1")
        self.assertEqual(len(full["snapshots"]), 4)
        row = self.daemon.lxc_out("list", name, "-c", "nS", "--format", "csv").strip()
        self.assertEqual(row, f"{name},4")
        again = self.daemon.lxc("snapshot", name, "mine", check=False)
        self.assertIn("already exists", again.stderr)

    def test_rename_edit_and_delete(self):
        name = self.launch("edit")
        self.daemon.lxc("snapshot", name, "old")
        self.daemon.lxc("move", f"{name}/old", f"{name}/new")
        self.assertEqual(self.names(name), ["new"])
        path = f"/1.0/instances/{name}/snapshots/new"
        self.assertEqual(self.daemon.get(path)["expires_at"], "0001-01-01T00:00:00Z")
        self.assertEqual(self.daemon.outcome("PUT", path, {"expires_at": "2099-01-02T03:04:05Z"}), (200, ""))
        self.assertEqual(self.daemon.get(path)["expires_at"], "2099-01-02T03:04:05Z")
        self.assertIn("2099", self.daemon.lxc_out("config", "show", f"{name}/new"))
        self.daemon.lxc("delete", f"{name}/new")
        self.assertEqual(self.names(name), [])
        self.assertEqual(self.daemon.request("GET", path)[0], 404)

    def test_a_renamed_container_keeps_its_snapshots_and_a_deleted_one_takes_them_along(self):
        name, new = self.launch("moved"), self.copy_name("newname")
        before = self.volumes()
        self.write(name, "kept")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "other")
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("rename", name, new)
        self.assertEqual(self.names(new), ["one"])
        self.daemon.lxc("restore", new, "one")
        self.daemon.lxc("start", new)
        self.assertEqual(self.read(new), "kept")
        self.daemon.lxc("delete", "-f", new)
        self.assertEqual(self.volumes(), before)

    def test_a_copy_has_the_files_the_config_and_the_snapshots(self):
        name, copy = self.launch("origin"), self.copy_name("copy")
        self.write(name, "old")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "new")
        self.daemon.lxc("config", "set", name, "user.mark", "here")
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("copy", name, copy)
        self.daemon.lxc("start", copy)
        self.assertEqual(self.read(copy), "new")
        self.assertEqual(self.daemon.exec(copy, "hostname").stdout.strip(), copy)
        self.assertEqual(self.daemon.lxc_out("config", "get", copy, "user.mark").strip(), "here")
        mac = lambda of: self.daemon.get(f"/1.0/instances/{of}")["config"]["volatile.eth0.hwaddr"]
        self.assertNotEqual(mac(name), mac(copy))
        self.assertEqual(self.names(copy), ["one"])
        self.daemon.lxc("delete", "-f", name)
        self.daemon.lxc("restore", copy, "one")
        self.assertEqual(self.read(copy), "old")

    def test_a_copy_of_a_snapshot_and_one_without_snapshots(self):
        name, from_snapshot, bare = self.launch("source"), self.copy_name("fromsnap"), self.copy_name("bare")
        self.write(name, "old")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "new")
        self.daemon.lxc("copy", f"{name}/one", from_snapshot)
        self.daemon.lxc("copy", name, bare, "--instance-only")
        self.assertEqual((self.names(from_snapshot), self.names(bare)), ([], []))
        self.daemon.lxc("start", from_snapshot, bare)
        self.assertEqual((self.read(from_snapshot), self.read(bare)), ("old", "new"))

    def test_what_cannot_be_is_refused_and_changes_nothing(self):
        name = self.launch("refuse")
        before = self.volumes()
        for body in ({"name": "a/b"}, {"name": "-x"}, {"name": "x", "stateful": True}, {"name": "x", "expires_at": "soon"}):
            status, problem = self.daemon.outcome("POST", f"/1.0/instances/{name}/snapshots", body)
            self.assertEqual(status // 100, 4, (body, problem))
        for method, path, body in (("PUT", f"/1.0/instances/{name}", {"restore": "none"}),
                                   ("DELETE", f"/1.0/instances/{name}/snapshots/none", None),
                                   ("POST", f"/1.0/instances/{name}/snapshots/none", {"name": "x"})):
            self.assertEqual(self.daemon.outcome(method, path, body)[0], 404)
        source = {"type": "copy", "source": "nobody"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/instances", {"name": self.daemon.name("no"), "source": source})[0], 404)
        self.assertEqual((self.names(name), self.volumes()), ([], before))

    def test_a_project_may_forbid_snapshots(self):
        project = self.daemon.name("closed")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false",
                        "-c", "restricted=true", "-c", "restricted.devices.nic=allow")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        name = self.daemon.name("inside")
        self.daemon.lxc("init", "busybox", name, "--project", project)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, "--project", project, check=False)
        refused = self.daemon.lxc("snapshot", name, "--project", project, check=False)
        self.assertIn("does not allow snapshots", refused.stderr)
        self.daemon.lxc("project", "set", project, "restricted.snapshots", "allow")
        self.daemon.lxc("snapshot", name, "--project", project)

    def test_events_tell_of_it(self):
        name = self.launch("told")
        self.daemon.lxc("snapshot", name, "one")
        self.daemon.lxc("restore", name, "one")
        self.daemon.lxc("delete", f"{name}/one")
        events = self.daemon.get(f"/1.0/events/history?entity=instance/default/{name}&recursion=1")
        actions = [each["metadata"].get("action", "") for each in events]
        told = [each for each in actions if "snapshot" in each or "restored" in each]
        self.assertEqual(told, ["instance-snapshot-created", "instance-restored", "instance-snapshot-deleted"])


class OnBtrfs(Snapshots, DaemonTest):
    driver = "btrfs"

    def test_a_snapshot_that_has_expired_goes_by_itself(self):
        name = self.launch("expire")
        self.daemon.lxc("config", "set", name, "snapshots.expiry", "1S")
        self.daemon.lxc("snapshot", name, "short")
        self.daemon.lxc("snapshot", name, "kept", "--no-expiry")
        eventually(lambda: self.names(name) == ["kept"], "the end of the snapshot")
        # One that expired while no daemon ran goes at the start.
        self.daemon.lxc("config", "set", name, "snapshots.expiry", "2S")
        self.daemon.lxc("snapshot", name, "missed")
        self.daemon.stop()
        self.daemon.start()
        eventually(lambda: self.names(name) == ["kept"], "the end of the other snapshot")

    def test_snapshots_are_taken_by_schedule_with_names_by_pattern(self):
        name = self.launch("timed")
        self.daemon.lxc("config", "set", name, "snapshots.pattern", "at-{{ creation_date|date:'2006' }}-%d")
        self.daemon.lxc("config", "set", name, "snapshots.schedule", "@startup")
        self.daemon.lxc("restart", "-f", name)
        eventually(lambda: len(self.names(name)) == 1, "the snapshot of the start")
        self.assertRegex(self.names(name)[0], "^at-20[0-9][0-9]-0$")
        stopped = self.launch("still")
        self.daemon.lxc("stop", "-f", stopped)
        for each in (name, stopped):
            self.daemon.lxc("config", "set", each, "snapshots.schedule", "* * * * *")
        eventually(lambda: len(self.names(name)) == 2, "the snapshot of the minute", seconds=100)
        self.assertEqual(self.names(stopped), [], "it is not for what is stopped")

    def test_schedules_patterns_and_spans_that_are_nonsense_are_refused(self):
        name = self.launch("nonsense")
        for key, value in (("schedule", "often"), ("schedule", "61 * * * *"), ("pattern", "{{ config }}"), ("pattern", "a{{"),
                           ("expiry", "soon"), ("schedule.stopped", "perhaps")):
            answer = self.daemon.outcome("PATCH", f"/1.0/instances/{name}", {"config": {f"snapshots.{key}": value}})
            self.assertEqual(answer[0], 400, (key, value))


class OnDir(Snapshots, DaemonTest):
    driver = "dir"


if __name__ == "__main__":
    unittest.main()
