"""Containers between two daemons over HTTPS, as the stock client copies and moves them: pull, push and relay, with snapshots,
refreshed, with overrides; and what a hostile or dying other side can and cannot do."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import unittest

import send_stream as btrfs
from foreign_source import ForeignSource, Header, relay, start_rsync
from https_e2e import Client
from identities import Identity, context_of, free_port
from troupe_e2e import COMMAND_SECONDS, Daemon, eventually, run

MODES = ("pull", "push", "relay")


def is_mover(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].split(b"/")[-1] in (b"rsync", b"join", b"btrfs", b"troupe-receive")
    return False


def movers_of(daemon):
    """Processes that move data below a daemon."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(pid)] = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    found = {daemon.process.pid}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid for pid in found if is_mover(pid)}


class Pair(unittest.TestCase):
    """Two daemons, and one client that both trust."""

    drivers = ("btrfs", "dir")

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.daemons = []
        try:
            for driver in cls.drivers:
                daemon = Daemon(driver)
                cls.daemons.append(daemon)
                daemon.start().set_up()
                daemon.port = free_port()
                daemon.url = f"https://127.0.0.1:{daemon.port}"
                status, error = daemon.outcome("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{daemon.port}"}})
                assert status == 200, error
            cls.near, cls.far = cls.daemons
            cls.near.troupe("image", "build", "busybox")
            cls.folder = pathlib.Path(tempfile.mkdtemp(dir=cls.near.home))
            cls.client = Client(cls.folder)
            for remote, daemon in zip(("near", "far"), cls.daemons):
                cls.join(cls.client, remote, daemon)
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        problems = [problem for daemon in cls.daemons for problem in daemon.close()]
        if problems:
            raise AssertionError("\n".join(problems))

    @staticmethod
    def join(client, remote, daemon, *more):
        token = daemon.lxc_out("config", "trust", "add", "--name", client.home.name, *more).splitlines()[-1]
        client.lxc("remote", "add", remote, token)

    def setUp(self):
        self.addCleanup(self._logs_on_failure)

    def _logs_on_failure(self):
        outcome = getattr(self, "_outcome", None)
        if outcome and not outcome.success:
            for daemon in self.daemons:
                print(f"\n--- {daemon.tag}, after {self.id()}:\n{daemon.log_tail()}---")

    # --- shortcuts

    def name(self, word):
        name = self.near.name(word)
        for daemon in self.daemons:
            self.addCleanup(daemon.lxc, "delete", "-f", name, check=False)
        return name

    def stopped(self, word, text="first"):
        name = self.name(word)
        self.near.lxc("init", "busybox", name)
        self.write(name, text)
        return name

    def write(self, name, text, path="root/file", daemon=None):
        (daemon or self.near).lxc("file", "push", "-", f"{name}/{path}", stdin=text)

    def read(self, name, path="root/file", daemon=None):
        return (daemon or self.far).lxc_out("file", "pull", f"{name}/{path}", "-")

    def snapshots(self, name, daemon=None):
        return [each["name"] for each in (daemon or self.far).get(f"/1.0/instances/{name}/snapshots?recursion=1")]

    def lxc(self, *args, **more):
        return self.client.lxc(*args, **more)

    def copy(self, name, *options, **more):
        return self.lxc("copy", f"near:{name}", f"far:{name}", *options, **more)

    def is_there(self, name, daemon=None):
        return (daemon or self.far).request("GET", f"/1.0/instances/{name}")[0] == 200

    def volumes(self, daemon):
        pool = daemon.dir / "storage-pools" / "default"
        return sorted(str(each.relative_to(pool)) for kind in ("containers", "snapshots", ".incomplete") if (pool / kind).is_dir()
                      for each in (pool / kind).iterdir())

    def assert_nothing_came(self, name, before):
        self.assertFalse(self.is_there(name))
        eventually(lambda: self.volumes(self.far) == before, "the end of what had come")


class Pulls:
    """The far server pulls from a source that a test plays."""

    def source(self, **more):
        made = ForeignSource(Identity(self.folder, f"server{free_port()}"), **more)
        self.addCleanup(made.close)
        return made

    def pull(self, source, name=None, **more):
        name = name or self.name("foreign")
        body = {"name": name, "profiles": ["default"], "source": {"type": "migration", "mode": "pull", "operation": source.url,
                "certificate": source.identity.crt.read_text(), "secrets": {"control": "c", "fs": "f"}, **more}}
        return self.far.outcome("POST", "/1.0/instances", body)


class Copies:
    """What holds between any two storage drivers."""

    def test_copies_in_all_modes_bring_files_and_snapshots(self):
        name = self.stopped("modes")
        self.near.lxc("snapshot", name, "one")
        self.write(name, "second")
        self.near.lxc("snapshot", name, "two")
        self.write(name, "third")
        self.near.lxc("config", "set", name, "user.mark", "here")
        for mode in MODES:
            target = self.name(f"modes-{mode}")
            self.lxc("copy", f"near:{name}", f"far:{target}", "--mode", mode)
            self.assertEqual(self.read(target), "third", mode)
            self.assertEqual(self.snapshots(target), ["one", "two"], mode)
            spec = self.far.get(f"/1.0/instances/{target}")
            self.assertEqual((spec["config"]["user.mark"], spec["status"]), ("here", "Stopped"))
            self.assertEqual(spec["config"]["volatile.base_image"], self.near.get(f"/1.0/instances/{name}")["config"]["volatile.base_image"])
        self.far.lxc("restore", target, "one")
        self.assertEqual(self.read(target), "first")
        self.far.lxc("start", target)
        self.assertEqual(self.far.exec(target, "cat", "/root/file").stdout, "first")

    def test_files_keep_what_they_are(self):
        name = self.name("kinds")
        self.near.lxc("launch", "busybox", name)
        self.near.exec(name, "sh", "-c", "cd /root; echo x >a; ln a b; ln -s /etc/passwd c; mkfifo d; chown 7:8 a; chmod 4751 a; mkdir -p e/f; "
                       "touch -d '2001-02-03 04:05:06' a; rm /etc/os-release; dd if=/dev/zero of=sparse bs=1 count=1 seek=50M 2>/dev/null")
        self.near.lxc("stop", "-f", name)
        self.copy(name)
        self.far.lxc("start", name)
        inside = lambda daemon: daemon.exec(name, "sh", "-c", "cd /root; stat -c '%n %F %u:%g %a %h %s' a b c sparse; stat -c '%n %F %u:%g %a' d e e/f; stat -c %Y a; readlink c").stdout
        self.near.lxc("start", name)
        self.assertEqual(inside(self.far), inside(self.near))
        self.assertNotEqual(self.far.exec(name, "ls", "/etc/os-release", check=False).returncode, 0, "deleted above the image")

    def test_moves_in_all_modes(self):
        for mode in MODES:
            name = self.stopped(f"move-{mode}")
            self.near.lxc("snapshot", name, "one")
            self.lxc("move", f"near:{name}", f"far:{name}", "--mode", mode)
            self.assertFalse(self.is_there(name, self.near), mode)
            self.assertEqual((self.read(name), self.snapshots(name)), ("first", ["one"]), mode)

    def test_refresh_brings_what_changed(self):
        name = self.stopped("again")
        self.near.lxc("snapshot", name, "old")
        for mode in MODES:
            self.near.lxc("snapshot", name, f"s-{mode}")
            self.write(name, f"now {mode}")
            self.write(name, "here", path=f"root/{mode}")
            self.copy(name, "--refresh", "--mode", mode)
            self.assertEqual(self.read(name), f"now {mode}")
            self.assertEqual(sorted(self.snapshots(name)), sorted(self.snapshots(name, self.near)), mode)
        self.near.lxc("file", "delete", f"{name}/root/pull")
        self.near.lxc("delete", f"{name}/old")
        before = len(self.volumes(self.far))
        self.copy(name, "--refresh")
        self.assertEqual(self.read(name, "root/push"), "here")
        self.assertNotEqual(self.far.lxc("file", "pull", f"{name}/root/pull", "-", check=False).returncode, 0, "what went is gone")
        self.assertNotIn("old", self.snapshots(name))
        eventually(lambda: len(self.volumes(self.far)) == before - 1, "the removed snapshot's volume goes")


class Kills:
    """Whatever moves the data, nothing of it outlives its daemon."""

    def test_a_side_that_is_killed_leaves_nothing(self):
        name = self.name("cut")
        self.near.lxc("init", "busybox", name)
        with tempfile.NamedTemporaryFile(dir=self.near.home) as big:
            run("dd", "if=/dev/urandom", f"of={big.name}", "bs=1M", "count=150")
            self.near.lxc("file", "push", big.name, f"{name}/root/big")
        before = self.volumes(self.far)
        for victim, other in ((self.near, self.far), (self.far, self.near)):
            for mode in ("pull", "push"):
                with self.subTest(victim=victim.driver, mode=mode):
                    self.kill_half_way(name, victim, other, mode)
                    self.assert_nothing_came(name, before)
        self.copy(name)

    def kill_half_way(self, name, victim, other, mode):
        copying = self.client.popen("copy", f"near:{name}", f"far:{name}", "--mode", mode)
        try:
            eventually(lambda: movers_of(self.near) and movers_of(self.far), "data on its way")
            other.process.send_signal(signal.SIGSTOP)  # what is on its way stays on its way
            at_work = movers_of(victim)
            victim.stop(signal.SIGKILL)
            eventually(lambda: not any(is_mover(pid) for pid in at_work), "the end of rsync with its daemon")
        finally:
            other.process.send_signal(signal.SIGCONT)
            copying.kill()
            copying.communicate()
        victim.start()
        eventually(lambda: not movers_of(other), "the end of the other rsync")


class BtrfsToDir(Copies, Kills, Pulls, Pair):
    drivers = ("btrfs", "dir")

    def test_only_the_instance(self):
        name = self.stopped("only")
        self.near.lxc("snapshot", name, "one")
        self.copy(name, "--instance-only")
        self.assertEqual((self.read(name), self.snapshots(name)), ("first", []))

    def test_a_snapshot_becomes_an_instance(self):
        name = self.stopped("taken")
        self.near.lxc("snapshot", name, "one")
        self.write(name, "later")
        for mode in MODES:
            target = self.name(f"taken-{mode}")
            self.lxc("copy", f"near:{name}/one", f"far:{target}", "--mode", mode)
            self.assertEqual(self.read(target), "first")

    def test_overrides_reach_the_target(self):
        name = self.stopped("over")
        self.far.lxc("profile", "create", self.far.name("p"))
        self.addCleanup(self.far.lxc, "profile", "delete", self.far.name("p"), check=False)
        self.addCleanup(self.far.lxc, "delete", "-f", name, check=False)
        self.copy(name, "-c", "user.mark=mine", "-d", "eth0,type=none", "-p", "default", "-p", self.far.name("p"))
        spec = self.far.get(f"/1.0/instances/{name}")
        self.assertEqual(spec["config"]["user.mark"], "mine")
        self.assertEqual(spec["profiles"], ["default", self.far.name("p")])
        self.assertEqual(spec["devices"]["eth0"]["type"], "none")

    def test_what_runs_is_copied_as_it_is_or_not_at_all(self):
        name = self.name("runs")
        self.near.lxc("launch", "busybox", name)
        self.near.exec(name, "sh", "-c", "echo first >/root/file")
        live = self.copy(name, check=False)
        self.assertIn("Live migration of containers is not supported", live.stderr)
        for mode in MODES:
            self.copy(name, "--stateless", "--mode", mode)
            self.assertEqual(self.read(name), "first")
            self.far.lxc("delete", name)
        self.lxc("move", f"near:{name}", f"far:{name}", "--stateless")
        self.assertEqual((self.far.status(name), self.is_there(name, self.near)), ("Running", False))

    def test_operations_tell_and_keep_their_secrets(self):
        name = self.stopped("told")
        reply = self.near.request("POST", f"/1.0/instances/{name}", {"migration": True})[1]
        secrets = reply["metadata"]["metadata"]
        self.assertEqual(set(secrets), {"control", "fs"})
        self.assertEqual((reply["metadata"]["class"], reply["metadata"]["description"]), ("websocket", "Migrating instance"))
        seen = json.dumps(self.near.get("/1.0/operations?recursion=1")) + self.near.troupe("history", f"instance/default/{name}").stdout
        for secret in secrets.values():
            self.assertIsInstance(secret, str)
            self.assertNotIn(secret, seen)
        self.near.request("DELETE", reply["operation"])
        eventually(lambda: self.near.get(reply["operation"])["status"] == "Cancelled", "its end")

    def test_nobody_who_comes_is_not_waited_for(self):
        name = self.stopped("alone")
        before = self.volumes(self.far)
        begun = [self.near.request("POST", f"/1.0/instances/{name}", {"migration": True}),
                 self.far.request("POST", "/1.0/instances", {"name": name, "source": {"type": "migration", "mode": "push"}})]
        for daemon, (status, reply) in zip(self.daemons, begun):
            self.assertEqual(status, 202, reply)
            ended = daemon.get(reply["operation"] + "/wait?timeout=30")
            self.assertEqual((ended["status"], "Timed out" in ended["err"]), ("Failure", True), ended)
        self.assert_nothing_came(name, before)

    def test_cancelling_undoes_it(self):
        name = self.stopped("cancel")
        before = self.volumes(self.far)
        reply = self.far.request("POST", "/1.0/instances", {"name": name, "source": {"type": "migration", "mode": "push"}})[1]
        eventually(lambda: self.far.get(reply["operation"])["may_cancel"], "a step that can be cut off")
        self.assertEqual(self.far.request("DELETE", reply["operation"])[0], 200)
        self.assertEqual(self.far.get(reply["operation"] + "/wait?timeout=30")["status"], "Cancelled")
        self.assert_nothing_came(name, before)

    # --- who may what

    def test_a_restricted_client_moves_within_its_projects(self):
        tenant = Client(self.folder)
        for remote, daemon in zip(("near", "far"), self.daemons):
            daemon.lxc("project", "create", "tenants", "-c", "features.images=false", "-c", "features.profiles=false", "-c", "restricted=true",
                       "-c", "restricted.snapshots=allow")
            self.addCleanup(daemon.lxc, "project", "delete", "tenants", check=False)
            self.join(tenant, remote, daemon, "--restricted", "--projects", "tenants")
            tenant.lxc("remote", "switch", remote)
            tenant.lxc("project", "switch", "tenants")
        name = self.near.name("tenant")
        for daemon in self.daemons:
            self.addCleanup(daemon.lxc, "delete", "-f", name, "--project", "tenants", check=False)
        tenant.lxc("init", "near:busybox", f"near:{name}")
        tenant.lxc("snapshot", f"near:{name}", "one")
        for mode in MODES:
            tenant.lxc("copy", f"near:{name}", f"far:{name}", "--mode", mode)
            self.assertIn("one", tenant.lxc("info", f"far:{name}").stdout)
            tenant.lxc("delete", f"far:{name}")
        refused = tenant.lxc("copy", f"near:{name}", f"far:{name}", "-c", "security.privileged=true", check=False)
        self.assertNotEqual(refused.returncode, 0)
        others = tenant.lxc("copy", f"near:{self.stopped('others')}", f"far:{name}", check=False)
        self.assertIn("not found", others.stderr)

    # --- the other side is not what it says

    def test_only_the_pinned_server_is_spoken_to(self):
        before = self.volumes(self.far)
        source, other = self.source(), self.source()
        right, source.identity = source.identity, other.identity
        status, problem = self.pull(source)
        self.assertIn("cannot be reached", problem)
        source.identity = right
        nobody = self.source()
        nobody.close()
        self.assertIn("cannot be reached", self.pull(nobody)[1], "the same words as for a wrong certificate")
        for answer in ("HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\n\r\n", "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: wrong\r\n\r\n", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 9000):
            self.assertIn("cannot be reached", self.pull(self.source(answer=answer))[1])
        for url in ("http://127.0.0.1:1/1.0/operations/x", "https://127.0.0.1:1/1.0/operations/../x", "https://127.0.0.1:1/1.0/instances",
                    "https://user@127.0.0.1:1/1.0/operations/x", "https://127.0.0.1:1/1.0/operations/x?y=z", "unix:///x"):
            source.url = url
            status, problem = self.pull(source)
            self.assertEqual(status, 400, url)
        self.assertEqual(self.volumes(self.far), before)

    def test_offers_are_judged_like_creations(self):
        before = self.volumes(self.far)
        snapshot = lambda name, **config: Header.snapshot(name, config=config, profiles=["default"])
        offers = {
            b"\xff\xff\xff\xff": "does not parse",
            Header.make(snapshots=[snapshot("../../x")]): "Snapshot",
            Header.make(snapshots=[snapshot("a/b")]): "Snapshot",
            Header.make(snapshots=[snapshot("a"), snapshot("a")]): "twice",
            Header.make(snapshots=[snapshot("a", **{"no.such.key": "1"})]): "no.such.key",
            Header.make(snapshots=[Header.snapshot("a", profiles=["not-here"])]): "not-here",
            Header.make(snapshots=[Header.snapshot("a", devices={"x": {"type": "nonsense"}})]): "nonsense",
            Header.make(snapshots=[snapshot("a")], names=["b"]): "differ",
            Header.make(live=True): "Live migration",
            Header.make(shifted=True): "shifted",
            Header.make(transport=2, rsync=False): "rsync",
        }
        for offer, words in offers.items():
            with self.subTest(words=words):
                source = self.source(offer=offer)
                name = self.name("offer")
                self.assertIn(words, self.pull(source, name)[1])
                self.assertFalse(self.is_there(name))
        self.assertEqual(self.volumes(self.far), before)

    def test_broken_streams_end_the_transfer(self):
        before = self.volumes(self.far)
        for data in (b"garbage" * 1000, b"", None):
            source = self.source(offer=Header.make(), data=data)
            status, problem = self.pull(source)
            self.assertEqual(status, 400, problem)
        self.assertEqual(self.volumes(self.far), before)

    def test_what_is_no_container_is_refused(self):
        tree = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        (tree / "rootfs").symlink_to("/etc")
        source = self.source(offer=Header.make(), tree=tree)
        self.assertIn("no directory rootfs", self.pull(source)[1])


class Confinement(unittest.TestCase):
    """rsync sees one tree, whatever the other side sends."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        self.home = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp", prefix="troupe-confined-"))
        self.addCleanup(run, "rm", "-rf", self.home)
        self.here, self.there = self.home / "source", self.home / "pool" / "volume"
        self.here.mkdir()
        self.there.mkdir(parents=True)

    def send(self, change=lambda data: data):
        """The exit codes of both ends; `change` may alter what the sender says."""
        sender, from_sender = start_rsync("send", self.here)
        receiver, to_receiver = start_rsync("receive", self.there)
        threads = [threading.Thread(target=relay, args=(from_sender, to_receiver, change)), threading.Thread(target=relay, args=(to_receiver, from_sender))]
        for each in threads:
            each.start()
        codes = receiver.wait(COMMAND_SECONDS), sender.wait(COMMAND_SECONDS)
        for each in threads:
            each.join()
        from_sender.close()
        to_receiver.close()
        return codes

    def outside(self):
        return sorted(str(each.relative_to(self.home)) for each in self.home.rglob("*") if self.there not in (each, *each.parents) and self.here not in (each, *each.parents))

    def test_an_honest_stream_arrives(self):
        (self.here / "file").write_text("x")
        self.assertEqual(self.send(), (0, 0))
        self.assertEqual((self.there / "file").read_text(), "x")

    def test_names_that_lead_out_lead_nowhere(self):
        before = self.outside()
        tricks = {"ZZQZZQhostile": ("ZZQ", "../"), "Qtmphostile": ("Q", "/"), "Qetchostile": ("Q", "/")}
        for name, (mark, instead) in tricks.items():
            with self.subTest(name=name):
                run("rm", "-rf", self.here)
                self.here.mkdir()
                (self.here / name).write_text("hostile")
                seen = []
                self.send(lambda data, mark=mark.encode(), instead=instead.encode(): (seen.append(mark in data), data.replace(mark, instead))[1])
                self.assertIn(True, seen, "the name was changed on its way")
                self.assertEqual(self.outside(), before)
                self.assertFalse(pathlib.Path("/tmphostile").exists() or pathlib.Path("/etchostile").exists())

    def test_links_are_not_followed_out(self):
        before = self.outside()
        (self.here / "lnk").symlink_to("../..")
        (self.here / "lnz").mkdir()
        (self.here / "lnz" / "hostile").write_text("x")
        (self.there / "lnk").symlink_to("../..")  # as of an earlier stage
        self.send(lambda data: data.replace(b"lnz", b"lnk"))
        self.assertEqual(self.outside(), before)

    def test_it_has_no_rights_and_no_network(self):
        sender, wire = start_rsync("send", self.here)
        rsync = eventually(lambda: self.child_named(sender.pid), "rsync at work")
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{rsync}/status").read_text().splitlines() if ":\t" in line)
        self.assertEqual(int(status["CapEff"], 16), 1 << 2, "CAP_DAC_READ_SEARCH and nothing else")
        self.assertNotIn("0", status["Uid"].split())
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        self.assertEqual(pathlib.Path(f"/proc/{rsync}/net/dev").read_text().count(":"), 1, "a loopback device of its own")
        mounts = [line.split()[4] for line in pathlib.Path(f"/proc/{rsync}/mountinfo").read_text().splitlines()]
        self.assertEqual({each.split("/")[1] for each in mounts} - {"", "usr", "lib", "lib64", "join", "tree"}, set())
        wire.close()
        sender.wait(COMMAND_SECONDS)

    @staticmethod
    def child_named(pid):
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return pid if words[0] == b"/usr/bin/rsync" else None


class BtrfsToBtrfs(Copies, Kills, Pulls, Pair):
    """By streams of btrfs send; refreshed by rsync."""
    drivers = ("btrfs", "btrfs")

    def listed(self, *snapshots):
        return json.dumps({"subvolumes": [{"path": "/", "snapshot": s, "readonly": bool(s), "uuid": ""} for s in (*snapshots, "")]}).encode()

    def test_each_stream_builds_on_the_one_before(self):
        name = self.name("streams")
        self.near.lxc("launch", "busybox", name)
        shared = lambda: self.near.exec(name, "sh", "-c", "cd /root; mkdir -p a/b; ln -s x a/l; mkfifo a/p; mknod a/s p; echo 1 >a/b/f; ln a/b/f a/h; "
                                        "dd if=/dev/urandom of=big bs=64k count=50 2>/dev/null; chmod 4750 a/b/f; chown -h 5:6 a/l")
        shared()
        self.near.lxc("snapshot", name, "one")
        self.near.exec(name, "sh", "-c", "cd /root; mv a/b c; rm a/l; cp big bigger; echo 2 >>c/f; touch -d '2001-02-03 04:05:06' c")
        self.near.lxc("snapshot", name, "two")
        self.near.exec(name, "sh", "-c", "cd /root; mv c a/c; rm big; truncate -s 100k bigger")
        self.copy(name, "--stateless")
        self.near.lxc("stop", "-f", name)
        look = "cd /root; find . | sort | xargs stat -c '%n %F %u:%g %a %h %s' | grep -v directory; find . -type f | sort | xargs md5sum; find . -name c -exec stat -c '%n %Y' {} +"
        for state in (None, "two", "one"):
            if state:
                for daemon in self.daemons:
                    daemon.lxc("restore", name, state)
            for daemon in self.daemons:
                daemon.lxc("start", name)
            seen = [daemon.exec(name, "sh", "-c", look).stdout for daemon in self.daemons]
            self.assertEqual(seen[0], seen[1], state)
            for daemon in self.daemons:
                daemon.lxc("stop", "-f", name)
        for daemon in self.daemons:
            left = lambda: [each.name for each in (daemon.dir / "storage-pools/default/.incomplete").iterdir()]
            eventually(lambda: not left(), f"the end of the copy that was sent: {left()}, {daemon.process.pid}")

    def test_a_container_with_subvolumes_inside_goes_by_rsync(self):
        name = self.stopped("nested")
        run("btrfs", "subvolume", "create", self.near.dir / f"storage-pools/default/containers/{name}/rootfs/root/inner")
        self.write(name, "inside", path="root/inner/file")
        self.copy(name)
        self.assertEqual(self.read(name, "root/inner/file"), "inside")

    def test_crafted_streams_reach_nothing(self):
        before = self.volumes(self.far)
        c, whole, path = btrfs.command, btrfs.stream, btrfs.PATH
        way_out = c(btrfs.SYMLINK, [(path, "rootfs/l"), (btrfs.PATH_LINK, str(self.far.dir))])
        clone = c(btrfs.CLONE, [(path, "rootfs/x"), (btrfs.OFFSET, 0), (btrfs.CLONE_SIZE, 4), (btrfs.CLONE_ID, b"9" * 16), (btrfs.CLONE_TRANSACTION, 1),
                                (btrfs.CLONE_PATH, "rootfs/y"), (btrfs.CLONE_OFFSET, 0)])
        one, fine = self.listed(), whole(btrfs.file("rootfs/x"))
        cases = {
            "no list": [b"garbage", fine],
            "no subvolumes": [b"{}", fine],
            "more subvolumes": [self.listed("a"), fine],
            "subvolumes inside": [one.replace(b'"/"', b'"/x"'), fine],
            "no stream": [one, b"garbage"],
            "nothing": [one, b""],
            "an end too early": [one, fine[:-10]],
            "something behind": [one, fine + b"x"],
            "through a link": [one, whole(way_out, btrfs.file("rootfs/l/x"))],
            "dots": [one, whole(btrfs.file("rootfs/../../x"))],
            "a foreign clone": [one, whole(btrfs.file("rootfs/x"), clone)],
            "a foreign base": [one, whole(first=btrfs.later(base=b"9" * 16))],
            "no root": [one, whole(first=btrfs.begin())],
        }
        for what, parts in cases.items():
            with self.subTest(what):
                status, problem = self.pull(self.source(offer=Header.make(btrfs=True), data=parts))
                self.assertEqual(status, 400, (what, problem))
                eventually(lambda: self.volumes(self.far) == before, "nothing left")
        name = self.name("crafted")
        snapshots = [Header.snapshot("one", profiles=["default"])]
        good = [self.listed("one"), fine, btrfs.HEAD + btrfs.later() + btrfs.file("rootfs/z") + c(btrfs.END)]
        self.assertEqual(self.pull(self.source(offer=Header.make(snapshots=snapshots, btrfs=True), data=good), name), (200, ""))
        self.assertEqual((self.read(name, "x"), self.read(name, "z"), self.snapshots(name)), ("text", "text", ["one"]))


class DirToBtrfs(Copies, Pair):
    drivers = ("dir", "btrfs")


if __name__ == "__main__":
    unittest.main(verbosity=2)
