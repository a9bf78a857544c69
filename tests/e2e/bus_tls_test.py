"""The message bus over TLS: who may come, what a restricted certificate sees and touches by every interface, and what is
cut when trust ends."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

from bus_test import PROBE, processes
from crowd import client_hello
from identities import Identity, context_of, dated, free_port, short_lived
from troupe_e2e import COMMAND_SECONDS, DaemonTest, eventually, run

ROOT_DISK = {"root": {"type": "disk", "path": "/", "pool": "default"}}


class BusTlsTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.port = free_port()
            cls.set("core.bus_address", f"127.0.0.1:{cls.port}")
            cls.folder = pathlib.Path(tempfile.mkdtemp(dir=cls.daemon.home))
            cls.make_tenants()
        except BaseException:
            cls.daemon.close()
            raise

    @classmethod
    def tearDownClass(cls):
        for path in ("/1.0/instances/mine?project=ta", "/1.0/instances/theirs?project=tb", "/1.0/projects/ta", "/1.0/projects/tb"):
            if "instances" in path:
                cls.daemon.request("PUT", path.replace("?", "/state?"), {"action": "stop", "force": True, "timeout": -1})
                eventually(lambda: cls.daemon.outcome("DELETE", path)[0] in (200, 404), path)
            else:
                cls.daemon.outcome("DELETE", path)
        super().tearDownClass()

    @classmethod
    def make_tenants(cls):
        cls.tenants = {}
        for project, instance in (("ta", "mine"), ("tb", "theirs")):
            config = {"features.images": "false", "features.profiles": "false", "limits.instances": "5"}
            assert cls.daemon.outcome("POST", "/1.0/projects", {"name": project, "config": config})[0] == 201
            cls.tenants[project] = Identity(cls.folder, project)
            cls.trust(cls.tenants[project], restricted=True, projects=[project])
            run("lxc", "launch", "busybox", instance, "--project", project, env=cls.daemon.env)
        cls.daemon.note_cards()

    @classmethod
    def set(cls, key, value):
        status, error = cls.daemon.outcome("PATCH", "/1.0", {"config": {key: value}})
        assert status == 200, error

    @classmethod
    def trust(cls, identity, **more):
        status, error = cls.daemon.outcome("POST", "/1.0/certificates", {"type": "client", "certificate": identity.base64, "name": "x", **more})
        assert status == 201, error

    def distrust(self, identity):
        self.assertEqual(self.daemon.outcome("DELETE", f"/1.0/certificates/{identity.fingerprint}")[0], 200)

    def bus(self, identity, path, arguments=None, *more, port=None, server=None):
        """What `troupe bus call` printed, or its error."""
        done = self.daemon.troupe(
            "bus", "call", path, json.dumps(arguments or {}), "--server", f"127.0.0.1:{port or self.port}",
            "--server-cert", server or self.daemon.dir / "server.crt", "--cert", identity.crt, "--key", identity.key, *more, check=False)
        return done.stdout if done.returncode == 0 else f"refused: {done.stderr.strip()}"

    def assertRefused(self, identity, path, arguments=None, why=""):
        said = self.bus(identity, path, arguments)
        self.assertTrue(said.startswith("refused: "), f"{path}: {said}")
        self.assertIn(why, said, path)

    def target(self, identity):
        return f"127.0.0.1:{self.port},{self.daemon.dir}/server.crt,{identity.crt},{identity.key}"

    # --- the door

    def test_calls_over_tls(self):
        me = Identity(self.folder, "admin")
        self.trust(me)
        self.assertIn("config", self.bus(me, "server"))
        self.assertIn("theirs", self.bus(me, "allInstances"))
        self.assertIn("hello", self.bus(me, "project(ta).instances.get(mine).exec", {"command": {"command": ["echo", "hello"]}}, "--wait"))
        done = json.loads(self.bus(me, "createProject", {"name": "over-tls"}, "--wait"))
        self.assertEqual(done["state"], "succeeded")
        self.assertIn(me.fingerprint, json.dumps(self.daemon.get("/1.0/events/history?entity=project//over-tls")) +
                      json.dumps(self.daemon.get("/1.0/operations?recursion=2&all=true")))  # the principal went along
        self.daemon.outcome("DELETE", "/1.0/projects/over-tls")
        self.assertIn("Instance", self.daemon.troupe(
            "bus", "describe", "Instance", "--server", f"127.0.0.1:{self.port}", "--server-cert", self.daemon.dir / "server.crt",
            "--cert", me.crt, "--key", me.key).stdout)
        self.distrust(me)

    def test_much_data_both_ways(self):
        me = Identity(self.folder, "mover")
        self.trust(me)
        name = self.daemon.launch("mover")
        got = json.loads(run(PROBE, self.target(me), "files", name).stdout)
        self.assertTrue(got["same"])
        got = json.loads(run(PROBE, self.target(me), "exec", name, "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; exit 3").stdout)
        self.assertEqual((got["exit_code"], got["bytes"]), (3, 20_000_000))
        self.daemon.lxc("delete", "--force", name)
        self.distrust(me)

    def test_another_server_is_not_talked_to(self):
        other = Identity(self.folder, "other-server", "-addext", "subjectAltName=DNS:other")
        said = self.bus(self.tenants["ta"], "projects", server=other.crt)
        self.assertTrue(said.startswith("refused: "), said)

    def test_the_address_changes_live(self):
        me, other = self.tenants["ta"], free_port()
        self.set("core.bus_address", f"127.0.0.1:{self.port},127.0.0.1:{other}")
        try:
            self.assertIn('"ta"', self.bus(me, "projects", port=other))
            self.assertIn('"ta"', self.bus(me, "projects"))
        finally:
            self.set("core.bus_address", f"127.0.0.1:{self.port}")
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            status, error = self.daemon.outcome("PATCH", "/1.0", {"config": {"core.bus_address": f"127.0.0.1:{taken.getsockname()[1]}"}})
        self.assertEqual(status, 400)
        self.assertIn("somebody else", error)
        self.assertEqual(self.daemon.get("/1.0")["config"]["core.bus_address"], f"127.0.0.1:{self.port}")

    def test_strangers_are_closed_with_an_event(self):
        authority = Identity(self.folder, "ca")
        known = self.tenants["ta"]
        strangers = {
            "unknown": Identity(self.folder, "unknown"),
            "twin": Identity(self.folder, "twin", "-subj", "/O=test/CN=ta"),
            "server only": Identity(self.folder, "usage", "-addext", "extendedKeyUsage=serverAuth"),
            "expired": dated(self.folder, authority, "old", "20200101000000Z", "20210101000000Z"),
            "early": dated(self.folder, authority, "early", "20900101000000Z", "20910101000000Z"),
        }
        for what, identity in strangers.items():
            self.assertTrue(self.bus(identity, "projects").startswith("refused: "), what)
        with context_of().wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS)) as tls:
            self.assertEqual(tls.recv(1), b"")  # no certificate at all
        refused = lambda: self.daemon.troupe("history", "security//127.0.0.1", "--format", "json").stdout
        eventually(lambda: "refused" in refused(), "the event of who was refused")
        self.assertIn('"ta"', self.bus(known, "projects"))

    def test_garbage_and_half_handshakes_end_alone(self):
        hello = client_hello()
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(5000), hello[: len(hello) // 2] + b"\0" * 200):
            with socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS) as raw:
                raw.sendall(garbage)
                with contextlib.suppress(ConnectionError):
                    while raw.recv(4096):
                        pass
        me = self.tenants["ta"]
        with context_of(me).wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS)) as tls:
            with contextlib.suppress(OSError):
                tls.sendall(b"\xff" * 4096)  # no frame
                while tls.recv(4096):
                    pass
        self.assertIn('"ta"', self.bus(me, "projects"))

    # --- who is restricted

    def test_a_tenant_works_in_its_project(self):
        b = self.tenants["tb"]
        self.assertIn("Running", self.bus(b, "project(tb).instances.get(theirs).view"))
        self.assertIn("hi", self.bus(b, "project(tb).instances.get(theirs).exec", {"command": {"command": ["echo", "hi"]}}, "--wait"))
        made = self.bus(b, "project(tb).instances.create",
                        {"name": "second", "source": {"type": "none"}, "devices": ROOT_DISK}, "--wait")
        self.assertEqual(json.loads(made)["state"], "succeeded", made)
        gone = self.bus(b, "project(tb).instances.get(second).delete", {}, "--wait")
        self.assertEqual(json.loads(gone)["state"], "succeeded", gone)
        self.assertIn("passwd", self.bus(b, "project(tb).instances.get(theirs).files.view", {"path": "/etc"}))
        self.assertIn("theirs", self.bus(b, "project(tb).events.history(instance,theirs)"))
        self.assertIn("busybox", self.bus(b, "project(tb).images.aliases"))  # what it borrows

    def test_a_tenant_neither_sees_nor_touches_others(self):
        a, b = self.tenants["ta"], self.tenants["tb"]
        begun = self.daemon.request("PUT", "/1.0/instances/mine/state?project=ta", {"action": "restart", "force": True, "timeout": -1})[1]
        operation = begun["operation"].split("/")[-1].split("?")[0]
        self.daemon.get(f"/1.0/operations/{operation}/wait?project=ta")
        listed = json.loads(self.bus(b, "projects"))
        self.assertEqual([p["spec"]["name"] for p in listed["items"]], ["tb"])
        # Every way there begins at the project, which is not there for him: as one that is nowhere.
        methods = ("view", "state", "instances.list", "instances.get(mine).view", "instances.get(mine).exec",
                   "instances.get(mine).files.view(/etc/passwd)", "instances.get(mine).delete", "instances.get(mine).stop",
                   "instances.get(mine).consoleLog", "instances.get(mine).logs", "operations.list", f"operations.get({operation}).view",
                   "events.history(instance,mine)", "events.durables", "images.list", "profiles.list", "networks.list", "pools.list",
                   "update", "delete", "restrict")
        for method in methods:
            said = self.bus(b, f"project(ta).{method}")
            self.assertEqual(said, self.bus(b, f"project(nowhere).{method}"), method)
            self.assertIn("not found", said, method)
        # Nor from his own.
        self.assertNotIn("mine", self.bus(b, "allInstances"))
        for method in ("view", "wait", "cancel"):
            self.assertRefused(b, f"project(tb).operations.get({operation}).{method}", why="Operation not found")
        self.assertNotIn(operation, self.bus(b, "project(tb).operations.list"))
        self.assertRefused(b, "project(tb).events.history(instance/ta,mine)")
        self.assertNotIn("mine", self.bus(b, "project(tb).events.history(instance,mine)"))
        for shared in ("networks.list", "pools.list", "profiles.list", "pools.get(default).view", "pools.get(default).volumes",
                       f"networks.get({self.daemon.bridge}).view", f"networks.get({self.daemon.bridge}).leases", "profiles.get(default).view"):
            said = self.bus(b, f"project(tb).{shared}")
            self.assertFalse(said.startswith("refused"), f"{shared}: {said}")
            self.assertNotIn("mine", said, shared)
            self.assertNotIn("project=ta", said, shared)
        # What is the server's, and what his project only borrows.
        self.assertEqual(json.loads(self.bus(b, "server"))["server"].get("config", {}), {})
        for method, arguments in (("updateServer", {"config": [{"key": "core.https_address", "value": ""}]}), ("sessions", {}),
                                  ("createProject", {"name": "x"}), ("project(tb).update", {"body": {"config": {"restricted": "false"}}}),
                                  ("project(tb).delete", {}), ("project(tb).rename", {"name": "x"}), ("project(tb).events.durables", {}),
                                  ("project(tb).events.deleteDurable", {"name": "x"}), ("project(tb).networks.create", {"name": "x"}),
                                  ("project(tb).pools.create", {"name": "x"}), ("project(tb).pools.get(default).delete", {}),
                                  (f"project(tb).networks.get({self.daemon.bridge}).delete", {}),
                                  ("project(tb).profiles.create", {"name": "x"}), ("project(tb).profiles.get(default).delete", {}),
                                  ("project(tb).images.createAlias", {"name": "x", "target": "y"})):
            self.assertRefused(b, method, arguments)
        self.assertRefused(b, "project(tb).networks.get(lo).state", why="not found")
        self.assertIn("Running", self.bus(a, "project(ta).instances.get(mine).view"))

    def test_the_events_of_others_are_not_told(self):
        got = json.loads(run(PROBE, self.target(self.tenants["tb"]), "scopes", "tb", "ta").stdout)
        for subject in ("ta.>", "_.>", "durable"):
            self.assertIn("forbidden", got[subject], subject)
        self.assertEqual(got["own"], "")

    def test_operations_are_listed_and_followed_by_who_may_see_them(self):
        one = {"entity_type": "instance", "url": "/1.0/instances/theirs?project=tb", "entitlement": "can_view"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/auth/groups", {"name": "lookers", "permissions": [one]})[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", "/1.0/auth/groups/lookers")
        me = Identity(self.folder, "looker")
        post = {"name": "looker", "certificate": me.base64, "groups": ["lookers"]}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/auth/identities/tls", post)[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/auth/identities/tls/{me.fingerprint}")
        begun = self.daemon.request("POST", "/1.0/instances/theirs/exec?project=tb", {"command": ["true"], "wait-for-websocket": False})[1]
        operation = begun["operation"].split("/")[-1].split("?")[0]
        self.daemon.get(f"/1.0/operations/{operation}/wait?project=tb")
        self.assertIn("Running", self.bus(me, "project(tb).instances.get(theirs).view"))
        self.assertNotIn(operation, self.bus(me, "project(tb).operations.list"))
        self.assertRefused(me, f"project(tb).operations.get({operation}).follow", why="Operation not found")
        for who in (me, self.tenants["tb"]):  # no name would be all that happens
            self.assertRefused(who, "project(tb).operations.get().follow", why="Operation not found")
        tenant = self.tenants["tb"]
        self.assertIn(operation, self.bus(tenant, "project(tb).operations.list"))
        self.assertFalse(self.bus(tenant, f"project(tb).operations.get({operation}).follow").startswith("refused"))

    def test_logs_are_what_can_be_read(self):
        path = "/1.0/instances/theirs/exec?project=tb"
        body = {"command": ["echo", "x"], "wait-for-websocket": False, "record-output": True}
        status, begun = self.daemon.request("POST", path, body)
        self.assertEqual(status, 202, begun)
        self.daemon.get(begun["operation"].split("?")[0] + "/wait?project=tb")
        names = json.loads(self.bus(self.tenants["tb"], "project(tb).instances.get(theirs).logs"))["names"]
        self.assertNotIn("exec-output", names)
        for name in names:
            self.assertFalse(self.bus(self.tenants["tb"], f"project(tb).instances.get(theirs).readLog({name})").startswith("refused"), name)
        self.assertRefused(self.tenants["tb"], "project(tb).instances.get(theirs).readLog(exec-output)", why="not found")

    # --- the end of trust

    def hold(self, identity):
        holder = subprocess.Popen([PROBE, self.target(identity), "hold", "tb", "theirs"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(holder.stdout.close)
        self.assertEqual(holder.stdout.readline(), "ready\n")
        self.assertTrue(processes("sleep", "1236"))
        return holder

    def assertCut(self, holder):
        self.assertEqual(holder.wait(30), 0)
        got = json.loads(holder.stdout.read())
        for stream in ("command", "stream"):
            self.assertTrue(got[stream], stream)
        eventually(lambda: not processes("sleep", "1236"), "the end of the command")

    def test_removal_cuts_what_is_open(self):
        me = Identity(self.folder, "leaver")
        self.trust(me, restricted=True, projects=["tb"])
        holder = self.hold(me)
        self.distrust(me)
        self.assertCut(holder)
        self.assertTrue(self.bus(me, "projects").startswith("refused: "))

    def test_the_end_of_a_certificate_cuts_what_is_open(self):
        me = short_lived(self.folder, "brief", 10)
        self.trust(me, restricted=True, projects=["tb"])
        self.assertCut(self.hold(me))
        self.assertTrue(self.bus(me, "projects").startswith("refused: "))

    def test_losing_a_project_cuts_what_is_open(self):
        me = Identity(self.folder, "loser")
        self.trust(me)
        holder = self.hold(me)
        body = {"name": "x", "type": "client", "restricted": True, "projects": ["ta"]}
        self.assertEqual(self.daemon.outcome("PUT", f"/1.0/certificates/{me.fingerprint}", body)[0], 200)
        self.assertCut(holder)
        self.assertRefused(me, "project(tb).view", why="not found")
        self.distrust(me)

    def test_the_end_of_the_listener_cuts_nobody_but_newcomers(self):
        holder = self.hold(self.tenants["tb"])
        self.set("core.bus_address", "")
        try:
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port))
            self.assertTrue(processes("sleep", "1236"))
        finally:
            self.set("core.bus_address", f"127.0.0.1:{self.port}")
        holder.terminate()
        holder.wait(30)
        eventually(lambda: not processes("sleep", "1236"), "the end of the command")


if __name__ == "__main__":
    unittest.main()
