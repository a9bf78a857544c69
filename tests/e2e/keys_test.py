"""Every config key of docs/container-keys.md that works, by its effect on a real container. A row that nobody here proves fails."""

import glob
import os
import pathlib
import re
import signal
import unittest

from troupe_e2e import UNIFIED, DaemonTest, eventually

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs/container-keys.md"
INTERCEPTED = {f"security.syscalls.intercept.{call}" for call in ("mknod", "setxattr", "sysinfo", "mount", "mount.allowed", "mount.shift")}  # by syscalls_test.py
# Shown by snapshots_test.py, copies_test.py (and the tiers by retention_test.cpp) and by the tests of the guest API.
PROVED = INTERCEPTED | {"snapshots.expiry", "snapshots.pattern", "snapshots.schedule", "snapshots.schedule.stopped", "snapshots.keep.hourly", "snapshots.keep.daily",
          "snapshots.keep.weekly", "snapshots.keep.monthly", "security.devlxd", "security.devlxd.images",
          "security.secureboot"}  # that one by machines_test.py

RLIMITS = {  # key: (value, /proc/PID/limits row, soft and hard as it shows them)
    "as": ("4294967296:8589934592", "Max address space", "4294967296 8589934592"),
    "core": ("0:0", "Max core file size", "0 0"), "cpu": ("3600:7200", "Max cpu time", "3600 7200"),
    "data": ("1073741824:2147483648", "Max data size", "1073741824 2147483648"),
    "fsize": ("1073741824:2147483648", "Max file size", "1073741824 2147483648"),
    "locks": ("100:200", "Max file locks", "100 200"), "memlock": ("4096:8192", "Max locked memory", "4096 8192"),
    "nice": ("0:0", "Max nice priority", "0 0"), "nofile": ("100:200", "Max open files", "100 200"),
    "nproc": ("5000:6000", "Max processes", "5000 6000"), "rtprio": ("0:0", "Max realtime priority", "0 0"),
    "sigpending": ("100:200", "Max pending signals", "100 200"),
}


def proves(*rows):
    PROVED.update(rows)
    return lambda test: test


def on_v1(test):
    return unittest.skipIf(UNIFIED, "cgroup2_test.py shows it for cgroup v2")(test)


def rows_that_work(section):
    text = DOCS.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return {cells[0] for cells in (re.findall(r"`([^`]+)`", line) for line in text.splitlines() if line.endswith("| works |")) if cells}


class KeysTest(DaemonTest):
    driver = "btrfs"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.c = cls.daemon.launch("keys")

    def set(self, *pairs, name=None):
        self.daemon.lxc("config", "set", name or self.c, *pairs)

    def unset(self, *keys):
        for key in keys:
            self.daemon.lxc("config", "unset", self.c, key)

    def refused(self, *pairs):
        done = self.daemon.lxc("config", "set", self.c, *pairs, check=False)
        self.assertNotEqual(done.returncode, 0, pairs)
        return done.stderr

    def group(self, controller, file, name=None):
        controller = "" if UNIFIED else controller
        found = glob.glob(f"/sys/fs/cgroup/{controller}/troupe-*/payload.{name or self.c}/{file}")
        return pathlib.Path(found[0]).read_text().strip() if found else None

    def leader(self, name=None):
        return self.daemon.get(f"/1.0/instances/{name or self.c}/state")["pid"]

    def restart(self):
        self.daemon.lxc("restart", "--force", self.c)

    def inside(self, *command, **more):
        return self.daemon.exec(self.c, *command, **more).stdout.strip()

    def test_every_key_that_works_is_proved(self):
        self.assertEqual(rows_that_work("Keys") - PROVED, set())

    def test_every_refused_key_is_refused_and_says_why(self):
        text = DOCS.read_text().split("## Keys\n")[1].split("\n## ")[0]
        refused = [(re.match(r"\| `([^`]+)`", line)[1], line.split("refused: ")[1].rstrip("| ")) for line in text.splitlines() if "refused: " in line]
        self.assertGreater(len(refused), 30)
        for key, why in refused:
            status, error = self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", {"config": {key.replace("*", "x"): "true"}})
            self.assertEqual((status >= 400, why in error), (True, True), (key, error))

    @proves("limits.memory", "limits.memory.enforce", "limits.memory.swap", "limits.memory.swap.priority", "limits.processes")
    @on_v1
    def test_memory_and_processes_change_live(self):
        self.set("limits.memory=64MiB", "limits.processes=77")
        self.assertEqual((self.group("memory", "memory.limit_in_bytes"), self.group("pids", "pids.max")), (str(64 << 20), "77"))
        self.set("limits.memory=128MiB", "limits.memory.swap=false")
        self.assertEqual([self.group("memory", f"memory.{file}") for file in ("limit_in_bytes", "memsw.limit_in_bytes", "swappiness")],
                         [str(128 << 20), str(128 << 20), "0"])
        self.set("limits.memory=32MiB", "limits.memory.swap=", "limits.memory.swap.priority=5")
        self.assertEqual([self.group("memory", f"memory.{file}") for file in ("limit_in_bytes", "swappiness")], [str(32 << 20), "65"])
        self.set("limits.memory.enforce=soft")
        self.assertEqual(self.group("memory", "memory.soft_limit_in_bytes"), str(32 << 20))
        self.assertGreater(int(self.group("memory", "memory.limit_in_bytes")), 1 << 60)
        self.restart()  # and the same from the start
        self.assertEqual((self.group("memory", "memory.soft_limit_in_bytes"), self.group("pids", "pids.max")), (str(32 << 20), "77"))
        self.unset("limits.memory", "limits.processes", "limits.memory.enforce", "limits.memory.swap.priority")
        self.assertEqual((self.group("pids", "pids.max"), self.group("memory", "memory.swappiness")), ("max", "60"))
        self.assertGreater(int(self.group("memory", "memory.soft_limit_in_bytes")), 1 << 60)

    @proves("limits.cpu", "limits.cpu.allowance", "limits.cpu.priority", "limits.cpu.nodes")
    @on_v1
    def test_cpus_change_live(self):
        every = self.group("cpuset", "cpuset.cpus")
        self.set("limits.cpu=1")
        self.assertRegex(self.group("cpuset", "cpuset.cpus"), r"^\d+$")
        self.set("limits.cpu=0-0", "limits.cpu.nodes=0")
        self.assertEqual((self.group("cpuset", "cpuset.cpus"), self.group("cpuset", "cpuset.mems")), ("0", "0"))
        self.assertIn("Cpus_allowed_list:\t0\n", pathlib.Path(f"/proc/{self.leader()}/status").read_text())
        self.set("limits.cpu.allowance=50%")
        self.assertEqual(self.group("cpu", "cpu.shares"), "512")
        self.set("limits.cpu.allowance=25ms/100ms", "limits.cpu.priority=3")
        self.assertEqual([self.group("cpu", f"cpu.{file}") for file in ("cfs_quota_us", "cfs_period_us", "shares")], ["25000", "100000", "1017"])
        self.assertIn("this host has not", self.refused("limits.cpu=4094-4095"))
        self.unset("limits.cpu", "limits.cpu.allowance", "limits.cpu.priority", "limits.cpu.nodes")
        self.assertEqual([self.group("cpuset", "cpuset.cpus"), self.group("cpu", "cpu.cfs_quota_us"), self.group("cpu", "cpu.shares")], [every, "-1", "1024"])

    @proves("limits.disk.priority", "limits.hugepages.64KB", "limits.hugepages.1MB", "limits.hugepages.2MB", "limits.hugepages.1GB")
    @on_v1
    def test_what_this_kernel_cannot_limit_is_refused_by_name(self):
        for key, value, file in (("limits.disk.priority", "1", "blkio/*weight"), *((f"limits.hugepages.{size}", "1GiB", f"hugetlb.{size}.limit_in_bytes")
                                                                                   for size in ("64KB", "1MB", "2MB", "1GB"))):
            done = self.daemon.lxc("config", "set", self.c, f"{key}={value}", check=False)
            if done.returncode == 0:
                self.assertTrue(self.group("*", file.split("/")[-1]), key)
                self.unset(key)
            else:
                self.assertIn(key, done.stderr)
                self.assertEqual(self.daemon.lxc_out("config", "get", self.c, key), "")

    def test_a_profile_reaches_who_runs(self):
        profile = self.daemon.name("tight")
        self.daemon.lxc("profile", "create", profile)
        self.daemon.lxc("profile", "add", self.c, profile)
        self.daemon.lxc("profile", "set", profile, "limits.processes=55")
        self.assertEqual(self.group("pids", "pids.max"), "55")
        self.daemon.lxc("profile", "device", "add", profile, "scratch", "disk", "source=tmpfs:", "path=/scratch")
        self.assertIn(" /scratch ", self.inside("cat", "/proc/mounts"))
        self.daemon.lxc("profile", "remove", self.c, profile)
        self.assertEqual(self.group("pids", "pids.max"), "max")
        self.assertNotIn(" /scratch ", self.inside("cat", "/proc/mounts"))
        self.daemon.lxc("profile", "delete", profile)

    @proves(*(f"limits.kernel.{name}" for name in RLIMITS), "linux.sysctl.*", "environment.*", "linux.kernel_modules")
    def test_what_counts_at_the_next_start(self):
        module = next(name for name in sorted(os.listdir("/sys/module")) if re.fullmatch(r"[a-z0-9_]+", name))
        self.set(*(f"limits.kernel.{name}={value}" for name, (value, _, _) in RLIMITS.items()), "environment.COLOUR=two words",
                 "linux.sysctl.net.ipv4.ip_forward=1", f"linux.kernel_modules={module}")
        self.assertIn("COLOUR=two words", self.inside("env"))
        self.restart()
        limits = {line[:26].strip(): " ".join(line[26:].split()[:2]) for line in pathlib.Path(f"/proc/{self.leader()}/limits").read_text().splitlines()}
        for name, (_, row, shown) in RLIMITS.items():
            self.assertEqual(limits[row], shown, name)
        self.assertEqual(self.inside("cat", "/proc/sys/net/ipv4/ip_forward"), "1")
        self.assertIn(b"COLOUR=two words\0", pathlib.Path(f"/proc/{self.leader()}/environ").read_bytes())
        self.set("linux.kernel_modules=no_such_module")
        self.daemon.lxc("stop", "--force", self.c)
        self.assertIn("no_such_module", self.daemon.lxc("start", self.c, check=False).stderr)
        self.unset(*(f"limits.kernel.{name}" for name in RLIMITS), "environment.COLOUR", "linux.sysctl.net.ipv4.ip_forward", "linux.kernel_modules")
        self.daemon.lxc("start", self.c)

    @proves("raw.lxc", "raw.seccomp", "security.syscalls.allow", "security.syscalls.deny", "security.syscalls.deny_default")
    def test_system_calls_and_raw_configuration(self):
        may_make = lambda: self.daemon.exec(self.c, "mkdir", "/tmp/made", check=False).returncode == 0 and self.inside("rmdir", "/tmp/made") == ""
        deny = "mkdir errno 1\nmkdirat errno 1"
        self.assertTrue(may_make())
        calls = re.findall(r"#define __NR_(\w+)", pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text())
        some = "\n".join(call for call in calls if call not in ("mkdir", "mkdirat"))
        for key, value in (("security.syscalls.deny", deny), ("raw.seccomp", f"2\ndenylist\n[all]\n{deny}"), ("security.syscalls.allow", some)):
            self.set(f"{key}={value}")
            self.assertTrue(may_make(), key)  # not yet
            self.restart()
            self.assertFalse(may_make(), key)
            self.unset(key)
            self.restart()
        seccomp = lambda: re.search(r"Seccomp:\t(\d)", pathlib.Path(f"/proc/{self.leader()}/status").read_text())[1]
        self.set("security.syscalls.deny_default=false", "raw.lxc=lxc.environment = FROM_RAW=1")
        self.assertEqual(seccomp(), "2")
        self.restart()
        self.assertEqual(seccomp(), "0")
        self.assertIn(b"FROM_RAW=1\0", pathlib.Path(f"/proc/{self.leader()}/environ").read_bytes())
        self.unset("security.syscalls.deny_default", "raw.lxc")
        self.restart()

    @proves("security.privileged", "security.nesting", "security.idmap.isolated", "security.idmap.base", "security.idmap.size")
    def test_ids_and_privileges(self):
        ids = lambda: pathlib.Path(f"/proc/{self.leader()}/uid_map").read_text().split()
        shared = ids()
        for pairs, wanted in (({"security.privileged": "true"}, ["0", "0", "4294967295"]),
                              ({"security.idmap.isolated": "true", "security.idmap.size": "20000", "security.idmap.base": "3000000"}, ["0", "3000000", "20000"])):
            self.set(*(f"{key}={value}" for key, value in pairs.items()))
            self.assertEqual(ids(), shared)
            self.inside("touch", "/root/mine")  # files still are the running one's
            self.daemon.lxc("file", "push", "/etc/hostname", f"{self.c}/root/pushed")
            self.restart()
            self.assertEqual(ids(), wanted)
            self.assertEqual(self.inside("stat", "-c", "%u", "/root/mine", "/root/pushed").split(), ["0", "0"])
            self.unset(*pairs)
            self.restart()
        self.set("security.nesting=true")
        self.restart()
        self.assertIn(" /dev/.lxc/proc ", self.inside("cat", "/proc/mounts"))
        self.unset("security.nesting")

    @proves("raw.idmap")
    def test_ids_that_are_the_hosts_own(self):
        for value in ("both 1000", "both 0 0", "nobody 1 1", "uid 1-5 1-4", "uid 5 5\ngid 5 5\nboth 5 5"):
            self.assertIn("raw.idmap", self.refused(f"raw.idmap={value}"))
        self.set("raw.idmap=both 1234 1000\nuid 50000-50009 500-509")
        folder = self.daemon.home / "ids"
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        self.restart()
        table = pathlib.Path(f"/proc/{self.leader()}/uid_map").read_text().split("\n")
        self.assertIn(["1000", "1234", "1"], [line.split() for line in table])
        self.assertIn(["500", "50000", "10"], [line.split() for line in table])
        self.daemon.lxc("config", "device", "add", self.c, "ids", "disk", f"source={folder}", "path=/ids")
        self.daemon.lxc("exec", self.c, "--user", "1000", "--group", "1000", "--", "touch", "/ids/own")
        self.assertEqual(((folder / "own").stat().st_uid, (folder / "own").stat().st_gid), (1234, 1234))
        self.inside("sh", "-c", "touch /root/of; chown 1000:1000 /root/of; chown 505 /root/of")
        self.assertEqual(self.inside("stat", "-c", "%u:%g", "/root/of"), "505:1000")  # the root's ids follow
        self.inside("touch", "/root/plain")
        self.daemon.lxc("config", "device", "remove", self.c, "ids")
        self.assertIn("privileged", self.refused("security.privileged=true"))
        self.unset("raw.idmap")
        self.restart()
        self.assertEqual(self.inside("stat", "-c", "%u:%g", "/root/of"), "505:1000")  # nothing was rewritten on disk

    @proves("boot.autostart", "boot.autostart.priority", "boot.autostart.delay", "boot.stop.priority", "boot.host_shutdown_timeout")
    def test_waves_at_boot_and_at_shutdown(self):
        first, second, never = (self.daemon.name(word) for word in ("first", "second", "never"))
        self.daemon.lxc("init", "busybox", second, "-c", "boot.autostart=true", "-c", "boot.stop.priority=5", "-c", "boot.host_shutdown_timeout=5")
        self.daemon.lxc("init", "busybox", first, "-c", "boot.autostart=true", "-c", "boot.autostart.priority=10", "-c", "boot.autostart.delay=1")
        self.daemon.lxc("launch", "busybox", never, "-c", "boot.autostart=false")
        self.daemon.stop()
        self.daemon.start()
        runs = lambda name: self.daemon.status(name) == "Running"
        eventually(lambda: runs(first) and runs(second), "both of the waves")
        used = lambda name: self.daemon.get(f"/1.0/instances/{name}")["last_used_at"]
        self.assertLess(used(first), used(second))
        self.daemon.stop(signal.SIGPWR)
        log = (self.daemon.dir / "logs/troupe.log").read_text()
        ends = [log.rindex(f"Instance default/{name}: Stopping -> Stopped") for name in (second, first)]
        self.assertEqual(ends, sorted(ends))
        self.daemon.start()
        eventually(lambda: runs(first) and runs(second) and runs(self.c), "those that ran")
        self.assertEqual(self.daemon.status(never), "Stopped")
        for name in (first, second, never):
            self.daemon.lxc("delete", "--force", name)

    @proves("security.protection.delete", "security.protection.start", "security.protection.shift")
    def test_protection(self):
        name = self.daemon.name("kept")
        self.daemon.lxc("init", "busybox", name, "-c", "security.protection.delete=true", "-c", "security.protection.start=true",
                        "-c", "security.protection.shift=true")
        self.assertIn("protected", self.daemon.lxc("delete", name, check=False).stderr)
        self.assertIn("protected", self.daemon.lxc("start", name, check=False).stderr)
        self.set("security.protection.delete=", "security.protection.start=", name=name)
        self.daemon.lxc("start", name)
        root = self.daemon.dir / "storage-pools/default/containers" / name / "rootfs/root"
        if root.exists():
            self.assertEqual(root.stat().st_uid, 0)  # ids on disk are the guest's own
        self.daemon.lxc("delete", "--force", name)

    @proves("user.*", "image.*", "volatile.*", "cloud-init.user-data", "cloud-init.vendor-data", "cloud-init.network-config", "cluster.evacuate")
    def test_what_is_kept(self):
        pairs = {"user.note": "a\nb; $(id)", "cloud-init.user-data": "#cloud-config\n{}", "cloud-init.vendor-data": "#cloud-config\n",
                 "cloud-init.network-config": "version: 1\n", "cluster.evacuate": "stop"}
        self.set(*(f"{key}={value}" for key, value in pairs.items()))
        config = self.daemon.get(f"/1.0/instances/{self.c}")["config"]
        self.assertEqual({key: config[key] for key in pairs}, pairs)
        self.assertTrue(any(key.startswith("image.") for key in config))
        self.assertIn("volatile.eth0.hwaddr", config)
        self.unset(*pairs)

    def test_values_of_a_shell_and_line_breaks_stay_values(self):
        """What reaches a generated file or a helper is refused or harmless: walks the working keys with hostile values."""
        marker = f"/tmp/{self.daemon.tag}-hacked"
        for key in sorted(rows_that_work("Keys")):
            if key.startswith(("image.", "volatile.")) or key in ("raw.lxc", "raw.seccomp"):
                continue
            for evil in (f"$(touch {marker})", f"x\nlxc.hook.pre-start = /bin/touch {marker}", f"`touch {marker}`", "a\x01b", "a\rb", "x\0y"):
                self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", {"config": {key.replace("*", "evil"): evil}})
        self.daemon.lxc("restart", "--force", self.c, check=False)
        self.assertFalse(os.path.exists(marker))
        config = self.daemon.get(f"/1.0/instances/{self.c}")["config"]
        self.assertFalse([key for key, value in config.items() if "\0" in value or "\x01" in value or "\r" in value])
        clean = {key: "" for key in config if key in ("security.syscalls.deny", "security.syscalls.allow") or key.endswith(".evil") or key.startswith("cloud-init.")}
        self.assertEqual(self.daemon.outcome("PATCH", f"/1.0/instances/{self.c}", {"config": clean})[0], 200)
        self.daemon.lxc("start", self.c, check=False)
        self.assertEqual(self.daemon.status(self.c), "Running")


if __name__ == "__main__":
    unittest.main()
