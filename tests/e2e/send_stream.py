"""Streams as `btrfs send` writes them, well made or not. See backends/transfer/stream."""

import struct

(SUBVOLUME, SNAPSHOT, MKFILE, MKDIR, MKNOD, MKFIFO, _, SYMLINK, RENAME, LINK, UNLINK, RMDIR, SET_XATTR, _, WRITE, CLONE, TRUNCATE, CHMOD, CHOWN,
 _, END) = range(1, 22)
ID, TRANSACTION, SIZE, MODE, UID, GID, DEVICE = 1, 2, 4, 5, 6, 7, 8
XATTR_NAME, XATTR_DATA, PATH, PATH_TO, PATH_LINK, OFFSET, DATA = 13, 14, 15, 16, 17, 18, 19
CLONE_ID, CLONE_TRANSACTION, CLONE_PATH, CLONE_OFFSET, CLONE_SIZE = 20, 21, 22, 23, 24
HEAD = b"btrfs-stream\0" + struct.pack("<I", 1)
ONE, TWO = b"1" * 16, b"2" * 16


def crc(data):
    total = 0
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = total >> 1 ^ (0x82F63B78 if total & 1 else 0)
    return total


def value_of(value):
    return value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else struct.pack("<Q", value)


def command(verb, attributes=()):
    """One command; attributes are (number, bytes, text or integer)."""
    body = b"".join(struct.pack("<HH", number, len(value_of(value))) + value_of(value) for number, value in attributes)
    whole = lambda total: struct.pack("<IHI", len(body), verb, total) + body
    return whole(crc(whole(0)))


def begin(id=ONE):
    return command(SUBVOLUME, [(PATH, "x"), (ID, id), (TRANSACTION, 1)])


def later(id=TWO, base=ONE):
    return command(SNAPSHOT, [(PATH, "x"), (ID, id), (TRANSACTION, 2), (CLONE_ID, base), (CLONE_TRANSACTION, 1)])


def file(path, data=b"text"):
    return command(MKFILE, [(PATH, path)]) + command(WRITE, [(PATH, path), (OFFSET, 0), (DATA, data)])


def stream(*commands, first=None):
    """A whole one, of a root with a directory rootfs."""
    return HEAD + (begin() if first is None else first) + (command(MKDIR, [(PATH, "rootfs")]) if first is None else b"") + b"".join(commands) + command(END)
