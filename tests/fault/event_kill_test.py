"""The event log under kill -9: a durable subscriber sees every committed event, and no record is without its event.

TROUPE_EVENT_KILLS: how often the daemon is killed (default 15). TROUPE_KILL_SEED: repeats a run's choices.
"""

import http.client
import os
import pathlib
import random
import signal
import sys
import threading
import time
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / "e2e"), str(pathlib.Path(__file__).resolve().parents[2] / "examples/python")]

from subscribe import EventStream  # noqa: E402
from troupe_e2e import DaemonTest, eventually  # noqa: E402

KILLS = int(os.environ.get("TROUPE_EVENT_KILLS", 15))
SEED = int(os.environ.get("TROUPE_KILL_SEED", random.SystemRandom().randrange(1 << 32)))
SHORTEST_LIFE, LONGEST_LIFE = 0.05, 0.6  # seconds of load between two kills
UPDATES = 1200                           # with and without a reader that does not read
GROWTH_MAX = 16 << 20                    # bytes that such a reader may cost


def seq_of(frame):
    return int(frame["cursor"].rsplit(":", 1)[1])


class Reader(threading.Thread):
    """A durable subscriber that acknowledges now and then, and comes back whenever the daemon does."""

    def __init__(self, daemon, dice):
        super().__init__(daemon=True)
        self.daemon_dir, self.dice = str(daemon.dir), dice
        self.events, self.problems, self.connections, self.repeated, self.position = {}, [], 0, 0, 0
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            try:
                with EventStream(self.daemon_dir, timeout=60, durable="witness", since="beginning") as stream:
                    self.connections += 1
                    self.read(stream)
            except (OSError, EOFError, ValueError):
                time.sleep(0.02)  # the daemon is down

    def read(self, stream):
        last = None
        for frame in stream:
            if frame["type"] in ("gap", "error"):
                self.problems.append(frame)
                continue
            if "cursor" not in frame:
                continue
            number = seq_of(frame)
            if frame["type"] != "bookmark":
                if last is not None and number != last + 1:
                    self.problems.append(f"{number} came behind {last}")
                last = number
                self.note(number, frame)
            self.position = max(self.position, number)
            if self.dice.random() < 0.1:
                stream.acknowledge(frame["cursor"])

    def note(self, number, frame):
        known = self.events.setdefault(number, frame)
        if known is not frame:
            self.repeated += 1
            if known != frame:
                self.problems.append(f"{number} was {known} and is {frame}")


class Writer(threading.Thread):
    """Changes one thing again and again, and knows how many of its changes were really made."""

    def __init__(self, daemon, path):
        super().__init__(daemon=True)
        self.server, self.path = daemon, path
        self.attempts = self.applied = 0
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            self.attempts += 1
            wanted = str(self.attempts)
            self.applied += self.change(wanted) or self.found() == wanted

    def change(self, wanted):
        """Whether the server said that it is done. If it was killed meanwhile, the record has the last word."""
        try:
            return self.server.outcome("PATCH", self.path, {"description": wanted})[0] == 200
        except (OSError, EOFError, ValueError, AssertionError, http.client.HTTPException):
            return False

    def found(self):
        while True:
            try:
                return self.server.get(self.path)["description"]
            except (OSError, EOFError, ValueError, AssertionError, http.client.HTTPException):
                time.sleep(0.02)  # the daemon is down


class EventKillTest(DaemonTest):
    def test_a_durable_subscriber_sees_every_event_over_many_kills(self):
        print(f"\n{KILLS} kills, TROUPE_KILL_SEED={SEED}", file=sys.stderr)
        dice = random.Random(SEED)
        name = self.daemon.name("k")
        self.daemon.lxc("init", "busybox", name)
        paths = {f"/1.0/instances/{name}": ("instance", name)}
        for number in range(3):
            self.assertEqual(self.daemon.outcome("POST", "/1.0/profiles", {"name": f"k{number}"})[0], 201)
            paths[f"/1.0/profiles/k{number}"] = ("profile", f"k{number}")
        reader = Reader(self.daemon, random.Random(SEED + 1))
        writers = [Writer(self.daemon, path) for path in paths]
        for thread in (reader, *writers):
            thread.start()
        for _ in range(KILLS):
            time.sleep(dice.uniform(SHORTEST_LIFE, LONGEST_LIFE))
            self.daemon.stop(signal.SIGKILL)
            self.daemon.start()
        time.sleep(LONGEST_LIFE)
        for writer in writers:
            writer.ending.set()
        for writer in writers:
            writer.join(60)
            self.assertFalse(writer.is_alive())
        eventually(lambda: set(self.daemon.get("/1.0/operations")) <= {"success", "failure", "cancelled"}, "the end of all operations")
        self.assertEqual(self.daemon.outcome("POST", "/1.0/profiles", {"name": "last"})[0], 201)
        eventually(lambda: any(self.is_of(e, "profile", "last", "profile-created") for e in list(reader.events.values())), "the last event")
        reader.ending.set()

        numbers = sorted(reader.events)
        print(f"{len(numbers)} events, {reader.repeated} sent again, {reader.connections} connections, "
              f"{sum(w.applied for w in writers)} changes", file=sys.stderr)
        self.assertEqual(reader.problems, [])
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)), "numbers are missing")
        for writer in writers:
            kind, thing = paths[writer.path]
            told = sum(self.is_of(e, kind, thing, f"{kind}-updated") for e in reader.events.values())
            self.assertEqual(told, writer.applied, f"changes of {writer.path} against the events that tell of them")
        self.assert_log_is_what_was_read(reader)
        self.daemon.troupe("subscription", "delete", "witness")

    def is_of(self, event, kind, name, action):
        metadata = event["metadata"]
        return event["type"] == "lifecycle" and metadata["action"] == action and metadata["source"] == f"/1.0/{kind}s/{name}"

    def assert_log_is_what_was_read(self, reader):
        """Another reader, from the beginning, reads the same."""
        with EventStream(str(self.daemon.dir), timeout=60, since="beginning", filter=">") as stream:
            for frame in stream:
                if frame["type"] == "bookmark":
                    return
                if seq_of(frame) in reader.events:
                    self.assertEqual(frame, reader.events[seq_of(frame)])

    def test_a_reader_that_does_not_read_costs_nothing_and_gets_one_gap(self):
        self.assertEqual(self.daemon.outcome("POST", "/1.0/profiles", {"name": "busy"})[0], 201)
        self.work(200)
        alone, before = self.work(UPDATES), self.memory()
        with EventStream(str(self.daemon.dir), timeout=60, since="beginning", filter=">") as stream:
            beside, after = self.work(UPDATES), self.memory()
            print(f"\nchanges/s alone {alone:.0f}, beside a reader that does not read {beside:.0f}; "
                  f"memory grew by {(after - before) >> 10} KiB", file=sys.stderr)
            self.assertLess(after - before, GROWTH_MAX)
            self.assertEqual(self.daemon.outcome("PATCH", "/1.0", {"config": {"events.retention.count": "20"}})[0], 200)
            eventually(lambda: self.kept() < 100, "the retention")
            frames = []
            for frame in stream:
                frames.append(frame)
                if frame["type"] == "bookmark":
                    break
        self.daemon.outcome("PATCH", "/1.0", {"config": {"events.retention.count": ""}})
        gaps = [f for f in frames if f["type"] == "gap"]
        self.assertEqual(len(gaps), 1, gaps)
        expected = 1
        for frame in frames[:-1]:
            self.assertEqual(frame.get("from", seq_of(frame)), expected)
            expected = seq_of(frame) + 1

    def work(self, times):
        """Changes per second."""
        begin = time.monotonic()
        for number in range(times):
            self.assertEqual(self.daemon.outcome("PATCH", "/1.0/profiles/busy", {"description": str(number)})[0], 200)
        return times / (time.monotonic() - begin)

    def memory(self):
        return int(pathlib.Path(f"/proc/{self.daemon.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def kept(self):
        count = 0
        with EventStream(str(self.daemon.dir), timeout=60, since="beginning", filter=">") as stream:
            for frame in stream:
                if frame["type"] == "bookmark":
                    return count
                count += 1


if __name__ == "__main__":
    unittest.main(verbosity=2)
