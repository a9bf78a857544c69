"""System calls that are done for containers (security.syscalls.intercept.*), from inside: what is allowed works, and whatever is not goes
the kernel's way. The process that does them outlives the daemon, and another takes its place."""

import os
import pathlib
import shutil
import signal
import unittest

from troupe_e2e import DaemonTest, _command_line, _processes, eventually, run

PROBE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static int tell(long done) { puts(done == 0 ? "done" : strerrorname_np(errno)); return 0; }

int main(int argc, char** argv) {
  while (argc > 1 && argv[1][0] == '-') {
    if (!strcmp(argv[1], "-user") && (setgroups(0, 0) || setgid(1000) || setuid(1000))) return tell(-1);
    if (!strcmp(argv[1], "-nested") && unshare(CLONE_NEWUSER)) return tell(-1);
    if (!strcmp(argv[1], "-umask")) umask(077);
    ++argv, --argc;
  }
  if (!strcmp(argv[1], "mknod") || !strcmp(argv[1], "mknodat")) {
    mode_t mode = (argv[3][0] == 'b' ? S_IFBLK : S_IFCHR) | 0666;
    dev_t dev = makedev(atoi(argv[4]), atoi(argv[5]));
#ifdef SYS_mknod
    if (argv[1][5] == 0) return tell(syscall(SYS_mknod, argv[2], mode, dev));
#endif
    return tell(syscall(SYS_mknodat, argc > 6 ? open(argv[6], O_PATH | O_DIRECTORY) : AT_FDCWD, argv[2], mode, dev));
  }
  if (!strcmp(argv[1], "mknod-nowhere")) return tell(syscall(SYS_mknodat, AT_FDCWD, (char*)8, S_IFCHR | 0666, makedev(1, 3)));
  if (!strcmp(argv[1], "setxattr")) return tell(setxattr(argv[2], argv[3], argv[4], strlen(argv[4]), 0));
  struct sysinfo s;
  if (sysinfo(&s)) return tell(-1);
  printf("%llu %d %ld\n", (unsigned long long)s.totalram * s.mem_unit, s.procs, s.uptime);
  return 0;
}
"""


class SyscallsTest(DaemonTest):
    driver = "btrfs"

    @classmethod
    def setUpClass(cls):
        if not shutil.which("cc"):
            raise unittest.SkipTest("no C compiler")
        super().setUpClass()
        program = cls.daemon.home / "probe"
        run("cc", "-static", "-x", "c", "-", "-o", program, stdin=PROBE)
        cls.c = cls.daemon.launch("calls")
        cls.daemon.lxc("file", "push", program, f"{cls.c}/bin/probe", "--mode", "755")

    def set(self, *calls):
        keys = [f"security.syscalls.intercept.{call}={'true' if call in calls else ''}" for call in ("mknod", "setxattr", "sysinfo")]
        self.daemon.lxc("config", "set", self.c, *keys)
        self.daemon.lxc("restart", "-f", self.c)

    def probe(self, *words):
        done = self.daemon.exec(self.c, "probe", *words, check=False)
        return (done.stdout + done.stderr).strip()

    def inside(self, *command):
        return self.daemon.exec(self.c, *command, check=False).stdout.strip()

    def test_mknod(self):
        self.set()
        self.assertEqual(self.probe("mknod", "/root/null", "c", "1", "3"), "EPERM")
        self.set("mknod")
        for call in ("mknod", "mknodat"):
            self.assertEqual(self.probe(call, f"/root/{call}", "c", "1", "3"), "done")
            self.assertEqual(self.inside("sh", "-c", f"echo x >/root/{call} && stat -c '%t:%T %a %u %g' /root/{call}"), "1:3 644 0 0")
        self.assertEqual(self.probe("mknod", "/root/mknod", "c", "1", "3"), "EEXIST")
        self.assertEqual(self.probe("mknod", "/no/such/folder", "c", "1", "3"), "ENOENT")
        self.assertEqual(self.probe("mknod-nowhere"), "EFAULT")
        self.assertEqual(self.probe("mknod", "/root/whiteout", "c", "0", "0"), "done")
        self.assertEqual(self.probe("-umask", "mknod", "/root/masked", "c", "1", "5"), "done")
        self.assertEqual(self.inside("stat", "-c", "%a", "/root/masked"), "600")
        self.inside("mkdir", "/root/folder")
        self.assertEqual(self.probe("mknodat", "below", "c", "1", "5", "/root/folder"), "done")
        self.assertEqual(self.inside("ls", "/root/folder"), "below")
        # Others than the harmless ones, and other callers, have the rights they have.
        for kind, major, minor in (("c", "1", "1"), ("c", "10", "229"), ("b", "8", "0"), ("b", "7", "0"), ("b", "1", "3")):
            self.assertEqual(self.probe("mknod", "/root/evil", kind, major, minor), "EPERM", (kind, major, minor))
        self.assertEqual(self.probe("-user", "mknod", "/tmp/user", "c", "1", "3"), "EPERM")
        self.assertEqual(self.probe("-nested", "mknod", "/tmp/nested", "c", "1", "3"), "EPERM")
        # Paths are walked as the caller, in its own tree.
        self.inside("sh", "-c", "mkdir -p /root/of-user && chown 1000 /root/of-user && chmod 700 /root/of-user && ln -s /proc/1/root/root /root/magic")
        self.assertEqual(self.probe("mknod", "/root/magic/x", "c", "1", "3"), "ELOOP")
        outside = pathlib.Path(f"/tmp/{self.daemon.tag}-node")
        self.assertEqual(self.probe("mknod", f"/../../../../../..{outside}", "c", "1", "3"), "done")
        self.assertFalse(outside.exists())
        self.assertEqual(self.inside("ls", str(outside)), str(outside))

    def test_setxattr(self):
        self.set("setxattr")
        self.inside("mkdir", "-p", "/root/opaque")
        name = "trusted.overlay.opaque"
        self.assertEqual(self.probe("setxattr", "/root/opaque", name, "y"), "done")
        volume = self.daemon.dir / "storage-pools/default/containers" / self.c / "rootfs/root/opaque"
        self.assertEqual(os.getxattr(volume, name), b"y")
        for path, other, value in (("/root/opaque", "trusted.other", "y"), ("/root/opaque", name, "n"), ("/root/opaque", name, "yy")):
            self.assertEqual(self.probe("setxattr", path, other, value), "EPERM", (path, other, value))
        self.assertEqual(self.probe("setxattr", "/proc/sys", name, "y") in ("EPERM", "EOPNOTSUPP"), True)  # the host's
        self.assertEqual(self.probe("setxattr", "/root/opaque", "user.note", "y"), "done")  # as ever
        self.inside("mkdir", "-m", "777", "/tmp/opaque")
        self.assertEqual(self.probe("-user", "setxattr", "/tmp/opaque", name, "y"), "EPERM")

    def test_sysinfo(self):
        self.daemon.lxc("config", "set", self.c, "limits.memory=128MiB")
        self.set()
        self.assertGreater(int(self.probe("sysinfo").split()[0]), 128 << 20)
        self.set("sysinfo")
        total, processes, uptime = map(int, self.probe("sysinfo").split())
        self.assertEqual(total, 128 << 20)
        self.assertLess(processes, 20)
        self.assertLess(uptime, 600)
        self.daemon.lxc("config", "unset", self.c, "limits.memory")
        self.assertEqual(int(self.probe("sysinfo").split()[0]), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    def test_mount(self):
        keys = lambda *pairs: self.daemon.lxc("config", "set", self.c, *(f"security.syscalls.intercept.mount{pair}" for pair in pairs))
        mounts = lambda *words: (lambda done: done.returncode == 0 or done.stderr.strip())(self.daemon.exec(self.c, "mount", *words, check=False))
        source = self.daemon.home / "disk-tree"
        (source / "folder").mkdir(parents=True)
        (source / "file").write_text("on the disk")
        loops = []
        for word in ("given", "kept"):
            run("mke2fs", "-q", "-t", "ext4", "-d", source, self.daemon.home / word, "16M")
            loops.append(run("losetup", "-f", "--show", self.daemon.home / word).stdout.strip())
            self.addCleanup(run, "losetup", "-d", loops[-1])
        given, kept = loops
        self.addCleanup(self.daemon.lxc, "restart", "-f", self.c)
        self.daemon.lxc("config", "device", "add", self.c, "disk", "unix-block", f"source={given}", "path=/dev/given")
        self.addCleanup(self.daemon.lxc, "config", "device", "remove", self.c, "disk")
        self.set()
        ext4 = ("-t", "ext4", "/dev/given", "/mnt")
        self.inside("mkdir", "-p", "/mnt", "/tmp/bound")
        self.assertNotEqual(mounts(*ext4), True)  # the kernel's word
        keys("=true", ".allowed=ext4,proc", ".shift=true")
        self.addCleanup(keys, "=", ".allowed=", ".shift=")
        self.daemon.lxc("restart", "-f", self.c)
        self.assertEqual(mounts(*ext4), True)
        self.assertEqual(self.inside("cat", "/mnt/file"), "on the disk")
        self.inside("touch", "/mnt/folder/mine")
        self.assertEqual(self.inside("stat", "-c", "%u", "/mnt/file", "/mnt/folder/mine").split(), ["0", "0"])
        self.assertRegex(self.inside("grep", " /mnt ", "/proc/mounts"), r"^/dev/given /mnt ext4 rw,.*nodev")
        self.inside("umount", "/mnt")
        self.assertEqual(mounts("-o", "ro,noexec", *ext4), True)
        self.assertRegex(self.inside("grep", " /mnt ", "/proc/mounts"), r"^/dev/given /mnt ext4 ro,.*noexec")
        self.inside("umount", "/mnt")
        # All else goes the kernel's way, which is that of before.
        self.assertNotEqual(mounts("-t", "ext3", "/dev/given", "/mnt"), True)
        self.assertNotEqual(mounts("-o", f"journal_path={kept}", *ext4), True)
        self.assertNotEqual(mounts("-t", "ext4", "/root", "/mnt"), True)
        self.assertNotEqual(mounts("-t", "ext4", "/dev/nothing", "/mnt"), True)
        self.assertEqual(mounts("-t", "tmpfs", "none", "/mnt"), True)
        self.assertEqual(mounts("-o", "bind", "/tmp", "/tmp/bound"), True)
        self.inside("umount", "/mnt", "/tmp/bound")
        self.daemon.lxc("exec", self.c, "--user", "1000", "--", "sh", "-c", "! mount -t ext4 /dev/given /mnt")
        # A disk that it was not given, though it sees a node for it.
        stranger = os.stat(kept).st_rdev
        folder = self.daemon.home / "nodes"
        folder.mkdir(mode=0o777)
        os.mknod(folder / "kept", 0o60666, stranger)
        os.chmod(folder / "kept", 0o666)
        self.daemon.lxc("config", "device", "add", self.c, "nodes", "disk", f"source={folder}", "path=/nodes")
        self.addCleanup(self.daemon.lxc, "config", "device", "remove", self.c, "nodes")
        self.assertNotEqual(mounts("-t", "ext4", "/nodes/kept", "/mnt"), True)
        self.assertNotIn(" /mnt ", self.inside("cat", "/proc/mounts"))
        keys(".shift=")
        self.daemon.lxc("restart", "-f", self.c)
        self.assertEqual(mounts(*ext4), True)
        self.assertEqual(self.inside("stat", "-c", "%u", "/mnt/file"), "65534")

    def handlers(self):
        return [pid for pid in _processes() if _command_line(pid).split("\0")[0].endswith("/troupe-syscalls")]

    def test_who_does_them_outlives_the_daemon_and_is_replaced(self):
        before = set(self.handlers())
        self.set("mknod")
        ours = eventually(lambda: set(self.handlers()) - before, "the process that does them")
        self.daemon.stop(signal.SIGKILL)
        pid = next(iter(ours))
        os.kill(pid, 0)
        self.daemon.start()
        self.assertEqual(self.probe("mknod", "/root/later", "c", "1", "3"), "done")
        for pid in set(self.handlers()) - before:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.probe("mknod", "/root/again", "c", "1", "3"), "done")
        self.daemon.lxc("stop", "-f", self.c)
        eventually(lambda: not set(self.handlers()) - before, "its end with the container")
        self.daemon.lxc("start", self.c)

    def test_the_policy_is_one(self):
        refused = self.daemon.lxc("config", "set", self.c, "raw.seccomp=2\ndenylist\n[all]\n", "security.syscalls.intercept.mknod=true", check=False)
        self.assertIn("raw.seccomp", refused.stderr)
        for key in ("bpf", "bpf.devices", "mount.fuse", "sched_setscheduler"):
            refused = self.daemon.lxc("config", "set", self.c, f"security.syscalls.intercept.{key}=true", check=False)
            self.assertIn("is not supported", refused.stderr, key)

    def test_tenants_get_them_only_if_their_project_says_so(self):
        project, name = self.daemon.name("p"), self.daemon.name("tenant")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false", "-c", "restricted=true")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        self.daemon.lxc("--project", project, "init", "busybox", name)
        self.addCleanup(self.daemon.lxc, "--project", project, "delete", "-f", name, check=False)
        set_it = lambda: self.daemon.lxc("--project", project, "config", "set", name, "security.syscalls.intercept.mknod=true", check=False)
        self.assertIn("restricted.containers.interception", set_it().stderr)
        self.daemon.lxc("project", "set", project, "restricted.containers.interception=allow")
        self.assertEqual(set_it().returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
