"""The daemon is killed in the middle of its work, over and over; what it finds at its next start must come to rest in order.

Each round starts an action over the socket, kills the daemon with SIGKILL after a random delay, starts it anew, waits until no
operation runs, and compares the records with the host. TROUPE_KILL_SEED repeats the choices of a run (the moments of the kills
are as exact as the scheduler is); TROUPE_KILL_ROUNDS sets the number of rounds of each case.
"""

import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from host_state import ENDED, Host  # noqa: E402
from troupe_e2e import DaemonTest, eventually  # noqa: E402

SEED = int(os.environ.get("TROUPE_KILL_SEED", random.SystemRandom().randrange(1 << 32)))
SETTLE_SECONDS = 10      # bounds the wait for what goes on behind a finished operation
LONGEST_DELAY = 0.12     # seconds from the request to the kill
LATE_SHARE = 0.2         # of the delays are uniform, the others crowd near the start, where the steps are
BODY_OF = {
    "create": lambda names: ("POST", "/1.0/instances", {"name": names[0], "source": {"type": "image", "alias": "busybox"}}),
    "start": lambda names: ("PUT", f"/1.0/instances/{names[0]}/state", {"action": "start", "timeout": -1}),
    "stop": lambda names: ("PUT", f"/1.0/instances/{names[0]}/state", {"action": "stop", "force": True, "timeout": -1}),
    "delete": lambda names: ("DELETE", f"/1.0/instances/{names[0]}", None),
    "rename": lambda names: ("POST", f"/1.0/instances/{names[0]}", {"name": names[1]}),
}
# What an instance's state has to be before an action; None: there is no instance yet.
STATE_BEFORE = {"create": None, "start": "Stopped", "stop": "Running", "delete": "Stopped", "rename": "Stopped"}


def kill_delay(dice):
    return LONGEST_DELAY * dice.random() ** (1 if dice.random() < LATE_SHARE else 2)


class Request:
    """One API call whose answer nobody waits for."""

    def __init__(self, daemon, method, path, body):
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: unix\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(daemon.dir / "unix.socket"))
        self.socket.sendall(head.encode() + text)

    def accepted(self):
        """Id of the operation if the daemon answered with one before it died; call after the kill."""
        answer = b""
        with contextlib.suppress(OSError):  # a killed peer resets
            while part := self.socket.recv(65536):
                answer += part
        self.socket.close()
        with contextlib.suppress(ValueError, KeyError, IndexError):
            envelope = json.loads(answer.split(b"\r\n\r\n", 1)[1])
            return envelope["operation"].rsplit("/", 1)[1]
        return None


class KillTest(DaemonTest):
    driver = "btrfs"
    rounds = int(os.environ.get("TROUPE_KILL_ROUNDS", 50))

    def setUp(self):
        super().setUp()
        self.host = Host(self.daemon)
        self.dice = random.Random(f"{SEED} {self.driver}")
        self.bag = []
        self.made = 0

    def test_whenever_the_daemon_is_killed_the_next_one_brings_records_and_host_together(self):
        print(f"\n{self.driver}: {self.rounds} kills, TROUPE_KILL_SEED={SEED}", file=sys.stderr)
        known, report = set(), []
        for number in range(self.rounds):
            story, fresh = self.kill_once(known)
            known.update(fresh)
            report += [f"round {number}, {story}: {problem}" for problem in sorted(fresh)]
            if len(report) >= 10:
                break
        self.assertEqual(report, [], f"seed {SEED}:\n" + "\n".join(report))

    # --- one round

    def kill_once(self, known):
        acts = [self.prepared(self.next_action()) for _ in range(self.dice.choice((1, 1, 2)))]
        delay = kill_delay(self.dice)
        requests = [Request(self.daemon, *BODY_OF[action](names)) for action, names in acts]
        time.sleep(delay)
        self.assertIsNone(self.daemon.process.poll(), "the daemon ended before it was killed")
        self.daemon.stop(signal.SIGKILL)
        accepted = [r.accepted() for r in requests]
        self.daemon.start()
        eventually(lambda: set(self.host.operations()) <= ENDED, "the end of all operations")
        story = f"{' and '.join(a + ' ' + '/'.join(n) for a, n in acts)}, killed after {delay * 1000:.1f} ms"
        journal = {op["id"]: op for group in self.host.operations().values() for op in group}  # now: it forgets what is long over
        return story, self.settled_problems(acts, accepted, journal, known)

    def next_action(self):
        if not self.bag:  # every action as often as the others
            self.bag = list(BODY_OF)
            self.dice.shuffle(self.bag)
        return self.bag.pop()

    def prepared(self, action):
        """The action with names of its own: an instance in the state it needs, made here if there is none."""
        if action == "create":
            return action, (self.new_name(),)
        names = [self.instance_in(STATE_BEFORE[action])]
        if action == "rename":
            names.append(self.new_name())
        return action, tuple(names)

    def new_name(self):
        self.made += 1
        return self.daemon.name(f"k{self.made}")

    def instance_in(self, state):
        taken = [i["name"] for i in self.instances() if i["status"] == state]
        if len(taken) > 2:  # enough of them for two actions never to meet by chance only
            return self.dice.choice(taken)
        name = self.new_name()
        self.must("create", name)
        if state == "Running":
            self.must("start", name)
        return name

    def must(self, action, *names):
        status, problem = self.daemon.outcome(*BODY_OF[action](names))
        self.assertEqual(status, 200, f"{action} {names}: {problem}")

    # --- what must hold

    def instances(self):
        return self.daemon.get("/1.0/instances?recursion=1")

    def settled_problems(self, acts, accepted, journal, known):
        """What stays wrong, but for what stayed so in a round before."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (problems := set(self.problems(acts, accepted, journal)) - known) and time.monotonic() < deadline:
            time.sleep(0.1)
        return problems

    def problems(self, acts, accepted, journal):
        records = {i["name"]: i for i in self.instances()}
        return self.host.problems() + self.broken_promises(acts, accepted, journal, records)

    def broken_promises(self, acts, accepted, journal, records):
        """An operation that was answered is in the journal, and it tells the truth about what became of it."""
        state = lambda name: records[name]["status"] if name in records else None
        found = []
        if len(acts) > 1 and set(acts[0][1]) & set(acts[1][1]):
            return []  # two actions on one instance: either may have the last word
        for (action, names), operation in zip(acts, accepted):
            if operation is None:
                continue
            if operation not in journal:
                found.append(f"{action} {names}: its operation was answered and is lost")
                continue
            done = journal[operation]["status"] == "Success"
            last = state(names[-1])
            truth = {"create": done == (last == "Stopped"), "delete": done == (last is None),
                     "start": done == (last == "Running"), "stop": not done or last == "Stopped",
                     "rename": done == (last is not None) and done == (state(names[0]) is None)}[action]
            if not truth:
                found.append(f"{action} {names}: the operation ended as {journal[operation]['status']} "
                             f"({journal[operation]['err']}), the instance is {last}")
        return found


class KillTestOnDir(KillTest):
    driver = "dir"
    rounds = max(1, KillTest.rounds // 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
