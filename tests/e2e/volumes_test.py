"""Custom volumes: made, attached while it runs, shared, bounded, copied, moved and deleted, by the stock client."""

import concurrent.futures
import unittest

from troupe_e2e import DaemonTest, eventually


class Volumes:
    """What must hold on every storage driver."""
    made = 0

    def volume(self, word, *options):
        type(self).made += 1
        name = self.daemon.name(f"{word}{self.made}")
        self.daemon.lxc("storage", "volume", "create", "default", name, *options)
        self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", "default", name, check=False)
        return name

    def launch(self, word, *options):
        type(self).made += 1
        name = self.daemon.name(f"{word}{self.made}")
        self.daemon.lxc("launch", "busybox", name, *options)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        return name

    def path(self, name, pool="default"):
        return f"/1.0/storage-pools/{pool}/volumes/custom/{name}"

    def on_disk(self, pool="default"):
        folder = self.daemon.dir / "storage-pools" / pool / "custom"
        return sorted(each.name for each in folder.iterdir())

    def test_two_containers_share_a_volume_and_see_their_own_ids(self):
        volume = self.volume("shared", "user.mark=1")
        one, two = self.launch("one"), self.launch("two", "-c", "security.idmap.isolated=true")
        for name in (one, two):
            self.daemon.lxc("storage", "volume", "attach", "default", volume, name, "data", "/data")
        self.daemon.exec(one, "sh", "-c", "echo hello >/data/file; chown 1000:1001 /data/file; chmod 1777 /data")
        look = self.daemon.exec(two, "sh", "-c", "cat /data/file; stat -c '%u:%g' /data/file; stat -c %a /data").stdout.split()
        self.assertEqual(look, ["hello", "1000:1001", "1777"])
        shown = self.daemon.get(self.path(volume))
        self.assertEqual(shown["used_by"], [f"/1.0/instances/{one}", f"/1.0/instances/{two}"])
        self.assertEqual((shown["type"], shown["content_type"], shown["config"]), ("custom", "filesystem", {"user.mark": "1"}))
        status, problem = self.daemon.outcome("DELETE", self.path(volume))
        self.assertEqual(status, 400, problem)
        self.assertIn("in use", problem)
        self.daemon.lxc("restart", "-f", one)
        self.assertEqual(self.daemon.exec(one, "cat", "/data/file").stdout, "hello\n")
        for name in (one, two):
            self.daemon.lxc("storage", "volume", "detach", "default", volume, name, "data")
            self.assertNotEqual(self.daemon.exec(name, "ls", "/data/file", check=False).returncode, 0)
        self.daemon.lxc("storage", "volume", "delete", "default", volume)
        self.assertNotIn(f"default_{volume}", self.on_disk())

    def test_rename_copy_move_and_edit(self):
        volume = self.volume("first")
        name = self.launch("writer")
        self.daemon.lxc("storage", "volume", "attach", "default", volume, name, "/data")
        self.daemon.exec(name, "sh", "-c", "echo text >/data/file; chmod 750 /data; chown 5:6 /data")
        self.assertEqual(self.daemon.outcome("POST", self.path(volume), {"name": "other"})[0], 400, "it is in use")
        copy = self.daemon.name("copied")
        self.daemon.lxc("storage", "volume", "copy", f"default/{volume}", f"second/{copy}")
        self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", "second", copy, check=False)
        self.daemon.lxc("storage", "volume", "detach", "default", volume, name)
        renamed = self.daemon.name("renamed")
        self.daemon.lxc("storage", "volume", "rename", "default", volume, renamed)
        self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", "default", renamed, check=False)
        self.assertEqual(self.daemon.request("GET", self.path(volume))[0], 404)
        self.daemon.lxc("storage", "volume", "move", f"default/{renamed}", f"second/{renamed}")
        self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", "second", renamed, check=False)
        self.assertEqual(self.daemon.request("GET", self.path(renamed))[0], 404)
        self.assertNotIn(f"default_{renamed}", self.on_disk())
        for each in (copy, renamed):
            self.daemon.lxc("config", "device", "add", name, each, "disk", "pool=second", f"source={each}", f"path=/mnt/{each}")
            look = self.daemon.exec(name, "sh", "-c", f"cat /mnt/{each}/file; stat -c '%a %u %g' /mnt/{each}").stdout.split()
            self.assertEqual(look, ["text", "750", "5", "6"])
            self.daemon.lxc("config", "device", "remove", name, each)
        self.daemon.lxc("storage", "volume", "set", "second", copy, "user.mark", "x")
        self.assertEqual(self.daemon.lxc_out("storage", "volume", "get", "second", copy, "user.mark").strip(), "x")
        self.assertIn(copy, self.daemon.lxc_out("storage", "volume", "list", "second"))

    def write(self, name, word):
        self.daemon.exec(name, "sh", "-c", f"echo {word} >/data/file")

    def read(self, name):
        return self.daemon.exec(name, "cat", "/data/file").stdout.strip()

    def snapshots(self, volume, pool="default"):
        return [s["name"].split("/")[1] for s in self.daemon.get(f"{self.path(volume, pool)}/snapshots?recursion=1")]

    def kept(self, pool="default"):
        return len([name for name in self.on_disk(pool) if name.startswith("snapshot-")])

    def test_snapshots_are_taken_restored_renamed_and_deleted(self):
        volume, name, before = self.volume("snapped", "user.mark=1"), self.launch("snapper"), self.kept()
        self.daemon.lxc("storage", "volume", "attach", "default", volume, name, "data", "/data")
        self.write(name, "first")
        self.daemon.exec(name, "sh", "-c", "chmod 1751 /data; chown 5:6 /data")
        self.daemon.lxc("storage", "volume", "snapshot", "default", volume)
        self.write(name, "second")
        self.daemon.lxc("storage", "volume", "snapshot", "default", volume, "kept")
        self.write(name, "third")
        self.assertEqual(self.snapshots(volume), ["snap0", "kept"])
        listed = self.daemon.get("/1.0/storage-pools/default/volumes?recursion=1")
        self.assertIn((f"{volume}/kept", "custom", []), [(v["name"], v["type"], v["used_by"]) for v in listed])
        self.assertIn(f"{self.path(volume)}/snapshots/kept", self.daemon.get("/1.0/storage-pools/default/volumes"))
        self.assertIn(f"{volume}/snap0", self.daemon.lxc_out("storage", "volume", "list", "default"))
        self.assertIn("kept", self.daemon.lxc_out("storage", "volume", "info", "default", volume))
        self.assertIn("user.mark", self.daemon.lxc_out("storage", "volume", "show", "default", f"{volume}/kept"))
        refused = self.daemon.lxc("storage", "volume", "restore", "default", volume, "snap0", check=False)
        self.assertIn("in use", refused.stderr)
        self.assertEqual(self.read(name), "third")
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("storage", "volume", "restore", "default", volume, "snap0")
        self.daemon.lxc("start", name)
        self.assertEqual(self.read(name), "first")
        self.assertEqual(self.daemon.exec(name, "stat", "-c", "%a %u %g", "/data").stdout.strip(), "1751 5 6")
        self.daemon.lxc("storage", "volume", "rename", "default", f"{volume}/kept", f"{volume}/other")
        self.assertEqual(self.snapshots(volume), ["snap0", "other"])
        url = f"{self.path(volume)}/snapshots"
        self.assertEqual(self.daemon.outcome("PATCH", f"{url}/other", {"description": "mine"}), (200, ""))
        self.assertEqual(self.daemon.outcome("PUT", f"{url}/other", {"description": "mine", "expires_at": "2100-01-01T00:00:00Z"}), (200, ""))
        shown = self.daemon.get(f"{url}/other")
        self.assertEqual((shown["name"], shown["description"], shown["expires_at"], shown["config"]),
                         ("other", "mine", "2100-01-01T00:00:00Z", {"user.mark": "1"}))
        for method, path, body, code in (("POST", url, {"name": "other"}, 409), ("POST", url, {"name": "a/b"}, 400), ("GET", f"{url}/none", None, 404),
                                         ("POST", f"{url}/other", {"name": "snap0"}, 409), ("POST", f"{url}/none", {"name": "x"}, 404),
                                         ("DELETE", f"{url}/none", None, 404), ("PUT", self.path(volume), {"restore": "none"}, 404),
                                         ("POST", f"{self.path('none')}/snapshots", {"name": "x"}, 404),
                                         ("POST", "/1.0/storage-pools/default/volumes/image/x/snapshots", {"name": "x"}, 400)):
            self.assertEqual(self.daemon.outcome(method, path, body)[0], code, (method, path, body))
        self.daemon.lxc("storage", "volume", "delete", "default", f"{volume}/other")
        self.assertEqual(self.snapshots(volume), ["snap0"])
        self.daemon.lxc("storage", "volume", "detach", "default", volume, name, "data")
        renamed = self.daemon.name("resnapped")
        self.daemon.lxc("storage", "volume", "rename", "default", volume, renamed)
        self.assertEqual(self.snapshots(renamed), ["snap0"])
        self.assertEqual(self.kept(), before + 1)
        self.daemon.lxc("storage", "volume", "delete", "default", renamed)
        self.assertEqual(self.kept(), before, "its snapshots went as well")

    def test_snapshots_come_along_where_they_are_wanted(self):
        volume, name = self.volume("origin"), self.launch("copier")
        self.daemon.lxc("storage", "volume", "attach", "default", volume, name, "data", "/data")
        self.write(name, "first")
        self.daemon.lxc("storage", "volume", "snapshot", "default", volume, "one")
        self.write(name, "second")
        self.daemon.lxc("storage", "volume", "detach", "default", volume, name, "data")
        copies = {}
        for word, pool, source, options, snapshots, content in (("whole", "default", volume, [], ["one"], "second"), ("far", "second", volume, [], ["one"], "second"),
                                                                ("alone", "second", volume, ["--volume-only"], [], "second"),
                                                                ("ofone", "second", f"{volume}/one", [], [], "first")):
            copy = copies[word] = self.daemon.name(word)
            self.daemon.lxc("storage", "volume", "copy", f"default/{source}", f"{pool}/{copy}", *options)
            self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", pool, copy, check=False)
            self.assertEqual(self.snapshots(copy, pool), snapshots, word)
            self.daemon.lxc("config", "device", "add", name, "data", "disk", f"pool={pool}", f"source={copy}", "path=/data")
            self.assertEqual(self.read(name), content, word)
            self.daemon.lxc("config", "device", "remove", name, "data")
        self.daemon.lxc("storage", "volume", "move", f"second/{copies['far']}", f"default/{copies['far']}")
        self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", "default", copies["far"], check=False)
        self.assertEqual(self.snapshots(copies["far"]), ["one"])
        self.assertEqual(self.kept("second"), 0)
        self.daemon.lxc("storage", "volume", "restore", "default", copies["far"], "one")
        self.daemon.lxc("config", "device", "add", name, "data", "disk", "pool=default", f"source={copies['far']}", "path=/data")
        self.assertEqual(self.read(name), "first")

    def test_instances_snapshots_are_volumes_as_well(self):
        name = self.launch("listed")
        self.daemon.lxc("snapshot", name, "one")
        listed = {v["name"]: v for v in self.daemon.get("/1.0/storage-pools/default/volumes/container?recursion=1")}
        self.assertEqual(listed[f"{name}/one"]["used_by"], [f"/1.0/instances/{name}/snapshots/one"])
        self.assertIn(f"/1.0/storage-pools/default/volumes/container/{name}/snapshots/one", self.daemon.get("/1.0/storage-pools/default/volumes/container"))

    def test_snapshots_by_schedule_pattern_and_end(self):
        volume = self.volume("planned", "snapshots.pattern=at-{{ creation_date|date:'2006' }}-%d", "snapshots.expiry=1y")
        self.daemon.lxc("storage", "volume", "snapshot", "default", volume)
        taken = self.daemon.get(f"{self.path(volume)}/snapshots?recursion=1")[0]
        self.assertRegex(taken["name"], rf"^{volume}/at-\d{{4}}-0$")
        self.assertGreater(taken["expires_at"], taken["created_at"])
        self.daemon.lxc("storage", "volume", "snapshot", "default", volume, "forever", "--no-expiry")
        self.assertEqual(self.daemon.get(f"{self.path(volume)}/snapshots/forever")["expires_at"], "0001-01-01T00:00:00Z")
        self.assertEqual(self.daemon.outcome("PATCH", f"{self.path(volume)}/snapshots/forever", {"expires_at": "2001-01-01T00:00:00Z"}), (200, ""))
        eventually(lambda: "forever" not in self.snapshots(volume), "the end of what has expired")
        for key, value in (("snapshots.schedule", "often"), ("snapshots.expiry", "soon"), ("snapshots.pattern", "%d%d"), ("snapshots.other", "x")):
            self.assertEqual(self.daemon.outcome("PATCH", self.path(volume), {"config": {key: value}})[0], 400, key)

    def test_what_cannot_be_is_refused_and_changes_nothing(self):
        before = self.on_disk()
        create = lambda **body: self.daemon.outcome("POST", "/1.0/storage-pools/default/volumes/custom", body)[0]
        for body in ({"name": ""}, {"name": "a/b"}, {"name": "../x"}, {"name": "x", "type": "container"},
                     {"name": "x", "content_type": "block"}, {"name": "x", "config": {"size": "some"}},
                     {"name": "x", "config": {"no.such": "key"}}, {"name": "x", "config": {"security.shifted": "true"}},
                     {"name": "x", "source": {"type": "migration", "name": "y"}}):
            self.assertEqual(create(**body), 400, body)
        self.assertEqual(create(name="x", source={"type": "copy", "name": "none", "pool": "default"}), 404)
        self.assertEqual(self.daemon.outcome("POST", "/1.0/storage-pools/none/volumes/custom", {"name": "x"})[0], 404)
        name = self.launch("refused")
        for device in ({"source": "none", "pool": "default"}, {"source": "/etc", "pool": "default"}, {"source": "../containers", "pool": "default"},
                       {"source": "none", "pool": "nowhere"}):
            answer = self.daemon.outcome("PATCH", f"/1.0/instances/{name}", {"devices": {"data": {"type": "disk", "path": "/data", **device}}})
            self.assertEqual(answer[0], 400, (device, answer))
        self.assertEqual(self.on_disk(), before)

    def test_a_restricted_project_has_volumes_of_its_own_and_no_others(self):
        project = self.daemon.name("tenant")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false",
                        "-c", "features.storage.volumes=true", "-c", "restricted=true", "-c", "restricted.devices.nic=allow")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        foreign, own = self.volume("foreign"), self.daemon.name("own")
        self.daemon.lxc("storage", "volume", "create", "default", own, "--project", project)
        self.addCleanup(self.daemon.lxc, "storage", "volume", "delete", "default", own, "--project", project, check=False)
        name = self.daemon.name("inside")
        self.daemon.lxc("launch", "busybox", name, "--project", project)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, "--project", project, check=False)
        refused = self.daemon.lxc("storage", "volume", "attach", "default", foreign, name, "/data", "--project", project, check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.daemon.lxc("storage", "volume", "attach", "default", own, name, "/data", "--project", project)
        self.assertEqual(self.daemon.lxc("exec", name, "--project", project, "--", "touch", "/data/x").returncode, 0)
        self.assertNotIn(own, self.daemon.lxc_out("storage", "volume", "list", "default"))
        still = self.daemon.lxc("project", "delete", project, check=False)
        self.assertNotEqual(still.returncode, 0)
        self.daemon.lxc("delete", "-f", name, "--project", project)
        kept = self.daemon.lxc("project", "set", project, "features.storage.volumes", "false", check=False)
        self.assertIn("empty projects", kept.stderr)


class OnBtrfs(Volumes, DaemonTest):
    driver = "btrfs"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.lxc("storage", "create", "second", "dir")

    def test_snapshots_are_taken_by_schedule(self):
        volume = self.volume("minute", "snapshots.schedule=* * * * *")
        eventually(lambda: self.snapshots(volume) == ["snap0"], "the snapshot of the next minute", 75)

    def test_a_size_holds_and_grows(self):
        volume, name = self.volume("sized", "size=8MiB"), self.launch("filler")
        self.daemon.lxc("storage", "volume", "attach", "default", volume, name, "/data")
        fill = "dd if=/dev/urandom of=/data/file bs=1M count=24; sync"
        self.daemon.exec(name, "sh", "-c", fill, check=False)
        size = lambda: int(self.daemon.exec(name, "stat", "-c", "%s", "/data/file").stdout)
        self.assertLess(size(), 9 << 20)
        self.daemon.lxc("storage", "volume", "set", "default", volume, "size", "64MiB")
        self.daemon.exec(name, "sh", "-c", fill)
        self.assertEqual(size(), 24 << 20)

    def test_the_limit_of_a_project_holds_for_its_volumes_however_many_ask(self):
        project = self.daemon.name("limited")
        self.daemon.lxc("project", "create", project, "-c", "limits.disk=100MiB", "-c", "features.storage.volumes=true")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        post = lambda n: self.daemon.outcome("POST", f"/1.0/storage-pools/default/volumes/custom?project={project}",
                                             {"name": f"v{n}", "config": {"size": "10MiB"}})[0]
        with concurrent.futures.ThreadPoolExecutor(20) as crowd:
            answers = list(crowd.map(post, range(40)))
        there = self.daemon.get(f"/1.0/storage-pools/default/volumes/custom?project={project}")
        for url in there:
            self.addCleanup(self.daemon.outcome, "DELETE", f"{url.split('?')[0]}?project={project}")
        self.assertEqual((answers.count(200), len(there)), (10, 10), answers)
        self.assertEqual(set(answers), {200, 403})
        self.assertEqual(self.daemon.outcome("PATCH", f"/1.0/storage-pools/default/volumes/custom/{there[0].split('/')[-1].split('?')[0]}?project={project}",
                                             {"config": {"size": "20MiB"}})[0], 403)


class OnDir(Volumes, DaemonTest):
    driver = "dir"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.lxc("storage", "create", "second", "btrfs", "size=1GiB")


if __name__ == "__main__":
    unittest.main()
