"""Sinks against real receivers: a file, a web server that misbehaves, and a NATS server. Each over kill -9 of the daemon, each
until every event is there: at least once, in order, none missing."""

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from troupe_e2e import BIN, DaemonTest, eventually  # noqa: E402

SECRET = "open-sesame-4711"


def seq_of(cursor):
    return int(cursor.split(":")[2])


class Hook(http.server.ThreadingHTTPServer):
    """Keeps what it takes. `verdict(event)` gives the status of an answer."""

    daemon_threads = True

    def __init__(self, port=0, tls=None, before=None):
        """`before`: the one whose place it takes; it goes on with its lists from the first request on."""
        self.events, self.attempts = (before.events, before.attempts) if before else ([], [])
        self.headers, self.closed = [], False
        self.verdict = lambda event: 200
        super().__init__(("127.0.0.1", port), self.Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def close(self):
        self.closed = True  # for connections that are open
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        pass  # clients that break off are what is tested

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.server.closed:
                self.close_connection = True
                return
            events = body if isinstance(body, list) else [body]
            self.server.attempts += [e["id"] for e in events]
            self.server.headers.append(dict(self.headers))
            statuses = [self.server.verdict(e) for e in events]
            status = max(statuses)
            if status < 300:
                self.server.events += events
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass


class NatsServer:
    """Debian's nats-server on the loopback, in a folder of its own; it survives what the test does to the daemon."""

    def __init__(self, home, *options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.command = ["nats-server", "-a", "127.0.0.1", "-p", str(self.port), "-sd", str(home / "jetstream"), "-l", str(home / "nats.log"), *options]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)
        eventually(self.answers, "the NATS server")
        return self

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class NatsReader:
    """A client of the NATS protocol, as much of it as a subscription needs."""

    def __init__(self, port, subject, token=SECRET):
        self.subjects, self.events, self.ids = [], [], []
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.settimeout(None)
        self.stream = self.socket.makefile("rb")
        self.stream.readline()  # INFO
        hello = {"verbose": False, "headers": True, "protocol": 1, "auth_token": token}
        self.socket.sendall(f"CONNECT {json.dumps(hello)}\r\nSUB {subject} 1\r\nPING\r\n".encode())
        while self.stream.readline() != b"PONG\r\n":
            pass
        threading.Thread(target=self.read, daemon=True).start()

    def request(self, subject, body):
        self.socket.sendall(f"PUB {subject} _none {len(body)}\r\n{body}\r\nPING\r\n".encode())

    def read(self):
        with contextlib.suppress(OSError, ValueError):
            for line in self.stream:
                words = line.split()
                if words[:1] == [b"PING"]:
                    self.socket.sendall(b"PONG\r\n")
                if words[:1] != [b"HMSG"]:
                    continue
                head, total = int(words[-2]), int(words[-1])
                payload = self.stream.read(total + 2)[:-2]
                self.ids.append(payload[:head].split(b"Nats-Msg-Id:")[1].split(b"\r\n")[0].strip().decode())
                self.subjects.append(words[1].decode())
                self.events.append(json.loads(payload[head:]))

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class SinksTest(DaemonTest):
    kills = int(os.environ.get("TROUPE_SINK_KILLS", 3))

    bare = True
    made = 0

    # --- shortcuts

    def call(self, method, path, body=None, wanted=(200, 201)):
        status, why = self.daemon.outcome(method, path, body)
        self.assertIn(status, wanted, f"{method} {path}: {why}")
        return why

    def make_sink(self, name, kind, config, **more):
        self.call("POST", "/1.0/sinks", {"name": name, "type": kind, "config": config, **more})
        self.addCleanup(lambda: self.daemon.outcome("DELETE", f"/1.0/sinks/{name}"))

    def state(self, name):
        return self.daemon.get(f"/1.0/sinks/{name}/state")

    def make_events(self, times=1):
        for _ in range(times):
            type(self).made += 1
            self.call("POST", "/1.0/profiles", {"name": f"p{self.made}"})

    def make_events_over_kills(self):
        for _ in range(self.kills):
            self.make_events(10)
            self.daemon.stop(signal.SIGKILL)
            self.daemon.start()
        self.make_events(5)

    def settle(self, name, seconds=60):
        """The cursor when all that has happened is delivered."""
        return eventually(lambda: (s := self.state(name))["lag"] == 0 and s["cursor"], f"the sink {name} to catch up", seconds)

    def check_complete(self, cursors, first, last):
        """Every number from the first to the last; a repetition may go back, but never forward over an event."""
        numbers = [seq_of(c) for c in cursors]
        high = first - 1
        for number in numbers:
            self.assertLessEqual(number, high + 1, "an event was left out")
            high = max(high, number)
        self.assertEqual(sorted(set(n for n in numbers if first <= n <= last)), list(range(first, last + 1)))

    # --- file

    def read_lines(self, path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    def test_a_file_has_every_event_over_kills_and_rotation(self):
        self.make_sink("audit", "file", {})
        first = seq_of(self.state("audit")["cursor"]) + 1
        file = self.daemon.dir / "sinks/audit.jsonl"
        self.make_events_over_kills()
        self.settle("audit")
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        file.rename(file.with_suffix(".old"))
        self.make_events_over_kills()
        last = seq_of(self.settle("audit"))
        events = self.read_lines(file.with_suffix(".old")) + self.read_lines(file)
        self.check_complete([e["cursor"] for e in events], first, last)
        self.assertIn("profile-created", {e["metadata"].get("action") for e in events})

    def test_a_line_that_was_torn_is_written_again(self):
        self.make_sink("torn", "file", {"path": "torn.log"})
        first = seq_of(self.state("torn")["cursor"]) + 1
        file = self.daemon.dir / "sinks/torn.log"
        self.make_events(3)
        self.settle("torn")
        self.daemon.stop(signal.SIGKILL)
        with open(file, "ab") as out:
            out.write(b'{"type":"lifec')
        self.daemon.start()
        self.make_events(3)
        last = seq_of(self.settle("torn"))
        self.check_complete([e["cursor"] for e in self.read_lines(file)], first, last)

    # --- webhook

    def test_a_webhook_gets_every_event_while_it_fails_and_the_daemon_is_killed(self):
        hook = Hook()
        self.addCleanup(lambda: hook.close())
        port = hook.server_address[1]
        self.make_sink("hook", "webhook", {"url": hook.url, "header.Authorization": f"Bearer {SECRET}"})
        first = seq_of(self.state("hook")["cursor"]) + 1
        self.make_events(3)
        hook.verdict = lambda event: 503
        self.make_events_over_kills()
        eventually(lambda: self.state("hook")["failing"], "the failure to show")
        self.assertEqual(self.state("hook")["last_error"], "The webhook answered with status 503")
        self.assertGreater(self.state("hook")["lag"], 0)
        hook.close()  # nobody listens
        self.make_events(3)
        eventually(lambda: "connect" in self.state("hook")["last_error"].lower(), "the lost connection to show")
        hook = Hook(port, before=hook)
        last = seq_of(self.settle("hook", 90))
        self.check_complete([e["id"] for e in hook.events], first, last)
        self.assertEqual({e["specversion"] for e in hook.events}, {"1.0"})
        self.assertTrue(all(e["data"]["cursor"] == e["id"] for e in hook.events))
        self.assertEqual(hook.headers[-1]["Authorization"], f"Bearer {SECRET}")
        self.assertFalse(self.state("hook")["failing"])

    def test_an_event_that_a_webhook_refuses_is_a_dead_letter(self):
        hook = Hook()
        self.addCleanup(hook.close)
        hook.verdict = lambda event: 422 if event["subject"].startswith("default.profile.") and event["data"]["metadata"]["source"].endswith("poison") else 200
        self.make_sink("picky", "webhook", {"url": hook.url, "batch": "true"})
        first = seq_of(self.state("picky")["cursor"]) + 1
        self.make_events(2)
        self.call("POST", "/1.0/profiles", {"name": "poison"})
        self.make_events(2)
        last = seq_of(self.settle("picky"))
        letters = self.daemon.get("/1.0/sinks/picky/dead-letters")
        self.assertEqual([(l["subject"], l["attempts"]) for l in letters], [("default.profile.poison.created", 5)])
        self.assertEqual(letters[0]["event"]["metadata"]["action"], "profile-created")
        self.assertEqual(self.state("picky")["dead_letters"], 1)
        numbers = sorted({n for e in hook.events if first <= (n := seq_of(e["id"])) <= last})
        self.assertEqual(numbers, [n for n in range(first, last + 1) if n != seq_of(letters[0]["cursor"])])
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.assertEqual(len(self.daemon.get("/1.0/sinks/picky/dead-letters")), 1)
        shown = self.daemon.troupe("sink", "dead-letters", "picky").stdout
        self.assertEqual(json.loads(shown)["cursor"], letters[0]["cursor"])
        self.daemon.troupe("sink", "dead-letters", "picky", "--delete")
        self.assertEqual(self.daemon.get("/1.0/sinks/picky/dead-letters"), [])

    # --- webhook by TLS

    def certificate(self, name):
        """A CA of its own, and a certificate for `name`: paths of (CA, certificate, key)."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.daemon.home))
        openssl = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test ca", "-addext", "basicConstraints=critical,CA:TRUE")
        openssl("req", *key, "-keyout", "key", "-out", "csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text(f"subjectAltName=DNS:{name}\n")
        openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "crt")
        return folder / "ca.crt", folder / "crt", folder / "key"

    def https_hook(self, certificate, key):
        hook = Hook(tls=(certificate, key))
        self.addCleanup(hook.close)
        return hook, f"https://localhost:{hook.server_address[1]}/hook"

    def test_a_webhook_by_tls_gets_every_event_if_its_certificate_is_good(self):
        ca, certificate, key = self.certificate("localhost")
        hook, url = self.https_hook(certificate, key)
        self.make_sink("tls", "webhook", {"url": url, "ca": ca.read_text()})
        first = seq_of(self.state("tls")["cursor"]) + 1
        self.make_events(5)
        last = seq_of(self.settle("tls"))
        self.check_complete([e["id"] for e in hook.events], first, last)

    def test_a_webhook_whose_certificate_is_not_to_be_trusted_gets_nothing(self):
        ca, certificate, key = self.certificate("localhost")
        other_ca, other_certificate, other_key = self.certificate("elsewhere.example")
        unknown, unknown_url = self.https_hook(certificate, key)
        misnamed, misnamed_url = self.https_hook(other_certificate, other_key)
        self.make_sink("unknown", "webhook", {"url": unknown_url})                              # the system's CAs do not know it
        self.make_sink("misnamed", "webhook", {"url": misnamed_url, "ca": other_ca.read_text()})  # for another host
        self.make_events(2)
        for name, hook in (("unknown", unknown), ("misnamed", misnamed)):
            eventually(lambda: self.state(name)["failing"], f"the failure of {name} to show")
            self.assertRegex(self.state(name)["last_error"].lower(), "certificate|subject name")
            self.assertEqual(hook.attempts, [])
        self.call("PATCH", "/1.0/sinks/unknown", {"config": {"ca": ca.read_text()}})  # now it is known
        self.settle("unknown")
        self.assertGreater(len(unknown.events), 0)

    # --- NATS

    def nats(self, *options):
        if not shutil.which("nats-server"):
            self.skipTest("nats-server is not installed")
        home = self.daemon.home / f"nats{self.id().rsplit('.', 1)[1]}"
        home.mkdir()
        server = NatsServer(home, "--auth", SECRET, *options).start()
        self.addCleanup(server.stop)
        return server

    def test_nats_gets_every_event_over_kills_of_the_daemon(self):
        server = self.nats()
        reader = NatsReader(server.port, "lab.>")
        self.addCleanup(reader.close)
        self.make_sink("bus", "nats", {"url": f"nats://127.0.0.1:{server.port}", "prefix": "lab", "token": SECRET})
        first = seq_of(self.state("bus")["cursor"]) + 1
        self.make_events_over_kills()
        last = seq_of(self.settle("bus"))
        self.check_complete(reader.ids, first, last)
        self.assertEqual(reader.ids, [e["cursor"] for e in reader.events])
        self.assertIn(f"lab.default.profile.p{self.made}.created", reader.subjects)

    def test_what_happens_while_nats_is_away_comes_afterwards(self):
        server = self.nats()
        self.make_sink("away", "nats", {"url": f"nats://127.0.0.1:{server.port}", "token": SECRET})
        self.make_events(2)
        self.settle("away")
        first = seq_of(self.state("away")["cursor"]) + 1
        server.stop()
        self.make_events(5)
        eventually(lambda: self.state("away")["failing"], "the failure to show")
        server.start()
        reader = NatsReader(server.port, "troupe.>")
        self.addCleanup(reader.close)
        last = seq_of(self.settle("away"))
        self.check_complete([i for i in reader.ids if seq_of(i) >= first], first, last)

    def test_a_jetstream_keeps_each_event_once_over_kills(self):
        server = self.nats("-js")
        reader = NatsReader(server.port, "_none")
        self.addCleanup(reader.close)
        reader.request("$JS.API.STREAM.CREATE.events", json.dumps({"name": "events", "subjects": ["troupe.>"], "storage": "file"}))
        self.make_sink("stream", "nats", {"url": f"nats://127.0.0.1:{server.port}", "jetstream": "true", "token": SECRET})
        first = seq_of(self.state("stream")["cursor"]) + 1
        self.make_events_over_kills()
        last = seq_of(self.settle("stream"))
        consumer = NatsReader(server.port, "copy")
        self.addCleanup(consumer.close)
        consumer.request("$JS.API.CONSUMER.CREATE.events", json.dumps({"stream_name": "events", "config": {
            "deliver_subject": "copy", "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant"}}))
        eventually(lambda: consumer.ids and seq_of(consumer.ids[-1]) >= last, "the stream's last event")
        numbers = [seq_of(i) for i in consumer.ids]
        self.assertEqual([n for n in numbers if first <= n <= last], list(range(first, last + 1)))

    # --- the API

    def test_secrets_are_written_but_never_shown(self):
        self.make_sink("quiet", "webhook", {"url": "http://127.0.0.1:1/", "header.X-Key": SECRET}, filter=["default.nothing.*.*"])
        self.call("PATCH", "/1.0/sinks/quiet", {"description": "changed"})
        shown = self.daemon.get("/1.0/sinks/quiet")
        self.assertEqual((shown["secrets"], shown["description"]), (["header.X-Key"], "changed"))
        self.call("PUT", "/1.0/sinks/quiet", {"config": {"url": "http://127.0.0.1:1/x"}, "description": "", "filter": [], "types": []})
        self.assertEqual(self.daemon.get("/1.0/sinks/quiet")["secrets"], ["header.X-Key"])
        for path in ("/1.0/sinks?recursion=2", "/1.0/sinks/quiet", "/1.0/sinks/quiet/state", "/1.0/operations?recursion=1",
                     "/1.0/events/history?entity=sink//quiet"):
            status, envelope = self.daemon.request("GET", path)
            self.assertNotIn(SECRET, json.dumps(envelope), path)
        self.assertNotIn(SECRET, self.daemon.troupe("sink", "show", "quiet").stdout)
        self.assertNotIn(SECRET, (self.daemon.dir / "logs/troupe.log").read_text())
        self.call("PATCH", "/1.0/sinks/quiet", {"config": {"header.X-Key": ""}})
        self.assertEqual(self.daemon.get("/1.0/sinks/quiet")["secrets"], [])

    def test_bad_requests_change_nothing(self):
        self.make_sink("one", "file", {"path": "one.log"})
        before = self.daemon.get("/1.0/sinks?recursion=1")
        bad = [
            {"name": "x", "type": "syslog"}, {"name": "x"}, {"name": "a/b", "type": "file"}, {"type": "file"},
            {"name": "x", "type": "file", "config": {"path": "../../x"}},
            {"name": "x", "type": "file", "config": {"paht": "x"}},
            {"name": "x", "type": "file", "config": {"path": "one.log"}},
            {"name": "x", "type": "webhook"},
            {"name": "x", "type": "webhook", "config": {"url": "file:///etc/passwd"}},
            {"name": "x", "type": "file", "filter": ["a.b"]}, {"name": "x", "type": "file", "types": ["logging"]},
            {"name": "x", "type": "file", "start": "yesterday"}, {"name": "x", "type": "file", "colour": "red"},
            {"name": "one", "type": "file", "config": {"path": "two.log"}},
        ]
        for body in bad:
            self.call("POST", "/1.0/sinks", body, wanted=(400, 409, 501))
        self.call("PATCH", "/1.0/sinks/one", {"config": {"url": "http://x/"}}, wanted=(400,))
        self.call("PATCH", "/1.0/sinks/none", {}, wanted=(404,))
        for path in ("/1.0/sinks/none", "/1.0/sinks/none/state", "/1.0/sinks/none/dead-letters"):
            self.assertEqual(self.daemon.request("GET", path)[0], 404)
        self.assertEqual(self.daemon.get("/1.0/sinks?recursion=1"), before)

    def test_a_sink_is_made_changed_and_deleted_by_commands(self):
        troupe = self.daemon.troupe
        self.addCleanup(lambda: self.daemon.outcome("DELETE", "/1.0/sinks/cli"))
        troupe("sink", "create", "cli", "file", "path=cli.jsonl", "--filter", "default.profile.*.*", "--start", "beginning")
        self.make_events(2)
        file = self.daemon.dir / "sinks/cli.jsonl"
        eventually(lambda: file.exists() and f'"/1.0/profiles/p{self.made}"' in file.read_text(), "the events of the profiles")
        self.assertEqual({e["type"] for e in self.read_lines(file)}, {"lifecycle"})
        self.assertIn("| cli ", troupe("sink", "list").stdout)
        troupe("sink", "set", "cli", "path=cli2.jsonl")
        self.make_events(1)
        moved = self.daemon.dir / "sinks/cli2.jsonl"
        eventually(lambda: moved.exists() and moved.read_text(), "events in the new file")
        self.assertIn("cli2.jsonl", troupe("sink", "show", "cli").stdout)
        troupe("sink", "delete", "cli")
        self.assertEqual(self.daemon.request("GET", "/1.0/sinks/cli")[0], 404)
        actions = [e["metadata"]["action"] for e in self.daemon.get("/1.0/events/history?entity=sink//cli")]
        self.assertEqual([a for a in actions if a.startswith("sink-")], ["sink-created", "sink-updated", "sink-deleted"])


class NoModuleTest(DaemonTest):
    """A daemon that was installed without troupe-sinks.so."""

    bare = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.stop()
        folder = cls.daemon.home / "bin"
        folder.mkdir()
        for program in ("trouped", "troupe-lxc", "troupe-unpack"):
            shutil.copy(BIN / program, folder)
        cls.daemon.program = folder / "trouped"
        cls.daemon.start()

    def test_what_is_missing_is_said(self):
        status, why = self.daemon.outcome("POST", "/1.0/sinks", {"name": "x", "type": "webhook", "config": {"url": "http://127.0.0.1:1/"}})
        self.assertEqual(status, 400)
        self.assertIn("troupe-sinks.so", why)
        self.assertIn(self.daemon.outcome("POST", "/1.0/sinks", {"name": "f", "type": "file"})[0], (200, 201))
        self.assertEqual(self.daemon.outcome("DELETE", "/1.0/sinks/f")[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
