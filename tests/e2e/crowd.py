"""Crowds of connections that want nothing, or not yet: for crowd_test.py and crowd_bench.py."""

import contextlib
import os
import pathlib
import resource
import socket
import ssl
import threading


def raise_open_files():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def client_hello():
    """The first flight of a TLS client."""
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def own_memory(pid):
    """Bytes that no file backs."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Crowd:
    """`idle` connections that say nothing and `dribblers` that say a byte of `speech` a second. Who is closed comes
    again, as a hostile one would."""

    def __init__(self, address, speech, idle=1000, dribblers=1000):
        self.address, self.speech = address, speech
        self.idle = [self._connect() for _ in range(idle)]
        self.dribblers = [[self._connect(), 0] for _ in range(dribblers)]
        self.came_again = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._dribble, daemon=True)
        self._thread.start()

    def _connect(self):
        made = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        made.settimeout(20)
        made.connect(self.address)
        made.setblocking(False)
        return made

    def _dribble(self):
        while not self._end.wait(1):
            for one in self.dribblers:
                try:
                    one[0].send(self.speech[one[1] % len(self.speech):][:1])
                    one[1] += 1
                except BlockingIOError:
                    pass
                except OSError:
                    one[0].close()
                    self.came_again += 1
                    with contextlib.suppress(OSError):
                        one[:] = [self._connect(), 0]

    def close(self):
        self._end.set()
        self._thread.join()
        for one in self.idle + [d[0] for d in self.dribblers]:
            one.close()


def crowds(daemon, https_port, bus_port, **sizes):
    """One on each listener; a context manager."""
    http = b"GET /1.0 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000
    hello = client_hello()
    frame = b"\0\0\0\0\xff\xff\x0f\0" + b"\0" * 1000  # a message of half a million words
    stack = contextlib.ExitStack()
    for address, speech in ((str(daemon.dir / "unix.socket"), http), (("127.0.0.1", https_port), hello),
                            (str(daemon.dir / "bus.socket"), frame), (("127.0.0.1", bus_port), hello)):
        stack.callback(Crowd(address, speech, **sizes).close)
    return stack
