"""Virtual machines by the stock client: a small one, booted by UEFI with secure boot on, under whatever accelerator the host has."""
import json
import os
import pathlib
import signal
import unittest

from troupe_e2e import DaemonTest, eventually, run

BOOT_SECONDS = 240  # under software emulation, beside other tests


class Machines(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.daemon.troupe("image", "build", "busybox", "--vm")
            cls.vm = cls.daemon.launch("vm", "busybox-vm", "--vm", "-c", "limits.memory=384MiB")
            cls.wait_for_agent(cls.vm)
        except BaseException:
            cls.daemon.close()
            raise

    @classmethod
    def wait_for_agent(cls, name):
        eventually(lambda: cls.daemon.exec(name, "true", check=False).returncode == 0, f"the agent of {name}", BOOT_SECONDS)

    def pid(self, name):
        return self.daemon.get(f"/1.0/instances/{name}/state")["pid"]

    def running(self, name):
        if self.daemon.status(name) != "Running":
            self.daemon.lxc("start", name)
        self.wait_for_agent(name)

    # --- what a user sees

    def test_it_is_listed_like_a_container(self):
        row = self.daemon.lxc_out("list", "-c", "nst4", "-f", "csv", self.vm).split(",")
        self.assertEqual(row[:3], [self.vm, "RUNNING", "VIRTUAL-MACHINE"])
        self.assertIn(self.daemon.address(self.vm, BOOT_SECONDS), self.daemon.lxc_out("list", "-c", "4", "-f", "csv", self.vm))
        self.assertEqual(self.daemon.lxc_out("list", "-c", "n", "-f", "csv", "type=container"), "")
        info = self.daemon.lxc_out("info", self.vm)
        self.assertIn("Type: virtual-machine", info)
        self.assertIn("lxc | qemu", json.dumps(self.daemon.get("/1.0")["environment"]["driver"]))

    def test_commands(self):
        self.assertEqual(self.daemon.exec(self.vm, "sh", "-c", "echo out; echo err >&2; exit 7", check=False).returncode, 7)
        done = self.daemon.exec(self.vm, "cat", stdin="through\nand back")
        self.assertEqual(done.stdout, "through\nand back")
        self.assertEqual(self.daemon.exec(self.vm, "hostname").stdout.strip(), self.vm)
        self.assertEqual(self.daemon.exec(self.vm, "sh", "-c", "echo $WORD", check=True).stdout.strip(), "")
        self.assertEqual(run("lxc", "exec", self.vm, "--env", "WORD=said", "--", "sh", "-c", "echo $WORD", env=self.daemon.env).stdout.strip(), "said")

    def test_it_booted_securely(self):
        said = self.daemon.exec(self.vm, "dmesg").stdout
        self.assertIn("Secure boot enabled", said)
        uuid = self.daemon.lxc_out("config", "get", self.vm, "volatile.uuid")
        self.assertEqual(self.daemon.exec(self.vm, "cat", "/sys/class/dmi/id/product_uuid").stdout.strip().lower(), uuid)

    def test_files(self):
        here = self.daemon.home / "pushed"
        here.write_bytes(os.urandom(300_000))
        self.daemon.lxc("file", "push", "--mode=0640", here, f"{self.vm}/root/deep/file", "-p")
        back = self.daemon.home / "pulled"
        self.daemon.lxc("file", "pull", f"{self.vm}/root/deep/file", back)
        self.assertEqual(here.read_bytes(), back.read_bytes())
        self.assertEqual(self.daemon.exec(self.vm, "stat", "-c", "%a", "/root/deep/file").stdout.strip(), "640")
        self.daemon.lxc("file", "delete", f"{self.vm}/root/deep/file")
        self.assertNotEqual(self.daemon.lxc("file", "pull", f"{self.vm}/root/deep/file", back, check=False).returncode, 0)

    def test_its_console_was_kept(self):
        log = eventually(lambda: self.daemon.lxc_out("console", "--show-log", self.vm), "something said", BOOT_SECONDS)
        self.assertIn("ready after", log)

    def test_what_it_must_not_have_is_refused(self):
        for key, value in (("security.privileged", "true"), ("raw.lxc", "x"), ("limits.processes", "5")):
            said = self.daemon.lxc("config", "set", self.vm, key, value, check=False)
            self.assertIn("containers only", said.stderr, key)
        said = self.daemon.lxc("init", "busybox", self.daemon.name("not"), "-c", "security.secureboot=false", check=False)
        self.assertIn("virtual machines only", said.stderr)
        said = self.daemon.lxc("config", "device", "add", self.vm, "d", "disk", "source=/tmp", "path=/x", "shift=true", check=False)
        self.assertIn("containers only", said.stderr)
        said = self.daemon.lxc("init", "busybox", self.daemon.name("not"), "--vm", check=False)
        self.assertIn("image is of type container", said.stderr)

    def test_qemu_holds_nothing(self):
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{self.pid(self.vm)}/status").read_text().splitlines() if ":\t" in line)
        self.assertEqual([int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd", "CapInh")], [0] * 4)
        self.assertNotIn("0", status["Uid"].split())
        self.assertEqual((status["NoNewPrivs"].strip(), status["Seccomp"].strip()), ("1", "2"))

    def test_devices_come_and_go(self):
        disk = self.daemon.home / "disk.img"
        with open(disk, "wb") as file:
            file.truncate(100 << 20)
        self.daemon.lxc("config", "device", "add", self.vm, "more", "disk", f"source={disk}")
        inside = lambda: self.daemon.exec(self.vm, "cat", "/proc/partitions").stdout
        eventually(lambda: "102400 sd" in inside(), "the disk inside")
        self.daemon.lxc("config", "device", "set", self.vm, "more", "limits.read=10MB")
        self.daemon.lxc("config", "device", "add", self.vm, "eth1", "nic", f"network={self.daemon.bridge}")
        self.daemon.note_cards()
        cards = lambda: self.daemon.exec(self.vm, "ls", "/sys/class/net").stdout.split()
        eventually(lambda: "eth1" in cards(), "the card inside")
        fast = self.daemon.home / "fast.img"
        with open(fast, "wb") as file:
            file.truncate(50 << 20)
        self.daemon.lxc("config", "device", "add", self.vm, "fast", "disk", f"source={fast}", "io.bus=virtio-blk", "io.cache=writeback", "readonly=true")
        eventually(lambda: "51200 vda" in inside(), "the fast disk inside")
        self.assertEqual(self.daemon.exec(self.vm, "cat", "/sys/block/vda/ro").stdout.strip(), "1")
        self.daemon.lxc("config", "device", "remove", self.vm, "fast")
        self.daemon.lxc("config", "device", "remove", self.vm, "eth1")
        self.daemon.lxc("config", "device", "remove", self.vm, "more")
        eventually(lambda: "102400 sd" not in inside() and "eth1" not in cards(), "the end of both")
        self.daemon.lxc("config", "set", self.vm, "limits.memory=256MiB")
        for key, value in (("limits.memory", "1GiB"), ("limits.cpu", "2")):
            refused = self.daemon.lxc("config", "set", self.vm, key, value, check=False)
            self.assertNotEqual((refused.returncode, self.daemon.lxc_out("config", "get", self.vm, key)), (0, value), key)
        self.daemon.lxc("config", "set", self.vm, "limits.memory=384MiB")

    def test_its_screen(self):
        status, picture = self.daemon.request("GET", f"/1.0/instances/{self.vm}/console?type=vga")
        self.assertEqual(status, 200)
        self.assertTrue(picture.startswith(b"\x89PNG"))
        self.assertGreater(len(picture), 500)
        _, begun = self.daemon.request("POST", f"/1.0/instances/{self.vm}/console", {"type": "vga"})
        self.assertEqual(set(begun["metadata"]["metadata"]["fds"]), {"0", "control"})
        self.daemon.request("DELETE", begun["operation"])
        busybox = self.daemon.launch("none")
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{busybox}/console?type=vga")[0], 400)
        self.daemon.lxc("delete", "-f", busybox)

    # --- its life

    def test_pause(self):
        self.daemon.lxc("pause", self.vm)
        self.assertEqual(self.daemon.status(self.vm), "Frozen")
        self.daemon.lxc("start", self.vm)
        self.wait_for_agent(self.vm)

    def test_the_daemon_may_die(self):
        self.daemon.exec(self.vm, "sh", "-c", "echo kept >/run/word")
        before = self.pid(self.vm)
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.assertEqual((self.pid(self.vm), self.daemon.status(self.vm)), (before, "Running"))
        self.wait_for_agent(self.vm)
        self.assertEqual(self.daemon.exec(self.vm, "cat", "/run/word").stdout.strip(), "kept")

    def test_y_disks_and_snapshots(self):
        self.running(self.vm)
        self.daemon.exec(self.vm, "sh", "-c", "echo first >/boot/word; sync")
        self.daemon.lxc("stop", self.vm)
        self.daemon.lxc("snapshot", self.vm, "one")
        root = self.daemon.get(f"/1.0/instances/{self.vm}")["expanded_devices"]["root"]
        self.daemon.lxc("config", "device", "override", self.vm, "root", "size=11GiB")
        self.assertEqual(root.get("size"), None)
        refused = self.daemon.lxc("config", "device", "set", self.vm, "root", "size=1GiB", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.daemon.lxc("start", self.vm)
        self.wait_for_agent(self.vm)
        self.assertEqual(int(self.daemon.exec(self.vm, "cat", "/sys/block/sda/size").stdout) * 512, 11 << 30)
        self.daemon.exec(self.vm, "sh", "-c", "echo second >/boot/word; sync")
        self.daemon.lxc("restore", self.vm, "one")  # it runs
        self.wait_for_agent(self.vm)
        self.assertEqual(self.daemon.exec(self.vm, "cat", "/boot/word").stdout.strip(), "first")
        copy = self.daemon.name("copy")
        self.daemon.lxc("copy", f"{self.vm}/one", copy)
        self.assertEqual(self.daemon.get(f"/1.0/instances/{copy}")["type"], "virtual-machine")
        self.daemon.lxc("rename", copy, copy + "2")
        self.daemon.lxc("delete", copy + "2")

    def test_z_qemu_may_die(self):
        self.running(self.vm)
        os.kill(self.pid(self.vm), signal.SIGKILL)
        eventually(lambda: self.daemon.status(self.vm) == "Stopped", "its end")
        told = self.daemon.troupe("history", f"instance/default/{self.vm}").stdout
        self.assertIn("instance-shutdown", told)
        self.daemon.lxc("start", self.vm)
        os.kill(self.pid(self.vm), signal.SIGSTOP)
        self.daemon.lxc("stop", "-f", self.vm)
        self.assertEqual(self.daemon.status(self.vm), "Stopped")
        empty = self.daemon.name("empty")
        self.daemon.lxc("init", "--empty", "--vm", empty, "-c", "security.secureboot=false")
        disk = self.daemon.home / "boot.iso"
        disk.write_bytes(bytes(1 << 20))
        self.daemon.lxc("config", "device", "add", empty, "first", "disk", f"source={disk}", "boot.priority=10")
        self.daemon.lxc("start", empty)
        words = pathlib.Path(f"/proc/{self.pid(empty)}/cmdline").read_bytes().decode().split("\0")
        drives = {each["id"]: each for each in (json.loads(word) for word in words if word.startswith("{")) if "bootindex" in each}
        self.assertLess(drives["dev-first"]["bootindex"], drives["dev-root"]["bootindex"])
        self.assertEqual(drives["dev-first"]["driver"], "scsi-cd")
        self.assertNotIn("smm=on", " ".join(words))
        self.daemon.lxc("delete", "-f", empty)


if __name__ == "__main__":
    unittest.main(verbosity=2)
