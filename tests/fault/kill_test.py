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

from troupe_e2e import DaemonTest, _command_line, _processes, eventually  # noqa: E402

SEED = int(os.environ.get("TROUPE_KILL_SEED", random.SystemRandom().randrange(1 << 32)))
SETTLE_SECONDS = 10      # bounds the wait for what goes on behind a finished operation
LONGEST_DELAY = 0.12     # seconds from the request to the kill
LATE_SHARE = 0.2         # of the delays are uniform, the others crowd near the start, where the steps are
ENDED = {"success", "failure", "cancelled"}
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


class Host:
    """What the host shows of a daemon's instances."""

    def __init__(self, daemon):
        self.daemon = daemon

    def names_in(self, folder):
        path = self.daemon.dir / folder
        return set(os.listdir(path)) if path.is_dir() else set()

    def monitors(self):
        """Names of the instances that have a monitor; more than one of a name shows as a name with "+"."""
        found = set()
        for pid in _processes():
            words = _command_line(pid).rstrip("\0").replace("\0", " ")
            if words.startswith(f"[lxc monitor] {self.daemon.dir}/lxc "):
                name = words.rsplit(" ", 1)[1]
                found.add(f"{name}+" if name in found else name)
        return found

    def helpers(self, program):
        own = lambda words: words and words[0].endswith(f"/{program}") and any(str(self.daemon.dir) in w for w in words[1:])
        return [pid for pid in _processes() if own(_command_line(pid).split("\0"))]

    def bridge_ports(self):
        return set(os.listdir(f"/sys/class/net/{self.daemon.bridge}/brif"))

    def cgroups(self):
        """Name of the instance -> its control groups, in all hierarchies."""
        found = {}
        for root in ("/sys/fs/cgroup", *(e.path for e in os.scandir("/sys/fs/cgroup") if e.is_dir(follow_symlinks=False))):
            for group in pathlib.Path(root).glob("troupe-*/*.*"):
                if self.daemon.tag in group.name and group.is_dir():
                    found.setdefault(group.name.split(".", 1)[1], []).append(str(group))
        return found

    def hosts_files(self):
        return {f.rsplit(".", 1)[0] for f in self.names_in(f"networks/{self.daemon.bridge}/dnsmasq.hosts")}


def in_group_of(pid, name):
    with contextlib.suppress(OSError):
        return f"/payload.{name}" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
    return False


class KillTest(DaemonTest):
    driver = "btrfs"
    rounds = int(os.environ.get("TROUPE_KILL_ROUNDS", 50))

    def setUp(self):
        super().setUp()
        self.host = Host(self.daemon)
        self.dice = random.Random(f"{SEED} {self.driver}")
        self.bag = []
        self.made = 0
        self.cards = set()  # every host side name ever recorded

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
        eventually(lambda: set(self.operations()) <= ENDED, "the end of all operations")
        story = f"{' and '.join(a + ' ' + '/'.join(n) for a, n in acts)}, killed after {delay * 1000:.1f} ms"
        journal = {op["id"]: op for group in self.operations().values() for op in group}  # now: it forgets what is long over
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

    def operations(self):
        return {kind: found for kind, found in self.daemon.get("/1.0/operations?recursion=1").items() if found}

    def settled_problems(self, acts, accepted, journal, known):
        """What stays wrong, but for what stayed so in a round before."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (problems := set(self.problems(acts, accepted, journal)) - known) and time.monotonic() < deadline:
            time.sleep(0.1)
        return problems

    def problems(self, acts, accepted, journal):
        records = {i["name"]: i for i in self.instances()}
        found = []
        for name, record in records.items():
            found += self.problems_of(name, record)
        found += self.strangers(records)
        found += self.broken_promises(acts, accepted, journal, records)
        return found

    def problems_of(self, name, record):
        """The record against the processes and the card of one instance."""
        status, monitors = record["status"], self.host.monitors()
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        card = record["config"].get("volatile.eth0.host_name", "")
        self.cards.add(card)
        if status == "Running":
            checks = {"has a leader": pid > 0 and in_group_of(pid, name), "has one monitor": name in monitors and f"{name}+" not in monitors,
                      "has its card on the bridge": card in self.host.bridge_ports()}
        elif status == "Stopped":
            checks = {"has no leader": pid <= 0, "has no monitor": name not in monitors,
                      "has no card": not card or not os.path.exists(f"/sys/class/net/{card}"),
                      "has no group": name not in self.host.cgroups()}
        else:
            checks = {"is at rest": False}
        return [f"{name} is {status} and must be one that {what}" for what, holds in checks.items() if not holds]

    def strangers(self, records):
        """What is there of instances that are not, and the other way round."""
        names = set(records)
        running = {n for n, r in records.items() if r["status"] == "Running"}
        pool = "storage-pools/default"
        volumes = self.daemon.get("/1.0/storage-pools/default/volumes?recursion=1")
        found = {
            "volume without a record": self.host.names_in(f"{pool}/containers") - names,
            "record without a volume": names - self.host.names_in(f"{pool}/containers"),
            "difference of listed volumes": {v["name"] for v in volumes if v["type"] == "container"} ^ names,
            "trash": self.host.names_in(f"{pool}/.trash"),
            "incomplete volume": self.host.names_in(f"{pool}/.incomplete"),
            "monitor of no running instance": self.host.monitors() - running,
            "orphan on the bridge": self.host.bridge_ports() - {records[n]["config"].get("volatile.eth0.host_name") for n in running},
            "card of a gone instance": {c for c in self.cards if c and os.path.exists(f"/sys/class/net/{c}")}
                                       - {r["config"].get("volatile.eth0.host_name") for r in records.values()},
            "control group of a gone instance": set(self.host.cgroups()) - names,
            "DHCP host of a gone instance": self.host.hosts_files() - names,
            "log folder of a gone instance": {n for n in self.host.names_in("logs") if self.daemon.tag in n} - names,
            "spooled file": self.host.names_in("spool"),
            "operation that did not end": set(self.operations()) - ENDED,
            "second helper": set(map(str, self.host.helpers("troupe-lxc")[1:])),
            "second dnsmasq": set(map(str, self.host.helpers("dnsmasq")[1:])),
        }
        return [f"{what}: {thing}" for what, things in found.items() for thing in sorted(things)]

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
