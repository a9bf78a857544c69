"""Publishing, backups and importing them, as the stock client drives them. See docs/backups.md."""

import io
import json
import re
import tarfile
import unittest
import uuid

import send_stream as btrfs
from backup_file import HEADERS, archive, backup, description, link
from troupe_e2e import DaemonTest, eventually, run


class Backups:
    """What must hold on every storage driver."""

    def launch(self, word):
        name = self.daemon.launch(word)
        self.forget(name)
        return name

    def forget(self, name):
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        return name

    def new_name(self, word):
        return self.forget(self.daemon.name(word))

    def file(self, word):
        return self.daemon.home / word

    def write(self, name, text, path="/root/file"):
        self.daemon.exec(name, "sh", "-c", f"echo {text} >{path}")

    def read(self, name, path="/root/file"):
        return self.daemon.exec(name, "cat", path).stdout.strip()

    def backups(self, name):
        return [b["name"] for b in self.daemon.get(f"/1.0/instances/{name}/backups?recursion=1")]

    def kept_files(self):
        """All that backups, imports and publishing may leave behind."""
        count = lambda folder: len(list((self.daemon.dir / folder).iterdir())) if (self.daemon.dir / folder).is_dir() else 0
        return {folder: count(folder) for folder in ("backups", "spool", "images", "storage-pools/default/containers",
                                                     "storage-pools/default/snapshots", "storage-pools/default/.incomplete")}

    def post(self, data, **headers):
        headers = {f"X-LXD-{key}": value for key, value in headers.items()}
        return self.daemon.outcome("POST", "/1.0/instances", data, {**HEADERS, **headers})

    def with_snapshot(self, word):
        name = self.launch(word)
        self.write(name, "then")
        self.daemon.exec(name, "sh", "-c", "rm /etc/os-release; chown 7:8 /root/file; ln /root/file /root/same; mkfifo /root/fifo")
        self.daemon.lxc("config", "set", name, "user.mark", "then")
        self.daemon.lxc("snapshot", name, "one")
        self.write(name, "now")
        self.daemon.lxc("config", "set", name, "user.mark", "now")
        return name

    def check_copy(self, name):
        self.daemon.lxc("start", name)
        self.assertEqual(self.read(name), "now")
        self.assertEqual(self.read(name, "/root/same"), "now")
        self.assertEqual(self.daemon.exec(name, "stat", "-c", "%u:%g", "/root/file").stdout.strip(), "7:8")
        self.assertNotEqual(self.daemon.exec(name, "test", "-e", "/etc/os-release", check=False).returncode, 0)
        self.assertEqual(self.daemon.exec(name, "test", "-p", "/root/fifo").returncode, 0)
        self.assertEqual(self.daemon.lxc_out("config", "get", name, "user.mark"), "now")
        self.daemon.lxc("restore", name, "one")
        self.assertEqual(self.read(name), "then")
        self.assertEqual(self.daemon.lxc_out("config", "get", name, "user.mark"), "then")

    # --- there and back

    def test_an_exported_instance_comes_back_with_its_snapshots(self):
        name, file = self.with_snapshot("there"), self.file("there.tar.gz")
        before = self.kept_files()
        self.daemon.lxc("export", name, file)   # it runs meanwhile
        self.assertEqual((self.backups(name), self.kept_files()), ([], before), "the client deletes the server's copy")
        with tarfile.open(file) as tar:
            names = tar.getnames()
        self.assertEqual(names[0], "backup/index.yaml")
        for wanted in ("backup/container/backup.yaml", "backup/container/metadata.yaml", "backup/container/rootfs/root/file",
                       "backup/snapshots/one/rootfs/root/file"):
            self.assertIn(wanted, names)
        self.assertNotIn("backup/container/rootfs/etc/os-release", names)
        taken = self.daemon.lxc("import", file, check=False)
        self.assertIn("already exists", taken.stderr)
        old = self.daemon.get(f"/1.0/instances/{name}")
        self.daemon.lxc("delete", "-f", name)
        self.daemon.lxc("import", file)
        new = self.daemon.get(f"/1.0/instances/{name}")
        for field in ("description", "profiles", "devices", "created_at", "architecture", "ephemeral"):
            self.assertEqual(new[field], old[field], field)
        self.assertEqual(new["config"]["volatile.eth0.hwaddr"], old["config"]["volatile.eth0.hwaddr"])
        self.check_copy(name)

    def test_a_backup_becomes_another_instance_in_another_pool(self):
        name, file, other = self.with_snapshot("origin"), self.file("origin.tar"), self.daemon.name("pool")
        self.daemon.lxc("storage", "create", other, "dir")
        self.addCleanup(self.daemon.lxc, "storage", "delete", other)
        copy = self.new_name("another")
        self.daemon.lxc("export", name, file, "--compression", "none")
        self.daemon.lxc("import", file, copy, "-s", other)
        shown = self.daemon.get(f"/1.0/instances/{copy}")
        self.assertEqual(shown["expanded_devices"]["root"]["pool"], other)
        mac = lambda of: self.daemon.get(f"/1.0/instances/{of}")["config"]["volatile.eth0.hwaddr"]
        self.assertNotEqual(mac(copy), mac(name), "the original still has its address")
        self.check_copy(copy)
        self.daemon.lxc("delete", "-f", copy)
        status, problem = self.post(file.read_bytes(), name=copy, devices="eth0=hwaddr%3D00%253A16%253A3e%253A01%253A02%253A03")
        self.assertEqual((status, problem), (200, ""))
        self.assertEqual(self.daemon.get(f"/1.0/instances/{copy}")["devices"]["eth0"]["hwaddr"], "00:16:3e:01:02:03")

    def test_every_compression_and_the_instance_alone(self):
        name, copy = self.with_snapshot("packed"), self.new_name("unpacked")
        for how in ("none", "gzip-1", "zstd", "xz-1", "bzip2"):
            file = self.file(f"packed.{how}")
            self.daemon.lxc("export", name, file, "--instance-only", "--compression", how)
            self.daemon.lxc("import", file, copy)
            self.assertEqual(self.daemon.get(f"/1.0/instances/{copy}/snapshots"), [], how)
            self.daemon.lxc("start", copy)
            self.assertEqual(self.read(copy), "now")
            self.daemon.lxc("delete", "-f", copy)
        refused = self.daemon.lxc("export", name, self.file("no"), "--compression", "gzip -9", check=False)
        self.assertIn("no compression", refused.stderr)
        self.daemon.lxc("config", "set", "backups.compression_algorithm", "zstd-3")
        self.addCleanup(self.daemon.lxc, "config", "unset", "backups.compression_algorithm")
        self.daemon.lxc("export", name, self.file("by-default"))
        self.assertEqual(self.file("by-default").read_bytes()[:4], b"\x28\xb5\x2f\xfd")
        self.assertNotEqual(self.daemon.lxc("config", "set", "backups.compression_algorithm", "sh -c id", check=False).returncode, 0)

    # --- kept on the server

    def test_backups_are_kept_renamed_and_deleted(self):
        name = self.launch("kept")
        url = f"/1.0/instances/{name}/backups"
        before = self.kept_files()
        for _ in range(2):
            self.assertEqual(self.daemon.outcome("POST", url, {"compression_algorithm": "none"}), (200, ""))
        self.assertEqual(self.backups(name), ["backup0", "backup1"])
        shown = self.daemon.get(f"{url}/backup0")
        self.assertEqual((shown["expires_at"], shown["instance_only"]), ("0001-01-01T00:00:00Z", False))
        self.assertEqual([b["name"] for b in self.daemon.get(f"/1.0/instances/{name}?recursion=1")["backups"]], ["backup0", "backup1"])
        self.assertEqual(self.daemon.outcome("POST", f"{url}/backup1", {"name": "mine"}), (200, ""))
        self.assertEqual(self.backups(name), ["backup0", "mine"])
        for method, path, body, code in (("POST", url, {"name": "mine"}, 409), ("POST", url, {"name": "a/b"}, 400),
                                         ("POST", f"{url}/none", {"name": "x"}, 404), ("DELETE", f"{url}/none", None, 404),
                                         ("POST", f"{url}/mine", {"name": "backup0"}, 409), ("GET", f"{url}/none/export", None, 404),
                                         ("POST", url, {"compression_algorithm": "x"}, 400)):
            self.assertEqual(self.daemon.outcome(method, path, body)[0], code, (method, path, body))
        status, data = self.daemon.request("GET", f"{url}/mine/export")
        self.assertEqual((status, tarfile.open(fileobj=io.BytesIO(data)).getnames()[0]), (200, "backup/index.yaml"))
        new = self.new_name("keeper")
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("rename", name, new)
        self.assertEqual(self.backups(new), ["backup0", "mine"])
        self.assertEqual(self.daemon.outcome("DELETE", f"/1.0/instances/{new}/backups/mine"), (200, ""))
        self.assertEqual(self.kept_files()["backups"], before["backups"] + 1)
        self.daemon.lxc("delete", new)
        self.assertEqual(self.kept_files()["backups"], before["backups"])

    def test_a_backup_that_has_expired_goes_by_itself(self):
        name = self.launch("expire")
        before = self.kept_files()
        self.assertEqual(self.daemon.outcome("POST", f"/1.0/instances/{name}/backups", {"expires_at": "2020-01-01T00:00:00Z"}), (200, ""))
        eventually(lambda: self.backups(name) == [] and self.kept_files() == before, "the end of the backup")

    def test_the_instance_is_free_while_it_is_packed_and_a_cancel_leaves_nothing(self):
        name = self.launch("large")
        self.daemon.exec(name, "sh", "-c", "dd if=/dev/urandom of=/root/noise bs=1M count=64 2>/dev/null")
        before = self.kept_files()
        _, begun = self.daemon.request("POST", f"/1.0/instances/{name}/backups", {"compression_algorithm": "xz-9"})
        self.assertTrue(begun["metadata"]["may_cancel"])
        self.daemon.lxc("restart", "-f", name)
        self.assertEqual(self.daemon.request("DELETE", begun["operation"])[0], 200)
        ended = self.daemon.get(begun["operation"] + "/wait")
        self.assertIn(ended["status"], ("Cancelled", "Failure"))
        eventually(lambda: self.kept_files() == before, "the tidiness from before")

    def test_the_bus_does_the_same(self):
        name, alias = self.launch("bus"), self.daemon.name("busalias")
        call = lambda path, **params: json.loads(self.daemon.troupe("bus", "call", path, json.dumps(params), "--wait").stdout)
        self.daemon.lxc("snapshot", name, "one")
        before = self.kept_files()
        call(f"instances.get({name}).backup", name="kept", compression_algorithm="zstd-3")
        call(f"instances.get({name}).renameBackup", backup="kept", name="other")
        shown = json.loads(self.daemon.troupe("bus", "call", f"instances.get({name}).backups").stdout)["items"]
        self.assertEqual([each["spec"]["name"] for each in shown], ["other"])
        call(f"instances.get({name}).deleteBackup", backup="other")
        self.assertEqual(self.kept_files(), before)
        ended = call("images.publish", source={"type": "snapshot", "name": f"{name}/one"}, aliases=[{"name": alias}])
        self.addCleanup(self.daemon.lxc, "image", "delete", alias)
        self.assertEqual(ended["state"], "succeeded")
        self.assertEqual(self.daemon.get(f"/1.0/images/aliases/{alias}")["target"], ended["metadata"]["fingerprint"])
        running = self.daemon.troupe("bus", "call", "images.publish", json.dumps({"source": {"type": "instance", "name": name}}), check=False)
        self.assertIn("must be stopped", running.stdout + running.stderr)

    # --- publishing

    def test_an_instance_becomes_an_image(self):
        name, alias, copy = self.with_snapshot("model"), self.daemon.name("alias"), self.new_name("frommodel")
        running = self.daemon.outcome("POST", "/1.0/images", {"source": {"type": "instance", "name": name}})
        self.assertEqual(running[0], 400)
        self.assertIn("must be stopped", running[1])
        self.assertNotEqual(self.daemon.lxc("publish", name, check=False).returncode, 0)
        self.daemon.lxc("publish", name, "--force", "--alias", alias, "--public", "--expire", "2099-01-02T03:04:05Z", "os=ours")
        self.assertEqual(self.daemon.status(name), "Running", "the client has started it again")
        image = self.daemon.get(f"/1.0/images/aliases/{alias}")["target"]
        self.addCleanup(self.daemon.lxc, "image", "delete", image)
        self.forget(copy)  # before its image
        shown = self.daemon.get(f"/1.0/images/{image}")
        self.assertEqual((shown["public"], shown["expires_at"], shown["properties"]), (True, "2099-01-02T03:04:05Z", {"os": "ours"}))
        self.daemon.lxc("image", "export", image, self.file("model"))
        exported = next(self.daemon.home.glob("model*"))
        with tarfile.open(exported) as tar:
            names = tar.getnames()
            self.assertIn("os: \"ours\"", tar.extractfile("metadata.yaml").read().decode())
        self.assertEqual(names[0], "metadata.yaml")
        self.assertIn("templates/hostname.tpl" if "templates/hostname.tpl" in names else "rootfs/root/file", names)
        self.daemon.lxc("launch", alias, copy)
        self.assertEqual(self.read(copy), "now")
        self.assertEqual(self.daemon.exec(copy, "stat", "-c", "%u:%g", "/root/file").stdout.strip(), "7:8")
        self.assertNotEqual(self.daemon.exec(copy, "test", "-e", "/etc/os-release", check=False).returncode, 0)

    def test_a_snapshot_becomes_an_image(self):
        name, alias, copy = self.with_snapshot("snapmodel"), self.daemon.name("snapalias"), self.new_name("fromsnap")
        before = self.kept_files()
        self.daemon.lxc("publish", f"{name}/one", "--alias", alias, "--compression", "zstd", "release=one")
        image = self.daemon.get(f"/1.0/images/aliases/{alias}")["target"]
        self.daemon.lxc("launch", alias, copy)
        self.assertEqual(self.read(copy), "then")
        self.daemon.lxc("delete", "-f", copy)
        self.daemon.lxc("image", "delete", image)
        self.assertEqual({**self.kept_files(), "images": 0}, {**before, "images": 0})
        for body, code in (({"source": {"type": "instance", "name": "nobody"}}, 404), ({"source": {"type": "snapshot", "name": f"{name}/no"}}, 404),
                           ({"source": {"type": "snapshot", "name": name}}, 400), ({"source": {"type": "instance", "name": f"{name}/one"}}, 400),
                           ({"source": {"type": "snapshot", "name": f"{name}/one"}, "compression_algorithm": "gzip|id"}, 400),
                           ({"source": {"type": "snapshot", "name": f"{name}/one"}, "aliases": [{"name": "busybox"}]}, 409),
                           ({"source": {"type": "snapshot", "name": f"{name}/one"}, "profiles": ["none"]}, 400)):
            self.assertEqual(self.daemon.outcome("POST", "/1.0/images", body)[0], code, body)
        self.assertEqual(self.kept_files(), before)

    # --- what is refused

    def test_what_says_two_things_or_leads_outside_is_refused_and_leaves_nothing(self):
        name = self.daemon.name("hostile")
        here = lambda **changes: description(name, **changes)
        privileged = here(config={"security.privileged": "true"})
        secret = self.daemon.dir / "secret"
        secret.write_text("untouched")
        self.addCleanup(secret.unlink)
        snapshots = {**here(), "snapshots": [{"name": "one", "config": {}, "devices": {}, "profiles": []}]}
        cases = {
            "no archive": b"garbage" * 1000,
            "nothing": b"",
            "another config beside": backup(name, here(), privileged),
            "other devices beside": backup(name, here(), here(devices={"root": {"type": "disk", "path": "/", "pool": "default"}})),
            "another name beside": backup(name, here(), description("other")),
            "two names": backup(name, description("other")),
            "unknown profile": backup(name, here(profiles=["nobody"])),
            "unknown key": backup(name, here(config={"no.such.key": "1"})),
            "bad value": backup(name, here(config={"limits.cpu": "many"})),
            "control characters": backup(name, here(config={"limits.cpu": "1\n2"})),
            "config of another shape": backup(name, here(config={"user.x": ["1"]})),
            "unknown device": backup(name, here(devices={"x": {"type": "magic"}})),
            "unknown network": backup(name, here(devices={"x": {"type": "nic", "network": "nowhere"}})),
            "unknown pool": backup(name, here(devices={"root": {"type": "disk", "path": "/", "pool": "nowhere"}}), pool="nowhere"),
            "foreign architecture": backup(name, here(architecture="s390x")),
            "bad name": backup("../x", description("../x")),
            "virtual machine": backup(name, here(type="virtual-machine")),
            "volume": backup(name, type="custom"),
            "optimized": backup(name, optimized=True),
            "no description": backup(name, config=None),
            "unnamed snapshot": backup(name, more=[("backup/snapshots/x/rootfs", None)]),
            "missing snapshot": backup(name, snapshots, snapshots=["one"]),
            "snapshots named otherwise": backup(name, snapshots, snapshots=["two"]),
            "rootfs is a link": archive([("backup/index.yaml", json.dumps({"name": name, "type": "container", "config": here()}).encode()),
                                         ("backup/container/backup.yaml", json.dumps(here()).encode()), link("backup/container/rootfs", "/")]),
            "backup.yaml is a link": archive([("backup/index.yaml", json.dumps({"name": name, "type": "container", "config": here()}).encode()),
                                              ("backup/container/rootfs", None), link("backup/container/backup.yaml", str(secret))]),
            "metadata.yaml is a link": backup(name, more=[link("backup/container/metadata.yaml", str(secret))]),
            "templates is a link": backup(name, more=[link("backup/container/templates", "/etc")]),
            "a link to write through": backup(name, more=[link("backup/container/rootfs/x", str(self.daemon.dir)),
                                                                ("backup/container/rootfs/x/secret", b"changed")]),
            "a hard link outwards": backup(name, more=[link("backup/container/rootfs/x", str(secret), tarfile.LNKTYPE)]),
            "dots": backup(name, more=[("backup/container/rootfs/../../../secret", b"changed")]),
            "an absolute path": backup(name, more=[(str(secret), b"changed")]),
            "metadata that cannot be read": backup(name, more=[("backup/container/metadata.yaml", b"a: [*x]")]),
            "two indexes": backup(name, more=[("backup/index.yaml", b"{}")]),
            "a YAML bomb": archive([("backup/index.yaml", b"a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]\n")]),
            "deep YAML": archive([("backup/index.yaml", b"[" * 10000)]),
            "a key twice": archive([("backup/index.yaml", b"name: a\nname: b\n")]),
            "cut off": backup(name)[:3000],
        }
        before, instances = self.kept_files(), self.daemon.get("/1.0/instances")
        for what, data in cases.items():
            with self.subTest(what):
                status, problem = self.post(data)
                self.assertEqual(status // 100, 4, (what, problem))
                self.assertNotIn("internal", problem)
                eventually(lambda: self.kept_files() == before, f"{what}: nothing left behind: {self.kept_files()} {before}", 10)
                self.assertEqual(self.daemon.get("/1.0/instances"), instances, what)
                self.assertEqual(secret.read_text(), "untouched", what)
        for headers in ({"name": "a_b"}, {"pool": "nowhere"}, {"devices": "nothing=path%3D/x"}):
            self.assertEqual(self.post(backup(name), **headers)[0] // 100, 4, headers)
        self.forget(name)
        self.assertEqual(self.post(backup(name)), (200, ""), "the one that is well")

    def test_an_import_is_judged_as_a_creation(self):
        project = self.daemon.name("strict")
        self.daemon.lxc("project", "create", project, "-c", "features.images=false", "-c", "features.profiles=false", "-c", "restricted=true",
                        "-c", "restricted.devices.nic=allow")
        self.addCleanup(self.daemon.lxc, "project", "delete", project, check=False)
        name = self.daemon.name("judged")
        url = f"/1.0/instances?project={project}"
        for config, devices in (({}, {}), ({"security.privileged": "true"}, {}), ({"security.nesting": "true"}, {}), ({"raw.lxc": "lxc.a=b"}, {}),
                                ({}, {"x": {"type": "disk", "source": "/etc", "path": "/x"}}), ({"limits.cpu": "1"}, {}),
                                ({}, {"x": {"type": "proxy", "listen": "tcp:127.0.0.1:9", "connect": "tcp:127.0.0.1:9"}})):
            data = backup(name, description(name, config=config, devices=devices))
            imported = self.daemon.outcome("POST", url, data, HEADERS)
            self.daemon.outcome("DELETE", f"/1.0/instances/{name}?project={project}")
            made = self.daemon.outcome("POST", url, {"name": name, "source": {"type": "none"}, "config": config, "devices": devices})
            self.daemon.outcome("DELETE", f"/1.0/instances/{name}?project={project}")
            self.assertEqual(imported, made, (config, devices))
        made = self.daemon.outcome("POST", url, {"name": name, "source": {"type": "none"}})
        self.assertEqual(made, (200, ""))
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/instances/{name}?project={project}")
        backups = f"/1.0/instances/{name}/backups?project={project}"
        self.assertEqual(self.daemon.outcome("POST", backups, {})[0], 403)
        self.daemon.lxc("project", "set", project, "restricted.backups", "allow")
        self.assertEqual(self.daemon.outcome("POST", backups, {}), (200, ""))


class OnBtrfs(Backups, DaemonTest):
    driver = "btrfs"

    def test_an_optimized_backup_holds_streams(self):
        name, file = self.with_snapshot("stream"), self.file("stream.tar.gz")
        before = self.kept_files()
        self.daemon.lxc("export", name, file, "--optimized-storage")
        with tarfile.open(file) as tar:
            self.assertEqual(tar.getnames(), ["backup/index.yaml", "backup/optimized_header.yaml", "backup/snapshots/one.bin", "backup/container.bin"])
            for stream in ("backup/snapshots/one.bin", "backup/container.bin"):
                self.assertEqual(tar.extractfile(stream).read(13), b"btrfs-stream\0")
        self.assertEqual(self.kept_files(), before)

    def test_an_optimized_backup_comes_back_with_its_snapshots(self):
        name, file = self.with_snapshot("received"), self.file("received.tar.gz")
        self.daemon.exec(name, "sh", "-c", "mkdir -p /root/a/b; ln -s /nowhere /root/a/link; dd if=/dev/urandom of=/root/big bs=64k count=40; mknod /root/null c 1 3 || true")
        self.daemon.lxc("snapshot", name, "two")
        self.daemon.exec(name, "sh", "-c", "mv /root/a/b /root/c; cat /root/big /root/big >/root/bigger; setfattr -n user.x -v y /root/big || true; rm -r /root/a")
        sum_of = lambda of, path: self.daemon.exec(of, "sha256sum", path).stdout.split()[0]
        big, bigger = sum_of(name, "/root/big"), sum_of(name, "/root/bigger")
        self.daemon.lxc("export", name, file, "--optimized-storage")
        self.daemon.lxc("delete", "-f", name)
        before = self.kept_files()
        self.daemon.lxc("import", file)
        after = self.kept_files()
        self.assertEqual((after["spool"], after["storage-pools/default/.incomplete"]), (before["spool"], before["storage-pools/default/.incomplete"]))
        self.assertEqual(sorted(s["name"] for s in self.daemon.get(f"/1.0/instances/{name}/snapshots?recursion=1")), ["one", "two"])
        pool = self.daemon.dir / "storage-pools/default"
        self.assertFalse(list(pool.glob("*/*/backup.yaml")))
        self.daemon.lxc("start", name)
        self.assertEqual((sum_of(name, "/root/big"), sum_of(name, "/root/bigger")), (big, bigger))
        self.assertEqual(self.daemon.exec(name, "ls", "/root/c").returncode, 0)
        self.assertNotEqual(self.daemon.exec(name, "ls", "/root/a", check=False).returncode, 0)
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("restore", name, "two")
        self.daemon.lxc("start", name)
        self.assertEqual(self.daemon.exec(name, "readlink", "/root/a/link").stdout.strip(), "/nowhere")
        self.assertEqual(sum_of(name, "/root/big"), big)
        self.daemon.lxc("stop", "-f", name)
        self.daemon.lxc("restore", name, "one")
        self.daemon.lxc("start", name)
        self.assertEqual(self.read(name), "then")
        copy = self.new_name("second")
        self.daemon.lxc("import", file, copy)
        self.assertEqual(len(self.daemon.get(f"/1.0/instances/{copy}/snapshots")), 2)

    def test_an_optimized_backup_goes_into_no_other_pool(self):
        name, file, other = self.launch("own-form"), self.file("own-form.tar"), self.daemon.name("pool")
        self.daemon.lxc("storage", "create", other, "dir")
        self.addCleanup(self.daemon.lxc, "storage", "delete", other)
        self.daemon.lxc("export", name, file, "--optimized-storage", "--compression", "none")
        before = self.kept_files()
        refused = self.daemon.lxc("import", file, self.daemon.name("nowhere"), "-s", other, check=False)
        self.assertIn("only btrfs into btrfs", refused.stderr)
        self.assertEqual(self.kept_files(), before)

    def optimized(self, name, *streams, header=None, more=(), snapshots=(), **changes):
        """A backup of streams: of the snapshots, then of the container."""
        index = {**description(name, **changes), "snapshots": [{"name": s, "config": {}, "devices": {}, "profiles": []} for s in snapshots]}
        whole = {"name": name, "backend": "btrfs", "pool": "default", "type": "container", "optimized": True, "config": index, "snapshots": list(snapshots)}
        names = [f"snapshots/{s}" for s in snapshots] + ["container"]
        return archive([("backup/index.yaml", json.dumps(whole).encode()),
                        *([("backup/optimized_header.yaml", header)] if header else []),
                        *[(f"backup/{n}.bin", data) for n, data in zip(names, streams)], *more])

    def test_a_stream_reaches_nothing_but_its_own_volume(self):
        name = self.daemon.name("crafted")
        victim = self.launch("victim")
        self.write(victim, "secret")
        secret = self.daemon.dir / "secret"
        secret.write_text("untouched")
        self.addCleanup(secret.unlink)
        shown = run("btrfs", "subvolume", "show", self.daemon.dir / f"storage-pools/default/containers/{victim}").stdout
        foreign = uuid.UUID(re.search(r"\sUUID:\s+(\S+)", shown)[1]).bytes
        of, c, whole = btrfs, btrfs.command, btrfs.stream
        clone = lambda id, path: of.file("rootfs/x") + c(of.CLONE, [(of.PATH, "rootfs/x"), (of.OFFSET, 0), (of.CLONE_SIZE, 7), (of.CLONE_ID, id),
                                                                   (of.CLONE_PATH, path), (of.CLONE_OFFSET, 0), (of.CLONE_TRANSACTION, 1)])
        way_out = c(of.SYMLINK, [(of.PATH, "rootfs/l"), (of.PATH_LINK, str(self.daemon.dir))])
        cases = {
            "no stream": b"garbage" * 100,
            "nothing": b"",
            "cut off": whole(of.file("rootfs/x"))[:-12],
            "a wrong sum": of.HEAD + of.begin()[:-1] + b"z" + c(of.END),
            "another version": whole().replace(of.HEAD, of.HEAD[:-4] + b"\x02\0\0\0"),
            "something behind": whole() + whole(),
            "an unknown command": whole(c(77)),
            "a long command": of.HEAD + b"\xff\xff\xff\x7f" + bytes(200),
            "a missing attribute": whole(c(of.MKFILE)),
            "an attribute twice": whole(c(of.MKFILE, [(of.PATH, "rootfs/a"), (of.PATH, "rootfs/b")])),
            "no root": whole(first=of.begin()),
            "rootfs is a link": whole(c(of.SYMLINK, [(of.PATH, "rootfs"), (of.PATH_LINK, "/")]), first=of.begin()),
            "templates is a link": whole(c(of.SYMLINK, [(of.PATH, "metadata.yaml"), (of.PATH_LINK, str(secret))])),
            "two subvolumes": whole(of.begin()),
            "no beginning": of.HEAD + c(of.MKDIR, [(of.PATH, "rootfs")]) + c(of.END),
            "dots": whole(of.file("rootfs/../../secret")),
            "an absolute path": whole(of.file(str(secret))),
            "through a link": whole(way_out, of.file("rootfs/l/secret")),
            "write through a link": whole(c(of.SYMLINK, [(of.PATH, "rootfs/l"), (of.PATH_LINK, str(secret))]),
                                          c(of.WRITE, [(of.PATH, "rootfs/l"), (of.OFFSET, 0), (of.DATA, b"changed")])),
            "mode of a link": whole(way_out, c(of.CHMOD, [(of.PATH, "rootfs/l"), (of.MODE, 0o777)])),
            "rename outwards": whole(of.file("rootfs/x"), c(of.RENAME, [(of.PATH, "rootfs/x"), (of.PATH_TO, "../secret")])),
            "rename through a link": whole(way_out, of.file("rootfs/x"), c(of.RENAME, [(of.PATH, "rootfs/x"), (of.PATH_TO, "rootfs/l/secret")])),
            "link from outside": whole(c(of.LINK, [(of.PATH, "rootfs/x"), (of.PATH_LINK, "../../secret")])),
            "remove outside": whole(c(of.UNLINK, [(of.PATH, "../../secret")])),
            "clone of a foreign subvolume": whole(clone(foreign, f"containers/{victim}/rootfs/root/file")),
            "clone from outside": whole(clone(of.ONE, "../../secret")),
            "snapshot of a foreign subvolume": whole(first=of.later(base=foreign)),
            "too long": whole(of.file("rootfs/x"), c(of.TRUNCATE, [(of.PATH, "rootfs/x"), (of.SIZE, 1 << 60)])),
            "far out": whole(of.file("rootfs/x"), c(of.WRITE, [(of.PATH, "rootfs/x"), (of.OFFSET, (1 << 64) - 2), (of.DATA, b"1234")])),
            "an owner out of range": whole(of.file("rootfs/x"), c(of.CHOWN, [(of.PATH, "rootfs/x"), (of.UID, 1 << 32), (of.GID, 0)])),
            "another description": whole(of.file("backup.yaml", json.dumps(description(name, config={"security.privileged": "true"})).encode())),
            "a description that is a link": whole(c(of.SYMLINK, [(of.PATH, "backup.yaml"), (of.PATH_LINK, str(secret))])),
        }
        archives = {what: self.optimized(name, data) for what, data in cases.items()}
        good = whole(of.file("rootfs/x", b"12345678"))
        archives |= {
            "subvolumes inside": self.optimized(name, good, header=b"subvolumes: [{path: /, snapshot: ''}, {path: /a, snapshot: ''}]"),
            "an unnamed stream": self.optimized(name, good, more=[("backup/snapshots/x.bin", good)]),
            "a stream twice": self.optimized(name, good, more=[("backup/container.bin", good)]),
            "a missing stream": self.optimized(name),
            "a stream that is a link": self.optimized(name, more=[link("backup/container.bin", str(secret))]),
            "shifted ids": self.optimized(name, good, config={"volatile.last_state.idmap": '[{"Isuid":true}]'}),
            "of another driver": self.optimized(name, good).replace(b'"backend": "btrfs"', b'"backend": "zfs",  '),
            "a base that is another": self.optimized(name, good, whole(first=of.later(base=b"9" * 16)), snapshots=["one"]),
            "a second whole one": self.optimized(name, good, good, snapshots=["one"]),
            "clone outside of the base": self.optimized(name, good, of.HEAD + of.later() + clone(of.ONE, "../../../secret") + c(of.END), snapshots=["one"]),
        }
        before, instances = self.kept_files(), self.daemon.get("/1.0/instances")
        for what, data in archives.items():
            with self.subTest(what):
                status, problem = self.post(data)
                self.assertEqual(status // 100, 4, (what, problem))
                eventually(lambda: self.kept_files() == before, f"{what}: nothing left behind: {self.kept_files()} {before}", 10)
                self.assertEqual((self.daemon.get("/1.0/instances"), secret.read_text()), (instances, "untouched"), what)
        self.forget(name)
        self.assertEqual(self.post(self.optimized(name, good)), (200, ""), "the one that is well")


class OnDir(Backups, DaemonTest):
    driver = "dir"

    def test_an_optimized_backup_is_refused(self):
        name = self.launch("plain")
        refused = self.daemon.lxc("export", name, self.file("no"), "--optimized-storage", check=False)
        self.assertIn("no optimized form", refused.stderr)


if __name__ == "__main__":
    unittest.main()
