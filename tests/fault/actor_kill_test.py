"""An actor of every kind is killed while it works: it is started anew, nothing is lost, and the event log tells it.

Which kinds there are the daemon tells (GET /internal/faults, only with TROUPE_FAULTS in its environment): a new kind is killed
without a change here. Meanwhile clients change instances, profiles, networks and images; what they were answered must hold in the end.
"""

import contextlib
import http.client
import os
import pathlib
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from host_state import ENDED, Host  # noqa: E402
from troupe_e2e import DaemonTest, eventually  # noqa: E402

SETTLE_SECONDS = 20       # bounds the wait for what goes on behind a finished operation
RESTARTS_AT_ONCE = 3      # a supervisor takes no more within ten seconds; then the test goes on with a new daemon
KNOWN = {"store", "supervisor", "events", "pools", "networks", "images", "profiles", "projects", "server", "scheduler", "instances", "operations",
         "sinks", "certificates", "identities", "doors", "rest_door", "bus_door", "pool", "network", "instance", "operation", "sink"}
HAVE_A_PARENT = {"pool", "network", "instance", "operation", "sink"}  # of their own, which does not count


class Client(threading.Thread):
    """Changes things of its own, over and over, and remembers what it was answered."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.server, self.name, self.stop = daemon, daemon.name(f"w{number}"), threading.Event()
        self.accepted, self.ends, self.problems = [], {}, []

    def run(self):
        rounds = 0
        while not self.stop.is_set():
            rounds += 1
            for method, path, body in (
                    ("POST", "/1.0/instances", {"name": self.name, "source": {"type": "image", "alias": "busybox"}}),
                    ("PUT", f"/1.0/instances/{self.name}/state", {"action": "start"}),
                    ("PATCH", f"/1.0/instances/{self.name}", {"config": {"user.round": str(rounds)}}),
                    ("PUT", f"/1.0/instances/{self.name}/state", {"action": "stop", "force": True}),
                    ("DELETE", f"/1.0/instances/{self.name}", None)):
                self.submit(method, path, body)

    def submit(self, method, path, body):
        """One request; it may fail, but it must be answered, and an operation must end."""
        try:
            status, envelope = self.server.request(method, path, body)
            if status != 202:
                return
            operation = envelope["metadata"]["id"]
            self.accepted.append(operation)
            self.wait_for(operation)
        except (OSError, http.client.HTTPException) as problem:
            if not self.stop.is_set():
                self.problems.append(f"{method} {path}: {problem!r}")

    def wait_for(self, operation):
        while True:  # a wait may be refused when the part that it asks is started anew; the operation is not lost by that
            status, envelope = self.server.request("GET", f"/1.0/operations/{operation}/wait?timeout=60")
            if status == 200 and envelope["metadata"]["status_code"] >= 200:
                self.ends[operation] = envelope["metadata"]["status"]
                return
            if status == 200 or status == 404:
                self.problems.append(f"operation {operation}: {status} {envelope}")
                return


class ActorKillTest(DaemonTest):
    driver = "dir"
    process_env = {"TROUPE_FAULTS": ""}

    def setUp(self):
        super().setUp()
        self.host = Host(self.daemon)
        self.serial = 0
        self.clients = []
        self.ended = {}
        self.addCleanup(self.stop_clients)

    # --- the work beside

    def start_clients(self):
        self.clients = [Client(self.daemon, number) for number in range(3)]
        for client in self.clients:
            client.start()

    def stop_clients(self):
        for client in self.clients:
            client.stop.set()
        for client in self.clients:
            client.join(120)
            self.assertFalse(client.is_alive(), "a request or an operation never ended")
            self.assertEqual(client.problems, [])
            self.ended.update(client.ends)
            self.assertEqual(set(client.accepted), set(client.ends))
        self.clients = []

    # --- one kill

    def actors(self):
        return {(a["kind"], a["name"]) for a in self.daemon.get("/internal/faults")["actors"]}

    def kill(self, kind):
        """Kills one of that kind; returns its name as the event log has it."""
        def try_it():
            for each, name in sorted(self.actors()):
                if each == kind and self.daemon.request("POST", "/internal/faults", {"kill": {"kind": kind, "name": name}})[0] == 200:
                    return [kind, name]
            return None
        kind, name = eventually(try_it, f"an actor of kind {kind}", 60)
        return name if kind == "supervisor" else f"{kind}/{name}" if kind in HAVE_A_PARENT else kind

    def told_of(self, actor, before):
        def look():
            with contextlib.suppress(AssertionError):  # the part that answers may be the one that is started anew
                return self.count(actor) > before
        eventually(look, f"the event of the restart of {actor}", 60)

    def count(self, actor):
        events = self.daemon.get(f"/1.0/events/history?entity=actor//{actor.replace('/', '%2F')}&limit=10000")
        return sum(e["metadata"]["action"] == "actor-restarted" for e in events)

    def everything_works(self):
        """Each part of the daemon does something, and does it right."""
        self.serial += 1
        name, link = self.daemon.name(f"e{self.serial}"), f"{self.serial:x}{self.daemon.tag}"[:15]
        address = f"10.61.{self.serial % 256}.1/24"
        steps = [
            ("POST", "/1.0/profiles", {"name": name}), ("DELETE", f"/1.0/profiles/{name}", None),
            ("POST", "/1.0/projects", {"name": name}), ("DELETE", f"/1.0/projects/{name}", None),
            ("POST", "/1.0/networks", {"name": link, "config": {"ipv4.address": address, "ipv6.address": "none"}}),
            ("DELETE", f"/1.0/networks/{link}", None),
            ("POST", "/1.0/storage-pools", {"name": name, "driver": "dir"}), ("DELETE", f"/1.0/storage-pools/{name}", None),
            ("POST", "/1.0/images/aliases", {"name": name, "target": self.daemon.get("/1.0/images?recursion=1")[0]["fingerprint"]}),
            ("DELETE", f"/1.0/images/aliases/{name}", None),
            ("POST", "/1.0/sinks", {"name": name, "type": "file"}), ("DELETE", f"/1.0/sinks/{name}", None),
            ("PATCH", "/1.0", {"config": {"operations.retention.days": str(7 + self.serial % 7)}}),
            ("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}}),
            ("PUT", f"/1.0/instances/{name}/state", {"action": "start"}),
            ("PUT", f"/1.0/instances/{name}/state", {"action": "stop", "force": True}),
            ("DELETE", f"/1.0/instances/{name}", None),
        ]
        for method, path, body in steps:
            status, problem = self.daemon.outcome(method, path, body)
            self.assertIn(status, (200, 201), f"{method} {path}: {problem}")
        self.daemon.troupe("bus", "call", "instances.list")

    def test_an_actor_of_every_kind_is_killed_while_it_works(self):
        self.must_have_a_sink()
        self.start_clients()
        eventually(lambda: {kind for kind, _ in self.actors()} >= KNOWN, "an actor of every kind", 60)
        kinds = sorted({kind for kind, _ in self.actors()})
        self.assertEqual(set(kinds), KNOWN)
        left = RESTARTS_AT_ONCE
        for kind in kinds:
            if kind not in HAVE_A_PARENT:
                if left == 0:
                    self.begin_anew()
                    left = RESTARTS_AT_ONCE
                left -= 1
            self.kill_one(kind)
        self.stop_clients()
        self.check_all()

    def must_have_a_sink(self):
        status, why = self.daemon.outcome("POST", "/1.0/sinks", {"name": "watch", "type": "file"})
        self.assertIn(status, (200, 201), why)
        self.addCleanup(self.daemon.request, "DELETE", "/1.0/sinks/watch")

    def kill_one(self, kind):
        begin = time.monotonic()
        before = {}
        known = {f"{k}/{n}" if k in HAVE_A_PARENT else n if k == "supervisor" else k for k, n in self.actors() if k == kind}
        for actor in known:
            before[actor] = self.count(actor)
        actor = self.kill(kind)
        self.told_of(actor, before.get(actor, 0))
        eventually(self.answers, f"answers after the end of {actor}", 60)
        self.everything_works()
        print(f"{actor}: {time.monotonic() - begin:.1f} s", file=sys.stderr)

    def answers(self):
        """All parts are there again."""
        return {kind for kind, _ in self.actors()} >= KNOWN - {"instance", "operation"}

    def begin_anew(self):
        self.stop_clients()
        self.daemon.stop()
        self.daemon.start()
        self.start_clients()
        eventually(lambda: {kind for kind, _ in self.actors()} >= KNOWN, "an actor of every kind", 60)

    def check_all(self):
        kept = {op["id"]: op for some in self.daemon.get("/1.0/operations?all=1&recursion=1&limit=100000").values() for op in some}
        lost = {i: end for i, end in self.ended.items() if i not in kept or kept[i]["status"] != end}
        self.assertEqual(lost, {}, "operations that were accepted are kept, and as they ended")
        self.assertGreater(sum(end == "Success" for end in self.ended.values()), 20)
        eventually(lambda: set(self.host.operations()) <= ENDED, "the end of all operations")
        deadline = time.monotonic() + SETTLE_SECONDS
        while (problems := self.host.problems()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(problems, [])

    def test_what_is_asked_of_an_actor_that_dies_is_answered(self):
        """A stop that would take an hour; its instance's actor is killed under it, and the client gets its end."""
        name = self.daemon.launch("deaf")
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        os.kill(pid, signal.SIGSTOP)  # its init hears nothing
        self.addCleanup(lambda: self.daemon.outcome("PUT", f"/1.0/instances/{name}/state", {"action": "stop", "force": True}))
        status, envelope = self.daemon.request("PUT", f"/1.0/instances/{name}/state", {"action": "stop", "timeout": 3600})
        self.assertEqual(status, 202)
        self.assertEqual(self.daemon.request("POST", "/internal/faults", {"kill": {"kind": "instance", "name": f"default/{name}"}})[0], 200)
        done = self.daemon.get(f"/1.0/operations/{envelope['metadata']['id']}/wait?timeout=60")
        self.assertEqual(done["status"], "Failure")
        self.assertIn("started anew", done["err"])
        self.assertEqual(self.daemon.outcome("PUT", f"/1.0/instances/{name}/state", {"action": "stop", "force": True})[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
