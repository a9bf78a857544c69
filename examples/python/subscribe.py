#!/usr/bin/env python3
"""Follows Troupe's event log and loses nothing, with the standard library only.

    subscribe.py [--dir DIR] [--filter SUBJECT,...] [--since CURSOR|beginning] [--snapshot] [--durable NAME]

Prints one JSON object per line. Every frame that moves the cursor carries it; keep the last one, and give it as --since to
go on where you were. With --durable the server keeps it for you: each event is acknowledged once it is printed, and what was
not acknowledged is sent again. See docs/events.md for what is guaranteed.
"""

import argparse
import base64
import json
import os
import socket
import struct
import sys
import time
import urllib.parse

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Refused(Exception):
    """The server did not open the stream; the text says why."""


class EventStream:
    """A websocket on /1.0/events over the daemon's unix socket: iterate over it for frames (dicts)."""

    def __init__(self, directory, timeout=None, **parameters):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.buffer = bytearray()
        try:
            self.socket.connect(os.path.join(directory, "unix.socket"))
            self._shake_hands("/1.0/events?" + urllib.parse.urlencode(parameters))
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def __iter__(self):
        """Ends when the server closes."""
        while True:
            try:
                kind, payload = self._frame()
            except (EOFError, ConnectionError):
                return
            if kind == TEXT:
                yield json.loads(payload)
            elif kind == PING:
                self._send(PONG, payload)
            elif kind == CLOSE:
                return

    def acknowledge(self, cursor):
        """Durable subscriptions: everything up to and with this frame is done."""
        self._send(TEXT, json.dumps({"ack": cursor}).encode())

    def _shake_hands(self, target):
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {target} HTTP/1.1\r\nHost: unix\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        while b"\r\n\r\n" not in self.buffer:
            self._receive()
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        if head.split(b" ", 2)[1] != b"101":
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
            while len(self.buffer) < length:
                self._receive()
            raise Refused(json.loads(bytes(self.buffer[:length])).get("error", "refused"))

    def _receive(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError
        self.buffer += data

    def _take(self, count):
        while len(self.buffer) < count:
            self._receive()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def _frame(self):
        first, length = self._take(2)  # the server neither masks nor splits its messages
        if length == 126:
            length, = struct.unpack(">H", self._take(2))
        elif length == 127:
            length, = struct.unpack(">Q", self._take(8))
        return first & 15, self._take(length)

    def _send(self, kind, payload):
        size = len(payload)
        head = bytes([0x80 | kind, 0x80 | size]) if size < 126 else struct.pack(">BBH", 0x80 | kind, 0x80 | 126, size)
        mask = os.urandom(4)  # a client has to
        self.socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", default=os.environ.get("TROUPE_DIR", "/var/lib/troupe"))
    parser.add_argument("--filter", default=">", help="subjects PROJECT.KIND.NAME.VERB, with * and >")
    parser.add_argument("--since", help='a cursor, or "beginning"')
    parser.add_argument("--snapshot", action="store_true")
    parser.add_argument("--durable", metavar="NAME")
    options = parser.parse_args()
    cursor = options.since
    first = True
    while True:
        parameters = {"filter": options.filter}
        if options.snapshot and first:
            parameters["snapshot"] = "1"
        elif cursor:
            parameters["since"] = cursor
        if options.durable:
            parameters["durable"] = options.durable
        try:
            with EventStream(options.dir, **parameters) as events:
                for frame in events:
                    print(json.dumps(frame), flush=True)
                    first = False
                    cursor = frame.get("cursor", cursor)
                    if options.durable and "cursor" in frame:
                        events.acknowledge(frame["cursor"])
        except Refused as why:
            sys.exit(f"Error: {why}")
        except (OSError, EOFError):
            pass  # the daemon is being restarted: go on where we were
        time.sleep(0.5)


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        pass
