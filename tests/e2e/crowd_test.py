"""A thousand idle and a thousand dribbling connections on each listener at once: everybody else is served, and what the
crowd costs is bounded."""

import http.client
import pathlib
import tempfile
import time
import unittest

from crowd import Crowd, crowds, descriptors, own_memory, raise_open_files
from identities import Identity, context_of, free_port
from troupe_e2e import COMMAND_SECONDS, DaemonTest, eventually

CROWD = 2000
PER_HOST = 2048  # gateway/door_limits.hpp
MEMORY_MAX = 256 << 20  # beside what it had before
CALLS = 15


class CrowdTest(DaemonTest):
    bare = True

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        raise_open_files()
        try:
            cls.https, cls.bus = free_port(), free_port()
            config = {"core.https_address": f"127.0.0.1:{cls.https}", "core.bus_address": f"127.0.0.1:{cls.bus}"}
            assert cls.daemon.outcome("PATCH", "/1.0", {"config": config})[0] == 200
            cls.me = Identity(pathlib.Path(tempfile.mkdtemp(dir=cls.daemon.home)), "me")
            body = {"type": "client", "certificate": cls.me.base64, "name": "me"}
            assert cls.daemon.outcome("POST", "/1.0/certificates", body)[0] == 201
        except BaseException:
            cls.daemon.close()
            raise

    def call_https(self):
        connection = http.client.HTTPSConnection("127.0.0.1", self.https, context=context_of(self.me), timeout=COMMAND_SECONDS)
        try:
            connection.request("GET", "/1.0/instances")
            self.assertEqual(connection.getresponse().status, 200)
        finally:
            connection.close()

    def call_bus(self, *where):
        self.assertIn("default", self.daemon.troupe("bus", "call", "projects", *where).stdout)

    def calls(self):
        far = ("--server", f"127.0.0.1:{self.bus}", "--server-cert", self.daemon.dir / "server.crt", "--cert", self.me.crt, "--key", self.me.key)
        return {"REST": lambda: self.daemon.get("/1.0/instances"), "HTTPS": self.call_https,
                "bus": self.call_bus, "bus over TLS": lambda: self.call_bus(*far)}

    def test_crowds_on_every_listener_keep_nobody_out(self):
        pid = self.daemon.process.pid
        for call in self.calls().values():
            call()
        files, memory = descriptors(pid), own_memory(pid)
        with crowds(self.daemon, self.https, self.bus):
            for name, call in self.calls().items():
                taken = []
                for _ in range(CALLS):
                    begun = time.monotonic()
                    call()
                    taken.append((time.monotonic() - begun) * 1000)
                print(f"{name}: p99 {max(taken):.1f} ms beside the crowds (of a process, for the bus)", flush=True)
            print(f"descriptors {files} -> {descriptors(pid)}, memory {memory >> 20} -> {own_memory(pid) >> 20} MiB", flush=True)
            self.assertLess(descriptors(pid), files + 4 * CROWD + 100)
            self.assertLess(own_memory(pid), memory + MEMORY_MAX)
        eventually(lambda: descriptors(pid) < files + 20, "their descriptors")
        for call in self.calls().values():
            call()

    def test_a_listener_that_is_full_of_idle_connections_lets_others_in(self):
        crowd = Crowd(("127.0.0.1", self.https), b"\x16", idle=2500, dribblers=0)  # a host may have 2,048
        try:
            self.call_https()
            self.assertLess(descriptors(self.daemon.process.pid), PER_HOST + 100)
        finally:
            crowd.close()


if __name__ == "__main__":
    unittest.main()
