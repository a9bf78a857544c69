"""What hosts with cgroup v2 alone do otherwise: limits, device rules, freezing and figures, by their effect on a real container.
keys_test.py and devices_test.py show the same for v1; here for the kernel of full_kernel_test.py."""

import glob
import os
import pathlib
import unittest

from troupe_e2e import UNIFIED, DaemonTest, run


@unittest.skipUnless(UNIFIED, "this host has no pure cgroup v2")
class UnifiedTest(DaemonTest):
    driver = "btrfs"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.c = cls.daemon.launch("unified")

    def set(self, *pairs):
        self.daemon.lxc("config", "set", self.c, *pairs)

    def group(self, file):
        return pathlib.Path(glob.glob(f"/sys/fs/cgroup/**/troupe-*/payload.{self.c}/{file}", recursive=True)[0]).read_text().strip()

    def leader(self):
        return self.daemon.get(f"/1.0/instances/{self.c}/state")["pid"]

    def inside(self, *command, **more):
        return self.daemon.exec(self.c, *command, **more).stdout.strip()

    def succeeds(self, *command):
        return self.daemon.exec(self.c, *command, check=False).returncode == 0

    def test_memory_and_processes_change_live(self):
        self.set("limits.memory=64MiB", "limits.processes=77")
        self.assertEqual((self.group("memory.max"), self.group("pids.max")), (str(64 << 20), "77"))
        self.set("limits.memory=32MiB", "limits.memory.swap=false")
        self.assertEqual((self.group("memory.max"), self.group("memory.swap.max")), (str(32 << 20), "0"))
        self.assertFalse(self.succeeds("dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1"))  # more than it gets
        self.set("limits.memory.enforce=soft")
        self.assertEqual((self.group("memory.max"), self.group("memory.high")), ("max", str(32 << 20)))
        self.daemon.lxc("restart", "--force", self.c)  # and the same from the start
        self.assertEqual((self.group("memory.high"), self.group("pids.max")), (str(32 << 20), "77"))
        self.set("limits.memory=", "limits.memory.enforce=", "limits.memory.swap=", "limits.processes=12")
        self.assertEqual((self.group("memory.high"), self.group("memory.swap.max")), ("max", "max"))
        many = self.daemon.exec(self.c, "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 a b c d e f; do sleep 5 & done; wait", check=False)
        self.assertIn("fork", many.stderr)
        self.set("limits.processes=")
        self.assertEqual(self.group("pids.max"), "max")

    def test_cpus_change_live(self):
        every = self.group("cpuset.cpus.effective")
        self.set("limits.cpu=0-0", "limits.cpu.nodes=0")
        self.assertEqual((self.group("cpuset.cpus"), self.group("cpuset.mems")), ("0", "0"))
        self.assertIn("Cpus_allowed_list:\t0\n", pathlib.Path(f"/proc/{self.leader()}/status").read_text())
        self.set("limits.cpu.allowance=50%")
        self.assertEqual(self.group("cpu.weight"), "50")
        self.set("limits.cpu.allowance=25ms/100ms")
        self.assertEqual((self.group("cpu.max"), self.group("cpu.weight")), ("25000 100000", "100"))
        self.set("limits.cpu=", "limits.cpu.nodes=", "limits.cpu.allowance=")
        self.assertEqual([self.group(f) for f in ("cpuset.cpus.effective", "cpu.max")], [every, "max 100000"])

    def test_disks_change_live(self):
        self.set("limits.disk.priority=2")
        self.assertEqual(self.group("io.weight"), "default 200")
        self.set("limits.disk.priority=")
        self.assertEqual(self.group("io.weight"), "default 100")
        self.daemon.lxc("config", "device", "override", self.c, "root", "limits.read=10MB", "limits.write=50iops")
        self.assertRegex(self.group("io.max"), r"^\d+:\d+ rbps=10000000 wbps=max riops=max wiops=50$")
        self.daemon.lxc("restart", "--force", self.c)
        self.assertRegex(self.group("io.max"), r"rbps=10000000 .* wiops=50$")
        self.daemon.lxc("config", "device", "remove", self.c, "root")
        self.assertEqual(self.group("io.max"), "")

    def test_huge_pages(self):
        self.set("limits.hugepages.2MB=8MiB")
        self.assertEqual(self.group("hugetlb.2MB.max"), str(8 << 20))
        self.set("limits.hugepages.2MB=")
        self.assertEqual(self.group("hugetlb.2MB.max"), "max")

    def test_devices_are_ruled_by_programs(self):
        """The rules of v2 are a program that nobody can read: what opens, and what does not, tells."""
        opens = lambda node: self.succeeds("sh", "-c", f": < {node}")
        add = lambda name, *options: self.daemon.lxc("config", "device", "add", self.c, name, *options)
        self.set("security.privileged=true")  # it can make nodes of its own
        self.daemon.lxc("restart", "--force", self.c)
        self.inside("mknod", "/root/control", "c", "10", "237")
        self.inside("mknod", "/root/null", "c", "1", "3")
        self.assertEqual((opens("/root/null"), opens("/root/control")), (True, False))
        add("n1", "unix-char", "source=/dev/loop-control", "path=/dev/control")
        self.assertEqual((opens("/root/null"), opens("/root/control"), opens("/dev/control")), (True, True, True))
        add("n2", "unix-block", "path=/dev/loop6")
        self.assertTrue(opens("/dev/loop6"))
        self.daemon.lxc("restart", "--force", self.c)
        self.assertEqual((opens("/root/control"), opens("/dev/loop6")), (True, True))
        self.daemon.lxc("config", "device", "remove", self.c, "n1")
        self.assertEqual((opens("/root/null"), opens("/root/control"), opens("/dev/loop6")), (True, False, True))
        self.daemon.lxc("config", "device", "remove", self.c, "n2")
        self.set("security.privileged=")
        self.inside("rm", "/root/control", "/root/null")
        self.daemon.lxc("restart", "--force", self.c)

    def test_freezing(self):
        self.daemon.lxc("pause", self.c)
        self.assertIn("frozen 1", self.group("cgroup.events"))
        self.assertEqual(self.daemon.status(self.c), "Frozen")
        self.daemon.lxc("start", self.c)
        self.assertIn("frozen 0", self.group("cgroup.events"))

    def test_figures(self):
        state = self.daemon.get(f"/1.0/instances/{self.c}/state")
        self.assertGreater(state["processes"], 0)
        self.assertGreater(state["cpu"]["usage"], 0)
        self.assertGreater(state["memory"]["usage"], 0)
        self.assertGreaterEqual(int(self.group("pids.current")), 1)
        text = self.daemon.request("GET", "/1.0/metrics")[1].decode()
        for name in ("lxd_cpu_seconds_total", "lxd_memory_RSS_bytes", "lxd_memory_MemTotal_bytes", "lxd_procs_total"):
            self.assertRegex(text, rf'{name}{{[^}}]*name="{self.c}"[^}}]*}} [0-9.e+]*[1-9]')

    def test_limits_are_raised(self):
        """Where root may: above what the daemon itself has."""
        self.set("limits.kernel.nofile=1000000", "limits.kernel.memlock=unlimited")
        self.daemon.lxc("restart", "--force", self.c)
        limits = {line[:26].strip(): line[26:].split()[:2] for line in pathlib.Path(f"/proc/{self.leader()}/limits").read_text().splitlines()}
        self.assertEqual((limits["Max open files"], limits["Max locked memory"]), (["1000000"] * 2, ["unlimited"] * 2))
        self.set("limits.kernel.nofile=", "limits.kernel.memlock=")
        self.daemon.lxc("restart", "--force", self.c)


if __name__ == "__main__":
    unittest.main()
