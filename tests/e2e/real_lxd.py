"""A private daemon of Debian's package `lxd` (5.0), beside ours."""

import os
import pathlib
import shutil
import subprocess

from troupe_e2e import run

READY_SECONDS = 90


class Lxd:
    """A real LXD with a state folder of its own and a pool "default"; `bridge` and `subnet` (10.1.2): with a network, too."""

    def __init__(self, home, driver="dir", bridge=None, subnet=None):
        self.driver, self.bridge, self.subnet = driver, bridge, subnet
        self.dir, self.conf, self.log = home / "lxd", home / "lxd-client", home / "lxd.log"
        for folder in (self.dir, self.conf):
            folder.mkdir(mode=0o711)
        (self.conf / "config.yml").write_text("default-remote: local\nremotes:\n  local:\n    addr: unix://\n    public: false\n")
        # Debian's hooks of liblxc for lxcfs sleep half a second in each stop: nothing of LXD's own.
        hooks = home / "lxd-hooks"
        (hooks / "common.conf.d").mkdir(parents=True)
        self.env = {**os.environ, "LXD_LXC_TEMPLATE_CONFIG": str(hooks), "LXD_DIR": str(self.dir), "LXD_CONF": str(self.conf), "HOME": str(home)}
        self.process = subprocess.Popen([shutil.which("lxd"), "--group", "root", "--logfile", self.log], env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def is_ready(self):
        asked = run("lxd", "waitready", f"--timeout={READY_SECONDS}", env=self.env, check=False, timeout=READY_SECONDS + 30)
        if asked.returncode != 0 or self.process.poll() is not None:
            return False
        run("lxd", "init", "--preseed", env=self.env, stdin=self.preseed())
        return True

    def preseed(self):
        size = "" if self.driver == "dir" else ", config: {size: 2GiB}"
        text = f"storage_pools:\n- {{name: default, driver: {self.driver}{size}}}\n"
        card = ""
        if self.bridge:
            text += (f"networks:\n- name: {self.bridge}\n  type: bridge\n"
                     f"  config: {{ipv4.address: {self.subnet}.1/24, ipv4.nat: 'true', ipv6.address: none}}\n")
            card = f"    eth0: {{type: nic, name: eth0, network: {self.bridge}}}\n"
        return text + f"profiles:\n- name: default\n  devices:\n    root: {{type: disk, path: /, pool: default}}\n{card}"

    def lxc(self, *args, **more):
        return run("lxc", *args, env=self.env, **more)

    def close(self):
        for name in self.lxc("list", "-c", "n", "-f", "csv", check=False).stdout.split():
            self.lxc("delete", "-f", name, check=False)
        if self.bridge:
            self.lxc("profile", "device", "remove", "default", "eth0", check=False)
            self.lxc("network", "delete", self.bridge, check=False)
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        mounted = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if f" {self.dir}/" in line]
        for folder in sorted(mounted, reverse=True):
            run("umount", "-l", folder, check=False)
        backing = run("losetup", "-ln", "-O", "NAME,BACK-FILE", check=False).stdout.split("\n")
        for loop in [line.split()[0] for line in backing if f" {self.dir}/" in line]:
            run("losetup", "-d", loop, check=False)
