"""What a root disk may hold: the device's `size`, on the one driver that can, and its refusal on the other."""

import threading
import unittest

from troupe_e2e import DaemonTest


class OnBtrfs(DaemonTest):
    driver = "btrfs"

    def launch(self, word, *options):
        name = self.daemon.launch(word, "busybox", *options)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        return name

    def fits(self, name, megabytes):
        """Whether the container can write so much; what it wrote goes again."""
        written = self.daemon.exec(name, "sh", "-c", f"dd if=/dev/urandom of=/root/f bs=1M count={megabytes} conv=fsync", check=False)
        self.daemon.exec(name, "rm", "-f", "/root/f")
        return written.returncode == 0

    def limit_in_profile(self, size):
        self.daemon.lxc("profile", "device", "set", "default", "root", f"size={size}")
        self.addCleanup(self.daemon.lxc, "profile", "device", "unset", "default", "root", "size", check=False)

    def test_a_size_holds_from_the_first_start_and_changes_while_it_runs(self):
        name = self.launch("sized", "-d", "root,size=20MiB")
        self.assertFalse(self.fits(name, 40))
        self.daemon.lxc("config", "device", "set", name, "root", "size=80MiB")
        self.assertTrue(self.fits(name, 40))
        self.daemon.lxc("config", "device", "set", name, "root", "size=20MiB")
        self.assertFalse(self.fits(name, 40))
        self.daemon.lxc("config", "device", "unset", name, "root", "size")
        self.assertTrue(self.fits(name, 40))

    def test_the_state_shows_what_the_root_holds(self):
        name = self.launch("used", "-d", "root,size=100MiB")
        self.daemon.exec(name, "sh", "-c", "dd if=/dev/urandom of=/root/f bs=1M count=8 conv=fsync")
        self.daemon.exec(name, "sync")
        used = self.daemon.get(f"/1.0/instances/{name}/state")["disk"]["root"]["usage"]
        self.assertGreater(used, 8 << 20)
        self.assertLess(used, 100 << 20)

    def test_copies_and_restored_snapshots_are_limited_as_their_config_says(self):
        name, copy = self.launch("origin", "-d", "root,size=20MiB"), self.daemon.name("copy")
        self.addCleanup(self.daemon.lxc, "delete", "-f", copy, check=False)
        self.daemon.lxc("snapshot", name, "small")
        self.daemon.lxc("config", "device", "set", name, "root", "size=80MiB")
        self.daemon.lxc("copy", name, copy)
        self.daemon.lxc("start", copy)
        self.assertTrue(self.fits(copy, 40))
        self.daemon.lxc("restore", name, "small")
        self.assertFalse(self.fits(name, 40))

    def test_a_profiles_size_is_in_force_from_the_next_start(self):
        name = self.launch("profiled")
        self.limit_in_profile("20MiB")
        self.daemon.lxc("restart", "-f", name)
        self.assertFalse(self.fits(name, 40))

    def crowd(self, count, call):
        answers = []
        threads = [threading.Thread(target=lambda n=number: answers.append(call(n))) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def test_a_projects_disk_is_shared_out_exactly_by_parallel_creates_and_changes(self):
        project = self.daemon.name("disk")
        config = {"features.images": "false", "features.profiles": "false", "limits.disk": "100MiB"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/projects", {"name": project, "config": config})[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/projects/{project}")
        of = f"?project={project}"
        root = lambda size: {"root": {"type": "disk", "path": "/", "pool": "default", "size": size}}
        create = lambda name, **more: self.daemon.outcome("POST", f"/1.0/instances{of}", {"name": name, "source": {"type": "none"}, **more})
        names = lambda: [url.rsplit("/", 1)[1].split("?")[0] for url in self.daemon.get(f"/1.0/instances{of}")]
        self.addCleanup(lambda: [self.daemon.outcome("DELETE", f"/1.0/instances/{name}{of}") for name in names()])
        self.assertEqual(create("no-size")[0], 400)
        answers = self.crowd(200, lambda n: create(f"d{n}", devices=root("10MiB")))
        self.assertEqual(sorted({status for status, _ in answers}), [200, 403], answers[:3])
        self.assertEqual(len(names()), 10)
        resources = self.daemon.get(f"/1.0/projects/{project}/state")["resources"]
        self.assertEqual(resources["disk"], {"Limit": 100 << 20, "Usage": 100 << 20})
        first, *others = names()
        self.assertEqual(self.daemon.outcome("DELETE", f"/1.0/instances/{first}{of}")[0], 200)
        grow = lambda n: self.daemon.outcome("PATCH", f"/1.0/instances/{others[n]}{of}", {"devices": root("15MiB")})
        self.assertEqual(sum(status == 200 for status, _ in self.crowd(9, grow)), 2)

    def test_a_pool_has_a_limit_of_its_own_in_a_project(self):
        project, other = self.daemon.name("pools"), self.daemon.name("other")
        self.daemon.lxc("storage", "create", other, "btrfs", "size=256MiB")
        self.addCleanup(self.daemon.lxc, "storage", "delete", other, check=False)
        config = {"features.images": "false", "features.profiles": "false", "limits.disk.pool.default": "50MiB"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/projects", {"name": project, "config": config})[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/projects/{project}")
        of = f"?project={project}"
        root = lambda pool, size: {"root": {"type": "disk", "path": "/", "pool": pool, "size": size}}
        create = lambda name, *where: self.daemon.outcome("POST", f"/1.0/instances{of}", {"name": name, "source": {"type": "none"}, "devices": root(*where)})[0]
        for name in ("a", "b", "c"):
            self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/instances/{name}{of}")
        self.assertEqual(create("a", "default", "30MiB"), 200)
        self.assertEqual(create("b", "default", "30MiB"), 403)
        self.assertEqual(create("b", other, "30MiB"), 200)
        move = {"name": "b", "migration": True, "pool": "default"}
        self.assertEqual(self.daemon.outcome("POST", f"/1.0/instances/b{of}", move)[0], 403)
        self.assertEqual(self.daemon.outcome("PATCH", f"/1.0/instances/a{of}", {"devices": root("default", "20MiB")})[0], 200)
        self.assertEqual(self.daemon.outcome("POST", f"/1.0/instances/b{of}", move)[0], 200)
        volume = lambda size: self.daemon.outcome("POST", f"/1.0/storage-pools/default/volumes/custom{of}", {"name": "v", "config": {"size": size}})[0]
        self.assertEqual(volume("1MiB"), 403)
        self.assertEqual(self.daemon.get(f"/1.0/projects/{project}/state")["resources"]["disk.pool.default"], {"Limit": 50 << 20, "Usage": 50 << 20})

    def test_nonsense_is_refused(self):
        name = self.launch("nonsense")
        for size in ("-1", "20 MiB x", "1e3", "20\n"):
            root = {"root": {"type": "disk", "path": "/", "pool": "default", "size": size}}
            self.assertEqual(self.daemon.outcome("PATCH", f"/1.0/instances/{name}", {"devices": root})[0], 400, size)


class OnDir(DaemonTest):
    driver = "dir"

    def test_a_size_is_refused_where_the_pool_cannot_keep_it(self):
        name = self.daemon.name("sized")
        refused = self.daemon.lxc("launch", "busybox", name, "-d", "root,size=20MiB", check=False)
        self.assertIn("cannot limit the size", refused.stderr)
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}")[0], 404)


if __name__ == "__main__":
    unittest.main()
