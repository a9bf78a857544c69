"""Messages of Cap'n Proto RPC as bytes, for tests that want sessions by the thousand, or broken ones."""

import struct


def frame(*segments):
    """A message in Cap'n Proto's stream framing; segments are bytes of whole words."""
    head = struct.pack("<I", len(segments) - 1) + b"".join(struct.pack("<I", len(s) // 8) for s in segments)
    return head + b"\0" * (-len(head) % 8) + b"".join(segments)


def word(value):
    return struct.pack("<Q", value & (1 << 64) - 1)


def _struct(words, pointers, offset=0):
    """A pointer to a struct so many words further on."""
    return word(pointers << 48 | words << 32 | offset << 2)


BUS, PROJECTS = 0x8427E0BBEAB6BBD4, 3  # the interface, its method: messages/bus.capnp
BOOTSTRAP = frame(word(1 << 48 | 1 << 32) + word(8) + word(1 << 48) + word(0))  # Message{bootstrap{questionId 0}}


def call_of_bus(method, question=1):
    """Message{call{questionId, of what question 0 answers, no parameters}}"""
    return frame(_struct(1, 1) + word(2) + _struct(3, 3) + word(method << 32 | question) + word(BUS) + word(0) +
                 _struct(1, 1, 2) + _struct(0, 2, 5) + word(0) +
                 word(1 << 32) + _struct(1, 1) + word(0) + word(0) +  # MessageTarget{promisedAnswer{questionId 0}}
                 word(0) + word(0))  # Payload
