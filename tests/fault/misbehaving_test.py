"""Containers that do not let go: a forced stop, a delete and a new one of the same name work in bounded time all the same, the
daemon is not restarted, and nothing is left behind.

What hangs in the kernel is made with FUSE: a process that waits for an answer of a server which has taken the question and
says nothing cannot be killed. One such file system is mounted inside, by the container's root; another on the host, and
given to the container as a disk.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from host_state import Host  # noqa: E402
from troupe_e2e import DaemonTest, eventually, run  # noqa: E402

BOUND = 60  # seconds for each request: a bound, not a measure

# Mounts a FUSE file system on argv[1], in the user and mount namespaces of process argv[2] if there is one. It tells of itself and
# of its root; whoever asks for anything below waits for ever, which it says on stdout.
SERVER = r"""
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
inside = len(sys.argv) > 2
if inside:
    spaces = [os.open(f'/proc/{sys.argv[2]}/ns/{n}', os.O_RDONLY) for n in ('user', 'mnt')]
    for s in spaces: assert libc.setns(s, 0) == 0, ctypes.get_errno()
    os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)
fd = os.open(sys.argv[3] if inside else '/dev/fuse', os.O_RDWR)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other' % fd
print('mounted' if libc.mount(b'hang', sys.argv[1].encode(), b'fuse', 0, options) == 0 else 'refused', flush=True)
while True:
    asked = os.read(fd, 1 << 20)
    length, code, unique = struct.unpack_from('IIQ', asked)
    INIT, GETATTR, LOOKUP, ACCESS, STATFS = 26, 3, 1, 34, 17
    reply = lambda body, error=0: os.write(fd, struct.pack('IiQ', 16 + len(body), error, unique) + body)
    if code == INIT:
        reply(struct.pack('4I2H2I2H8I', 7, 31, 0, 0, 16, 12, 1 << 16, 1, *[0] * 10))
    elif code == GETATTR:
        reply(struct.pack('Q2I6Q10I', 3600, 0, 0, 1, *[0] * 5, *[0] * 3, 0o40755, 2, *[0] * 5))
    elif code in (ACCESS, STATFS):
        reply(b'', -38)
    elif code == LOOKUP:
        print('asked', flush=True)
"""


OWN_FUSE = "/dev/own-fuse"  # the host may let nobody else open its /dev/fuse


class HangingFiles:
    """A FUSE file system whose server never answers."""

    def __init__(self, place, leader=None):
        words = [sys.executable, "-c", SERVER, str(place), *([str(leader), OWN_FUSE] if leader else [])]
        self.place, self.inside = place, leader is not None
        self.server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.mounted = self.server.stdout.readline().strip() == "mounted"

    def wait_for_a_question(self):
        assert self.server.stdout.readline().strip() == "asked"

    def close(self):
        if not self.inside:
            run("umount", "-l", self.place, check=False)
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()


class MisbehavingTest(DaemonTest):
    driver = "btrfs"

    def setUp(self):
        super().setUp()
        self.host = Host(self.daemon)

    def leader(self, name):
        return self.daemon.get(f"/1.0/instances/{name}/state")["pid"]

    def monitor(self, name):
        status = pathlib.Path(f"/proc/{self.leader(name)}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid")))

    def goes_and_comes_back(self, name, down=False, hanging=False):
        """Forced stop, delete, and a container of the same name that works and goes the normal way."""
        daemon = self.daemon.process.pid
        if not down:
            self.daemon.lxc("stop", "-f", name, timeout=BOUND)
        self.assertEqual(self.daemon.status(name), "Stopped")
        self.daemon.lxc("start", name, timeout=BOUND)
        self.assertEqual(self.daemon.exec(name, "echo", "again").stdout, "again\n")
        self.daemon.lxc("delete", "-f", name, timeout=BOUND)
        self.daemon.lxc("launch", "busybox", name, timeout=BOUND)
        self.assertEqual(self.daemon.exec(name, "echo", "alive").stdout, "alive\n")
        self.is_clean(hanging)
        self.daemon.lxc("delete", "-f", name, timeout=BOUND)
        self.is_clean(hanging)
        self.assertEqual(self.daemon.process.pid, daemon)
        self.assertIsNone(self.daemon.process.poll())

    def is_clean(self, hanging=False):
        """A command that hangs in the kernel has not ended, and neither has who waits for it."""
        mine = ("operation that did not end: running", "second helper") if hanging else ()
        found = []
        with contextlib.suppress(AssertionError):
            eventually(lambda: found.clear() or not found.extend(p for p in self.host.problems() if not p.startswith(mine)) and not found, "a clean host")
        self.assertEqual(found, [])

    def hang_one(self, name, files, path):
        """A process inside that asks for `path` and hangs."""
        client = subprocess.Popen(["lxc", "exec", name, "--", "ls", path], env=self.daemon.env, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (client.kill(), client.wait()))
        files.wait_for_a_question()

    def launch_deaf(self, word):
        """Its init ignores every signal, and would not die with its monitor."""
        name = self.daemon.launch(word)
        program = self.daemon.home / "deaf"
        if not program.exists():
            source = "#include <signal.h>\n#include <sys/prctl.h>\n#include <unistd.h>\n" \
                     "int main() { for (int s = 1; s < 65; ++s) signal(s, SIG_IGN); prctl(PR_SET_PDEATHSIG, 0); for (;;) pause(); }\n"
            if not shutil.which("cc"):
                self.skipTest("no C compiler")
            run("cc", "-static", "-x", "c", "-", "-o", program, stdin=source)
        self.daemon.exec(name, "rm", "/sbin/init")
        self.daemon.lxc("file", "push", program, f"{name}/sbin/init", "--mode", "755")
        self.daemon.lxc("restart", "-f", name, timeout=BOUND)
        return name

    def test_an_init_that_ignores_all_signals(self):
        name = self.launch_deaf("deaf")
        refused = self.daemon.lxc("stop", name, "--timeout", "1", check=False, timeout=BOUND)
        self.assertNotEqual(refused.returncode, 0)
        self.assertEqual(self.daemon.status(name), "Running")
        self.goes_and_comes_back(name)

    def test_a_forced_stop_overtakes_one_that_waits(self):
        name = self.launch_deaf("waits")
        waiting = subprocess.Popen(["lxc", "stop", name, "--timeout", "-1"], env=self.daemon.env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (waiting.kill(), waiting.wait()))
        eventually(lambda: self.daemon.status(name) == "Stopping", "the stop that waits")
        self.daemon.lxc("stop", "-f", name, timeout=BOUND)
        self.assertNotEqual(waiting.wait(BOUND), 0)
        self.goes_and_comes_back(name, down=True)

    def test_a_frozen_one(self):
        name = self.daemon.launch("frozen")
        self.daemon.lxc("pause", name)
        self.goes_and_comes_back(name)

    def test_one_whose_monitor_was_killed(self):
        name = self.daemon.launch("alone")
        os.kill(self.monitor(name), signal.SIGKILL)
        eventually(lambda: self.daemon.status(name) == "Stopped", "the end of its init")
        self.goes_and_comes_back(name, down=True)

    def test_one_whose_monitor_was_killed_and_whose_init_stays(self):
        name = self.launch_deaf("orphan")
        leader = self.leader(name)
        os.kill(self.monitor(name), signal.SIGKILL)
        eventually(lambda: self.daemon.status(name) == "Stopped", "the loss of its monitor to be seen")
        eventually(lambda: not alive(leader), "its processes' end")
        self.goes_and_comes_back(name, down=True)

    def test_one_whose_monitor_does_nothing(self):
        name = self.daemon.launch("stuck")
        monitor = self.monitor(name)
        os.kill(monitor, signal.SIGSTOP)
        self.goes_and_comes_back(name)
        self.assertFalse(alive(monitor))

    def test_a_hanging_file_system_of_its_own(self):
        """Its server outlives the container, as one does that was handed out to somebody else."""
        name = self.daemon.launch("fuse")
        self.daemon.exec(name, "mkdir", "-p", "/mnt/hang")
        self.daemon.lxc("config", "device", "add", name, "fuse", "unix-char", "source=/dev/fuse", f"path={OWN_FUSE}")
        files = HangingFiles("/mnt/hang", self.leader(name))
        self.addCleanup(files.close)
        if not files.mounted:
            self.skipTest("no FUSE here")
        self.hang_one(name, files, "/mnt/hang/x")
        self.goes_and_comes_back(name)

    def test_a_process_that_hangs_in_the_kernel_for_ever(self):
        """It waits for a file system of the host, which is not ours to break."""
        place = self.daemon.home / "hang"
        place.mkdir()
        files = HangingFiles(place)
        self.addCleanup(files.close)
        if not files.mounted:
            self.skipTest("no FUSE here")
        name = self.daemon.launch("hangs")
        # The root of the file system is known from the mounting on, so that it can be given; what is below must be asked for.
        self.daemon.lxc("config", "device", "add", name, "hang", "disk", f"source={place}", "path=/mnt/hang", timeout=BOUND)
        self.hang_one(name, files, "/mnt/hang/x")
        hanging = self.hanging_in(name)
        self.assertTrue(hanging)
        self.daemon.lxc("stop", "-f", name, timeout=BOUND)
        told = lambda: [w for w in self.daemon.get("/1.0/warnings?recursion=1") if w["entity_url"].endswith(f"/{name}") and "hang" in w["type"]]
        self.assertIn(str(next(iter(hanging))), eventually(told, "a warning")[0]["last_message"])
        self.daemon.lxc("config", "device", "remove", name, "hang")
        self.goes_and_comes_back(name, down=True, hanging=True)
        files.close()
        eventually(lambda: not any(map(alive, hanging)), "the end of what hung")
        self.is_clean()

    def hanging_in(self, name):
        """Those of its processes that no signal can end now."""
        found = set()
        for group in self.host.cgroups().get(name, []):
            for pid in map(int, pathlib.Path(group, "cgroup.procs").read_text().split()):
                with contextlib.suppress(FileNotFoundError):  # it has ended
                    if pathlib.Path(f"/proc/{pid}/cmdline").read_text().startswith("ls\0"):
                        found.add(pid)
        return found


def alive(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


if __name__ == "__main__":
    unittest.main(verbosity=2)
