"""The floor of a launch: a btrfs snapshot by the btrfs tool and lxc-start, lxc-attach, lxc-stop without any daemon.

The programs are exec'ed each time, which costs the floor a few milliseconds that a library call would not.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess

PROGRAMS = ("btrfs", "mkfs.btrfs", "lxc-start", "lxc-stop", "lxc-attach", "busybox")


def missing_programs():
    return [name for name in PROGRAMS if not shutil.which(name)]


def _run(*argv):
    done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stdout}{done.stderr}")


class LxcFloor:
    """A btrfs file system in a loop file below `home` with a busybox root in it, and containers cloned from that."""

    def __init__(self, home, bridge):
        self.home = pathlib.Path(home) / "floor"
        self.bridge = bridge

    def __enter__(self):
        self.disk, self.mount, self.lxc = self.home / "disk", self.home / "mount", self.home / "lxc"
        for folder in (self.home, self.mount, self.lxc):
            folder.mkdir()
        self.disk.touch()
        os.truncate(self.disk, 1 << 30)
        _run("mkfs.btrfs", "-q", self.disk)
        _run("mount", "-o", "loop", self.disk, self.mount)
        try:
            self._make_root()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(RuntimeError):
            _run("umount", self.mount)
        shutil.rmtree(self.home, ignore_errors=True)

    def _make_root(self):
        root = self.mount / "image"
        _run("btrfs", "subvolume", "create", root)
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
            (root / folder).mkdir()
        shutil.copy2(shutil.which("busybox"), root / "bin/busybox")
        for link in ("sh", "true", "sleep"):
            (root / "bin" / link).symlink_to("busybox")
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")

    def snapshot(self, name):
        _run("btrfs", "subvolume", "snapshot", self.mount / "image", self.mount / name)

    def start(self, name):
        config = self.lxc / f"{name}.conf"
        config.write_text(f"""lxc.uts.name = {name}
lxc.rootfs.path = dir:{self.mount}/{name}
lxc.init.cmd = /bin/sleep 1000000
lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed
lxc.apparmor.profile = unconfined
lxc.net.0.type = veth
lxc.net.0.link = {self.bridge}
lxc.net.0.flags = up
""")
        _run("lxc-start", "-n", name, "-P", self.lxc, "-f", config)

    def attach_true(self, name):
        _run("lxc-attach", "-n", name, "-P", self.lxc, "--", "/bin/true")

    def stop(self, name):
        _run("lxc-stop", "-k", "-n", name, "-P", self.lxc)

    def delete(self, name):
        _run("btrfs", "subvolume", "delete", self.mount / name)
