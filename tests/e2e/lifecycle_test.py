"""The life of containers, as the stock client drives it."""

import csv
import io
import json
import os
import pty
import select
import subprocess
import time
import unittest

from troupe_e2e import BIN, COMMAND_SECONDS, DaemonTest, eventually, run, sha256


def rows(text):
    return list(csv.reader(io.StringIO(text)))


class Core:
    """What must hold on every storage driver."""

    def test_launch_gives_a_running_container_with_an_address(self):
        name = self.daemon.launch("run")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.assertEqual(self.daemon.status(name), "Running")
        self.assertTrue(self.daemon.address(name).startswith(self.daemon.subnet + "."))
        self.assertEqual(self.daemon.exec(name, "hostname").stdout.strip(), name)

    def test_stop_start_restart_and_pause_change_the_state(self):
        name = self.daemon.launch("states")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.daemon.exec(name, "sh", "-c", "echo kept >/root/file")
        self.daemon.lxc("stop", name, "--timeout", "30")
        self.assertEqual(self.daemon.status(name), "Stopped")
        self.assertNotEqual(self.daemon.lxc("stop", name, check=False).returncode, 0)
        self.daemon.lxc("start", name)
        self.assertEqual(self.daemon.status(name), "Running")
        before = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        self.daemon.lxc("restart", name, "--force")
        self.assertNotEqual(self.daemon.get(f"/1.0/instances/{name}/state")["pid"], before)
        self.daemon.lxc("pause", name)
        self.assertEqual(self.daemon.status(name), "Frozen")
        refused = self.daemon.exec(name, "true", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("frozen", refused.stderr)
        self.daemon.lxc("start", name)
        self.assertEqual(self.daemon.exec(name, "cat", "/root/file").stdout, "kept\n")
        self.daemon.lxc("stop", "-f", name)
        self.assertEqual(self.daemon.status(name), "Stopped")

    def test_a_container_that_powers_off_or_reboots_itself_is_seen(self):
        name = self.daemon.launch("self")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        before = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        self.daemon.exec(name, "reboot", check=False)
        eventually(lambda: self.daemon.get(f"/1.0/instances/{name}/state")["pid"] not in (before, 0), "the reboot")
        eventually(lambda: self.daemon.status(name) == "Running", "the start after the reboot")
        self.daemon.exec(name, "poweroff", check=False)
        eventually(lambda: self.daemon.status(name) == "Stopped", "the power-off")

    def test_two_containers_of_one_image_do_not_share_files(self):
        first, second = self.daemon.launch("one"), self.daemon.launch("two")
        for name in (first, second):
            self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.daemon.exec(first, "sh", "-c", "rm /etc/os-release; echo 1 >/etc/new")
        self.assertEqual(self.daemon.exec(second, "ls", "/etc/os-release").returncode, 0)
        self.assertNotEqual(self.daemon.exec(second, "ls", "/etc/new", check=False).returncode, 0)

    def test_a_renamed_container_keeps_its_content_and_gets_its_new_name(self):
        old, new = self.daemon.launch("old"), self.daemon.name("new")
        self.addCleanup(self.daemon.lxc, "delete", "-f", old, check=False)
        self.addCleanup(self.daemon.lxc, "delete", "-f", new, check=False)
        self.daemon.exec(old, "touch", "/root/mark")
        self.assertNotEqual(self.daemon.lxc("rename", old, new, check=False).returncode, 0, "it runs")
        self.daemon.lxc("stop", "-f", old)
        self.daemon.lxc("rename", old, new)
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{old}")[0], 404)
        self.daemon.lxc("start", new)
        self.assertEqual(self.daemon.exec(new, "ls", "/root").stdout, "mark\n")

    def test_delete_wants_a_stopped_container_or_force(self):
        name = self.daemon.launch("del")
        self.assertNotEqual(self.daemon.lxc("delete", name, check=False).returncode, 0)
        self.assertEqual(self.daemon.status(name), "Running")
        self.daemon.lxc("delete", "-f", name)
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}")[0], 404)

    def test_a_killed_daemon_finds_its_containers_running(self):
        name = self.daemon.launch("kept")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        pid = self.daemon.get(f"/1.0/instances/{name}/state")["pid"]
        for how in (9, 15):
            self.daemon.stop(how)
            os.kill(pid, 0)
            self.daemon.start()
            self.assertEqual(self.daemon.status(name), "Running")
            self.assertEqual(self.daemon.get(f"/1.0/instances/{name}/state")["pid"], pid)
            self.assertEqual(self.daemon.exec(name, "echo", "alive").stdout, "alive\n")
        self.daemon.lxc("stop", "-f", name)
        self.assertEqual(self.daemon.status(name), "Stopped")


class OnDir(Core, DaemonTest):
    driver = "dir"


class OnBtrfs(Core, DaemonTest):
    driver = "btrfs"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.shared = cls.daemon.launch("shared")

    # --- images

    def test_an_image_survives_export_and_import_with_its_fingerprint(self):
        fingerprint = self.daemon.get("/1.0/images/aliases/busybox")["target"]
        folder = self.daemon.home / "unified"
        folder.mkdir()
        self.daemon.lxc("image", "export", "busybox", f"{folder}/")
        (file,) = folder.iterdir()
        self.assertEqual(sha256(file), fingerprint)
        self.assertTrue(file.name.startswith(fingerprint), file.name)
        again = self.daemon.lxc("image", "import", file, "--alias", "again", check=False)
        self.assertNotEqual(again.returncode, 0)
        self.assertIn("already exists", again.stderr)
        self.daemon.lxc("image", "delete", "busybox")
        self.daemon.lxc("image", "import", file, "--alias", "busybox", "colour=green")
        shown = self.daemon.get(f"/1.0/images/{fingerprint}")
        self.assertEqual(shown["properties"]["os"], "BusyBox")
        self.assertEqual(shown["size"], file.stat().st_size)

    def test_a_split_image_can_be_imported_launched_and_exported(self):
        folder = self.daemon.home / "split"
        (folder / "out").mkdir(parents=True)
        self.daemon.lxc("image", "export", "busybox", f"{folder}/whole")
        (whole,) = folder.glob("whole*")
        run("tar", "-xpf", whole, "-C", folder, "--numeric-owner")
        run("tar", "-cJf", folder / "meta.tar.xz", "-C", folder, "metadata.yaml", "templates")
        run("mksquashfs", folder / "rootfs", folder / "rootfs.squashfs", "-noappend", "-quiet", "-no-progress")
        self.daemon.lxc("image", "import", folder / "meta.tar.xz", folder / "rootfs.squashfs", "--alias", "split")
        fingerprint = sha256(folder / "meta.tar.xz", folder / "rootfs.squashfs")
        self.assertEqual(self.daemon.get("/1.0/images/aliases/split")["target"], fingerprint)
        name = self.daemon.launch("split", "split")
        self.assertEqual(self.daemon.exec(name, "hostname").stdout.strip(), name)
        self.daemon.lxc("delete", "-f", name)
        self.daemon.lxc("image", "export", "split", folder / "out")
        parts = {p.suffix: p for p in (folder / "out").iterdir()}
        self.assertEqual(sha256(parts[".xz"], parts[".squashfs"]), fingerprint)
        self.daemon.lxc("image", "delete", "split")
        self.assertEqual(self.daemon.request("GET", "/1.0/images/aliases/split")[0], 404)

    def test_an_image_brings_its_profiles_and_an_end_that_only_tells(self):
        name, profile, other = self.daemon.name("profiled"), self.daemon.name("fromimage"), self.daemon.name("follows")
        fingerprint = self.daemon.get("/1.0/images/aliases/busybox")["target"]
        url = f"/1.0/images/{fingerprint}"
        image = self.daemon.get(url)
        body = {key: image[key] for key in ("auto_update", "properties", "public", "profiles", "expires_at")}
        self.addCleanup(self.daemon.outcome, "PUT", url, body)
        self.daemon.lxc("profile", "create", profile)
        self.addCleanup(self.daemon.lxc, "profile", "delete", profile, check=False)
        self.addCleanup(self.daemon.lxc, "profile", "delete", other, check=False)
        self.assertEqual(self.daemon.outcome("PUT", url, {**body, "profiles": ["default", profile], "expires_at": "2001-02-03T04:05:06Z"})[0], 200)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        made = lambda *options: (self.daemon.lxc("init", "busybox", name, *options), self.daemon.get(f"/1.0/instances/{name}")["profiles"],
                                 self.daemon.lxc("delete", name))[1]
        self.assertEqual(made(), ["default", profile])
        self.assertEqual(made("-p", "default"), ["default"])
        self.daemon.lxc("profile", "rename", profile, other)
        self.assertEqual(made(), ["default", other])
        self.daemon.lxc("profile", "delete", other)
        self.assertEqual(made(), ["default"])
        shown = self.daemon.get(url)
        self.assertEqual((shown["profiles"], shown["expires_at"]), (["default"], "2001-02-03T04:05:06Z"), "it stays: it is not a cached one")

    def test_image_list_and_show_are_filled(self):
        (row,) = rows(self.daemon.lxc_out("image", "list", "-f", "csv", "-c", "lfpdatsu"))
        alias, fingerprint, public, description, architecture, kind, size, uploaded = row
        self.assertEqual((alias, public, kind), ("busybox", "no", "CONTAINER"))
        self.assertIn("BusyBox", description)
        self.assertEqual(architecture, os.uname().machine)
        self.assertRegex(size, r"^\d+\.\d+MB$")
        self.assertTrue(uploaded)
        self.assertIn("BusyBox", self.daemon.lxc_out("image", "show", fingerprint))
        self.assertIn("Size:", self.daemon.lxc_out("image", "info", "busybox"))

    def test_aliases_are_made_renamed_and_deleted(self):
        fingerprint = self.daemon.get("/1.0/images/aliases/busybox")["target"]
        self.daemon.lxc("image", "alias", "create", "a/b", fingerprint)
        self.assertNotEqual(self.daemon.lxc("image", "alias", "create", "a/b", fingerprint, check=False).returncode, 0)
        self.daemon.lxc("image", "alias", "rename", "a/b", "c")
        self.assertIn("c", [r[0] for r in rows(self.daemon.lxc_out("image", "alias", "list", "-f", "csv"))])
        self.daemon.lxc("image", "alias", "delete", "c")

    def test_building_the_same_image_again_only_moves_the_alias(self):
        self.daemon.troupe("image", "build", "busybox", "--alias", "more")
        self.assertEqual(len(self.daemon.get("/1.0/images")), 1)
        self.daemon.lxc("image", "alias", "delete", "more")

    # --- looking at instances

    def test_every_column_of_the_list_is_filled(self):
        self.daemon.address(self.shared)
        letters = "ns4tSabcflmNpPu"
        (row,) = rows(self.daemon.lxc_out("list", self.shared, "-f", "csv", "-c", letters))
        for letter, cell in zip(letters, row, strict=True):
            self.assertTrue(cell, f"column {letter} of {row}")
        self.assertEqual(row[:2], [self.shared, "RUNNING"])
        self.assertIn(f"{self.daemon.subnet}.", row[2])
        self.assertEqual(row[3], "CONTAINER")

    def test_info_shows_processes_memory_and_the_network(self):
        self.daemon.address(self.shared)
        text = self.daemon.lxc_out("info", self.shared)
        for word in ("Status: RUNNING", "PID: ", "Processes: ", "Memory (current): ", "eth0:", "Bytes received: ", f"inet:  {self.daemon.subnet}."):
            self.assertIn(word, text)

    def test_server_info_is_complete(self):
        text = self.daemon.lxc_out("info")
        for word in ("api_version: \"1.0\"", "driver: lxc", "storage: ", "kernel_version: ", "server_pid: "):
            self.assertIn(word, text)

    # --- configuration

    def test_configuration_is_set_shown_and_unset(self):
        self.daemon.lxc("config", "set", self.shared, "user.colour=green", "user.size=5")
        self.assertEqual(self.daemon.lxc_out("config", "get", self.shared, "user.colour"), "green")
        shown = self.daemon.lxc_out("config", "show", self.shared)
        self.assertIn("user.colour: green", shown)
        self.daemon.lxc("config", "edit", self.shared, stdin=shown.replace("green", "blue"))
        self.assertEqual(self.daemon.lxc_out("config", "get", self.shared, "user.colour"), "blue")
        self.daemon.lxc("config", "unset", self.shared, "user.colour")
        self.assertEqual(self.daemon.lxc_out("config", "get", self.shared, "user.colour"), "")
        self.assertIn("eth0", self.daemon.lxc_out("config", "show", self.shared, "--expanded"))

    def test_a_wrong_key_or_value_changes_nothing(self):
        before = self.daemon.get(f"/1.0/instances/{self.shared}")["config"]
        for pair in ("no.such.key=1", "limits.memory=much", "boot.autostart=perhaps"):
            self.assertNotEqual(self.daemon.lxc("config", "set", self.shared, pair, check=False).returncode, 0, pair)
        self.assertEqual(self.daemon.get(f"/1.0/instances/{self.shared}")["config"], before)

    def test_profiles_are_made_edited_given_devices_and_used(self):
        self.daemon.lxc("profile", "create", "p1")
        self.daemon.lxc("profile", "device", "add", "p1", "eth1", "nic", f"network={self.daemon.bridge}", "name=eth1")
        shown = self.daemon.lxc_out("profile", "show", "p1")
        self.assertIn("eth1:", shown)
        self.daemon.lxc("profile", "edit", "p1", stdin=shown.replace('description: ""', "description: second card"))
        self.assertIn("second card", self.daemon.lxc_out("profile", "show", "p1"))
        name = self.daemon.launch("prof", "busybox", "-p", "default", "-p", "p1")
        self.addCleanup(self.daemon.lxc, "profile", "delete", "p1", check=False)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.assertIn("eth1", self.daemon.exec(name, "ls", "/sys/class/net").stdout.split())
        refused = self.daemon.lxc("profile", "delete", "p1", check=False)
        self.assertNotEqual(refused.returncode, 0, "it is in use")

    # --- exec

    def test_exec_hands_over_exit_codes(self):
        for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)):
            self.assertEqual(self.daemon.exec(self.shared, "sh", "-c", script, check=False).returncode, code, script)
        self.assertEqual(self.daemon.exec(self.shared, "/no/such/command", check=False).returncode, 127)
        self.assertEqual(self.daemon.exec(self.shared, "/etc/hosts", check=False).returncode, 126)

    def test_exec_keeps_the_streams_apart(self):
        done = self.daemon.exec(self.shared, "sh", "-c", "echo out; echo err >&2")
        self.assertEqual((done.stdout, done.stderr), ("out\n", "err\n"))

    def test_exec_passes_its_input_through_unharmed(self):
        data = os.urandom(3_000_000)
        done = subprocess.run(["lxc", "exec", self.shared, "--", "sha256sum"], input=data, capture_output=True,
                              env=self.daemon.env, timeout=COMMAND_SECONDS, check=True)
        file = self.daemon.home / "data"
        file.write_bytes(data)
        self.assertEqual(done.stdout.decode().split()[0], sha256(file))

    def test_exec_sets_environment_folder_and_user(self):
        done = self.daemon.lxc("exec", self.shared, "--env", "COLOUR=green", "--cwd", "/tmp", "--user", "1000", "--group", "1000",
                               "--", "sh", "-c", "echo $COLOUR $PWD $(id -u) $(id -g)")
        self.assertEqual(done.stdout, "green /tmp 1000 1000\n")
        self.assertEqual(self.daemon.exec(self.shared, "sh", "-c", "echo $HOME $USER").stdout, "/root root\n")

    def test_exec_on_a_terminal_is_a_terminal(self):
        done = self.daemon.lxc("exec", "-t", self.shared, "--", "sh", "-c", "tty; exit 5", check=False)
        self.assertIn("/dev/pts/", done.stdout)
        self.assertEqual(done.returncode, 5)

    def test_a_shell_on_a_terminal_can_be_typed_into_and_interrupted(self):
        ours, theirs = pty.openpty()
        shell = subprocess.Popen(["lxc", "exec", self.shared, "--", "sh"], stdin=theirs, stdout=theirs, stderr=theirs,
                                 env={**self.daemon.env, "TERM": "dumb"}, start_new_session=True)
        os.close(theirs)
        self.addCleanup(shell.kill)
        self.addCleanup(os.close, ours)
        seen = b""

        def until(mark, seconds=30):
            nonlocal seen
            deadline = time.monotonic() + seconds
            while mark not in seen:
                self.assertLess(time.monotonic(), deadline, f"{mark} did not come in {seen}")
                if select.select([ours], [], [], 0.5)[0]:
                    try:
                        seen += os.read(ours, 65536)
                    except OSError:
                        self.fail(f"the terminal closed after {seen}")
            seen = seen.split(mark, 1)[1]

        until(b"# ")
        os.write(ours, b"sh -c 'echo re\"\"ady; exec sleep 1000'\n")  # what says ready is what ^C must reach
        until(b"ready")
        os.write(ours, b"\x03")
        os.write(ours, b"echo a''gain\n")
        until(b"again")
        os.write(ours, b"exit 3\n")
        self.assertEqual(shell.wait(30), 3)

    # --- files

    def test_files_are_pushed_pulled_and_deleted(self):
        source = self.daemon.home / "source"
        source.write_bytes(os.urandom(1_500_000))
        source.chmod(0o640)
        target = f"{self.shared}/tmp/pushed"
        self.daemon.lxc("file", "push", source, target, "--uid", "1000", "--gid", "1000", "--mode", "0600")
        self.assertEqual(self.daemon.exec(self.shared, "stat", "-c", "%u %g %a", "/tmp/pushed").stdout, "1000 1000 600\n")
        self.daemon.lxc("file", "pull", target, self.daemon.home / "back")
        self.assertEqual(sha256(source), sha256(self.daemon.home / "back"))
        self.daemon.lxc("file", "delete", target)
        self.assertNotEqual(self.daemon.lxc("file", "pull", target, "-", check=False).returncode, 0)

    def test_trees_are_pushed_and_pulled(self):
        tree = self.daemon.home / "tree"
        (tree / "a" / "b").mkdir(parents=True)
        (tree / "a" / "b" / "file").write_text("deep\n")
        (tree / "link").symlink_to("a/b/file")
        self.daemon.lxc("file", "push", "-r", "-p", tree, f"{self.shared}/tmp/new/")
        self.assertEqual(self.daemon.exec(self.shared, "cat", "/tmp/new/tree/link").stdout, "deep\n")
        (self.daemon.home / "pulled").mkdir()
        self.daemon.lxc("file", "pull", "-r", f"{self.shared}/tmp/new/tree", self.daemon.home / "pulled")
        self.assertEqual((self.daemon.home / "pulled/tree/a/b/file").read_text(), "deep\n")

    def test_files_of_a_stopped_container_can_be_reached_too(self):
        name = self.daemon.name("quiet")
        self.daemon.lxc("init", "busybox", name)
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.daemon.lxc("file", "push", "-", f"{name}/root/note", stdin="written while stopped\n")
        self.assertEqual(self.daemon.lxc("file", "pull", f"{name}/root/note", "-").stdout, "written while stopped\n")

    def test_a_link_inside_cannot_lead_a_file_call_out(self):
        canary = self.daemon.home / "canary"
        canary.write_text("host\n")
        self.daemon.exec(self.shared, "ln", "-sfn", str(self.daemon.home), "/tmp/out")
        pulled = self.daemon.lxc("file", "pull", f"{self.shared}/tmp/out/canary", "-", check=False)
        self.assertNotEqual(pulled.returncode, 0)
        self.daemon.lxc("file", "push", "-", f"{self.shared}/tmp/out/canary", stdin="guest\n", check=False)
        self.assertEqual(canary.read_text(), "host\n")

    # --- network and storage

    def test_a_network_with_an_address_is_changed(self):
        bridge = self.daemon.bridge
        self.daemon.lxc("network", "set", bridge, "ipv4.dhcp.expiry", "2h")
        self.assertEqual(self.daemon.lxc_out("network", "get", bridge, "ipv4.dhcp.expiry"), "2h")
        self.daemon.lxc("network", "unset", bridge, "ipv4.dhcp.expiry")
        self.assertEqual(self.daemon.get(f"/1.0/networks/{bridge}")["config"]["ipv4.address"], f"{self.daemon.subnet}.1/24")

    def test_logs_go_with_a_new_name(self):
        old, new = self.daemon.name("oldlog"), self.daemon.name("newlog")
        self.daemon.lxc("launch", "busybox", old)
        self.addCleanup(self.daemon.lxc, "delete", "-f", new, check=False)
        self.daemon.lxc("stop", "-f", old)
        self.daemon.lxc("rename", old, new)
        self.assertIn("/1.0/instances/%s/logs/lxc.log" % new, self.daemon.get(f"/1.0/instances/{new}/logs"))

    def test_the_network_is_listed_shown_and_leases_addresses(self):
        address = self.daemon.address(self.shared)
        networks = {row[0]: row for row in rows(self.daemon.lxc_out("network", "list", "-f", "csv"))}
        self.assertEqual(networks[self.daemon.bridge][1:4], ["bridge", "YES", f"{self.daemon.subnet}.1/24"])
        self.assertIn("ipv4.nat: \"true\"", self.daemon.lxc_out("network", "show", self.daemon.bridge))
        leases = {row[0]: row for row in rows(self.daemon.lxc_out("network", "list-leases", self.daemon.bridge, "-f", "csv"))}
        hwaddr = self.daemon.get(f"/1.0/instances/{self.shared}")["config"]["volatile.eth0.hwaddr"]
        self.assertEqual([cell.lower() for cell in leases[self.shared][1:4]], [hwaddr, address, "dynamic"])
        self.assertNotEqual(self.daemon.lxc("network", "delete", self.daemon.bridge, check=False).returncode, 0, "it is in use")

    def test_the_card_keeps_its_address_over_a_restart(self):
        name = self.daemon.launch("mac")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        before = self.daemon.exec(name, "cat", "/sys/class/net/eth0/address").stdout
        self.daemon.lxc("restart", "-f", name)
        self.assertEqual(self.daemon.exec(name, "cat", "/sys/class/net/eth0/address").stdout, before)

    def test_containers_reach_each_other_by_name(self):
        other = self.daemon.launch("peer")
        self.addCleanup(self.daemon.lxc, "delete", "-f", other, check=False)
        self.daemon.address(self.shared)
        self.daemon.address(other)
        done = eventually(lambda: self.daemon.exec(self.shared, "ping", "-c", "1", "-W", "2", other, check=False).returncode == 0, "a ping by name")
        self.assertTrue(done)

    def test_the_pool_is_listed_and_measured(self):
        (row,) = rows(self.daemon.lxc_out("storage", "list", "-f", "csv"))
        self.assertEqual(row[:2], ["default", "btrfs"])
        text = self.daemon.lxc_out("storage", "info", "default")
        self.assertIn("space used:", text)
        self.assertIn("total space:", text)
        self.assertIn(self.shared, self.daemon.lxc_out("storage", "volume", "list", "default", "-f", "csv"))
        self.assertNotEqual(self.daemon.lxc("storage", "delete", "default", check=False).returncode, 0, "it is in use")

    # --- operations and events

    def test_running_operations_are_listed_and_can_be_waited_for(self):
        sleeper = subprocess.Popen(["lxc", "exec", self.shared, "--", "sleep", "1000"], env=self.daemon.env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(sleeper.kill)
        find = lambda: [r for r in rows(self.daemon.lxc_out("operation", "list", "-f", "csv")) if "Executing command" in r and "RUNNING" in r]
        (row,) = eventually(find, "the operation in the list")
        self.assertIn("Executing command", self.daemon.lxc_out("operation", "show", row[0]))
        self.assertIn(row[0], self.daemon.troupe("operation", "list").stdout)
        self.daemon.exec(self.shared, "sh", "-c", "kill $(pidof sleep)", check=False)
        self.assertIn("state: SUCCEEDED", self.daemon.troupe("operation", "wait", row[0]).stdout)
        sleeper.wait(30)

    def test_monitors_see_what_happens(self):
        for command in (["lxc", "monitor", "--type=lifecycle", "-f", "json"], [BIN / "troupe", "monitor", "--type", "lifecycle"]):
            watcher = subprocess.Popen([str(c) for c in command], env=self.daemon.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
            try:
                seen = b""

                def look():
                    nonlocal seen
                    self.daemon.lxc("config", "set", self.shared, "user.seen=" + str(time.monotonic_ns()))
                    while select.select([watcher.stdout], [], [], 0.3)[0]:
                        part = os.read(watcher.stdout.fileno(), 65536)
                        if not part:
                            raise AssertionError(f"{command} ended")
                        seen += part
                    return b"instance-updated" in seen
                eventually(look, f"an event in {command}")
                event = next(json.loads(line) for line in seen.splitlines() if b"instance-updated" in line)
                self.assertEqual(event["type"], "lifecycle")
                self.assertEqual(event["metadata"]["source"], f"/1.0/instances/{self.shared}")
            finally:
                watcher.kill()
                watcher.wait()
                watcher.stdout.close()

    def test_query_shows_what_the_api_answers(self):
        self.assertIn(f"/1.0/instances/{self.shared}", json.loads(self.daemon.lxc_out("query", "/1.0/instances")))
        self.assertIn(f"/1.0/instances/{self.shared}", json.loads(self.daemon.troupe("query", "/1.0/instances").stdout))
        self.assertEqual(self.daemon.troupe("query", "/1.0/nope", check=False).returncode, 1)

    # --- troupe init

    def test_init_again_changes_nothing(self):
        def settings():
            networks = [network for network in self.daemon.get("/1.0/networks?recursion=1") if network["managed"]]
            return networks, self.daemon.get("/1.0/storage-pools?recursion=1"), self.daemon.get("/1.0/profiles?recursion=1")

        before = settings()
        self.daemon.troupe("init", "--auto")
        dump = self.daemon.troupe("init", "--dump").stdout
        self.daemon.troupe("init", "--preseed", stdin=dump)
        self.assertEqual(before, settings())


if __name__ == "__main__":
    unittest.main(verbosity=2)
