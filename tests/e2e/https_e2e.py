"""Support for the tests of who may do what over HTTPS: the door, the stock client with a home of its own, raw calls."""

import contextlib
import http.client
import json
import os
import pathlib
import socket
import ssl
import subprocess
import tempfile

from identities import context_of, free_port
from troupe_e2e import COMMAND_SECONDS, DaemonTest, run


class Client:
    """The stock client with a home of its own."""

    def __init__(self, folder):
        self.home = pathlib.Path(tempfile.mkdtemp(dir=folder, prefix="client-"))
        self.env = {**os.environ, "HOME": str(self.home), "LXD_CONF": str(self.home / "conf")}
        self.env.pop("LXD_DIR", None)

    def lxc(self, *args, **more):
        return run("lxc", *args, env=self.env, **more)

    def popen(self, *args):
        return subprocess.Popen(["lxc", *args], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    @property
    def fingerprint(self):
        crt = self.home / "conf" / "client.crt"
        return run("openssl", "x509", "-in", crt, "-noout", "-fingerprint", "-sha256").stdout.strip().split("=")[1].replace(":", "").lower()


class HttpsTest(DaemonTest):
    """A daemon that listens for HTTPS."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = free_port()
        cls.url = f"https://127.0.0.1:{cls.port}"
        try:
            cls.set("core.https_address", f"127.0.0.1:{cls.port}")
        except BaseException:
            cls.daemon.close()
            raise
        cls.folder = pathlib.Path(tempfile.mkdtemp(dir=cls.daemon.home))

    @classmethod
    def set(cls, key, value):
        status, error = cls.daemon.outcome("PATCH", "/1.0", {"config": {key: value}})
        assert status == 200, error

    def tearDown(self):
        for key in ("core.trust_password", "core.remote_token_expiry"):
            self.set(key, "")
        for url in self.daemon.get("/1.0/certificates"):
            self.daemon.request("DELETE", url)

    def call(self, method, path, body=None, identity=None, headers=None, port=None):
        """A question is asked again if it was cut off: whoever has just been given other rights loses the connections that he has."""
        try:
            return self.call_once(method, path, body, identity, headers, port)
        except http.client.RemoteDisconnected:
            if method != "GET":
                raise
            return self.call_once(method, path, body, identity, headers, port)

    def call_once(self, method, path, body, identity, headers, port):
        connection = http.client.HTTPSConnection("127.0.0.1", port or self.port, context=context_of(identity), timeout=COMMAND_SECONDS)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
            reply = connection.getresponse()
            text = reply.read()
            with contextlib.suppress(ValueError):
                text = json.loads(text)
            return reply.status, text
        finally:
            connection.close()

    def websocket(self, path, identity):
        """A websocket, just upgraded."""
        tls = context_of(identity).wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS))
        self.addCleanup(tls.close)
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        self.assertIn(b" 101 ", tls.recv(4096))
        return tls

    def frames(self, tls):
        """What comes until the server closes, as bytes; some sign of life is sent for it, or it would close for want of that."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while got := tls.recv(65536):
                yield got
                tls.sendall(b"\x8a\x80\0\0\0\0")

    def assertCut(self, tls):
        for count, _ in enumerate(self.frames(tls)):
            self.assertLess(count, 6, "the stream goes on")  # six pings, or what was on its way

    def trust(self, identity, **more):
        status, error = self.daemon.outcome("POST", "/1.0/certificates", {"type": "client", "certificate": identity.base64, "name": "x", **more})
        self.assertEqual(status, 200, error) if status != 201 else None


class RolesTest(HttpsTest):
    """Makes groups and identities, and removes them all."""

    GROUPS, MAPPINGS, IDENTITIES = "/1.0/auth/groups", "/1.0/auth/identity-provider-groups", "/1.0/auth/identities"

    def tearDown(self):
        for identity in self.daemon.get(self.IDENTITIES + "?recursion=1"):
            if not identity["type"].endswith("restricted)"):
                self.must("DELETE", f"{self.IDENTITIES}/{identity['authentication_method']}/{identity['id']}")
        for collection in (self.GROUPS, self.MAPPINGS):
            for url in self.daemon.get(collection):
                self.must("DELETE", url)
        super().tearDown()

    def must(self, method, path, body=None):
        status, error = self.daemon.outcome(method, path, body)
        self.assertIn(status, (200, 201), f"{method} {path}: {error}")

    def group(self, name, *permissions):
        """Each permission: (entity type, URL, entitlement)."""
        body = {"name": name, "permissions": [dict(zip(("entity_type", "url", "entitlement"), one)) for one in permissions]}
        self.must("POST", self.GROUPS, body)
        return f"{self.GROUPS}/{name}"

    def give(self, name, *permissions):
        self.must("PUT", f"{self.GROUPS}/{name}", {"permissions": [dict(zip(("entity_type", "url", "entitlement"), one)) for one in permissions]})
