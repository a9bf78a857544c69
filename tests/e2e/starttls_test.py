"""STARTTLS on the unix socket: the caller is who his certificate says, also where nothing listens for HTTPS."""

import contextlib
import json
import pathlib
import shutil
import signal
import socket
import ssl
import tempfile
import unittest

from http.client import HTTPResponse
from identities import Identity, context_of
from troupe_e2e import COMMAND_SECONDS, DaemonTest


class StarttlsSupport(DaemonTest):
    bare = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(tempfile.mkdtemp(dir=cls.daemon.home))

    def plain(self, name="unix.socket"):
        made = socket.socket(socket.AF_UNIX)
        self.addCleanup(made.close)
        made.settimeout(COMMAND_SECONDS)
        made.connect(str(self.daemon.dir / name))
        return made

    def connect(self, identity=None):
        made = self.plain()
        made.sendall(b"STARTTLS\n")
        tls = context_of(identity).wrap_socket(made)
        self.addCleanup(tls.close)
        return tls

    def ask(self, tls, method, path, body=None):
        text = json.dumps(body) if body is not None else ""
        tls.sendall(f"{method} {path} HTTP/1.1\r\nHost: unix.socket\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        reply = HTTPResponse(tls, method=method)
        reply.begin()
        return reply.status, json.loads(reply.read())

    def trust(self, identity, **more):
        body = {"type": "client", "certificate": identity.base64, "name": "x", **more}
        status, error = self.daemon.outcome("POST", "/1.0/certificates", body)
        self.assertIn(status, (200, 201), error)
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/certificates/{identity.fingerprint}")

    def assertEnds(self, raw):
        """Nothing comes that is HTTP, and then the end."""
        got = b""
        with contextlib.suppress(ConnectionError):
            while more := raw.recv(4096):
                got += more
        self.assertNotIn(b"HTTP", got)

    def assertCut(self, tls):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while tls.recv(4096):
                pass


class StarttlsTest(StarttlsSupport):
    def test_a_restricted_certificate_sees_its_project_only(self):
        config = {"features.images": "false", "features.profiles": "false"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/projects", {"name": "mine", "config": config})[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", "/1.0/projects/mine")
        me = Identity(self.folder, "restricted")
        self.trust(me, restricted=True, projects=["mine"])
        tls = self.connect(me)
        self.assertEqual(self.ask(tls, "GET", "/1.0/projects")[1]["metadata"], ["/1.0/projects/mine"])
        self.assertEqual(self.ask(tls, "GET", "/1.0/instances?project=mine")[0], 200)
        self.assertEqual(self.ask(tls, "GET", "/1.0/instances")[0], 404)
        server = self.ask(tls, "GET", "/1.0")[1]["metadata"]
        self.assertEqual((server["auth"], server["config"]), ("trusted", {}))
        for method, path, body in (("PATCH", "/1.0", {"config": {"user.x": "y"}}), ("POST", "/1.0/storage-pools", {}),
                                   ("DELETE", f"/1.0/certificates/{me.fingerprint}", None)):
            self.assertEqual(self.ask(self.connect(me), method, path, body)[0], 403, path)
        self.assertEqual(len(self.daemon.get("/1.0/projects")), 2)  # who does not say it is who he was

    def test_a_full_certificate_does_everything(self):
        me = Identity(self.folder, "full")
        self.trust(me)
        tls = self.connect(me)
        for value in ("y", ""):
            self.assertEqual(self.ask(tls, "PATCH", "/1.0", {"config": {"user.x": value}})[0], 200)

    def test_strangers_have_no_rights_of_the_sockets_peer(self):
        for identity in (None, Identity(self.folder, "stranger")):
            tls = self.connect(identity)
            self.assertEqual(self.ask(tls, "GET", "/1.0")[1]["metadata"]["auth"], "untrusted")
            for path in ("/1.0/instances", "/1.0/projects", "/1.0/certificates", "/1.0/events"):
                self.assertEqual(self.ask(tls, "GET", path)[0], 403, path)
        tls = self.connect()
        tls.sendall(b"POST /1.0/images HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\nx")
        self.assertIn(b" 403 ", tls.recv(4096))

    def test_removal_of_the_certificate_cuts_what_is_open(self):
        me = Identity(self.folder, "cut")
        self.trust(me)
        idle, events = self.connect(me), self.connect(me)
        self.assertEqual(self.ask(idle, "GET", "/1.0/instances")[0], 200)
        events.sendall(b"GET /1.0/events HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                       b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        self.assertIn(b" 101 ", events.recv(4096))
        self.assertEqual(self.daemon.outcome("DELETE", f"/1.0/certificates/{me.fingerprint}")[0], 200)
        for tls in (idle, events):
            self.assertCut(tls)
        self.assertEqual(self.ask(self.connect(me), "GET", "/1.0/instances")[0], 403)

    def test_garbage_is_closed(self):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000):
            raw = self.plain()
            raw.sendall(b"STARTTLS\n" + garbage)
            self.assertEnds(raw)
        self.daemon.get("/1.0")

    def test_the_bus_has_none(self):
        raw = self.plain("bus.socket")
        raw.sendall(b"STARTTLS\n")
        raw.shutdown(socket.SHUT_WR)
        with self.assertRaises((ssl.SSLError, OSError)):
            context_of().wrap_socket(raw)


class FilesTest(StarttlsSupport):
    def test_the_identity_is_made_with_the_first_and_another_authority_cuts(self):
        key = self.daemon.dir / "server.key"
        self.assertFalse(key.exists())
        me = Identity(self.folder, "own")
        self.trust(me)
        tls, plain = self.connect(me), self.plain()
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        for one in (tls, plain):
            self.assertEqual(self.ask(one, "GET", "/1.0/instances")[0], 200)
        authority = Identity(self.folder, "authority", "-addext", "keyUsage=keyCertSign,cRLSign")
        shutil.copy(authority.crt, self.daemon.dir / "server.ca")
        self.daemon.process.send_signal(signal.SIGHUP)
        self.assertCut(tls)
        self.assertEqual(self.ask(self.connect(me), "GET", "/1.0/instances")[0], 403)  # not vouched for
        self.assertEqual(self.ask(plain, "GET", "/1.0/instances")[0], 200)


if __name__ == "__main__":
    unittest.main()
