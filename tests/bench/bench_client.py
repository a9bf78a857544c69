"""What the benchmarks share: a raw-socket client that costs little, timings, parallel clients and facts from /proc.

http.client costs more than the daemon does for most calls, so requests are written and replies cut by hand.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import troupe_e2e  # noqa: E402

START_SECONDS = 60
CALL_SECONDS = 300


class Refused(Exception):
    """The daemon answered with an error, or an operation failed."""


class Client:
    """One kept-alive connection to a daemon; one per thread or process."""

    def __init__(self, path):
        self.path = str(path)
        self.left = b""
        self.socket = _connected(self.path)

    def close(self):
        self.socket.close()

    def send(self, method, path, body=None, headers=None):
        """`body`: bytes go as they are, anything else as JSON."""
        raw = isinstance(body, bytes)
        text = b"" if body is None else body if raw else json.dumps(body).encode()
        kind = f"Content-Type: application/{'octet-stream' if raw else 'json'}\r\n" if text else ""
        kind += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{kind}Content-Length: {len(text)}\r\n\r\n"
        self.socket.sendall(head.encode() + text)

    def receive(self):
        """(status, body bytes) of the next reply."""
        while (end := self.left.find(b"\r\n\r\n")) < 0:
            self._more()
        head, self.left = self.left[:end].lower(), self.left[end + 4:]
        status = int(head[9:12])
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        if length:
            return status, self._take(int(length[1]))
        return status, self._chunks() if b"\r\ntransfer-encoding: chunked" in head else b""

    def raw(self, method, path, body=None, headers=None):
        self.send(method, path, body, headers)
        return self.receive()

    def call(self, method, path, body=None):
        """The reply's envelope; of an operation, its final state."""
        status, text = self.raw(method, path, body)
        reply = json.loads(text)
        if status >= 400:
            raise Refused(f"{method} {path}: {status} {reply.get('error')}")
        return self.wait(reply["operation"]) if status == 202 else reply

    def get(self, path):
        return self.call("GET", path)["metadata"]

    def wait(self, operation):
        done = self.get(operation.split("?")[0] + "/wait")
        if done["status_code"] != 200:
            raise Refused(f"{operation}: {done['status']}: {done['err']}")
        return done

    def _more(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise Refused("the daemon closed the connection")
        self.left += data

    def _take(self, count):
        parts, have = [self.left], len(self.left)
        while have < count:
            data = self.socket.recv(1 << 20)
            if not data:
                raise Refused("the daemon closed the connection within a body")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.left = whole[count:]
        return whole[:count]

    def _chunks(self):
        parts = []
        while True:
            while (end := self.left.find(b"\r\n")) < 0:
                self._more()
            size, self.left = int(self.left[:end].split(b";")[0], 16), self.left[end + 2:]
            parts.append(self._take(size + 2)[:-2])
            if size == 0:
                return b"".join(parts)


class WebSocket:
    """The client's end of one websocket, just enough to read a stream to its end."""

    def __init__(self, path, url):
        self.socket = _connected(path)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((f"GET {url} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(65536)
            if not data:
                raise Refused(f"{url}: closed during the handshake")
            head += data
        head, self.left = head.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 101"):
            raise Refused(f"{url}: {head[:60]!r}")

    def close(self):
        self.socket.close()

    def read_all(self):
        """The payload of all data frames until the daemon closes, or marks the end by an empty text frame."""
        found = []
        while (frame := self._frame()) is not None:
            kind, data = frame
            if kind == 8 or kind == 1 and not data:
                break
            if kind in (0, 1, 2):
                found.append(data)
        return b"".join(found)

    def _frame(self):
        head = self._take(2)
        if head is None:
            return None
        size = head[1] & 127
        if size == 126:
            size = struct.unpack(">H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._take(8))[0]
        return head[0] & 15, self._take(size)

    def _take(self, count):
        while len(self.left) < count:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.left += data
        taken, self.left = self.left[:count], self.left[count:]
        return taken


def _connected(path):
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(CALL_SECONDS)
    made.connect(str(path))
    return made


def exec_true(client, instance):
    """Runs true over websockets, as the stock client does without a terminal."""
    _, text = client.raw("POST", f"/1.0/instances/{instance}/exec", {
        "command": ["true"], "environment": {}, "interactive": False, "wait-for-websocket": True})
    reply = json.loads(text)
    if "operation" not in reply or not reply["operation"]:
        raise Refused(f"exec: {reply}")
    url, secrets = reply["operation"].split("?")[0], reply["metadata"]["metadata"]["fds"]
    ends = {fd: WebSocket(client.path, f"{url}/websocket?secret={secret}") for fd, secret in secrets.items()}
    ends["1"].read_all()
    ends["2"].read_all()
    code = client.wait(url)["metadata"]["return"]
    for end in ends.values():
        end.close()
    if code != 0:
        raise Refused(f"exec of true ended with {code}")


# --- timings


class Timings:
    """Lists of milliseconds by name."""

    def __init__(self):
        self.all = {}

    @contextlib.contextmanager
    def time(self, name):
        begin = time.perf_counter()
        yield
        self.add(name, (time.perf_counter() - begin) * 1000)

    def add(self, name, value):
        self.all.setdefault(name, []).append(value)

    def report(self):
        return {name: summary(values) for name, values in self.all.items()}


def summary(values):
    ordered = sorted(values)
    return {"median_ms": round(statistics.median(ordered), 3), "p99_ms": round(ordered[-(-len(ordered) * 99 // 100) - 1], 3),
            "n": len(ordered)}


def rate(count, seconds):
    return {"per_s": round(count / seconds, 1), "n": count}


def parallel(count, work):
    """Runs work(0)...work(count - 1) in processes that begin together; (seconds from then to the last end, their results)."""
    gate_read, gate_write = os.pipe()
    pipes = []
    for number in range(count):
        read, write = os.pipe()
        ready_read, ready_write = os.pipe()
        if (pid := os.fork()) == 0:
            code = 1
            try:
                os.close(gate_write)
                os.close(read)
                os.write(ready_write, b".")
                os.read(gate_read, 1)  # ends when the parent closes its end
                with os.fdopen(write, "w") as out:
                    json.dump(work(number), out)
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)  # neither the cleaning up of the parent's daemons nor its buffers
        os.close(write)
        os.close(ready_write)
        os.read(ready_read, 1)
        os.close(ready_read)
        pipes.append((pid, read))
    os.close(gate_read)
    begin = time.perf_counter()
    os.close(gate_write)
    results, failed = [], 0
    for pid, read in pipes:
        with os.fdopen(read) as source:
            text = source.read()
        failed += os.waitpid(pid, 0)[1] != 0
        results.append(json.loads(text) if text else None)
    seconds = time.perf_counter() - begin
    if failed:
        raise Refused(f"{failed} of {count} clients failed")
    return seconds, results


def get_rate(path, target, clients, depth, seconds):
    """GETs of one target by so many connections, each with `depth` requests on the way at once."""
    def work(_):
        client, count = Client(path), 0
        asks = f"GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n".encode() * depth
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            client.socket.sendall(asks)
            for _ in range(depth):
                status, _ = client.receive()
                if status != 200:
                    raise Refused(f"GET {target}: {status}")
            count += depth
        return count
    taken, counts = parallel(clients, work)
    return rate(sum(counts), taken)


# --- the daemon and the machine


class BenchDaemon(troupe_e2e.Daemon):
    """A private daemon whose start can be timed."""

    @property
    def socket(self):
        return self.dir / "unix.socket"

    def client(self):
        return Client(self.socket)

    def start_timed(self, seen=lambda client: True):
        """Milliseconds from the daemon's exec until it answers GET /1.0, and until seen(client) is true."""
        with open(self.home / "trouped.out", "ab") as log:
            begin = time.perf_counter()
            self.process = subprocess.Popen([troupe_e2e.BIN / "trouped", "--dir", self.dir], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        client = self._first_answer(begin)
        answered = time.perf_counter()
        while not seen(client):
            _within(begin, "all is as before")
            time.sleep(0.001)
        client.close()
        return (answered - begin) * 1000, (time.perf_counter() - begin) * 1000

    def _first_answer(self, begin):
        while True:
            with contextlib.suppress(OSError, Refused):
                client = self.client()
                if client.raw("GET", "/1.0")[0] == 200:
                    return client
            _within(begin, "the daemon answers")
            time.sleep(0.001)

    def finish(self):
        """Everything that stayed behind, for the report."""
        return self.close()


def _within(begin, what):
    if time.perf_counter() - begin > START_SECONDS:
        raise Refused(f"never came: {what}")


def status_kb(pid, field="VmRSS"):
    found = re.search(rf"^{field}:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    return int(found[1])


def private_kb(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kb) for kb in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", text, re.M))


def processes_with(word):
    """(pid, command line) of the processes that carry `word` in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if word in line:
                    found.append((int(entry), line.strip()))
    return found


def say(text):
    print(text, file=sys.stderr, flush=True)


def report(figures):
    """Prints the one JSON object of a benchmark, with what is needed to judge it."""
    load = os.getloadavg()
    print(json.dumps({"machine": {"processors": os.cpu_count(), "kernel": os.uname().release,
                                  "load_average_after": [round(x, 2) for x in load]}, **figures}, indent=2))
