"""Commands outlive the daemon, however it ends, and can be attached to again; who does not read holds nobody up."""

import base64
import json
import os
import pathlib
import signal
import socket
import stat
import struct
import unittest

from guest_test import Terminal
from troupe_e2e import DaemonTest, eventually, run


class Stream:
    """One websocket of an operation, as little as it takes."""

    def __init__(self, daemon, operation, secret):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(daemon.dir / "unix.socket"))
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {operation}/websocket?secret={secret} HTTP/1.1\r\nHost: lxd\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            self._fill()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        assert b" 101 " in head, head
        self.seen = b""

    def _fill(self):
        got = self.socket.recv(1 << 18)
        if not got:
            raise EOFError
        self.bytes += got

    def send(self, data, opcode=2):
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | len(data)) if len(data) < 126 else struct.pack("!BBH", 0x80 | opcode, 0xFE, len(data))
        self.socket.sendall(head + b"\0\0\0\0" + data)

    def frame(self):
        """(opcode, payload); opcode 8 at the end."""
        def take(size):
            while len(self.bytes) < size:
                self._fill()
            out, self.bytes = self.bytes[:size], self.bytes[size:]
            return out
        try:
            first, size = take(2)
            if size == 126:
                size = struct.unpack("!H", take(2))[0]
            elif size == 127:
                size = struct.unpack("!Q", take(8))[0]
            return first & 15, take(size)
        except (EOFError, ConnectionError):
            return 8, b""

    def expect(self, what):
        while what not in self.seen:
            opcode, data = self.frame()
            assert opcode != 8, f"the stream ended before {what!r}: {self.seen[-500:]!r}"
            if opcode == 2:
                self.seen += data
        return self.seen

    def rest(self):
        while True:
            opcode, data = self.frame()
            if opcode == 8 or opcode == 1 and not data:
                return self.seen
            if opcode == 2:
                self.seen += data

    def close(self):
        self.socket.close()


class Restarts(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.c = cls.daemon.launch("c")
        cls.base = f"/1.0/instances/{cls.c}"

    def setUp(self):
        super().setUp()
        self.addCleanup(self.nothing_is_kept)
        if not self.daemon.process:
            self.daemon.start()
        self.enter("rm", "-f", "/root/go", "/root/done")

    def nothing_is_kept(self):
        """What ended has left neither socket nor process: only what forks helpers and the container's monitor are there."""
        if self._outcome.success:
            eventually(lambda: not list(self.sockets().iterdir()), "the end of all sockets")
            eventually(lambda: len(self.helpers()) <= 2, "the end of all helpers")

    def helpers(self):
        out = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"troupe-lxc") and str(self.daemon.dir).encode() in b" ".join(words):
                out.append(int(entry.parent.name))
        return out

    def sockets(self):
        return self.daemon.dir / "lxc" / ".execs"

    def enter(self, *command):
        """Runs something inside without the daemon."""
        return run("nsenter", "-t", self.leader(), "-U", "-m", "-p", "-S", "0", "-G", "0", *command, check=False).stdout

    def let_go_on(self):
        self.enter("touch", "/root/go")

    def is_done(self):
        return self.enter("ls", "/root").count("done")

    def leader(self):
        """Known also while there is no daemon."""
        if self.daemon.process:
            type(self).pid = self.daemon.get(f"{self.base}/state")["pid"]
        return self.pid

    def restart(self, how=signal.SIGKILL):
        self.leader()
        self.daemon.stop(how)

    def begin(self, *command, interactive=False, **more):
        body = {"command": list(command), "wait-for-websocket": True, "interactive": interactive, "environment": {}, **more}
        _, begun = self.daemon.request("POST", f"{self.base}/exec", body)
        secrets = (begun["metadata"]["metadata"] or {}).get("fds", {})
        return begun["operation"], secrets

    def connect(self, operation, secrets):
        order = sorted(secrets, key=lambda name: name != "control")
        streams = {name: Stream(self.daemon, operation, secrets[name]) for name in order}
        for stream in streams.values():
            self.addCleanup(stream.close)
        return streams

    def attach(self, operation, **size):
        status, reply = self.daemon.request("POST", f"{operation}/attach", size)
        self.assertEqual(status, 200, reply)
        return self.connect(operation, reply["metadata"]["fds"])

    def running(self):
        return self.daemon.get("/1.0/operations").get("running", [])

    def end_of(self, operation):
        done = self.daemon.get(f"{operation}/wait?timeout=60")
        return done["status"], (done["metadata"] or {}).get("return")

    def alive(self, words):
        return self.enter("ps").count(words)

    WAIT = "while [ ! -e /root/go ]; do sleep 0.05; done;"

    def test_a_terminal_goes_on(self):
        """The stock client loses it with the daemon, and the command does not mind."""
        client = Terminal(self.daemon, "exec", self.c, "-t", "--", "sh")
        client.send(b"echo fir''st\n")
        client.expect(b"first")
        operation, = self.running()
        client.send(f"{self.WAIT} echo mean''while; touch done\n".encode())
        client.expect(b"touch done")
        self.restart()
        self.assertNotEqual(client.end(), 0)
        self.let_go_on()
        eventually(lambda: self.is_done(), "the command's work without a daemon")
        self.daemon.start()
        self.assertEqual(self.running(), [operation])
        shown = self.daemon.get(operation)
        self.assertEqual((shown["status"], shown["class"]), ("Running", "websocket"))
        self.assertNotIn("fds", shown["metadata"])
        here = self.attach(operation, width=91, height=31)
        here["0"].expect(b"meanwhile")
        here["0"].send(b"stty size\n")
        here["0"].expect(b"31 91")
        here["control"].send(json.dumps({"command": "window-resize", "args": {"width": "77", "height": "22"}}).encode(), 1)
        here["0"].send(b"stty size\n")
        here["0"].expect(b"22 77")
        here["0"].send(b"exit 7\n")
        self.assertEqual(self.end_of(operation), ("Success", 7))
        self.assertEqual(self.daemon.request("POST", f"{operation}/attach", {})[0], 400)

    def test_pipes_go_on_with_the_same_secrets(self):
        operation, secrets = self.begin("sh", "-c", f"trap 'echo caught' USR1; echo one; echo two >&2; {self.WAIT} echo three; touch /root/done; cat; exit 5")
        here = self.connect(operation, secrets)
        here["1"].expect(b"one\n")
        here["2"].expect(b"two\n")
        self.restart()
        self.let_go_on()
        eventually(lambda: self.is_done(), "the command's work without a daemon")
        self.daemon.start()
        again = self.connect(operation, secrets)
        again["1"].expect(b"three\n")
        again["control"].send(json.dumps({"command": "signal", "signal": int(signal.SIGUSR1)}).encode(), 1)
        again["0"].send(b"four\n")
        again["1"].expect(b"four\n")
        again["0"].send(b"", 1)  # the end of its input
        self.assertIn(b"caught", again["1"].rest())
        self.assertEqual(self.end_of(operation), ("Success", 5))

    def test_a_recording_goes_on(self):
        for how in (signal.SIGKILL, signal.SIGTERM):
            with self.subTest(how):
                self.enter("rm", "-f", "/root/go")
                operation, _ = self.begin("sh", "-c", f"echo begin; {self.WAIT} yes x | head -c 3000000; echo end; exit 3", **{"wait-for-websocket": False, "record-output": True})
                eventually(lambda: self.alive("root/go"), "the command's begin")
                self.restart(how)
                self.let_go_on()
                self.daemon.start()
                self.assertEqual(self.end_of(operation), ("Success", 3))
                files = self.daemon.get(operation)["metadata"]["output"]
                _, text = self.daemon.request("GET", files["1"])
                self.assertEqual(text, b"begin\n" + b"x\n" * 1500000 + b"end\n")

    def test_what_ended_meanwhile_is_told(self):
        operation, secrets = self.begin("sh", "-c", f"{self.WAIT} exit 9")
        self.connect(operation, secrets)
        self.restart()
        self.let_go_on()
        eventually(lambda: not self.alive("root/go"), "the command's end")
        self.daemon.start()
        self.assertEqual(self.end_of(operation), ("Success", 9))

    def test_another_takes_the_seat(self):
        operation, secrets = self.begin("sh", interactive=True)
        first = self.connect(operation, secrets)
        first["0"].send(b"echo a''b\n")
        first["0"].expect(b"ab")
        second = self.attach(operation)
        first["0"].rest()  # it is closed
        second["0"].send(b"echo c''d\n")
        second["0"].expect(b"cd")
        for stream in second.values():  # who came later leaves it running
            stream.close()
        third = self.attach(operation)
        third["0"].send(b"echo e''f; exit 4\n")
        third["0"].expect(b"ef")
        self.assertEqual(self.end_of(operation), ("Success", 4))

    def test_who_began_it_and_leaves_takes_it_along(self):
        operation, secrets = self.begin("sleep", "4321", interactive=True)
        here = self.connect(operation, secrets)
        eventually(lambda: self.alive("sleep 4321"), "the command")
        for stream in here.values():
            stream.close()
        self.assertEqual(self.end_of(operation)[1], 137)

    def test_nobody_need_ever_have_been_there(self):
        operation, _ = self.begin("sh", "-c", "yes | head -c 3000000; echo; echo rea''dy; read x; exit 6", interactive=True, **{"wait-for-websocket": False})
        eventually(lambda: self.alive("head -c 3000000"), "the command")
        here = self.attach(operation)
        here["0"].expect(b"ready")
        here["0"].send(b"\n")
        self.assertEqual(self.end_of(operation), ("Success", 6))

    def test_who_reads_nothing_holds_nobody_up(self):
        operation, secrets = self.begin("sh", "-c", "stty -onlcr; yes | head -c 5000000; touch /root/done; echo la''st; read x; exit 2", interactive=True)
        hung = self.connect(operation, secrets)  # and does not read
        eventually(lambda: self.is_done(), "the end of what it writes", 60)
        self.assertEqual(self.daemon.exec(self.c, "echo", "others").stdout, "others\n")
        self.assertLess(len(hung["0"].expect(b"last")), 5000000)  # then it looks again, and sees the newest
        hung["0"].send(b"\n")
        self.assertEqual(self.end_of(operation), ("Success", 2))

    def test_killed_helpers_and_containers_leave_nothing(self):
        helper, secrets = self.begin("sleep", "4322")
        self.connect(helper, secrets)
        taken, _ = self.begin("sleep", "4323", **{"wait-for-websocket": False})
        eventually(lambda: self.alive("sleep 4322") and self.alive("sleep 4323"), "the commands")
        before = set(self.helpers())
        self.restart()
        keeper, = [pid for pid in before if pathlib.Path(f"/proc/{pid}").exists() and self.is_parent_of(pid, "sleep\0004322")]
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not self.alive("sleep 4322"), "the end of the command whose helper was killed")
        self.daemon.start()
        self.assertEqual(self.end_of(helper)[0], "Failure")
        self.assertEqual(self.daemon.get(taken)["status"], "Running")
        self.daemon.stop(signal.SIGKILL)
        os.kill(self.pid, signal.SIGKILL)  # the container, while nobody is there
        eventually(lambda: not pathlib.Path(f"/proc/{self.pid}").exists(), "the container's end")
        self.daemon.start()
        self.assertEqual(self.end_of(taken)[1], 137)
        eventually(lambda: self.daemon.status(self.c) == "Stopped", "the container's state")
        self.daemon.lxc("start", self.c)

    def is_parent_of(self, pid, words):
        try:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return any(words in pathlib.Path(f"/proc/{child}/cmdline").read_text() for child in children)
        except OSError:
            return False

    def test_deleting_the_instance_ends_it(self):
        name = self.daemon.launch("gone")
        _, begun = self.daemon.request("POST", f"/1.0/instances/{name}/exec", {"command": ["sleep", "4324"], "wait-for-websocket": False})
        eventually(lambda: "sleep 4324" in self.daemon.exec(name, "ps").stdout, "the command")
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.assertEqual(self.daemon.get(begun["operation"])["status"], "Running")
        self.daemon.lxc("delete", "-f", name)
        self.assertEqual(self.end_of(begun["operation"])[1], 137)

    def test_the_sockets_are_roots_and_not_inside(self):
        operation, secrets = self.begin("sleep", "4325", interactive=True)
        here = self.connect(operation, secrets)
        eventually(lambda: self.alive("sleep 4325"), "the command")
        folder = self.sockets().stat()
        self.assertEqual((stat.S_IMODE(folder.st_mode), folder.st_uid), (0o700, 0))
        self.assertEqual([f.name for f in self.sockets().iterdir()], [operation.rsplit("/", 1)[1]])
        self.assertEqual(self.daemon.exec(self.c, "find", "/", "-name", ".execs", check=False).stdout, "")
        self.assertNotIn(secrets["0"], json.dumps(self.daemon.get("/1.0/operations?recursion=2")))
        for stream in here.values():
            stream.close()
        self.end_of(operation)

    def test_refusals(self):
        operation, _ = self.begin("sh", "-c", self.WAIT + " true", **{"wait-for-websocket": False})
        for body in ({"width": -1}, {"width": "x"}, {"hight": 3}, []):
            self.assertEqual(self.daemon.request("POST", f"{operation}/attach", body)[0], 400, body)
        self.assertEqual(self.daemon.request("POST", f"{operation}/attach", {})[0], 400)  # it has no streams
        self.assertEqual(self.daemon.request("POST", "/1.0/operations/00000000-0000-7000-8000-000000000000/attach", {})[0], 404)
        self.let_go_on()
        self.end_of(operation)


if __name__ == "__main__":
    unittest.main()
