"""What an administrator does inside containers, and what they learn of themselves: metadata and templates, console, logs, files by
SFTP, and the guest API."""

import json
import os
import pathlib
import pty
import select
import shutil
import socket
import subprocess
import sys
import unittest

from troupe_e2e import DaemonTest, eventually

HERE = pathlib.Path(__file__).resolve().parent


class Terminal:
    """A stock client in a terminal of its own."""

    def __init__(self, daemon, *args):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe("lxc", ["lxc", *args], daemon.env)
        self.seen = b""

    def send(self, data):
        os.write(self.fd, data)

    def expect(self, what, seconds=30, press=None):
        """`press` is typed until it comes: what is typed before the console is attached is thrown away."""
        def look():
            if press:
                self.send(press)
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:  # the client has ended
                    pass
            return what in self.seen
        eventually(look, f"{what!r} in {self.seen!r}", seconds)

    def end(self, keys=b""):
        """Its exit code. The keys are typed one at a time: the client looks at the first letter of what it reads."""
        left = [bytes([key]) for key in keys]
        def look():
            if left:
                self.send(left.pop(0))
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid and [os.waitstatus_to_exitcode(status)]
        code = eventually(look, "the end of lxc")[0]
        os.close(self.fd)
        return code


class Templates:
    """On every kind of volume: an instance's own, and a layer over its image's."""

    def test_metadata_is_shown_and_edited(self):
        name = self.daemon.launch("meta")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.assertIn("/etc/hostname:", self.daemon.lxc_out("config", "metadata", "show", name))
        url = f"/1.0/instances/{name}/metadata"
        now = self.daemon.get(url)
        self.assertEqual(now["templates"]["/etc/hostname"]["template"], "hostname.tpl")
        now["properties"]["made"] = "by a test: \"yes\"\nand no"
        self.assertEqual(self.daemon.outcome("PUT", url, now), (200, ""))
        self.assertEqual(self.daemon.get(url), now)
        self.assertEqual(self.daemon.outcome("PATCH", url, {"properties": {"more": "1"}})[0], 200)
        self.assertEqual(self.daemon.get(url)["properties"], {**now["properties"], "more": "1"})
        self.assertEqual(self.daemon.outcome("PUT", url, now, {"If-Match": "else"})[0], 412)
        for bad in ({"architecture": ""}, {"templates": {"relative": {"when": ["start"], "template": "x"}}},
                    {"templates": {"/x": {"when": ["never"], "template": "x"}}},
                    {"templates": {"/x": {"when": ["start"], "template": "../x"}}}):
            self.assertEqual(self.daemon.outcome("PUT", url, {**now, **bad})[0], 400, bad)
        self.assertEqual(self.daemon.get(url)["architecture"], now["architecture"])

    def test_templates_are_edited_and_rendered_at_their_trigger(self):
        name = self.daemon.launch("tpl")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        listed = lambda: self.daemon.lxc_out("config", "template", "list", name, "--format", "csv").split()
        self.assertEqual(listed(), ["hostname.tpl", "hosts.tpl"])
        url = f"/1.0/instances/{name}/metadata/templates?path="
        self.assertEqual(self.daemon.request("POST", url + "motd.tpl", b"{{ config_get(\"user.motd\", \"none\") }}\n",
                                             {"Content-Type": "application/octet-stream"})[0], 200)
        self.daemon.lxc("config", "template", "create", name, "empty.tpl")
        self.assertEqual(self.daemon.lxc("config", "template", "show", name, "motd.tpl").stdout.strip(),
                         '{{ config_get("user.motd", "none") }}')
        metadata = self.daemon.get(f"/1.0/instances/{name}/metadata")
        metadata["templates"]["/etc/motd"] = {"when": ["start"], "create_only": False, "template": "motd.tpl", "properties": {}}
        self.assertEqual(self.daemon.outcome("PUT", f"/1.0/instances/{name}/metadata", metadata), (200, ""))
        self.daemon.lxc("config", "set", name, "user.motd", "hello")
        self.daemon.lxc("restart", "-f", name)
        self.assertEqual(self.daemon.exec(name, "cat", "/etc/motd").stdout.strip(), "hello")
        for path, body, status in (("../x", b"x", 400), ("a/b", b"x", 400), ("bad.tpl", b"{% nonsense %}", 501), ("bad.tpl", b"{{", 400)):
            got = self.daemon.request("POST", url + path, body)[0]
            self.assertIn(got, (status, 400), path)
        self.daemon.lxc("config", "template", "delete", name, "empty.tpl")
        self.daemon.lxc("config", "template", "delete", name, "hosts.tpl")  # the image's own
        self.assertEqual(listed(), ["hostname.tpl", "motd.tpl"])
        self.assertEqual(self.daemon.request("GET", url + "hosts.tpl")[0], 404)
        self.assertEqual(self.daemon.request("DELETE", url + "hosts.tpl")[0], 404)


class OnDirTest(Templates, DaemonTest):
    driver = "dir"


class GuestTest(Templates, DaemonTest):
    def test_the_console_is_attached_and_left(self):
        name = self.daemon.launch("con")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        terminal = Terminal(self.daemon, "console", name)
        terminal.expect(b"To detach from the console")
        terminal.expect(b"# ", press=b"\r")
        terminal.send(b"echo mar''ker; stty size\r")
        terminal.expect(b"marker")
        second = Terminal(self.daemon, "console", name)
        second.expect(b"cannot be attached")
        self.assertNotEqual(second.end(), 0)
        self.assertEqual(terminal.end(b"\x01q"), 0)
        self.assertIn("marker", self.daemon.lxc_out("console", name, "--show-log"))
        again = Terminal(self.daemon, "console", name)
        again.expect(b"To detach")
        self.daemon.lxc("stop", "-f", name)
        again.end()
        self.assertEqual(self.daemon.status(name), "Stopped")

    def test_who_does_not_read_the_console_does_not_hold_the_container_up(self):
        name = self.daemon.launch("slow")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        terminal = Terminal(self.daemon, "console", name)
        terminal.expect(b"To detach from the console")
        os.kill(terminal.pid, 19)  # SIGSTOP
        self.daemon.exec(name, "sh", "-c", "dd if=/dev/zero bs=64k count=200 2>/dev/null | tr '\\0' x >/dev/console; echo done")
        os.kill(terminal.pid, 9)
        os.waitpid(terminal.pid, 0)
        os.close(terminal.fd)
        self.assertIn("x", self.daemon.lxc_out("console", name, "--show-log")[:100])
        self.assertEqual(self.daemon.request("DELETE", f"/1.0/instances/{name}/console")[0], 200)
        self.assertEqual(self.daemon.lxc("console", name, "--show-log").stdout.count("x"), 0)

    def test_logs_and_recorded_output(self):
        name = self.daemon.launch("logs")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        base = f"/1.0/instances/{name}"
        self.assertIn(f"{base}/logs/lxc.log", self.daemon.get(f"{base}/logs"))
        self.assertIn("Log:", self.daemon.lxc_out("info", name, "--show-log"))
        self.assertEqual(self.daemon.request("DELETE", f"{base}/logs/lxc.log")[0], 400)
        _, begun = self.daemon.request("POST", f"{base}/exec", {"command": ["sh", "-c", "echo out; echo err >&2; exit 3"], "record-output": True})
        ended = self.daemon.get(begun["operation"] + "/wait")
        self.assertEqual(ended["metadata"]["return"], 3)
        output = ended["metadata"]["output"]
        self.assertEqual(self.daemon.request("GET", output["1"]), (200, b"out\n"))
        self.assertEqual(self.daemon.request("GET", output["2"]), (200, b"err\n"))
        self.assertEqual(sorted(self.daemon.get(f"{base}/logs/exec-output")), sorted(output.values()))
        self.assertEqual(self.daemon.request("DELETE", output["1"])[0], 200)
        self.assertEqual(self.daemon.request("GET", output["1"])[0], 404)
        for bad in ("..%2f..%2fx", ".hidden"):
            self.assertIn(self.daemon.request("GET", f"{base}/logs/{bad}")[0], (400, 404))

    @unittest.skipUnless(shutil.which("sftp"), "needs OpenSSH's client")
    def test_files_by_sftp(self):
        name = self.daemon.launch("sftp")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        local = self.daemon.home / "local"
        local.mkdir()
        (local / "big").write_bytes(os.urandom(3_000_000))
        (local / "tree").mkdir()
        (local / "tree" / "file").write_text("in the tree\n")
        relay = f"{sys.executable} {HERE / 'sftp_relay.py'} {self.daemon.dir / 'unix.socket'} {name}"
        secret = self.daemon.home / "secret"
        secret.write_text("the host's")

        def sftp(*commands, check=True):
            done = subprocess.run(["sftp", "-b", "-", "-D", relay], input="\n".join(commands) + "\n", text=True,
                                  capture_output=True, timeout=60)
            if check:
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            return done

        work = ["mkdir /box", f"put {local}/big /box/big", f"put -R {local}/tree /box/", "rename /box/big /box/large",
                "chmod 600 /box/large", "chown 1000 /box/large", "symlink /etc/hostname /box/link", "ln /box/large /box/hard",
                f"get /box/large {local}/back", "mkdir /box/gone", "rmdir /box/gone", "ls -l /box", "df /"]
        listed = sftp(*work).stdout
        self.assertIn("large", listed)
        self.assertEqual((local / "back").read_bytes(), (local / "big").read_bytes())
        inside = self.daemon.exec(name, "stat", "-c", "%u %a %h", "/box/large").stdout.strip()
        self.assertEqual(inside, "1000 600 2")
        self.assertEqual(self.daemon.exec(name, "cat", "/box/link").stdout.strip(), name)
        self.assertEqual(self.daemon.exec(name, "cat", "/box/tree/file").stdout, "in the tree\n")
        # Nothing leads out of it, and what is no file is not opened.
        self.daemon.exec(name, "ln", "-s", f"/../../../../..{secret}", "/box/out")
        self.daemon.exec(name, "mkfifo", "/box/pipe")
        for bad in (f"get /box/out {local}/x", f"get /box/pipe {local}/x", f"get /../../..{secret} {local}/x", "rmdir /box"):
            self.assertNotEqual(sftp(bad, check=False).returncode, 0, bad)
        self.daemon.lxc("stop", "-f", name)
        sftp("ls /box", f"put {local}/big /box/while-down", "rm /box/hard")
        self.daemon.lxc("start", name)
        self.assertEqual(self.daemon.exec(name, "stat", "-c", "%u %s", "/box/while-down").stdout.strip(), "0 3000000")
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}/sftp")[0], 400)

    def test_a_file_system_that_hangs_holds_only_its_own_request_up(self):
        name = self.daemon.launch("fuse")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.daemon.exec(name, "mkdir", "-p", "/box/hang")
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        script = (  # mounts a FUSE file system inside, and answers nothing
            "import ctypes, os, sys\n"
            "libc = ctypes.CDLL(None, use_errno=True); proc = '/proc/' + sys.argv[1] + '/ns/'\n"
            "spaces = [os.open(proc + n, os.O_RDONLY) for n in ('user', 'mnt')]\n"
            "for s in spaces: assert libc.setns(s, 0) == 0, ctypes.get_errno()\n"
            "os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)\n"
            "fd = os.open('/dev/fuse', os.O_RDWR)\n"
            "good = libc.mount(b'hang', b'/box/hang', b'fuse', 0, b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd)\n"
            "print('mounted' if good == 0 else 'refused', flush=True)\n"
            "sys.stdin.read()\n")
        server = subprocess.Popen([sys.executable, "-c", script, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hanging = []
        try:
            if server.stdout.readline().strip() != "mounted":
                self.skipTest("no FUSE here")
            for how in ("GET", "POST", "GET"):
                one = socket.socket(socket.AF_UNIX)
                one.connect(str(self.daemon.dir / "unix.socket"))
                one.sendall(f"{how} /1.0/instances/{name}/files?path=/box/hang/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
                hanging.append(one)
            self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}/files?path=/etc/hostname"), (200, f"{name}\n".encode()))
            self.assertEqual(self.daemon.exec(name, "echo", "alive").stdout, "alive\n")
            self.assertTrue(self.daemon.get(f"/1.0/instances/{name}/state")["pid"])
            for _ in range(30):  # more than there are threads for everything else
                command = {"command": ["true"], "cwd": "/box/hang", "record-output": False, "wait-for-websocket": False}
                self.assertEqual(self.daemon.request("POST", f"/1.0/instances/{name}/exec", command)[0], 202)
            self.assertIn(name, self.daemon.lxc("list").stdout)
            calm = self.daemon.launch("unhung")
            self.addCleanup(self.daemon.lxc, "delete", "-f", calm, check=False)
            self.assertEqual(self.daemon.exec(calm, "echo", "alive").stdout, "alive\n")
            self.daemon.lxc("stop", "-f", name)
            self.daemon.lxc("delete", name)
        finally:
            server.stdin.close()
            server.stdout.close()
            server.wait()
            for one in hanging:
                one.close()

    def test_files_without_a_size_are_read_to_their_end(self):
        name = self.daemon.launch("proc")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.assertIn(b"Linux version", self.daemon.request("GET", f"/1.0/instances/{name}/files?path=/proc/version")[1])

    # --- the guest API

    def guest(self, name, method, path, body=None, root=True, raw=False):
        """A request from inside: as the container's root, or as another of its users."""
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        base = int(pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()[1])
        script = (
            "import http.client, socket, sys, json\n"
            "c = http.client.HTTPConnection('x', timeout=30); c.sock = socket.socket(socket.AF_UNIX); c.sock.connect('sock')\n"
            "c.request(sys.argv[1], sys.argv[2], body=sys.argv[3] or None); r = c.getresponse()\n"
            "print(json.dumps([r.status, r.read().decode()]))\n")
        user = base if root else base + 1000
        done = subprocess.run(["/usr/bin/python3", "-c", script, method, path, body or ""], cwd=f"/proc/{pid}/root/dev/lxd",
                              user=user, group=user, extra_groups=[], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        status, text = json.loads(done.stdout)
        return (status, text) if raw or status != 200 else (status, json.loads(text))

    def test_the_guest_api_tells_an_instance_of_itself_only(self):
        name = self.daemon.launch("api", "busybox", "-c", "user.color=blue", "-c", "user.meta-data=extra: 1")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        other = self.daemon.launch("other", "busybox", "-c", "user.color=red")
        self.addCleanup(self.daemon.lxc, "delete", "-f", other, check=False)
        self.assertIn("srw", self.daemon.exec(name, "ls", "-l", "/dev/lxd/sock").stdout)
        self.assertEqual(self.guest(name, "GET", "/"), (200, ["/1.0"]))
        self.assertEqual(self.guest(name, "GET", "/1.0")[1]["state"], "Started")
        self.assertEqual(sorted(self.guest(name, "GET", "/1.0/config")[1]), ["/1.0/config/user.color", "/1.0/config/user.meta-data"])
        self.assertEqual(self.guest(name, "GET", "/1.0/config/user.color", raw=True), (200, "blue"))
        self.assertEqual(self.guest(other, "GET", "/1.0/config/user.color", raw=True), (200, "red"))
        self.assertEqual(self.guest(name, "GET", "/1.0/config/user.none")[0], 404)
        self.assertEqual(self.guest(name, "GET", "/1.0/config/volatile.eth0.hwaddr")[0], 403)
        self.assertEqual(self.guest(name, "GET", "/1.0/nothing")[0], 404)
        devices = self.guest(name, "GET", "/1.0/devices")[1]
        self.assertEqual(devices["eth0"]["hwaddr"], self.daemon.get(f"/1.0/instances/{name}")["config"]["volatile.eth0.hwaddr"])
        text = self.guest(name, "GET", "/1.0/meta-data", raw=True)[1]
        self.assertTrue(text.startswith("#cloud-config\ninstance-id: "))
        self.assertIn(f"\nlocal-hostname: {name}\nextra: 1", text)
        self.assertEqual(self.guest(name, "GET", "/1.0", root=False), (401, "Access denied for non-root user\n"))
        # The folder is not the instance's to change.
        self.assertNotEqual(self.daemon.exec(name, "rm", "/dev/lxd/sock", check=False).returncode, 0)
        self.assertNotEqual(self.daemon.exec(name, "touch", "/dev/lxd/x", check=False).returncode, 0)

    def test_cloud_init_runs_anew_after_what_it_is_told_has_changed(self):
        name, profile = self.daemon.name("seed"), self.daemon.name("seeds")
        self.daemon.lxc("profile", "create", profile)
        self.addCleanup(self.daemon.lxc, "profile", "delete", profile, check=False)
        self.daemon.lxc("init", "busybox", name, "-p", "default", "-p", profile)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        known = lambda: self.daemon.get(f"/1.0/instances/{name}")["config"]["volatile.cloud-init.instance-id"]
        seen = [known()]
        self.daemon.lxc("config", "set", name, "user.other", "1")
        self.daemon.lxc("start", name)
        self.assertEqual(known(), seen[0])
        self.daemon.lxc("config", "set", name, "cloud-init.user-data", "#cloud-config")
        seen.append(known())
        self.assertIn(f"instance-id: {seen[1]}\n", self.guest(name, "GET", "/1.0/meta-data", raw=True)[1])
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("profile", "set", profile, "user.vendor-data", "#cloud-config")
        self.daemon.lxc("start", name)
        seen.append(known())
        self.daemon.lxc("restart", "-f", name)
        self.assertEqual(known(), seen[2])
        self.assertEqual(len(set(seen)), 3, seen)

    def test_an_instance_says_that_it_is_ready_and_survives_the_daemon(self):
        name = self.daemon.launch("ready")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.assertEqual(self.guest(name, "PATCH", "/1.0", '{"state": "Ready"}', raw=True)[0], 200)
        self.assertEqual(self.daemon.status(name), "Ready")
        self.assertEqual(self.guest(name, "PATCH", "/1.0", '{"state": "else"}')[0], 400)
        for state in ("Started", "Ready") * 3:  # a life becomes ready once: the log is not the guest's to fill
            self.assertEqual(self.guest(name, "PATCH", "/1.0", json.dumps({"state": state}), raw=True)[0], 200)
        history = json.dumps(self.daemon.get(f"/1.0/events/history?entity=instance/default/{name}"))
        self.assertEqual(history.count('"instance-ready"'), 1)
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.guest(name, "GET", "/1.0")[1]["state"], "Ready")
        self.daemon.lxc("restart", "-f", name)
        self.assertEqual(self.daemon.status(name), "Running")
        self.daemon.lxc("config", "set", name, "security.devlxd", "false")
        self.assertEqual(self.guest(name, "GET", "/1.0")[0], 403)
        self.daemon.lxc("restart", "-f", name)
        self.assertNotEqual(self.daemon.exec(name, "ls", "/dev/lxd", check=False).returncode, 0)

    def test_events_tell_of_config_and_devices(self):
        name = self.daemon.launch("events")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        base = int(pathlib.Path(f"/proc/{pid}/uid_map").read_text().split()[1])
        script = ("import socket, sys\n"
                  "s = socket.socket(socket.AF_UNIX); s.connect('sock'); s.sendall(b'GET /1.0/events?type=config HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
                  "while data := s.recv(4096): sys.stdout.write(data.decode()); sys.stdout.flush()\n")
        with subprocess.Popen(["/usr/bin/python3", "-c", script], cwd=f"/proc/{pid}/root/dev/lxd", user=base, group=base, extra_groups=[],
                              stdout=subprocess.PIPE, text=True) as reader:
            try:
                self.assertIn("200", reader.stdout.readline())
                self.daemon.lxc("config", "set", name, "user.word", "one")
                for line in reader.stdout:
                    if line.startswith("{"):
                        break
                event = json.loads(line)
                self.assertEqual((event["type"], event["metadata"]), ("config", {"key": "user.word", "old_value": "", "value": "one"}))
            finally:
                reader.kill()

    def test_a_crowd_at_one_guest_socket_keeps_no_other_out(self):
        name, other = self.daemon.launch("crowd"), self.daemon.launch("calm")
        for each in (name, other):
            self.addCleanup(self.daemon.lxc, "delete", "-f", each, check=False)
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        crowd = []
        try:
            for _ in range(300):
                one = socket.socket(socket.AF_UNIX)
                one.connect(f"/proc/{pid}/root/dev/lxd/sock")
                crowd.append(one)
            self.assertEqual(self.guest(other, "GET", "/1.0")[0], 200)
            self.assertEqual(self.guest(name, "GET", "/1.0")[0], 200)
        finally:
            for one in crowd:
                one.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
