"""The message bus against a real daemon: pipelines, streams, restricted and revoked handles, hostile frames."""

import json
import os
import pathlib
import random
import select
import socket
import struct
import subprocess
import threading
import unittest

from bus_frames import BOOTSTRAP, PROJECTS, call_of_bus, frame, word
from crowd import raise_open_files
from troupe_e2e import BIN, DaemonTest, eventually, run

PROBE = BIN / "bus_probe"
LOAD = BIN / "bus_load"
SUCCEEDED = 3  # Operation.State
CALLS_AT_WORK_MAX, HANDLES_MAX, SESSIONS_MAX = 128, 65536, 4096  # docs/bus.md


def processes(*words):
    """Pids of processes with exactly this command line, whichever instance they are in."""
    wanted = b"\0".join(w.encode() for w in words) + b"\0"
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == wanted:
                found.append(int(entry.parent.name))
        except OSError:
            pass
    return found


class BusTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.socket = cls.daemon.dir / "bus.socket"
        cls.name = cls.daemon.launch("bus")

    def probe(self, command, *args, **more):
        done = run(PROBE, self.socket, command, *args, **more)
        return json.loads(done.stdout)

    def test_socket_is_private(self):
        self.assertEqual(self.socket.stat().st_mode & 0o777, 0o600)

    def test_create_start_exec_in_one_round_trip(self):
        name = self.daemon.name("pipe")
        got = self.probe("pipelined", name, "busybox")
        self.daemon.note_cards()
        self.assertEqual(got, {"exit_code": 7, "stdout": "to out\nfrom in\n", "stderr": "to err\n", "create": "Creating instance"})
        self.assertEqual(self.daemon.status(name), "Running")

    def test_a_failed_create_fails_what_hangs_on_it(self):
        got = self.probe("broken_pipeline", self.daemon.name("none"))
        self.assertIn("not_found", got["error"])

    def test_exec_streams_much_output(self):
        got = self.probe("exec", self.name, "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; exit 3")
        self.assertEqual((got["exit_code"], got["bytes"]), (3, 20_000_000))

    def test_exec_of_what_is_not_there(self):
        self.assertEqual(self.probe("exec", self.name, "/no/such/program")["exit_code"], 127)

    def test_revoking_cuts_a_running_command(self):
        got = self.probe("revoke", self.name)
        for key in ("wait", "view", "signal"):
            self.assertEqual(got[key], "forbidden: This handle was revoked", key)
        self.assertEqual(got["unrestricted"], "Running")
        eventually(lambda: not processes("sleep", "1234"), "the end of the command", 10)

    def test_an_expired_handle_is_dead(self):
        self.assertEqual(self.probe("expiry", self.name)["wait"], "forbidden: This handle has expired")
        eventually(lambda: not processes("sleep", "1235"), "the end of the command", 10)

    def test_restricted_handles(self):
        got = self.probe("restricted", self.name)
        self.assertEqual(got["view"], self.name)
        self.assertEqual(got["start"], "forbidden: This handle does not allow Instance.start")
        self.assertEqual(got["exec"], "forbidden: This handle does not allow Instance.exec")
        self.assertEqual(got["blind"], "forbidden: This handle does not allow Instance.view")
        whole, reader, blind = map(set, got["offers"])
        self.assertLess({"Instance.start", "Instance.exec", "Instance.view"}, whole)
        self.assertEqual(reader & {"Instance.start", "Instance.exec", "Instance.view"}, {"Instance.view"})
        self.assertEqual(blind, {"Handle.restrict", "Handle.offers"})
        self.assertIn("invalid: There is no verb", got["unknown"])
        self.assertIn("invalid: The expiry is in the past", got["late"])

    def test_errors_are_typed(self):
        got = self.probe("errors")
        self.assertEqual(got["missing"], "not_found: Instance not found")
        self.assertEqual(got["project"], "not_found: Project not found")
        self.assertEqual(got["start"], "not_found: Instance not found")
        self.assertIn("invalid: ", got["nul"])
        self.assertIn("invalid: ", got["utf8"])

    def test_every_noun(self):
        got = self.probe("nouns", self.name)
        self.assertIn(self.name, got["instances"])
        self.assertIn("default", got["profiles"])
        self.assertIn("default", got["pools"])
        self.assertIn(self.daemon.bridge, got["networks"])
        self.assertEqual(got["images"], 1)
        self.assertGreater(got["operations"], 0)
        self.assertGreater(got["pool_bytes"], 0)
        self.assertEqual(got["profile"], "changed")
        self.assertEqual(got["stale"], "precondition")
        self.assertEqual(got["missing_methods"], [])

    def test_projects(self):
        got = self.probe("projects")
        self.assertEqual(got["limits"]["instances"], [0, 0])
        self.assertEqual(got["limits"]["memory"], [-1, 0])
        self.assertEqual((got["refused"], got["renamed"], got["used_by"]), ("forbidden", "busrenamed", 1))
        self.assertNotIn("/1.0/projects/busrenamed", self.daemon.get("/1.0/projects"))

    def test_files(self):
        got = self.probe("files", self.name)
        self.assertEqual(got, {"bytes": 5_000_000, "same": True, "type": 1, "entries": ["big", "link"], "target": "/root/d/big",
                               "gone": "not_found"})

    def test_events(self):
        got = self.probe("events", self.name)
        self.assertIn("instance-paused", got["actions"])
        self.assertEqual(got["seqs"], sorted(got["seqs"]))
        self.assertIn("forbidden", got["foreign"])
        self.assertEqual(got["revoked"], True)

    def test_a_session_that_idles_makes_room_and_one_with_streams_stays(self):
        raise_open_files()
        ask = BOOTSTRAP + call_of_bus(PROJECTS)
        holder = subprocess.Popen([PROBE, self.socket, "hold", "default", self.name], stdout=subprocess.PIPE, text=True)
        self.addCleanup(holder.stdout.close)
        self.assertEqual(holder.stdout.readline(), "ready\n")
        peers = []
        try:
            for _ in range(SESSIONS_MAX + 10):
                peer = socket.socket(socket.AF_UNIX)
                peer.settimeout(20)
                peer.connect(str(self.socket))
                peers.append(peer)
                self.assertAnswered(peer, ask)
            self.assertEqual(peers[0].recv(1), b"")  # it had been idle for longest
            self.assertAnswered(peers[-1], call_of_bus(PROJECTS, question=2))
            self.assertIsNone(holder.poll())
            self.assertTrue(processes("sleep", "1236"))
        finally:
            for peer in peers:
                peer.close()
            holder.terminate()
            holder.wait(30)
        eventually(lambda: not processes("sleep", "1236"), "the end of the command")

    def assertAnswered(self, peer, call):
        peer.sendall(call)
        got = b""
        while b"Default LXD project" not in got:
            more = peer.recv(65536)
            self.assertTrue(more, "closed instead of answered")
            got += more

    def call(self, path, **params):
        return json.loads(self.daemon.troupe("bus", "call", path, json.dumps(params)).stdout)

    def test_a_list_is_filtered_as_in_rest(self):
        names = lambda **params: [i["spec"]["name"] for i in self.call("instances.list", **params)["items"]]
        self.assertIn(self.name, names(filter="status eq Running"))
        self.assertNotIn(self.name, names(filter="status ne Running"))
        self.assertEqual(names(filter=f"name eq {self.name} and type eq container"), [self.name])
        self.assertEqual(names(filter="name eq nobody"), [])
        wrong = self.daemon.troupe("bus", "call", "instances.list", json.dumps({"filter": "name like x"}), check=False)
        self.assertIn("eq or ne", wrong.stderr)

    def test_instances_of_all_projects(self):
        self.assertIn(self.name, [i["spec"]["name"] for i in self.call("allInstances", filter="status eq Running")["items"]])
        self.assertEqual(self.call("allInstances", after="default/~")["items"], [])


class LoadTest(DaemonTest):
    """Many operations, and what one session may take."""

    bare = True

    def load(self, *words):
        return json.loads(run(LOAD, self.daemon.dir / "bus.socket", *words).stdout)

    def test_many_operations_are_all_found_with_the_right_result(self):
        done = self.load("submit", 500, 8)
        self.assertEqual(len(set(done["ids"])), 500)
        listed = self.load("listed", 100)
        self.assertGreater(listed["pages"], 5)
        self.assertEqual({listed["states"].get(i) for i in done["ids"]}, {SUCCEEDED})
        self.assertEqual(self.load("listed", 7)["states"], listed["states"])  # however it is cut into pages
        now = {p["name"]: p["description"] for p in self.daemon.get("/1.0/profiles?recursion=1")}
        self.assertEqual({name: now[name] for name in done["last"]}, done["last"])

    def test_rest_lists_operations_by_pages(self):
        self.load("submit", 30, 1)
        ids = lambda query: sorted(one["id"] for some in self.daemon.get(f"/1.0/operations?all=1&recursion=1{query}").values() for one in some)
        whole, found = ids(""), []
        while page := ids("&limit=7" + (f"&after={found[-1]}" if found else "")):
            self.assertLessEqual(len(page), 7)
            found += page
        self.assertEqual(found, whole)
        for nonsense in ("0", "-1", "x", "999999999"):
            self.assertEqual(self.daemon.request("GET", f"/1.0/operations?all=1&limit={nonsense}")[0], 400, nonsense)

    def test_calls_of_a_flooder_that_are_at_work_are_bounded(self):
        for kind in ("list", "update"):
            got = self.load("flood", kind, "0.5")
            self.assertGreater(got["most_at_work"], 1, kind)
            self.assertLessEqual(got["most_at_work"], CALLS_AT_WORK_MAX, kind)

    def test_handles_of_a_session_are_bounded(self):
        got = self.load("handles", HANDLES_MAX + 10)
        self.assertLess(got["made"], HANDLES_MAX)
        self.assertGreater(got["made"], HANDLES_MAX - 100)
        self.assertEqual((got["refused"], got["alive_after"]), ("too_large", True))

    def test_sessions_are_bounded(self):
        raise_open_files()
        peers = []
        try:
            for _ in range(SESSIONS_MAX + 1):
                peer = socket.socket(socket.AF_UNIX)
                peer.settimeout(20)
                peer.connect(str(self.daemon.dir / "bus.socket"))
                peers.append(peer)
            self.assertEqual(peers[0].recv(1), b"")  # the oldest that had called nothing made room
            for one in (peers[1], peers[-1]):
                one.sendall(BOOTSTRAP)
                self.assertNotEqual(one.recv(1), b"")  # the others are served
        finally:
            for peer in peers:
                peer.close()
        eventually(lambda: self.daemon.troupe("bus", "call", "server", check=False).returncode == 0, "room for a session")


# --- hostile frames: whatever one connection sends, a session beside it goes on

HOSTILE = [
    b"\0" * 64, b"\xff" * 64, struct.pack("<II", 0xFFFFFFFF, 1), struct.pack("<II", 600, 1) + b"\0" * 2404,
    struct.pack("<II", 0, 0xFFFFFFFF), struct.pack("<II", 0, 0x0FFFFFFF) + b"\0" * 4096,
    frame(word(-4 & 0xFFFFFFFF)), frame(word(0xFFFFFFFC | 1 << 48)),                 # a pointer to itself
    frame(word(1) ), frame(word(1 | 7 << 32 | 0x1FFFFFFF << 35)),                    # a list of 2^29 structs in no words
    frame(word(2), word(2 | 1 << 32)), frame(word(2 | 5 << 32)),                     # far pointers in a ring, and into nowhere
    frame(word(1 << 48 | 1 << 32) + word(8) + word(0xFFFFFFFC | 1 << 48)),           # bootstrap that loops
    BOOTSTRAP[:-8], BOOTSTRAP[:5], BOOTSTRAP * 50 + b"\xee" * 999, b"GET / HTTP/1.1\r\n\r\n",
]


class HostileTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.socket = cls.daemon.dir / "bus.socket"

    def attack(self, data):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(2)
            peer.connect(str(self.socket))
            try:
                peer.sendall(data)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
            except OSError:
                pass  # the daemon may close at any moment

    def test_hostile_frames_disturb_nobody(self):
        beside = subprocess.Popen([PROBE, self.socket, "calls", "3"], stdout=subprocess.PIPE, text=True)
        for data in HOSTILE:
            self.attack(data)
        chance = random.Random(int(os.environ.get("TROUPE_FUZZ_SEED", "7")))
        for _ in range(int(os.environ.get("TROUPE_FUZZ_ROUNDS", "400"))):
            data = bytearray(BOOTSTRAP * chance.randrange(1, 4))
            for _ in range(chance.randrange(1, 12)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            self.attack(bytes(data[: chance.randrange(1, len(data) + 1)]))
        output, _ = beside.communicate(timeout=60)
        self.assertEqual(beside.returncode, 0)
        self.assertGreater(json.loads(output)["calls"], 100)
        self.assertIsNone(self.daemon.process.poll())

    def test_fuzzed_calls_disturb_nobody(self):
        """Frames of a real session with bits flipped, so that the damage is deep inside."""
        recorded = self.record()
        chance = random.Random(11)
        for _ in range(int(os.environ.get("TROUPE_FUZZ_ROUNDS", "400"))):
            data = bytearray(recorded)
            for _ in range(chance.randrange(1, 20)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            self.attack(bytes(data))
        self.assertEqual(json.loads(run(PROBE, self.socket, "calls", "0.2").stdout)["failed"], 0)
        self.assertIsNone(self.daemon.process.poll())

    def record(self):
        """What a client sends for a few calls, caught by a relay."""
        path = self.daemon.dir / "relay.socket"
        caught = bytearray()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()

            def relay():
                client, _ = listener.accept()
                with client, socket.socket(socket.AF_UNIX) as server:
                    server.connect(str(self.socket))
                    while True:
                        for ready in select.select([client, server], [], [])[0]:
                            data = ready.recv(65536)
                            if not data:
                                return
                            if ready is client:
                                caught.extend(data)
                            (server if ready is client else client).sendall(data)

            thread = threading.Thread(target=relay, daemon=True)
            thread.start()
            run(PROBE, path, "errors")
            thread.join(10)
        path.unlink()
        self.assertGreater(len(caught), 500)
        return bytes(caught)

    def test_a_flood_leaves_other_sessions_alive(self):
        flood = subprocess.Popen([PROBE, self.socket, "flood", "3"], stdout=subprocess.PIPE, text=True)
        got = json.loads(run(PROBE, self.socket, "calls", "2").stdout)
        output, _ = flood.communicate(timeout=60)
        self.assertEqual(got["failed"], 0)
        self.assertGreater(got["calls"], 20)
        self.assertGreater(json.loads(output)["calls"], 1000)


if __name__ == "__main__":
    unittest.main()
