"""Lists of all projects show of each what the caller may see, over REST and on the bus; and the limit of networks."""

import concurrent.futures
import json
import unittest

from https_e2e import RolesTest
from identities import Identity, free_port


class ProjectListsTest(RolesTest):
    bare, driver = True, "dir"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        status, error = cls.daemon.outcome("POST", "/1.0/storage-pools", {"name": "default", "driver": "dir"})
        assert status == 201, error

    def setUp(self):
        super().setUp()
        for project in ("shown", "hidden"):
            self.must("POST", "/1.0/projects", {"name": project})
            self.addCleanup(self.must, "DELETE", f"/1.0/projects/{project}")
            self.must("POST", f"/1.0/profiles?project={project}", {"name": "mine"})
            self.addCleanup(self.must, "DELETE", f"/1.0/profiles/mine?project={project}")
            self.must("POST", f"/1.0/instances?project={project}", {
                "name": "c1", "source": {"type": "none"}, "devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}})
            self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/instances/c1?project={project}")

    def member(self, **more):
        """A certificate that may see project "shown"."""
        made = Identity(self.folder, f"m{len(list(self.folder.iterdir()))}")
        self.trust(made, restricted=True, projects=["shown"])
        return made

    def listed(self, path, who):
        status, answer = self.call("GET", path, identity=who)
        self.assertEqual(status, 200, answer)
        return answer["metadata"]

    def test_everybody_sees_his_own(self):
        self.group("lookers", ("project", "/1.0/projects/shown", "viewer"))
        friend = Identity(self.folder, f"f{len(list(self.folder.iterdir()))}")
        self.must("POST", f"{self.IDENTITIES}/tls", {"name": "friend", "certificate": friend.base64, "groups": ["lookers"]})
        for who in (self.member(), friend):
            self.assertEqual(self.listed("/1.0/instances?all-projects=true", who), ["/1.0/instances/c1?project=shown"])
            self.assertEqual(set(self.listed("/1.0/profiles?all-projects=true", who)),
                             {"/1.0/profiles/default?project=shown", "/1.0/profiles/mine?project=shown"})
            self.assertEqual({p["project"] for p in self.listed("/1.0/profiles?all-projects=true&recursion=1", who)}, {"shown"})
            self.assertEqual(self.listed("/1.0/images?all-projects=true", who), [])
            operations = self.listed("/1.0/operations?all-projects=true&all=true&recursion=1", who)
            self.assertNotIn("hidden", json.dumps(operations))
            self.assertEqual(self.call("GET", "/1.0/instances?project=hidden", identity=who)[0], 404)
            self.assertEqual(self.call("POST", "/1.0/profiles?all-projects=true", {"name": "x"}, who)[0] // 100, 4)

    def test_an_administrator_sees_all(self):
        self.assertEqual(set(self.daemon.get("/1.0/instances?all-projects=true")),
                         {"/1.0/instances/c1?project=shown", "/1.0/instances/c1?project=hidden"})
        profiles = self.daemon.get("/1.0/profiles?all-projects=true&recursion=1")
        self.assertEqual({(p["project"], p["name"]) for p in profiles},
                         {("default", "default"), ("shown", "default"), ("shown", "mine"), ("hidden", "default"), ("hidden", "mine")})
        self.assertIn("hidden", json.dumps(self.daemon.get("/1.0/operations?all-projects=true&all=true&recursion=1")))
        self.assertEqual(self.call("GET", "/1.0/profiles?all-projects=true")[0], 403)  # a stranger

    def test_on_the_bus_too(self):
        port = free_port()
        self.set("core.bus_address", f"127.0.0.1:{port}")
        self.addCleanup(self.set, "core.bus_address", "")
        me = self.member()
        far = ("--server", f"127.0.0.1:{port}", "--server-cert", self.daemon.dir / "server.crt", "--cert", me.crt, "--key", me.key)
        told = self.daemon.troupe("bus", "call", "allInstances", *far).stdout
        self.assertIn("shown", told)
        self.assertNotIn("hidden", told)

    def test_the_limit_of_networks_holds_for_all_at_once(self):
        project, have = "/1.0/projects/default", len([n for n in self.daemon.get("/1.0/networks?recursion=1") if n["managed"]])
        names = [f"{self.daemon.bridge[:11]}{i}" for i in range(6)]
        self.must("PATCH", project, {"config": {"limits.networks": str(have + 2)}})
        self.addCleanup(self.must, "PATCH", project, {"config": {"limits.networks": ""}})
        for name in names:
            self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/networks/{name}")
        make = lambda name: self.daemon.outcome("POST", "/1.0/networks", {
            "name": name, "type": "bridge", "config": {"ipv4.address": "none", "ipv6.address": "none"}})
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            made = list(pool.map(make, names))
        self.assertEqual(sum(status == 201 for status, _ in made), 2, made)
        self.assertTrue(all("limits.networks" in error for status, error in made if status != 201), made)
        self.assertEqual(self.daemon.get(f"{project}/state")["resources"]["networks"], {"Limit": have + 2, "Usage": have + 2})
        status, error = self.daemon.outcome("PATCH", project, {"config": {"limits.networks": "1"}})
        self.assertEqual(status, 403, error)
        status, error = self.daemon.outcome("PATCH", "/1.0/projects/shown", {"config": {"limits.networks": "1"}})
        self.assertEqual(status, 400, error)


if __name__ == "__main__":
    unittest.main()
