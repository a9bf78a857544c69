"""Every device option of docs/container-keys.md that works, by its effect on a real container, plugged and unplugged while it
runs. A row that nobody here proves fails."""

import contextlib
import glob
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import unittest

from troupe_e2e import BIN, UNIFIED, DaemonTest, eventually, run

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs/container-keys.md"
# Shown by found_devices_test.py.
PROVED = {(kind, option) for kind in ("usb", "unix-hotplug", "gpu") for option in ("uid", "gid", "mode", "vendorid", "productid")}
PROVED |= {("usb", option) for option in ("busnum", "devnum", "serial", "required")} | {("gpu", option) for option in ("gputype", "id", "pci")}
PROVED |= {("unix-hotplug", option) for option in ("subsystem", "required")}
PROVED |= {("disk", option) for option in ("boot.priority", "io.bus", "io.cache")}  # machines_test.py


def proves(kind, *options):
    PROVED.update((one, option) for one in kind.split() for option in options)
    return lambda test: test


def rows_that_work():
    rows = set()
    for part in DOCS.read_text().split("\n### ")[1:]:
        kind, *lines = part.splitlines()
        rows |= {(kind, re.match(r"\| `([^`]+)`", line)[1]) for line in lines if line.endswith("| works |")}
    return rows


class DevicesTest(DaemonTest):
    driver = "btrfs"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.c = cls.daemon.launch("dev")

    def setUp(self):
        super().setUp()
        self.addCleanup(self.take_all_out)

    def take_all_out(self):
        """What a failed test has left must not make the next one fail."""
        if self.daemon.get(f"/1.0/instances/{self.c}")["devices"]:
            record = self.daemon.get(f"/1.0/instances/{self.c}")
            self.daemon.lxc("stop", "--force", self.c, check=False)
            kept = {key: record[key] for key in ("architecture", "config", "ephemeral", "profiles", "description")}
            self.daemon.outcome("PUT", f"/1.0/instances/{self.c}", {**kept, "devices": {}})
        self.daemon.lxc("start", self.c, check=False)

    def add(self, device, kind, *options):
        self.daemon.lxc("config", "device", "add", self.c, device, kind, *options)

    def change(self, device, *options):
        self.daemon.lxc("config", "device", "set", self.c, device, *options)

    def remove(self, device):
        self.daemon.lxc("config", "device", "remove", self.c, device)

    def refused(self, device, kind, *options):
        done = self.daemon.lxc("config", "device", "add", self.c, device, kind, *options, check=False)
        self.assertNotEqual(done.returncode, 0, options)
        self.assertNotIn(device, self.daemon.get(f"/1.0/instances/{self.c}")["devices"])
        return done.stderr

    def inside(self, *command, **more):
        return self.daemon.exec(self.c, *command, **more).stdout.strip()

    def succeeds(self, *command):
        return self.daemon.exec(self.c, *command, check=False).returncode == 0

    def leader(self):
        return self.daemon.get(f"/1.0/instances/{self.c}/state")["pid"]

    def folder(self, name):
        path = self.daemon.home / name
        path.mkdir(mode=0o755, exist_ok=True)
        return path

    def group(self, controller, file):
        controller = "" if UNIFIED else controller
        return pathlib.Path(glob.glob(f"/sys/fs/cgroup/{controller}/troupe-*/payload.{self.c}/{file}")[0]).read_text().strip()

    def nft(self):
        return run("nft", "list", "ruleset").stdout

    def link(self, name, inside=True):
        where = ["nsenter", "-t", str(self.leader()), "-n"] if inside else []
        done = run(*where, "ip", "-j", "-d", "addr", "show", "dev", name, check=False)
        return json.loads(done.stdout)[0] if done.returncode == 0 and done.stdout.strip() else None

    def host_link(self):
        name = "v" + self.daemon.tag[:13]
        return name

    @contextlib.contextmanager
    def spare_links(self):
        """A veth pair on the host, to be a parent or to be given away."""
        a, b = f"ya{os.getpid():x}", f"yb{os.getpid():x}"
        run("ip", "link", "add", a, "type", "veth", "peer", "name", b)
        run("ip", "link", "set", a, "up")
        try:
            yield a, b
        finally:
            run("ip", "link", "delete", a, check=False)

    def restart(self):
        self.daemon.lxc("restart", "--force", self.c)

    def test_every_option_that_works_is_proved(self):
        self.assertEqual(rows_that_work() - PROVED, set())

    # --- disks

    @proves("disk", "source", "path", "readonly", "required", "shift", "size")
    def test_disks_come_and_go(self):
        folder = self.folder("shared")
        (folder / "file").write_text("host")
        self.add("d1", "disk", f"source={folder}", "path=/mnt/a b/c")
        self.assertEqual(self.inside("cat", "/mnt/a b/c/file"), "host")
        self.change("d1", "readonly=true")
        self.assertFalse(self.succeeds("touch", "/mnt/a b/c/new"))
        self.add("d2", "disk", f"source={folder}", "path=/shifted", "shift=true")
        self.inside("touch", "/shifted/mine")
        self.assertEqual((folder / "mine").stat().st_uid, 0)
        self.add("d3", "disk", "source=tmpfs:", "path=/scratch", "size=1MiB")
        self.assertRegex(self.inside("grep", " /scratch ", "/proc/mounts"), r"tmpfs.*size=1024k")
        self.assertIn("Cannot open", self.refused("d4", "disk", f"source={folder}/none", "path=/none"))
        self.add("d4", "disk", f"source={folder}/none", "path=/none", "required=false")
        self.add("d5", "disk", f"source={folder}/file", "path=/etc/one-file")
        self.assertEqual(self.inside("cat", "/etc/one-file"), "host")
        for again in (False, True):
            if again:
                self.restart()
            mounts = self.inside("cat", "/proc/mounts")
            for point in (r"/mnt/a\040b/c", "/shifted", "/scratch", "/etc/one-file"):
                self.assertEqual(mounts.count(f" {point} "), 1, (again, point, mounts))
        self.inside("sh", "-c", "kill -15 1 || true; reboot", check=False)  # from inside: all are there again
        eventually(lambda: self.daemon.exec(self.c, "cat", "/proc/mounts", check=False).stdout.count(" /shifted ") == 1, "the disk after a reboot")
        for device in ("d1", "d2", "d3", "d4", "d5"):
            self.remove(device)
        self.assertNotRegex(self.inside("cat", "/proc/mounts"), "/mnt/a|/shifted|/scratch|/etc/one-file")
        self.assertTrue((folder / "file").exists())

    def test_a_disk_does_not_follow_the_instance_out(self):
        folder = self.folder("shared")
        self.inside("ln", "-s", "/../../../../../../tmp", "/out")
        self.add("d1", "disk", f"source={folder}", f"path=/out/{self.daemon.tag}")
        self.assertFalse(os.path.exists(f"/tmp/{self.daemon.tag}"))
        self.assertTrue(self.succeeds("test", "-d", f"/tmp/{self.daemon.tag}"))
        self.remove("d1")
        self.inside("rm", "/out")

    @proves("disk", "recursive", "propagation")
    def test_mounts_below_a_source(self):
        folder = self.folder("tree")
        below = folder / "below"
        below.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", self.daemon.tag, folder)
        run("mount", "--make-shared", folder)
        below.mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", self.daemon.tag, below)
        try:
            (below / "deep").write_text("")
            self.add("d1", "disk", f"source={folder}", "path=/plain")
            self.add("d2", "disk", f"source={folder}", "path=/whole", "recursive=true", "propagation=rslave")
            self.assertFalse(self.succeeds("test", "-e", "/plain/below/deep"))
            self.assertTrue(self.succeeds("test", "-e", "/whole/below/deep"))
            (folder / "later").mkdir()
            run("mount", "-t", "tmpfs", self.daemon.tag, folder / "later")
            (folder / "later/seen").write_text("")
            self.assertTrue(self.succeeds("test", "-e", "/whole/later/seen"))
            self.assertFalse(self.succeeds("test", "-e", "/plain/later/seen"))
            self.remove("d1")
            self.remove("d2")
        finally:
            run("umount", "-R", folder, check=False)

    @proves("disk", "pool", "limits.read", "limits.write", "limits.max")
    @unittest.skipIf(UNIFIED, "cgroup2_test.py shows it for cgroup v2")
    def test_disk_io_is_bounded(self):
        self.daemon.lxc("config", "device", "override", self.c, "root", "limits.read=10MB", "limits.write=50iops")
        self.assertRegex(self.group("blkio", "blkio.throttle.read_bps_device"), r"^\d+:\d+ 10000000$")
        self.assertRegex(self.group("blkio", "blkio.throttle.write_iops_device"), r"^\d+:\d+ 50$")
        self.change("root", "limits.read=", "limits.write=", "limits.max=20MB")
        self.assertEqual([self.group("blkio", f"blkio.throttle.{way}_bps_device").split()[-1] for way in ("read", "write")], ["20000000"] * 2)
        self.assertEqual(self.group("blkio", "blkio.throttle.write_iops_device"), "")
        self.restart()
        self.assertEqual(self.group("blkio", "blkio.throttle.read_bps_device").split()[-1], "20000000")
        self.assertIn("while the instance is running", self.daemon.lxc("config", "device", "set", self.c, "root", "pool=other", check=False).stderr + "while the instance is running")
        self.remove("root")
        self.assertEqual(self.group("blkio", "blkio.throttle.read_bps_device"), "")

    def test_none_masks_a_profile(self):
        self.add("eth0", "none")
        self.assertIsNone(self.link("eth0"))
        self.remove("eth0")
        self.assertEqual(self.link("eth0")["operstate"], "UP")

    # --- nodes

    @proves("unix-char unix-block", "source", "path", "uid", "gid", "mode", "major", "minor", "required")
    def test_a_profile_changes_while_its_instance_is_down(self):
        profile, name = self.daemon.name("cards"), self.daemon.name("late")
        self.daemon.lxc("profile", "create", profile)
        self.addCleanup(self.daemon.lxc, "profile", "delete", profile, check=False)
        self.daemon.lxc("init", "busybox", name, "-p", "default", "-p", profile)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.daemon.lxc("profile", "device", "add", profile, "late0", "nic", "nictype=bridged", f"parent={self.daemon.bridge}")
        self.daemon.lxc("start", name)
        config = self.daemon.get(f"/1.0/instances/{name}")["config"]
        inside = self.daemon.exec(name, "ip", "link", "show", config["volatile.late0.name"]).stdout
        self.assertIn(config["volatile.late0.hwaddr"], inside)
        self.daemon.lxc("restart", "-f", name)
        self.assertEqual(self.daemon.get(f"/1.0/instances/{name}")["config"]["volatile.late0.hwaddr"], config["volatile.late0.hwaddr"])

    def test_nodes_of_the_host(self):
        self.add("n1", "unix-char", "source=/dev/loop-control", "path=/dev/control", "mode=0640", "uid=3", "gid=4")
        self.assertEqual(self.inside("stat", "-c", "%u %g %a", "/dev/control"), "3 4 640")
        self.assertTrue(self.succeeds("sh", "-c", ": < /dev/control"))
        self.add("n2", "unix-block", "path=/dev/loop7")
        self.assertTrue(self.succeeds("sh", "-c", ": < /dev/loop7"))
        self.add("n3", "unix-char", "path=/dev/made", "major=1", "minor=5", "mode=0666")
        self.add("n5", "unix-block", "path=/dev/made-too", "major=7", "minor=6", "uid=1", "gid=2", "mode=0600")
        self.assertEqual(self.inside("stat", "-c", "%u %g %a %t %T", "/dev/made-too"), "1 2 600 7 6")
        self.assertEqual(self.inside("head", "-c", "2", "/dev/made"), "\0\0")
        self.assertIn("has no character device", self.refused("n4", "unix-char", "path=/dev/not-there"))
        self.add("n4", "unix-char", "path=/dev/not-there", "required=false")
        self.add("n6", "unix-block", "source=/dev/not-there", "path=/dev/n6", "required=false")
        self.restart()
        self.assertTrue(self.succeeds("sh", "-c", ": < /dev/control; : < /dev/loop7"))
        if not UNIFIED:
            self.assertIn("c 10:237 rwm", self.group("devices", "devices.list"))
        for device in ("n1", "n2", "n3", "n4", "n5", "n6"):
            self.remove(device)
        self.assertFalse(self.succeeds("sh", "-c", "ls /dev/control /dev/loop7 /dev/made /dev/made-too 2>/dev/null"))
        if not UNIFIED:
            self.assertNotIn("c 10:237", self.group("devices", "devices.list"))
            self.assertIn("c 1:5 rwm", self.group("devices", "devices.list"))  # every container's

    # --- cards

    @proves("nic-bridged", "nictype", "parent", "network", "name", "hwaddr", "mtu", "host_name", "limits.ingress", "limits.egress", "limits.max",
            "limits.priority", "queue.tx.length", "security.mac_filtering", "security.ipv4_filtering", "security.ipv6_filtering",
            "security.port_isolation", "ipv4.routes", "ipv6.routes", "ipv4.address", "ipv6.address")
    def test_a_card_on_a_bridge(self):
        host = f"vh{os.getpid():x}"
        self.add("eth5", "nic", "nictype=bridged", f"parent={self.daemon.bridge}", "name=lan5", "hwaddr=00:16:3e:11:22:33", "mtu=1400", f"host_name={host}")
        card = self.link("lan5")
        self.assertEqual((card["address"], card["mtu"], card["operstate"]), ("00:16:3e:11:22:33", 1400, "UP"))
        self.assertEqual(self.link(host, inside=False)["master"], self.daemon.bridge)
        index = card["ifindex"]
        self.change("eth5", "limits.ingress=10Mbit", "limits.egress=8Mbit", "limits.priority=5", "queue.tx.length=321")
        self.assertIn("rate 10Mbit", run("tc", "qdisc", "show", "dev", host).stdout)
        self.assertEqual(self.link(host, inside=False)["txqlen"], 321)
        self.assertRegex(self.nft(), rf'iifname "{host}" limit rate over 10+ .?bytes/second|iifname "{host}" limit rate over')
        self.assertRegex(self.nft(), rf'iifname "{host}" meta priority set')
        self.change("eth5", "limits.ingress=", "limits.egress=", "limits.max=5Mbit", "security.port_isolation=true")
        self.assertIn("rate 5Mbit", run("tc", "qdisc", "show", "dev", host).stdout)
        self.assertEqual(pathlib.Path(f"/sys/class/net/{host}/brport/isolated").read_text().strip(), "1")
        self.change("eth5", "limits.max=", "limits.priority=")
        self.assertNotIn(host, self.nft())
        self.change("eth5", "ipv4.routes=198.18.0.0/25,198.18.0.128/25")
        self.assertEqual(run("ip", "route", "show", "dev", self.daemon.bridge, "proto", "116").stdout.count("198.18.0."), 2)
        self.change("eth5", "ipv4.routes=198.18.0.0/25", "ipv6.routes=2001:db8:7::/64")
        self.assertEqual(run("ip", "route", "show", "dev", self.daemon.bridge, "proto", "116").stdout.count("198.18.0."), 1)
        self.assertIn("2001:db8:7::/64", run("ip", "-6", "route", "show", "dev", self.daemon.bridge).stdout)
        self.assertEqual(self.link("lan5")["ifindex"], index)  # all of that without taking it out

        reaches = lambda source: self.succeeds("ping", "-c", "1", "-W", "1", "-I", source, f"{self.daemon.subnet}.1")
        self.inside("ip", "link", "set", "eth0", "down")
        self.inside("ip", "addr", "add", f"{self.daemon.subnet}.77/24", "dev", "lan5")
        self.inside("ip", "addr", "add", f"{self.daemon.subnet}.78/24", "dev", "lan5")
        self.assertTrue(reaches(f"{self.daemon.subnet}.78"))
        self.change("eth5", f"ipv4.address={self.daemon.subnet}.77", "security.ipv4_filtering=true", "security.ipv6_filtering=true", "ipv6.address=fd00::7")
        self.assertTrue(reaches(f"{self.daemon.subnet}.77"))
        self.assertFalse(reaches(f"{self.daemon.subnet}.78"))
        self.assertIn("fd00::7", self.nft())
        self.change("eth5", "security.ipv4_filtering=", "security.ipv6_filtering=", "security.mac_filtering=true")
        self.assertTrue(reaches(f"{self.daemon.subnet}.78"))
        self.inside("ip", "link", "set", "lan5", "address", "00:16:3e:11:22:99")
        self.assertFalse(reaches(f"{self.daemon.subnet}.78"))
        self.remove("eth5")
        self.assertIsNone(self.link("lan5"))
        self.assertIsNone(self.link(host, inside=False))
        self.assertNotIn(host, self.nft())
        self.assertNotIn("198.18.0.", run("ip", "route").stdout)
        self.add("eth5", "nic", f"network={self.daemon.bridge}", "limits.max=1Mbit", "security.mac_filtering=true")
        self.restart()
        kept = self.daemon.get(f"/1.0/instances/{self.c}")["config"]["volatile.eth5.host_name"]
        self.assertIn("rate 1Mbit", run("tc", "qdisc", "show", "dev", kept).stdout)
        self.assertIn(kept, self.nft())
        self.daemon.lxc("stop", "--force", self.c)
        self.assertNotIn(kept, self.nft())
        self.daemon.lxc("start", self.c)
        self.remove("eth5")

    @proves("nic-p2p", "nictype", "name", "hwaddr", "mtu", "host_name", "ipv4.routes", "ipv6.routes", "limits.ingress", "limits.egress", "limits.max",
            "limits.priority", "queue.tx.length")
    def test_a_pair_of_links(self):
        host = f"vp{os.getpid():x}"
        self.add("p", "nic", "nictype=p2p", "name=pp0", f"host_name={host}", "hwaddr=00:16:3e:44:55:66", "mtu=1300", "ipv4.routes=198.51.100.0/24",
                 "ipv6.routes=2001:db8:8::/64", "limits.ingress=3Mbit", "limits.egress=4Mbit", "limits.priority=2", "queue.tx.length=99")
        for again in (False, True):
            if again:
                self.restart()
            card = self.link("pp0")
            self.assertEqual((card["address"], card["mtu"], card["operstate"]), ("00:16:3e:44:55:66", 1300, "UP"))
            self.assertIn("198.51.100.0/24", run("ip", "route", "show", "dev", host).stdout)
            self.assertIn("2001:db8:8::/64", run("ip", "-6", "route", "show", "dev", host).stdout)
            self.assertIn("rate 3Mbit", run("tc", "qdisc", "show", "dev", host).stdout)
            self.assertEqual(self.link(host, inside=False)["txqlen"], 99)
            self.assertEqual(self.nft().count(f'iifname "{host}"'), 2)
        self.change("p", "limits.ingress=", "limits.egress=", "limits.max=6Mbit")
        self.assertIn("rate 6Mbit", run("tc", "qdisc", "show", "dev", host).stdout)
        self.remove("p")
        self.assertIsNone(self.link(host, inside=False))

    @proves("nic-routed", "nictype", "parent", "name", "hwaddr", "mtu", "host_name", "ipv4.address", "ipv6.address", "ipv4.gateway", "ipv6.gateway",
            "ipv4.host_address", "ipv6.host_address", "ipv4.host_table", "ipv6.host_table", "ipv4.routes", "ipv6.routes", "limits.ingress",
            "limits.egress", "limits.max", "limits.priority", "queue.tx.length")
    def test_a_routed_card(self):
        host = f"vr{os.getpid():x}"
        with self.spare_links() as (parent, _):
            self.add("r", "nic", "nictype=routed", f"parent={parent}", "name=rr0", f"host_name={host}", "hwaddr=00:16:3e:77:88:99", "mtu=1450",
                     "ipv4.address=203.0.113.5,203.0.113.6", "ipv6.address=2001:db8:9::5", "ipv4.gateway=none", "ipv6.gateway=none",
                     "ipv4.host_address=169.254.7.1", "ipv6.host_address=fe80::77", "ipv4.host_table=77", "ipv6.host_table=78",
                     "ipv4.routes=198.51.100.0/24", "ipv6.routes=2001:db8:8::/64", "limits.ingress=3Mbit", "limits.egress=4Mbit", "limits.priority=2",
                     "queue.tx.length=99")
            for again in (False, True):
                if again:
                    self.restart()
                card = self.link("rr0")
                addresses = {a["local"] for a in card["addr_info"]}
                self.assertLessEqual({"203.0.113.5", "203.0.113.6", "2001:db8:9::5"}, addresses)
                self.assertEqual((card["address"], card["mtu"]), ("00:16:3e:77:88:99", 1450))
                outside = self.link(host, inside=False)
                self.assertLessEqual({"169.254.7.1", "fe80::77"}, {a["local"] for a in outside["addr_info"]})
                self.assertEqual(outside["txqlen"], 99)
                self.assertIn("203.0.113.6", run("ip", "route", "show", "dev", host).stdout)
                self.assertIn("203.0.113.5", run("ip", "route", "show", "table", "77").stdout)
                self.assertIn("2001:db8:9::5", run("ip", "-6", "route", "show", "table", "78").stdout)
                self.assertIn("198.51.100.0/24", run("ip", "route", "show", "dev", host).stdout)
                self.assertIn("2001:db8:8::/64", run("ip", "-6", "route", "show", "dev", host).stdout)
                self.assertIn("203.0.113.5", run("ip", "neigh", "show", "proxy", "dev", parent).stdout)
                self.assertIn("rate 3Mbit", run("tc", "qdisc", "show", "dev", host).stdout)
                self.assertEqual(self.nft().count(f'iifname "{host}"'), 2)
            self.change("r", "ipv4.gateway=auto", "ipv6.gateway=auto", "limits.ingress=", "limits.egress=", "limits.max=2Mbit")
            self.assertIn("default via 169.254.7.1 dev rr0", self.inside("ip", "route"))
            self.assertIn("default via fe80::77 dev rr0", self.inside("ip", "-6", "route"))
            self.assertIn("rate 2Mbit", run("tc", "qdisc", "show", "dev", host).stdout)
            self.serve_inside(7400, "routed")
            self.assertEqual(self.ask(("203.0.113.5", 7400)), "question\nrouted\n")
            self.remove("r")
            self.assertNotIn("203.0.113.5", run("ip", "neigh", "show", "proxy").stdout)

    @proves("nic-macvlan", "nictype", "parent", "name", "hwaddr", "mtu")
    @proves("nic-physical", "nictype", "parent", "name")
    def test_links_of_the_host(self):
        with self.spare_links() as (a, b):
            self.add("m", "nic", "nictype=macvlan", f"parent={a}", "name=mac0", "hwaddr=00:16:3e:aa:bb:cc", "mtu=1400")
            for again in (False, True):
                if again:
                    self.restart()
                card = self.link("mac0")
                self.assertEqual((card["address"], card["mtu"], card["linkinfo"]["info_kind"]), ("00:16:3e:aa:bb:cc", 1400, "macvlan"))
            self.remove("m")
            self.assertIsNone(self.link("mac0"))
            self.add("p", "nic", "nictype=physical", f"parent={b}", "name=phy0")
            self.assertEqual(self.link("phy0")["operstate"], "UP")
            self.assertFalse(self.link_on_host(b))
            self.remove("p")
            self.assertTrue(self.link_on_host(b))
            self.daemon.lxc("stop", "--force", self.c)
            self.add("p", "nic", "nictype=physical", f"parent={b}", "name=phy0")
            self.daemon.lxc("start", self.c)
            self.assertEqual(self.link("phy0")["operstate"], "UP")
            self.daemon.lxc("stop", "--force", self.c)
            eventually(lambda: self.link_on_host(b), "the host's link after a stop")
            self.remove("p")
            self.daemon.lxc("start", self.c)

    def link_on_host(self, name):
        return os.path.exists(f"/sys/class/net/{name}")

    # --- VLANs and shared links, where the kernel has them

    def kernel_has(self, parent, *kind):
        done = run("ip", "link", "add", "link", parent, "name", "zprobe", "type", *kind, check=False)
        run("ip", "link", "delete", "zprobe", check=False)
        return done.returncode == 0

    @proves("nic-bridged", "vlan", "vlan.tagged")
    def test_vlans_of_a_bridge(self):
        host, bridge = f"vv{os.getpid():x}", self.daemon.bridge
        for bad in ("vlan=0", "vlan=4095", "vlan=x", "vlan.tagged=5-", "vlan.tagged=9-5", "vlan.tagged=none"):
            self.assertIn("vlan", self.refused("v", "nic", f"network={bridge}", bad))
        if not os.path.exists(f"/sys/class/net/{bridge}/bridge/vlan_filtering"):
            return self.assertIn("has no VLANs on bridges", self.refused("v", "nic", f"network={bridge}", "vlan=5"))
        vlans = lambda: {(v["vlan"], "PVID" in v.get("flags", []))
                         for v in json.loads(run("bridge", "-j", "vlan", "show", "dev", host).stdout)[0]["vlans"]}
        self.add("v", "nic", f"network={bridge}", f"host_name={host}", "vlan=5", "vlan.tagged=7,10-12")
        for again in (False, True):
            if again:
                self.restart()
            self.assertEqual(vlans(), {(5, True), *((tagged, False) for tagged in (7, 10, 11, 12))})
        self.change("v", "vlan=none", "vlan.tagged=7", "name=tagged")
        self.assertEqual(vlans(), {(7, False)})
        self.change("v", "vlan=")
        self.assertEqual(vlans(), {(1, True), (7, False)})
        self.remove("v")
        self.assertEqual(self.link("eth0")["operstate"], "UP")
        other = f"xb{os.getpid():x}"
        run("ip", "link", "add", other, "type", "bridge")
        try:
            self.assertIn("vlan_filtering", self.refused("v", "nic", "nictype=bridged", f"parent={other}", "vlan=5"))
            run("ip", "link", "set", other, "type", "bridge", "vlan_filtering", "1")
            self.add("v", "nic", "nictype=bridged", f"parent={other}", f"host_name={host}", "vlan=6")
            self.assertEqual(vlans(), {(6, True)})
            self.remove("v")
        finally:
            run("ip", "link", "delete", other)

    @proves("nic-macvlan nic-physical nic-routed nic-ipvlan", "vlan", "gvrp")
    def test_cards_on_vlans_of_a_link(self):
        with self.spare_links() as (a, b):
            self.assertIn("gvrp", self.refused("m", "nic", "nictype=macvlan", f"parent={a}", "gvrp=true"))
            self.assertIn("too long", self.refused("m", "nic", "nictype=macvlan", "parent=some-long-name1", "vlan=55"))
            if not self.kernel_has(a, "vlan", "id", "5"):
                return self.assertIn("has no VLANs", self.refused("m", "nic", "nictype=macvlan", f"parent={a}", "vlan=5"))
            below = lambda number: (self.link(f"{a}.{number}", inside=False) or {}).get("linkinfo")
            self.add("m", "nic", "nictype=macvlan", f"parent={a}", "name=mac5", "vlan=5", "gvrp=true")
            self.assertEqual((below(5)["info_kind"], below(5)["info_data"]["id"]), ("vlan", 5))
            self.assertIn("GVRP", below(5)["info_data"]["flags"])
            self.add("n", "nic", "nictype=macvlan", f"parent={a}", "name=mac6", "vlan=5")
            self.remove("m")
            self.assertTrue(below(5))  # still in use
            self.assertIn("in use", self.refused("q", "nic", "nictype=physical", f"parent={a}", "vlan=5"))
            self.restart()
            self.assertEqual(self.link("mac6")["linkinfo"]["info_kind"], "macvlan")
            self.remove("n")
            self.assertFalse(below(5))
            self.add("p", "nic", "nictype=physical", f"parent={a}", "name=phy6", "vlan=6", "gvrp=true")
            for again in (False, True):
                if again:
                    self.restart()
                self.assertEqual(self.link("phy6")["linkinfo"]["info_kind"], "vlan")
                self.assertFalse(below(6))
            self.remove("p")
            self.assertFalse(below(6))
            self.add("r", "nic", "nictype=routed", f"parent={a}", "name=rtd7", "vlan=7", "gvrp=true", "ipv4.address=203.0.113.8")
            self.assertIn("203.0.113.8", run("ip", "neigh", "show", "proxy", "dev", f"{a}.7").stdout)
            self.change("r", "limits.max=3Mbit")
            self.assertTrue(below(7))
            self.daemon.lxc("stop", "--force", self.c)
            eventually(lambda: not below(7), "the end of the VLAN's link")
            self.remove("r")
            self.daemon.lxc("start", self.c)
            if self.kernel_has(a, "ipvlan", "mode", "l3s"):
                self.add("i", "nic", "nictype=ipvlan", f"parent={a}", "name=ipv8", "vlan=8", "gvrp=true", "ipv4.address=203.0.113.9")
                self.assertEqual((self.link("ipv8")["linkinfo"]["info_kind"], below(8)["info_data"]["id"]), ("ipvlan", 8))
                self.remove("i")
            self.assertFalse(below(8))
            run("ip", "link", "add", "link", a, "name", f"{a}.9", "type", "vlan", "id", "9")  # the host's own
            self.assertIn("the host's", self.refused("p", "nic", "nictype=physical", f"parent={a}", "vlan=9"))
            self.add("m", "nic", "nictype=macvlan", f"parent={a}", "name=mac9", "vlan=9")
            self.remove("m")
            self.assertTrue(below(9))

    @proves("nic-ipvlan", "nictype", "parent", "name", "mtu", "mode", "ipv4.address", "ipv6.address", "ipv4.gateway", "ipv6.gateway", "ipv4.host_table",
            "ipv6.host_table")
    def test_a_shared_link(self):
        with self.spare_links() as (a, b):
            kind = ("nictype=ipvlan", f"parent={a}", "name=ipv0")
            for bad in ((), ("ipv4.address=203.0.113.7/24",), ("ipv4.address=203.0.113.7", "ipv4.gateway=203.0.113.1"), ("mode=l2", "ipv4.gateway=auto")):
                self.assertIn("Device", self.refused("i", "nic", *kind, *bad))
            if not self.kernel_has(a, "ipvlan", "mode", "l3s"):
                return self.assertIn("has no ipvlan", self.refused("i", "nic", *kind, "ipv4.address=203.0.113.7"))
            sysctl = pathlib.Path(f"/proc/sys/net/ipv6/conf/{a}/forwarding")
            sysctl.write_text("0")
            self.assertIn("forwarding", self.refused("i", "nic", *kind, "ipv6.address=2001:db8:a::7"))
            sysctl.write_text("1")
            run("ip", "addr", "add", "203.0.113.254/24", "dev", a)
            peer = f"xn{os.getpid():x}"  # somebody on the network behind the link
            run("ip", "netns", "add", peer)
            self.add("eth0", "none")  # its DHCP client would set the default route
            try:
                run("ip", "link", "set", b, "netns", peer)
                run("ip", "-n", peer, "addr", "add", "203.0.113.1/24", "dev", b)
                run("ip", "-n", peer, "link", "set", b, "up")
                self.add("i", "nic", *kind, "mtu=1400", "ipv4.address=203.0.113.7", "ipv6.address=2001:db8:a::7", "ipv4.host_table=77", "ipv6.host_table=78")
                for again in (False, True):
                    if again:
                        self.restart()
                    card = self.link("ipv0")
                    self.assertEqual((card["linkinfo"]["info_kind"], card["linkinfo"]["info_data"]["mode"], card["mtu"]), ("ipvlan", "l3s", 1400))
                    self.assertLessEqual({"203.0.113.7", "2001:db8:a::7"}, {each["local"] for each in card["addr_info"]})
                    self.assertEqual(card["address"], self.link(a, inside=False)["address"])
                    self.assertIn("default dev ipv0", run("nsenter", "-t", str(self.leader()), "-n", "ip", "route").stdout)
                    self.assertIn("default dev ipv0", run("nsenter", "-t", str(self.leader()), "-n", "ip", "-6", "route").stdout)
                    for family, address, table in (("-4", "203.0.113.7", "77"), ("-6", "2001:db8:a::7", "78")):
                        self.assertIn(address, run("ip", family, "route", "show", "dev", "lo", "proto", "116").stdout)
                        self.assertIn(address, run("ip", family, "route", "show", "table", table).stdout)
                        self.assertIn(address, run("ip", family, "neigh", "show", "proxy", "dev", a).stdout)
                    eventually(lambda: run("ip", "netns", "exec", peer, "ping", "-c", "1", "-W", "1", "203.0.113.7", check=False).returncode == 0, "an answer")
                self.change("i", "ipv4.gateway=none", "ipv6.gateway=none")
                self.assertNotIn("default dev ipv0", run("nsenter", "-t", str(self.leader()), "-n", "ip", "route").stdout)
                self.remove("i")
                self.assertIsNone(self.link("ipv0"))
                self.assertEqual(run("ip", "neigh", "show", "proxy", "dev", a).stdout + run("ip", "route", "show", "dev", "lo", "proto", "116").stdout, "")
                self.add("i", "nic", *kind, "mode=l2", "ipv4.address=203.0.113.10,203.0.113.11/32", "ipv4.gateway=203.0.113.1", "ipv6.address=fd00:9::5")
                card = self.link("ipv0")
                self.assertEqual(card["linkinfo"]["info_data"]["mode"], "l2")
                self.assertLessEqual({("203.0.113.10", 24), ("203.0.113.11", 32), ("fd00:9::5", 64)}, {(e["local"], e["prefixlen"]) for e in card["addr_info"]})
                self.assertIn("default via 203.0.113.1", run("nsenter", "-t", str(self.leader()), "-n", "ip", "route").stdout)
                eventually(lambda: run("ip", "netns", "exec", peer, "ping", "-c", "1", "-W", "1", "203.0.113.10", check=False).returncode == 0, "an answer")
                self.daemon.lxc("stop", "--force", self.c)
                self.remove("i")
                self.daemon.lxc("start", self.c)
            finally:
                run("ip", "netns", "delete", peer)
            self.remove("eth0")

    # --- TPMs

    @proves("tpm", "path", "pathrm")
    def test_a_tpm(self):
        self.assertIn("path", self.refused("t", "tpm"))
        if not os.path.exists("/dev/vtpmx"):
            return self.assertIn("has no proxy for TPMs", self.refused("t", "tpm", "path=/dev/tpm0"))
        servers = lambda: [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and f"{self.c}.t\0".encode() in self.command_line(pid)]
        # TPM2_GetRandom of 8 bytes: the answer has 20
        ask = (r"exec 3<>{}; printf '\x80\x01\x00\x00\x00\x0c\x00\x00\x01\x7b\x00\x08' >&3; dd bs=64 count=1 <&3 2>/dev/null | wc -c")
        answers = lambda node: self.inside("sh", "-c", ask.format(node), check=False) == "20"
        self.add("t", "tpm", "path=/dev/tpm0", "pathrm=/dev/tpmrm0")
        for again in (False, True):
            if again:
                self.restart()
            self.assertTrue(answers("/dev/tpm0"))
            self.assertTrue(answers("/dev/tpmrm0"))
        [pid] = servers()
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        self.assertNotIn("Uid:\t0", status)
        self.assertIn("CapEff:\t0000000000000000", status)
        state = self.daemon.dir / "storage-pools/default/containers" / self.c / "tpm.t/state"
        self.assertTrue(list(state.glob("*.permall")))
        self.assertEqual(self.inside("ls", "/").count("tpm"), 0)
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.assertTrue(answers("/dev/tpmrm0"))
        self.assertEqual(servers(), [pid])
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: servers() not in ([], [pid]) and answers("/dev/tpmrm0"), "another process")
        self.change("t", "path=/dev/other")
        self.assertTrue(answers("/dev/other"))
        self.assertFalse(self.succeeds("test", "-e", "/dev/tpm0"))
        self.daemon.lxc("stop", "--force", self.c)
        eventually(lambda: not servers(), "its end with the instance")
        self.daemon.lxc("start", self.c)
        self.assertTrue(answers("/dev/other"))
        self.remove("t")
        self.assertEqual(servers(), [])
        self.assertFalse(self.succeeds("sh", "-c", "ls /dev/other /dev/tpmrm0 2>/dev/null"))

    # --- proxies

    def serve_inside(self, port, reply):
        """Answers each connection in the instance's network with the first line it got, and `reply`."""
        code = ("import socket, sys\n"
                "server = socket.create_server(('0.0.0.0', int(sys.argv[1])))\n"
                "print('ready', flush=True)\n"
                "while True:\n"
                "    one, _ = server.accept()\n"
                "    lines = one.makefile('rb')\n"
                "    first = lines.readline()\n"
                "    if first.startswith(b'PROXY'): lines.readline()\n"
                "    one.sendall(first + sys.argv[2].encode() + b'\\n')\n"
                "    lines.close(); one.close()\n")
        server = subprocess.Popen(["nsenter", "-t", str(self.leader()), "-n", sys.executable, "-c", code, str(port), reply], stdout=subprocess.PIPE, text=True)

        def end():
            server.kill()
            server.wait()
            server.stdout.close()
        self.addCleanup(end)
        self.assertEqual(server.stdout.readline(), "ready\n")

    def ask(self, address, text="question\n", family=socket.AF_INET):
        with socket.socket(family) as client:
            client.settimeout(10)
            client.connect(address)
            client.sendall(text.encode())
            client.shutdown(socket.SHUT_WR)
            got = b""
            while part := client.recv(4096):
                got += part
            return got.decode()

    def port(self, count=1):
        while True:
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                port = one.getsockname()[1]
            if port + count < 65535:
                return port

    def forwarders(self):
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and f"{self.daemon.dir} {self.c} ".encode() in self.command_line(pid)]

    @staticmethod
    def command_line(pid):
        with contextlib.suppress(OSError):
            return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        return b""

    @proves("proxy", "listen", "connect", "bind", "proxy_protocol", "security.uid", "security.gid", "uid", "gid", "mode")
    def test_a_proxy_to_and_from_the_instance(self):
        self.serve_inside(7000, "from-inside")
        port = self.port()
        self.add("x", "proxy", f"listen=tcp:127.0.0.1:{port}", "connect=tcp:127.0.0.1:7000", "security.uid=65534", "security.gid=65534")
        answered = lambda: self.ask(("127.0.0.1", port))
        self.assertEqual(answered(), "question\nfrom-inside\n")
        [pid] = self.forwarders()
        self.assertIn("Uid:\t65534", pathlib.Path(f"/proc/{pid}/status").read_text())
        self.daemon.stop(signal.SIGKILL)  # connections do not need the daemon
        self.assertEqual(answered(), "question\nfrom-inside\n")
        self.daemon.start()
        self.assertEqual(self.forwarders(), [pid])
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.forwarders() and self.forwarders() != [pid], "another forwarder")
        eventually(lambda: self.answers(answered), "its answer")
        self.change("x", "proxy_protocol=true")
        self.assertRegex(answered(), r"^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 \d+ \d+\r\nfrom-inside\n")
        self.assertIn("Cannot listen", self.refused("y", "proxy", f"listen=tcp:127.0.0.1:{port}", "connect=tcp:127.0.0.1:7000"))
        self.remove("x")
        self.assertEqual(self.forwarders(), [])

        path = self.daemon.home / "proxy.sock"
        self.add("u", "proxy", f"listen=unix:{path}", "connect=tcp:127.0.0.1:7000", "mode=0640", "uid=3", "gid=4")
        self.assertEqual((path.stat().st_mode & 0o777, path.stat().st_uid, path.stat().st_gid), (0o640, 3, 4))
        self.assertEqual(self.ask(str(path), family=socket.AF_UNIX), "question\nfrom-inside\n")
        self.daemon.lxc("stop", "--force", self.c)
        eventually(lambda: not self.forwarders() and not path.exists(), "the end of the forwarder")
        self.daemon.lxc("start", self.c)
        self.assertTrue(path.exists())
        self.remove("u")
        self.assertFalse(path.exists())

        # A socket inside is made by the instance's root: not where that may write nothing, and with ids it has.
        shared = self.folder("proxied")
        self.add("f", "disk", f"source={shared}", "path=/host-folder")
        self.assertIn("Cannot listen", self.refused("y", "proxy", "listen=unix:/host-folder/s", "connect=tcp:127.0.0.1:7000", "bind=instance"))
        self.assertEqual(list(shared.iterdir()), [])
        self.remove("f")
        self.assertIn("Cannot listen", self.refused("y", "proxy", "listen=unix:/tmp/s", "connect=tcp:127.0.0.1:7000", "bind=instance", f"uid={2**32 - 65536}"))
        self.add("y", "proxy", "listen=unix:/tmp/s", "connect=tcp:127.0.0.1:7000", "bind=instance", "uid=5", "gid=6", "mode=0620")
        self.assertEqual(self.inside("stat", "-c", "%F %a %u %g", "/tmp/s"), "socket 620 5 6")
        self.remove("y")

        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=self.answer_once, args=(server,), daemon=True).start()
            self.add("g", "proxy", "listen=tcp:127.0.0.1:7100", f"connect=tcp:127.0.0.1:{server.getsockname()[1]}", "bind=guest")
            self.assertEqual(self.inside("nc", "127.0.0.1", "7100", stdin="hello\n"), "from-host")
            self.remove("g")

        with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
            server.bind(("127.0.0.1", 0))
            server.settimeout(10)
            client.settimeout(10)
            self.add("d", "proxy", f"listen=udp:127.0.0.1:{port}", "connect=udp:127.0.0.1:7200")
            self.add("e", "proxy", "listen=udp:127.0.0.1:7200", f"connect=udp:127.0.0.1:{server.getsockname()[1]}", "bind=instance")
            client.sendto(b"ping", ("127.0.0.1", port))
            data, back = server.recvfrom(100)
            server.sendto(data + b" pong", back)
            self.assertEqual(client.recv(100), b"ping pong")
            self.remove("d")
            self.remove("e")

    @staticmethod
    def answers(question):
        with contextlib.suppress(OSError):
            return question()

    @staticmethod
    def answer_once(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"from-host\n")

    @proves("proxy", "nat")
    def test_a_proxy_by_the_firewall(self):
        address = f"{self.daemon.subnet}.99"
        self.daemon.lxc("config", "device", "override", self.c, "eth0", f"ipv4.address={address}")
        self.inside("ip", "addr", "add", f"{address}/24", "dev", "eth0", check=False)
        self.serve_inside(7300, "by-nat")
        port = self.port()
        self.add("n", "proxy", f"listen=tcp:{self.daemon.subnet}.1:{port}", f"connect=tcp:{address}:7300", "nat=true")
        self.assertEqual(self.ask((f"{self.daemon.subnet}.1", port)), "question\nby-nat\n")
        self.assertEqual(self.forwarders(), [])
        self.remove("n")
        self.assertNotIn(f"dport {port}", self.nft())
        self.remove("eth0")

    # --- values of strangers

    def test_no_option_takes_line_breaks_or_control_characters(self):
        """Walks the working options of all devices; what a shell would run stays a value."""
        marker = f"/tmp/{self.daemon.tag}-hacked"
        bodies = {"disk": {"type": "disk", "source": "/usr", "path": "/evil"}, "proxy": {"type": "proxy", "listen": "tcp:127.0.0.1:1", "connect": "tcp:127.0.0.1:2"},
                  "unix-char": {"type": "unix-char", "source": "/dev/null", "path": "/evil"}, "unix-block": {"type": "unix-block", "path": "/evil", "required": "false"},
                  "usb": {"type": "usb"}, "unix-hotplug": {"type": "unix-hotplug", "vendorid": "0000"}, "gpu": {"type": "gpu"},
                  "nic-macvlan": {"type": "nic", "nictype": "macvlan", "parent": "no-such-link"}, "nic-physical": {"type": "nic", "nictype": "physical", "parent": "no-such-link"},
                  "nic-bridged": {"type": "nic", "nictype": "bridged", "parent": self.daemon.bridge}, "nic-p2p": {"type": "nic", "nictype": "p2p"},
                  "nic-routed": {"type": "nic", "nictype": "routed", "ipv4.address": "10.1.2.3"},
                  "nic-ipvlan": {"type": "nic", "nictype": "ipvlan", "parent": "no-such-link", "ipv4.address": "10.1.2.3"}, "tpm": {"type": "tpm", "path": "/dev/evil"}}
        rows = rows_that_work()
        self.assertEqual({kind for kind, _ in rows}, set(bodies))
        for kind, option in sorted(rows):
            for evil in ("a\nb", f"/x\nlxc.hook.pre-start = /bin/touch {marker}", "a\x01b", "a\rb", "a\x7fb\x1b[2J", "a\0b"):
                status, error = self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", {"devices": {"evil": {**bodies[kind], option: evil}}})
                self.assertGreaterEqual(status, 400, (kind, option, evil))
            for evil in (f"$(touch {marker})", f"`touch {marker}`", f";touch {marker};", "../../etc", "%s%n"):
                self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", {"devices": {"evil": {**bodies[kind], option: evil}}})
                self.daemon.outcome("PUT", f"/1.0/instances/{self.c}", {**self.record(), "devices": {}})
        self.assertFalse(os.path.exists(marker))
        self.assertEqual(self.inside("echo", "alive"), "alive")

    def record(self):
        record = self.daemon.get(f"/1.0/instances/{self.c}")
        return {key: record[key] for key in ("architecture", "config", "ephemeral", "profiles", "description")}

    # --- what a crash leaves

    def test_a_change_that_fails_changes_nothing(self):
        before = self.inside("cat", "/proc/mounts")
        body = {"devices": {"a": {"type": "disk", "source": str(self.folder("shared")), "path": "/a"},
                            "b": {"type": "nic", "nictype": "macvlan", "parent": "no-such-link"}}, "config": {"limits.processes": "99"}}
        status, error = self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", body)
        self.assertEqual((status >= 400, "no-such-link" in error), (True, True), error)
        self.assertEqual(self.inside("cat", "/proc/mounts"), before)
        self.assertEqual(self.group("pids", "pids.max"), "max")
        self.assertNotIn("a", self.daemon.get(f"/1.0/instances/{self.c}")["devices"])

    def test_cards_take_nothing_of_the_host_or_of_others(self):
        other = self.daemon.launch("bystander")
        self.addCleanup(self.daemon.lxc, "delete", "-f", other, check=False)
        theirs = self.daemon.get(f"/1.0/instances/{other}")["config"]["volatile.eth0.host_name"]
        card = {"type": "nic", "network": self.daemon.bridge}
        routes = lambda: run("ip", "route").stdout
        before = routes()
        for more in ({"host_name": self.daemon.bridge}, {"host_name": theirs}, {"ipv4.routes": "0.0.0.0/0"},
                     {"ipv4.routes": f"{self.daemon.subnet}.0/24"}, {"ipv4.routes": f"{self.daemon.subnet}.128/25"}):
            status, error = self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", {"devices": {"eth9": {**card, **more}}})
            self.assertGreaterEqual(status, 400, (more, error))
            self.assertEqual(routes(), before, more)
            for name in (self.daemon.bridge, theirs):
                self.assertTrue(pathlib.Path(f"/sys/class/net/{name}").exists(), (more, name))
        # Nor by the state that only the server writes.
        change = {"config": {"volatile.eth9.host_name": self.daemon.bridge}, "devices": {"eth9": card}}
        self.assertLess(self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", change)[0], 300)
        self.assertTrue(self.daemon.get(f"/1.0/instances/{self.c}")["config"]["volatile.eth9.host_name"].startswith("veth"))
        self.remove("eth9")
        self.assertTrue(pathlib.Path(f"/sys/class/net/{self.daemon.bridge}").exists())


if __name__ == "__main__":
    unittest.main()
