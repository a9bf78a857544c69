"""The sending side of a migration, played by a test: a TLS server that speaks websocket, and says what it is told to."""

import base64
import contextlib
import hashlib
import os
import socket
import ssl
import struct
import subprocess
import threading

from troupe_e2e import BIN

RSYNC_OPTIONS = ["--xattrs", "--filter=-x security.selinux", "--delete"]


def start_rsync(verb, tree, options=RSYNC_OPTIONS):
    """troupe-rsync at work on a tree: the process, and our end of its wire."""
    ours, theirs = socket.socketpair()
    folder = os.open(tree, os.O_RDONLY | os.O_DIRECTORY)

    def place():  # first out of each other's way
        tree_fd, wire_fd = os.dup(folder), os.dup(theirs.fileno())
        for number, wanted in ((tree_fd, 103), (wire_fd, 104)):
            os.dup2(number, wanted, False)
        os.dup2(103, 3)
        os.dup2(104, 4)

    process = subprocess.Popen([BIN / "troupe-rsync", verb, str(os.getpid()), *options], preexec_fn=place, close_fds=False, stderr=subprocess.DEVNULL)
    theirs.close()
    os.close(folder)
    return process, ours


def relay(source, target, change=lambda data: data):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 17):
            target.sendall(change(data))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Header:
    """The offer on the control stream (protobuf)."""

    @staticmethod
    def number(value):
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    @classmethod
    def int(cls, field, value):
        return cls.number(field << 3) + cls.number(value)

    @classmethod
    def text(cls, field, value):
        value = value.encode() if isinstance(value, str) else value
        return cls.number(field << 3 | 2) + cls.number(len(value)) + value

    @classmethod
    def pairs(cls, field, values):
        return b"".join(cls.text(field, cls.text(1, key) + cls.text(2, value)) for key, value in values.items())

    @classmethod
    def snapshot(cls, name, config=None, profiles=(), devices=None):
        out = cls.text(1, name) + cls.pairs(2, config or {}) + b"".join(cls.text(3, each) for each in profiles) + cls.int(4, 0)
        for device, options in (devices or {}).items():
            out += cls.text(5, cls.text(1, device) + cls.pairs(2, options))
        return name, out + cls.int(6, 2) + cls.int(7, 0) + cls.int(8, 1_600_000_000)

    @classmethod
    def make(cls, snapshots=(), names=None, live=False, shifted=False, transport=0, rsync=True, btrfs=False):
        out = cls.int(1, 1 if btrfs else transport)
        if live:
            out += cls.int(2, 0)
        if shifted:
            out += cls.text(3, b"".join(cls.int(field, 1) for field in (1, 2, 3, 4, 5)))
        out += b"".join(cls.text(4, name) for name in (names if names is not None else [name for name, _ in snapshots]))
        out += b"".join(cls.text(5, body) for _, body in snapshots)
        if rsync:
            out += cls.text(8, b"".join(cls.int(field, value) for field, value in ((1, 1), (2, 1), (3, 0), (4, 1))))
        if btrfs:
            out += cls.text(12, b"".join(cls.int(field, 1) for field in (1, 2, 3)))
        return out


class ForeignSource:
    """Serves the two websockets of one made-up operation."""

    def __init__(self, identity, answer=None, offer=None, data=None, tree=None):
        self.identity, self.answer, self.offer, self.data, self.tree = identity, answer, offer, data, tree
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(identity.crt, identity.key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}/1.0/operations/11111111-2222-3333-4444-555555555555"
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()
        for each in self.open:
            with contextlib.suppress(OSError):
                each.close()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, raw):
        with contextlib.suppress(OSError, ValueError):
            stream = self.context.wrap_socket(raw, server_side=True)
            self.open.append(stream)
            head = b""
            while b"\r\n\r\n" not in head:
                head += stream.recv(4096)
            if self.answer:
                stream.sendall(self.answer.encode())
                return stream.close()
            key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            self.control(stream) if b"secret=c " in head else self.files(stream)

    @staticmethod
    def send(stream, data, opcode=2):
        size = struct.pack("!BB", 128 | opcode, len(data)) if len(data) < 126 else struct.pack("!BBH", 128 | opcode, 126, len(data)) if len(data) < 65536 \
            else struct.pack("!BBQ", 128 | opcode, 127, len(data))
        stream.sendall(size + data)

    @staticmethod
    def receive(stream):
        """(opcode, data) of the next frame."""
        def exactly(count):
            out = b""
            while len(out) < count:
                more = stream.recv(count - len(out))
                if not more:
                    raise OSError("the end")
                out += more
            return out
        first, size = exactly(2)
        size &= 127
        if size > 125:
            size = struct.unpack("!H" if size == 126 else "!Q", exactly(2 if size == 126 else 8))[0]
        mask = exactly(4)
        return first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(exactly(size)))

    def control(self, stream):
        if self.offer is None:
            return stream.close()
        self.send(stream, self.offer)
        while self.receive(stream):
            pass

    def files(self, stream):
        if self.tree:
            return self.send_tree(stream)
        if self.data is None:
            return stream.close()
        for part in self.data if isinstance(self.data, list) else [self.data]:
            if part:
                self.send(stream, part)
            self.send(stream, b"", 1)
        while self.receive(stream):
            pass

    def send_tree(self, stream):
        process, wire = start_rsync("send", self.tree)
        lock = threading.Lock()

        def outwards():
            while data := wire.recv(1 << 15):
                with lock:
                    self.send(stream, data)
            with lock:
                self.send(stream, b"", 1)
        threading.Thread(target=outwards, daemon=True).start()
        with contextlib.suppress(OSError):
            while True:
                opcode, data = self.receive(stream)
                if opcode == 1:
                    wire.shutdown(socket.SHUT_WR)
                elif opcode == 2:
                    wire.sendall(data)
        process.kill()
        process.wait()
