"""Support for the whole-program tests: a private daemon, the stock client talking to it, and proof that nothing is left.

Everything a Daemon makes carries its tag: the state folder, the bridge, and (by Daemon.name) every instance. So tests run
side by side, and what stays behind can be found by name.
"""

import atexit
import contextlib
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

BIN = pathlib.Path(os.environ.get("TROUPE_BIN", pathlib.Path(__file__).resolve().parents[2] / "build/release/bin"))
READY_SECONDS = 60
COMMAND_SECONDS = int(os.environ.get("TROUPE_COMMAND_SECONDS", 120))
UNIFIED = os.path.exists("/sys/fs/cgroup/cgroup.controllers")  # cgroup v2 alone
SETTLE_SECONDS = 10  # for what ends by itself soon after it was told to

_counter = itertools.count()
_alive = []  # daemons to clean up however the process ends


def eventually(check, what, seconds=30):
    """The first true value of check(); fails after `seconds`, which bounds a wait and measures nothing."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.1)


def run(*argv, stdin=None, check=True, env=None, timeout=COMMAND_SECONDS):
    """Runs a program; stdout and stderr as text. `stdin` is text or nothing."""
    done = subprocess.run([str(a) for a in argv], input="" if stdin is None else stdin, text=True, errors="replace",
                          capture_output=True, env=env, timeout=timeout)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))}\n  exit code {done.returncode}\n  {done.stdout}{done.stderr}")
    return done


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("unix.socket", timeout=COMMAND_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """One trouped with a folder, a bridge and a subnet of its own."""

    def __init__(self, driver="btrfs"):
        number = next(_counter)
        self.tag = f"zt{os.getpid():x}z{number}z"  # no part of a hexadecimal name, nor of another tag
        self.driver = driver
        self.bridge = "t" + self.tag
        self.subnet = f"10.{100 + (os.getpid() >> 8) % 100}.{(os.getpid() + 101 * number) % 256}"
        self.home = pathlib.Path(tempfile.mkdtemp(prefix=f"troupe-{self.tag}-", dir="/var/tmp"))
        self.home.chmod(0o711)
        self.dir = self.home / "state"
        self.conf = self.home / "client"
        for folder in (self.dir, self.conf):
            folder.mkdir(mode=0o711)
        (self.conf / "config.yml").write_text(
            "default-remote: local\nremotes:\n  local:\n    addr: unix://\n    public: false\n")
        self.env = {**os.environ, "LXD_DIR": str(self.dir), "LXD_CONF": str(self.conf), "HOME": str(self.home), "TROUPE_DIR": str(self.dir)}
        self.process = None
        self.program = BIN / "trouped"
        self.process_env = {}  # of trouped, beside our own
        self.host_cards = set()  # host side interfaces that were seen on the bridge
        _alive.append(self)

    # --- the daemon

    def spawn(self):
        log = open(self.home / "trouped.out", "ab")
        self.process = subprocess.Popen([self.program, "--dir", self.dir], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        start_new_session=True, env={**os.environ, **self.process_env})
        log.close()

    def start(self):
        self.spawn()
        try:
            self.troupe("waitready", "--timeout", READY_SECONDS)
        except AssertionError as problem:
            raise AssertionError(f"{problem}\n{self.log_tail()}") from None
        return self

    def stop(self, how=signal.SIGTERM):
        if not self.process:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the daemon did not end within a minute of SIGTERM") from None
        finally:
            self.process = None

    def log_tail(self):
        with contextlib.suppress(OSError):
            return "".join((self.home / "trouped.out").read_text(errors="replace").splitlines(True)[-40:])
        return ""

    def set_up(self):
        """A pool "default", the bridge, and the default profile with both."""
        config = "{}" if self.driver == "dir" else "{size: 2GiB}"
        self.troupe("init", "--preseed", stdin=f"""
storage_pools:
- {{name: default, driver: {self.driver}, config: {config}}}
networks:
- name: {self.bridge}
  type: bridge
  config: {{ipv4.address: {self.subnet}.1/24, ipv4.nat: "true", ipv6.address: none}}
profiles:
- name: default
  devices:
    root: {{type: disk, path: /, pool: default}}
    eth0: {{type: nic, name: eth0, network: {self.bridge}}}
""")
        return self

    # --- its clients

    def lxc(self, *args, **more):
        return run("lxc", *args, env=self.env, **more)

    def lxc_out(self, *args, **more):
        return self.lxc(*args, **more).stdout.strip()

    def troupe(self, *args, **more):
        return run(BIN / "troupe", *args, env=self.env, **more)

    def request(self, method, path, body=None, headers=None):
        """(status, envelope) of one raw call. `body`: bytes are sent as they are, anything else as JSON."""
        connection = _UnixConnection(str(self.dir / "unix.socket"))
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body=body, headers=headers or {})
            reply = connection.getresponse()
            text = reply.read()
            with contextlib.suppress(ValueError):
                return reply.status, json.loads(text)
            return reply.status, text
        finally:
            connection.close()

    def get(self, path):
        status, envelope = self.request("GET", path)
        assert status == 200, (path, status, envelope)
        return envelope["metadata"]

    def outcome(self, method, path, body=None, headers=None):
        """(status, error text), after waiting for the operation if one was started: its failure counts as 400."""
        status, envelope = self.request(method, path, body, headers)
        if status == 202:
            operation = self.get(envelope["operation"].split("?")[0] + "/wait")
            return (400, operation["err"]) if operation["status_code"] >= 400 else (200, "")
        return status, envelope.get("error", "") if isinstance(envelope, dict) else str(envelope)

    # --- shortcuts

    def name(self, word):
        return f"{word}-{self.tag}"

    def launch(self, word, image="busybox", *options):
        name = self.name(word)
        self.lxc("launch", image, name, *options)
        self.note_cards()
        return name

    def exec(self, name, *command, **more):
        return self.lxc("exec", name, "--", *command, **more)

    def status(self, name):
        return self.get(f"/1.0/instances/{name}")["status"]

    def address(self, name, seconds=30):
        """The IPv4 address on the bridge, once DHCP has given one."""
        def look():
            cards = self.get(f"/1.0/instances/{name}/state")["network"] or {}
            found = [a["address"] for a in cards.get("eth0", {}).get("addresses", []) if a["family"] == "inet" and a["scope"] == "global"]
            return found[0] if found else None
        return eventually(look, f"an address of {name}", seconds)

    def note_cards(self):
        ports = pathlib.Path(f"/sys/class/net/{self.bridge}/brif")
        if ports.is_dir():
            self.host_cards.update(os.listdir(ports))

    # --- the end

    def close(self):
        """Deletes everything by the API, stops the daemon and returns what stayed behind; then removes that as well."""
        if self not in _alive:
            return []
        _alive.remove(self)
        problems = []
        self.note_cards()
        for step in (self._delete_objects, self.stop):
            try:
                step()
            except Exception as problem:  # a broken daemon must not keep the rest from being cleaned
                problems.append(f"cleaning up: {problem}")
        leftovers = self._settled_leftovers()
        problems += [f"left behind: {kind} {thing}" for kind, thing in leftovers]
        if problems:
            sys.stderr.write(self.log_tail())
        self._force(leftovers)
        return problems

    def _delete_objects(self):
        code = self.process.poll() if self.process else None
        if not self.process or code is not None:
            self.process = None
            self.start()
        instances = [(f"/1.0/instances/{each['name']}", f"?project={each['project']}")
                     for each in self.get("/1.0/instances?recursion=1&all-projects=true")]
        for url, project in instances:
            self.request("PUT", f"{url}/state{project}", {"action": "stop", "force": True, "timeout": -1})
        for url, project in instances:
            eventually(lambda: self.outcome("DELETE", url + project)[0] in (200, 404), f"the end of {url}{project}", 20)
        for project in {project for _, project in instances} - {"?project=default"}:
            self.request("DELETE", "/1.0/projects/" + project.split("=")[1])
        self.request("PUT", "/1.0/profiles/default", {"config": {}, "devices": {}, "description": ""})
        for pool in self.get("/1.0/storage-pools?recursion=1"):
            for volume in self.get(f"/1.0/storage-pools/{pool['name']}/volumes/custom?recursion=1"):
                self.outcome("DELETE", f"/1.0/storage-pools/{pool['name']}/volumes/custom/{volume['name']}")
        for kind in ("images", "profiles", "networks", "storage-pools"):
            for thing in self.get(f"/1.0/{kind}?recursion=1"):
                name = thing.get("name", thing.get("fingerprint"))
                if name == "default" and kind == "profiles" or thing.get("managed") is False:
                    continue
                status, error = self.outcome("DELETE", f"/1.0/{kind}/{name}")
                assert status == 200, f"{kind} {name}: {error}"
        assert code is None, f"the daemon had ended by itself with {code}"

    def leftovers(self):
        """Pairs of kind and name of all that carries this daemon's names outside its folder."""
        mine = (str(self.home), self.tag)
        carries = lambda text: any(word in text for word in mine)
        found = [("process", pid) for pid in _processes() if pid != os.getpid() and carries(_command_line(pid))]
        found += [("mount", line.split()[4]) for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if carries(line)]
        loops = run("losetup", "-l", "-n", "-O", "NAME,BACK-FILE", check=False).stdout
        found += [("loop device", line.split()[0]) for line in loops.splitlines() if carries(line)]
        found += [("interface", card) for card in os.listdir("/sys/class/net") if card == self.bridge or card in self.host_cards]
        tables = run("nft", "-j", "list", "ruleset", check=False).stdout or "{}"
        for entry in json.loads(tables).get("nftables", []):
            if carries(json.dumps(entry)) or self.bridge in json.dumps(entry):
                thing = next(iter(entry.values()))
                found.append(("nft", f"{thing.get('family')} {thing.get('table', thing.get('name'))}"))
        for root, folders, _ in os.walk("/sys/fs/cgroup"):
            found += [("cgroup", os.path.join(root, f)) for f in folders if carries(f)]
        return sorted(set(found), key=str)

    def _settled_leftovers(self):
        deadline = time.monotonic() + SETTLE_SECONDS
        while (found := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return found

    def _force(self, leftovers):
        by_kind = lambda kind: [thing for k, thing in leftovers if k == kind]
        for pid in by_kind("process"):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        for folder in sorted(by_kind("mount"), reverse=True):
            run("umount", "-l", folder, check=False)
        for device in by_kind("loop device"):
            run("losetup", "-d", device, check=False)
        for card in by_kind("interface"):
            run("ip", "link", "delete", card, check=False)
        for table in {t for t in by_kind("nft") if self.bridge in t or self.tag in t}:
            run("nft", "delete", "table", *table.split(), check=False)
        for group in sorted(by_kind("cgroup"), reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(group)
        shutil.rmtree(self.home, ignore_errors=True)


def _processes():
    return [int(p) for p in os.listdir("/proc") if p.isdigit()]


def _command_line(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text(errors="replace")  # empty for zombies
    return ""


def _close_all(*_):
    for daemon in list(_alive):
        daemon.close()


atexit.register(_close_all)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class DaemonTest(unittest.TestCase):
    """A test case whose class owns one set-up daemon with a busybox image; the class fails if something is left behind."""

    driver = "btrfs"
    bare = False  # True: neither pool nor network nor image
    process_env = {}  # of trouped

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            raise unittest.SkipTest("needs root")
        cls.daemon = Daemon(cls.driver)
        cls.daemon.process_env = dict(cls.process_env)
        try:
            cls.daemon.start()
            if not cls.bare:
                cls.daemon.set_up()
                cls.daemon.troupe("image", "build", "busybox")
        except BaseException:
            cls.daemon.close()
            raise

    @classmethod
    def tearDownClass(cls):
        problems = cls.daemon.close()
        if problems:
            raise AssertionError("\n".join(problems))

    def setUp(self):
        self.addCleanup(self._dump_log_on_failure)

    def _dump_log_on_failure(self):
        outcome = getattr(self, "_outcome", None)
        if outcome and not outcome.success:
            sys.stderr.write(f"\n--- the daemon's log, after {self.id()}:\n{self.daemon.log_tail()}---\n")


def sha256(*paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(pathlib.Path(path).read_bytes())
    return digest.hexdigest()
