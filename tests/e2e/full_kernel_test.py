"""Tests that the kernel at hand cannot run, in a virtual machine with Debian's whole kernel: cgroup v2 alone, VLANs, ipvlan, TPMs, AppArmor.

Only if TROUPE_FULL_KERNEL names a folder. The machine's disk (1 GB) is kept there and made the first time, from Debian's packages, in
some five minutes. Software emulates the processor, so it takes ten minutes on two cores, and the figures say nothing about speed."""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from troupe_e2e import BIN, run

KEPT = os.environ.get("TROUPE_FULL_KERNEL")
SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = ("mmdebstrap", "qemu-system-x86_64", "mke2fs")
BUILD_SECONDS, RUN_SECONDS = 1500, 2400
TESTS = {
    "cgroup2_test.py": (),
    "keys_test.py": ("KeysTest.test_what_counts_at_the_next_start", "KeysTest.test_a_profile_reaches_who_runs"),
    "devices_test.py": ("DevicesTest.test_vlans_of_a_bridge", "DevicesTest.test_cards_on_vlans_of_a_link", "DevicesTest.test_a_shared_link",
                        "DevicesTest.test_a_tpm", "DevicesTest.test_nodes_of_the_host"),
}
# What trouped and the tests need beside the libraries that it is linked to.
PACKAGES = ("linux-image-amd64 kmod iproute2 python3 nftables libnftables1 dnsmasq-base lxd-client busybox-static uidmap squashfs-tools btrfs-progs "
            "e2fsprogs util-linux mount procps iputils-ping swtpm apparmor ca-certificates initramfs-tools zstd").split()
MODULES = ("8021q ipvlan macvlan tpm_vtpm_proxy loop tun bridge veth dummy nf_tables nft_chain_nat nft_masq nft_limit sch_tbf overlay btrfs fuse "
           "configfs af_packet").split()
# Process 1 of the machine: mounts what a distribution would, runs the tests, says how they went, and switches off.
INIT = r"""#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb TROUPE_COMMAND_SECONDS=400 LC_ALL=C.UTF-8
mount -t proc proc /proc; mount -t sysfs sys /sys; mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup; mount -t securityfs securityfs /sys/kernel/security
mkdir /sys/fs/cgroup/machine; echo $$ > /sys/fs/cgroup/machine/cgroup.procs
for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo +$c > /sys/fs/cgroup/cgroup.subtree_control; done
mount --make-rshared /; ulimit -n 4096; modprobe -a MODULES; ip link set lo up; hostname full-kernel
mount /dev/vdc /var/tmp; chmod 1777 /var/tmp
cd /troupe/tests/e2e; failed=0
while read -r line; do echo "--- $line"; python3 $line </dev/null || failed=1; done < /troupe/tests/e2e/full_kernel.list
echo "@@ failed=$failed @@"; sync; echo o > /proc/sysrq-trigger; sleep 60
"""


def libraries():
    """The packages of what our programs are linked to."""
    files = set()
    for program in BIN.glob("troupe*"):
        files |= {line.split()[2] for line in run("ldd", program, check=False).stdout.splitlines() if "=> /" in line}
    found = set()
    for file in files:
        for name in (os.path.realpath(file), file, os.path.realpath(file).removeprefix("/usr")):
            done = run("dpkg", "-S", name, check=False)
            if done.returncode == 0:
                found.add(done.stdout.split(":")[0])
                break
    return sorted(found)


@unittest.skipUnless(KEPT, "TROUPE_FULL_KERNEL names no folder for the machine")
class FullKernelTest(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)):
            self.skipTest(f"needs root and {', '.join(PROGRAMS)}")
        self.kept = pathlib.Path(KEPT)
        self.kept.mkdir(parents=True, exist_ok=True)
        self.work = self.kept / f"run-{os.getpid()}"
        self.work.mkdir()
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def disk(self, name, size, tree=None):
        path = self.work / name
        run("mke2fs", "-q", "-F", "-t", "ext4", *(("-d", tree) if tree else ()), path, size, timeout=BUILD_SECONDS)
        return path

    def machine(self):
        """The machine's disk, kernel and initial ram disk."""
        files = [self.kept / name for name in ("root.img", "vmlinuz", "initrd.img")]
        if not all(map(pathlib.Path.exists, files)):
            tree = self.work / "root"
            done = run("mmdebstrap", "--variant=minbase", "--include=" + ",".join([*PACKAGES, *libraries()]), "--aptopt=Apt::Install-Recommends \"false\"",
                       "--essential-hook=mkdir -p $1/etc/initramfs-tools/conf.d; echo MODULES=most > $1/etc/initramfs-tools/conf.d/full", "bookworm", tree,
                       check=False, timeout=BUILD_SECONDS)
            if done.returncode != 0:
                self.skipTest(f"the machine could not be made: {done.stderr[-500:]}")
            for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd.img", "initrd.img-*")):
                shutil.copy(next((tree / "boot").glob(pattern)), self.work / name)
            for name in ("subuid", "subgid"):
                (tree / "etc" / name).write_text("root:1000000:1000000000\n")
            (tree / "etc/fstab").write_text("")
            (tree / "troupe").mkdir()
            (tree / "sbin/begin").write_text("#!/bin/bash\nmount /dev/vdb /troupe && exec /troupe/init\n")
            (tree / "sbin/begin").chmod(0o755)
            self.disk("root.img", "2G", tree)
            for file in files:
                (self.work / file.name).rename(file)
            shutil.rmtree(tree, ignore_errors=True)
        return files

    def share(self):
        """What is tested, as a disk."""
        tree = self.work / "share"
        shutil.copytree(SOURCE / "tests/e2e", tree / "tests/e2e", ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        shutil.copytree(SOURCE / "docs", tree / "docs")
        (tree / "build/release/bin").mkdir(parents=True)
        for program in BIN.glob("troupe*"):
            shutil.copy(program, tree / "build/release/bin")
        (tree / "tests/e2e/full_kernel.list").write_text("".join(f"{' '.join([file, *tests])}\n" for file, tests in TESTS.items()))
        (tree / "init").write_text(INIT.replace("MODULES", " ".join(MODULES)))
        (tree / "init").chmod(0o755)
        return self.disk("share.img", "512M", tree)

    def test_what_the_kernel_at_hand_cannot(self):
        root, kernel, initrd = self.machine()
        drives = []
        # Nothing is written to the kept disk.
        for file, snapshot in ((root, "on"), (self.share(), "on"), (self.disk("var.img", "6G"), "off")):
            drives += ["-drive", f"file={file},if=virtio,format=raw,cache=unsafe,snapshot={snapshot}"]
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max", "-M", "q35", "-smp", "2", "-m", "3072", "-nodefaults",
                   "-display", "none", "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd), *drives, "-device", "virtio-rng-pci", "-serial", "stdio",
                   "-append", "root=/dev/vda rw console=ttyS0 mitigations=off quiet loglevel=3 random.trust_cpu=on apparmor=1 security=apparmor "
                              "tsc=reliable no_timer_check net.ifnames=0 init=/sbin/begin"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(self.work)}) as machine:
            try:
                told = machine.communicate(timeout=RUN_SECONDS)[0].decode(errors="replace")
            except subprocess.TimeoutExpired:
                machine.kill()
                told = machine.communicate()[0].decode(errors="replace") + "\nit was ended"
        sys.stderr.write(told[-20000:])
        self.assertIn("@@ failed=0 @@", told)


if __name__ == "__main__":
    unittest.main(verbosity=2)
