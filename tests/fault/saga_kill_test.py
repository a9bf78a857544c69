"""The daemon is killed (SIGKILL, by itself) at every journal point of every saga, on the way forth, on the way back, and once
more while it recovers. After each restart the operation has come to the one end that its journal asks for, and the host is clean.

The points are not listed here: the daemon tells its sagas and the moments of their lives (GET /internal/faults, only in a
daemon started with TROUPE_FAULTS), and the plan of each request (?plan=true) its steps. A saga for which there is no case
here, and a moment this test does not know, fail it; a new step is killed at without a change here.
TROUPE_SAGAS=KIND,... limits a run to some; TROUPE_PART=2/4 to the second of four parts of all.
"""

import base64
import hashlib
import http.client
import io
import json
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import tarfile
import time
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from host_state import ENDED, Host  # noqa: E402
from identities import free_port  # noqa: E402
from troupe_e2e import DaemonTest, eventually  # noqa: E402

SETTLE_SECONDS = int(os.environ.get("TROUPE_SETTLE", "20"))   # bounds the wait for what goes on behind a finished operation
ONLY = set(filter(None, os.environ.get("TROUPE_SAGAS", "").split(",")))
PART, PARTS = map(int, os.environ.get("TROUPE_PART", "1/1").split("/"))
BACK = ("failed", "rolledBack")


class Case:
    """A request that begins one saga. `there()` is true after its success, false before it and after its undoing."""

    def __init__(self, method, path, body, there, headers=None, half_way=False, plan=None):
        self.method, self.path, self.body, self.there, self.headers = method, path, body, there, headers or {}
        self.plan = plan          # of a call that cannot be planned
        self.half_way = half_way  # undone, it may stay between the two: what is down stays down


def tiny_image(arch):
    """A unified image with a content of its own."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        text = json.dumps({"architecture": arch, "creation_date": 1, "properties": {"serial": uuid.uuid4().hex}}).encode()
        for name, content in (("metadata.yaml", text), ("rootfs/etc/motd", b"hello\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def split_form(metadata, rootfs):
    """The two files of a split image as the stock client posts them: (body, headers)."""
    mark = "a-boundary"
    part = lambda name, data: (f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
                               "Content-Type: application/octet-stream\r\n\r\n").encode() + data + b"\r\n"
    body = part("metadata", metadata) + part("rootfs", rootfs) + f"--{mark}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={mark}"}


def tar_of(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/").replace("_yaml", ".yaml"))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


class SagaKillTest(DaemonTest):
    driver = "dir"
    process_env = {"TROUPE_FAULTS": ""}

    def setUp(self):
        super().setUp()
        self.host = Host(self.daemon)
        self.serial = 0
        self.kills = 0

    # --- the cases, by the kind of their saga; each makes what its request needs

    CASES = {
        "instance.create": ["create_from_image", "create_empty", "copy_instance", "copy_to_pool", "receive_instance"],
        "instance.move": ["move_to_pool", "move_to_project"], "instance.refresh": ["refresh_copy", "receive_again"], "instance.rebuild": ["rebuild"],
        "instance.start": ["start"], "instance.stop": ["stop_forced", "stop_gracefully"], "instance.restart": ["restart"],
        "instance.freeze": ["freeze"], "instance.unfreeze": ["unfreeze"], "instance.rename": ["rename_instance"],
        "instance.restore": ["restore_stopped", "restore_running"],
        "instance.import": ["import_instance", "import_streams"], "image.publish": ["publish_instance", "publish_snapshot"],
        "backup.create": ["create_backup"], "backup.rename": ["rename_backup"], "backup.delete": ["delete_backup"],
        "snapshot.create": ["create_snapshot"], "snapshot.update": ["update_snapshot"], "snapshot.rename": ["rename_snapshot"],
        "snapshot.delete": ["delete_snapshot"], "snapshot.prune": ["prune_snapshots"],
        "instance.update": ["update_instance", "update_running"], "instance.delete": ["delete_instance"],
        "image.import": ["import_unified", "import_split"], "image.delete": ["delete_image", "delete_unpacked_image"],
        "image.update": ["update_image"], "image.alias": ["create_alias"],
        "network.create": ["create_network"], "network.update": ["update_network"], "network.rename": ["rename_network"],
        "network.delete": ["delete_network"],
        "pool.create": ["create_pool"], "pool.update": ["update_pool"], "pool.delete": ["delete_pool"],
        "volume.create": ["create_volume", "copy_volume", "copy_volume_with_snapshots"], "volume.update": ["update_volume"],
        "volume.move": ["rename_volume", "move_volume"], "volume.delete": ["delete_volume"], "volume.restore": ["restore_volume"],
        "volume.snapshot.create": ["snapshot_volume"], "volume.snapshot.rename": ["rename_volume_snapshot"],
        "volume.snapshot.update": ["update_volume_snapshot"], "volume.snapshot.delete": ["delete_volume_snapshot"],
        "profile.create": ["create_profile"], "profile.update": ["update_profile", "update_profile_in_use"], "profile.rename": ["rename_profile"],
        "profile.delete": ["delete_profile"],
        "certificate.create": ["create_certificate"], "certificate.update": ["update_certificate"],
        "certificate.delete": ["delete_certificate"],
        "auth.group": ["update_group", "rename_group"], "auth.identity": ["create_identity"], "auth.mapping": ["create_mapping"],
        "project.create": ["create_project"], "project.update": ["update_project"], "project.rename": ["rename_project"],
        "project.delete": ["delete_project"],
        "server.update": ["update_server"],
        "sink.create": ["create_sink"], "sink.update": ["update_sink"], "sink.delete": ["delete_sink"],
    }

    def name(self, word="s"):
        self.serial += 1
        return self.daemon.name(f"{word}{self.serial}")

    def must(self, method, path, body=None, headers=None):
        status, problem = self.daemon.outcome(method, path, body, headers)
        self.assertIn(status, (200, 201), f"{method} {path}: {problem}")

    def found(self, path):
        status, envelope = self.daemon.request("GET", path)
        self.assertIn(status, (200, 404), envelope)
        return envelope["metadata"] if status == 200 else None

    def status(self, name):
        return (self.found(f"/1.0/instances/{name}") or {}).get("status")

    def instance(self, status="Stopped", image=True):
        name = self.name()
        source = {"type": "image", "alias": "busybox"} if image else {"type": "none"}
        self.must("POST", "/1.0/instances", {"name": name, "source": source})
        if status != "Stopped":
            self.must("PUT", f"/1.0/instances/{name}/state", {"action": "start"})
        if status == "Frozen":
            self.must("PUT", f"/1.0/instances/{name}/state", {"action": "freeze"})
        return name

    def create_from_image(self):
        name = self.name()
        return Case("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}},
                    lambda: self.status(name) == "Stopped")

    def create_empty(self):
        name = self.name()
        return Case("POST", "/1.0/instances", {"name": name, "source": {"type": "none"}}, lambda: self.status(name) == "Stopped")

    def power(self, before, after, half_way=False, **put):
        name = self.instance(before)
        return Case("PUT", f"/1.0/instances/{name}/state", put, lambda: self.status(name) == after, half_way=half_way)

    def start(self):
        return self.power("Stopped", "Running", action="start")

    def stop_forced(self):
        return self.power("Running", "Stopped", half_way=True, action="stop", force=True)

    def stop_gracefully(self):
        return self.power("Running", "Stopped", half_way=True, action="stop", timeout=60)

    def restart(self):
        name = self.instance("Running")
        first = self.found(f"/1.0/instances/{name}/state")["pid"]
        again = lambda: self.status(name) == "Running" and self.found(f"/1.0/instances/{name}/state")["pid"] != first
        return Case("PUT", f"/1.0/instances/{name}/state", {"action": "restart", "force": True}, again, half_way=True)

    def freeze(self):
        return self.power("Running", "Frozen", action="freeze")

    def unfreeze(self):
        return self.power("Frozen", "Running", action="unfreeze")

    def rename_instance(self):
        old, new = self.instance(), self.name()
        return Case("POST", f"/1.0/instances/{old}", {"name": new},
                    lambda: self.one_of(new, old, lambda name: self.status(name) == "Stopped"))

    def one_of(self, wanted, other, there):
        """Exactly one of the two is there; true: the wanted one."""
        self.assertNotEqual(there(wanted), there(other), (wanted, other))
        return there(wanted)

    def update_instance(self):
        name = self.instance(image=False)
        return Case("PATCH", f"/1.0/instances/{name}", {"config": {"user.x": "1"}},
                    lambda: self.found(f"/1.0/instances/{name}")["config"].get("user.x") == "1")

    def snapshot(self, name, called="one"):
        self.must("POST", f"/1.0/instances/{name}/snapshots", {"name": called})
        return f"/1.0/instances/{name}/snapshots/{called}"

    def copy_instance(self):
        source, name = self.instance(), self.name()
        self.snapshot(source)
        return Case("POST", "/1.0/instances", {"name": name, "source": {"type": "copy", "source": source}},
                    lambda: self.status(name) == "Stopped" and self.found(f"/1.0/instances/{name}/snapshots/one") is not None)

    def other_pool(self):
        if self.found("/1.0/storage-pools/other") is None:
            self.must("POST", "/1.0/storage-pools", {"name": "other", "driver": "dir"})
        return "other"

    def copy_to_pool(self):
        source, name, pool = self.instance(), self.name(), self.other_pool()
        self.snapshot(source)
        root = {"root": {"type": "disk", "path": "/", "pool": pool}}
        return Case("POST", "/1.0/instances", {"name": name, "devices": root, "source": {"type": "copy", "source": source}},
                    lambda: self.status(name) == "Stopped" and self.found(f"/1.0/instances/{name}/snapshots/one") is not None)

    def from_another_server(self, source):
        """Where a migration comes from: the daemon is its own source, and both sides of it die together."""
        if not hasattr(self, "port"):
            self.port = free_port()
            self.must("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{self.port}"}})
        status, begun = self.daemon.request("POST", f"/1.0/instances/{source}", {"migration": True})
        self.assertEqual(status, 202, begun)
        return {"type": "migration", "mode": "pull", "operation": f"https://127.0.0.1:{self.port}{begun['operation']}",
                "certificate": self.daemon.get("/1.0")["environment"]["certificate"], "secrets": begun["metadata"]["metadata"]}

    def receive_instance(self):
        source, name = self.instance(), self.name()
        self.snapshot(source)
        return Case("POST", "/1.0/instances", {"name": name, "source": self.from_another_server(source)},
                    lambda: self.status(name) == "Stopped" and self.found(f"/1.0/instances/{name}/snapshots/one") is not None)

    def receive_again(self):
        source, name = self.instance(), self.name()
        self.must("POST", "/1.0/instances", {"name": name, "source": {"type": "copy", "source": source}})
        self.snapshot(name, "old")
        self.snapshot(source, "new")
        body = {"name": name, "source": {**self.from_another_server(source), "refresh": True}}
        return Case("POST", "/1.0/instances", body, lambda: self.one_of(f"/1.0/instances/{name}/snapshots/new", f"/1.0/instances/{name}/snapshots/old",
                                                                        lambda path: self.found(path) is not None))

    def move_to_pool(self):
        name, pool = self.instance(), self.other_pool()
        self.snapshot(name)
        return Case("POST", f"/1.0/instances/{name}", {"name": name, "migration": True, "pool": pool},
                    lambda: self.found(f"/1.0/instances/{name}")["expanded_devices"]["root"]["pool"] == pool)

    def move_to_project(self):
        name, project = self.instance(), self.name("p")
        self.must("POST", "/1.0/projects", {"name": project, "config": {"features.images": "false", "features.profiles": "false"}})
        self.snapshot(name)
        found = lambda path: self.found(path) is not None
        return Case("POST", f"/1.0/instances/{name}", {"name": name, "migration": True, "project": project},
                    lambda: self.one_of(f"/1.0/instances/{name}/snapshots/one?project={project}", f"/1.0/instances/{name}/snapshots/one", found))

    def refresh_copy(self):
        source, name = self.instance(), self.name()
        copy = {"name": name, "source": {"type": "copy", "source": source}}
        self.must("POST", "/1.0/instances", copy)
        self.snapshot(name, "old")
        self.snapshot(source, "new")
        copy["source"]["refresh"] = True
        return Case("POST", "/1.0/instances", copy, lambda: self.one_of(f"/1.0/instances/{name}/snapshots/new", f"/1.0/instances/{name}/snapshots/old",
                                                                        lambda path: self.found(path) is not None))

    def rebuild(self):
        name = self.instance()
        return Case("POST", f"/1.0/instances/{name}/rebuild", {"source": {"type": "none"}},
                    lambda: "volatile.base_image" not in self.found(f"/1.0/instances/{name}")["config"])

    def prune_snapshots(self):
        name = self.instance()
        path = f"/1.0/instances/{name}"
        self.must("PATCH", path, {"config": {"snapshots.schedule": "@startup"}})
        self.must("PUT", f"{path}/state", {"action": "start"})
        eventually(lambda: self.found(f"{path}/snapshots"), "the snapshot of the start")
        self.must("PATCH", path, {"config": {"snapshots.schedule": "", "snapshots.keep.hourly": "0"}})
        return Case("POST", f"{path}/retention", None, lambda: not self.found(f"{path}/snapshots"))

    def volumes(self, pool):
        return f"/1.0/storage-pools/{pool}/volumes/custom"

    def volume(self):
        name = self.name()
        self.must("POST", self.volumes("default"), {"name": name})
        return name

    def there_is(self, path):
        return lambda: self.found(path) is not None

    def create_volume(self):
        name = self.name()
        return Case("POST", self.volumes("default"), {"name": name}, self.there_is(f"{self.volumes('default')}/{name}"))

    def copy_volume(self):
        source, name, pool = self.volume(), self.name(), self.other_pool()
        return Case("POST", self.volumes(pool), {"name": name, "source": {"type": "copy", "name": source, "pool": "default"}},
                    self.there_is(f"{self.volumes(pool)}/{name}"))

    def volume_with_snapshot(self):
        name = self.volume()
        self.must("POST", f"{self.volumes('default')}/{name}/snapshots", {"name": "one"})
        return name

    def copy_volume_with_snapshots(self):
        source, name, pool = self.volume_with_snapshot(), self.name(), self.other_pool()
        return Case("POST", self.volumes(pool), {"name": name, "source": {"type": "copy", "name": source, "pool": "default"}},
                    self.there_is(f"{self.volumes(pool)}/{name}/snapshots/one"))

    def restore_volume(self):
        name = self.volume_with_snapshot()
        later = self.daemon.dir / f"storage-pools/default/custom/default_{name}/later"
        later.touch()
        return Case("PUT", f"{self.volumes('default')}/{name}", {"restore": "one"}, lambda: not later.exists())

    def snapshot_volume(self):
        path = f"{self.volumes('default')}/{self.volume()}/snapshots"
        return Case("POST", path, {"name": "one"}, self.there_is(f"{path}/one"))

    def rename_volume_snapshot(self):
        path = f"{self.volumes('default')}/{self.volume_with_snapshot()}/snapshots"
        return Case("POST", f"{path}/one", {"name": "two"}, lambda: self.one_of(f"{path}/two", f"{path}/one", lambda at: self.found(at) is not None))

    def update_volume_snapshot(self):
        path = f"{self.volumes('default')}/{self.volume_with_snapshot()}/snapshots/one"
        return Case("PATCH", path, {"description": "mine"}, lambda: self.found(path)["description"] == "mine")

    def delete_volume_snapshot(self):
        path = f"{self.volumes('default')}/{self.volume_with_snapshot()}/snapshots/one"
        return Case("DELETE", path, None, lambda: self.found(path) is None)

    def update_volume(self):
        path = f"{self.volumes('default')}/{self.volume()}"
        return Case("PATCH", path, {"description": "changed"}, lambda: self.found(path)["description"] == "changed")

    def moved_volume(self, body):
        old = f"{self.volumes('default')}/{self.volume()}"
        new = f"{self.volumes(body.get('pool', 'default'))}/{body['name']}"
        return Case("POST", old, body, lambda: self.one_of(new, old, lambda path: self.found(path) is not None))

    def rename_volume(self):
        return self.moved_volume({"name": self.name()})

    def move_volume(self):
        return self.moved_volume({"name": self.name(), "pool": self.other_pool()})

    def delete_volume(self):
        path = f"{self.volumes('default')}/{self.volume()}"
        return Case("DELETE", path, None, lambda: self.found(path) is None)

    def restore(self, status, half_way=False):
        name = self.instance(status)
        self.snapshot(name)
        self.must("PATCH", f"/1.0/instances/{name}", {"config": {"user.x": "1"}})
        return Case("PUT", f"/1.0/instances/{name}", {"restore": "one"}, half_way=half_way,
                    there=lambda: self.status(name) == status and "user.x" not in self.found(f"/1.0/instances/{name}")["config"])

    def restore_stopped(self):
        return self.restore("Stopped")

    def restore_running(self):
        return self.restore("Running", half_way=True)

    def create_snapshot(self):
        name = self.instance()
        return Case("POST", f"/1.0/instances/{name}/snapshots", {"name": "one"},
                    lambda: self.found(f"/1.0/instances/{name}/snapshots/one") is not None)

    def update_snapshot(self):
        path = self.snapshot(self.instance())
        return Case("PUT", path, {"expires_at": "2099-01-01T00:00:00Z"}, lambda: self.found(path)["expires_at"].startswith("2099"))

    def rename_snapshot(self):
        old = self.snapshot(self.instance())
        new = old[:-3] + "two"
        return Case("POST", old, {"name": "two"}, lambda: self.one_of(new, old, lambda path: self.found(path) is not None))

    def delete_snapshot(self):
        path = self.snapshot(self.instance())
        return Case("DELETE", path, None, lambda: self.found(path) is None)

    def backup(self, name, called="kept"):
        self.must("POST", f"/1.0/instances/{name}/backups", {"name": called, "compression_algorithm": "none"})
        return f"/1.0/instances/{name}/backups/{called}"

    def create_backup(self):
        name = self.instance()
        self.snapshot(name)
        return Case("POST", f"/1.0/instances/{name}/backups", {"name": "kept", "compression_algorithm": "none"},
                    lambda: self.found(f"/1.0/instances/{name}/backups/kept") is not None)

    def rename_backup(self):
        old = self.backup(self.instance())
        new = old[:-4] + "other"
        return Case("POST", old, {"name": "other"}, lambda: self.one_of(new, old, lambda path: self.found(path) is not None))

    def delete_backup(self):
        path = self.backup(self.instance())
        return Case("DELETE", path, None, lambda: self.found(path) is None)

    def exported(self):
        """A backup with a snapshot, made once."""
        if not hasattr(self, "archive"):
            name = self.instance()
            self.snapshot(name)
            status, self.archive = self.daemon.request("GET", self.backup(name) + "/export")
            self.assertEqual(status, 200)
            self.must("DELETE", f"/1.0/instances/{name}")
        return self.archive

    def import_instance(self):
        name = self.name()
        return Case("POST", "/1.0/instances", self.exported(), headers={"Content-Type": "application/octet-stream", "X-LXD-name": name},
                    there=lambda: self.status(name) == "Stopped" and self.found(f"/1.0/instances/{name}/snapshots/one") is not None)

    def import_streams(self):
        """The same of an optimised backup, which makes its volumes anew."""
        if not hasattr(self, "streams"):
            name = self.name()
            self.must("POST", "/1.0/storage-pools", {"name": "streams", "driver": "btrfs", "config": {"size": "256MiB"}})
            self.must("POST", "/1.0/instances", {"name": name, "source": {"type": "none"}, "devices": {"root": {"type": "disk", "path": "/", "pool": "streams"}}})
            self.snapshot(name)
            self.must("POST", f"/1.0/instances/{name}/backups", {"name": "kept", "compression_algorithm": "none", "optimized_storage": True})
            status, self.streams = self.daemon.request("GET", f"/1.0/instances/{name}/backups/kept/export")
            self.assertEqual(status, 200)
            self.must("DELETE", f"/1.0/instances/{name}")
        name = self.name()
        return Case("POST", "/1.0/instances", self.streams, headers={"Content-Type": "application/octet-stream", "X-LXD-name": name},
                    there=lambda: self.status(name) == "Stopped" and self.found(f"/1.0/instances/{name}/snapshots/one") is not None)

    def publish(self, **source):
        before = self.images()
        body = {"source": source, "compression_algorithm": "none", "properties": {"serial": uuid.uuid4().hex}}
        return Case("POST", "/1.0/images", body, lambda: len(self.images()) > len(before))

    def publish_instance(self):
        return self.publish(type="instance", name=self.instance())

    def publish_snapshot(self):
        name = self.instance()
        self.snapshot(name)
        return self.publish(type="snapshot", name=f"{name}/one")

    def has_scratch(self, name, recorded):
        """What runs is as its record says, after an undoing as well."""
        pid = self.found(f"/1.0/instances/{name}/state")["pid"]
        mounted = " /scratch " in pathlib.Path(f"/proc/{pid}/mounts").read_text()
        if mounted != recorded():
            raise AssertionError(f"/scratch of {name}: {mounted} inside, {recorded()} on record")
        return mounted

    def update_running(self):
        name = self.instance("Running")
        change = {"config": {"limits.processes": "99"}, "devices": {"scratch": {"type": "disk", "source": "tmpfs:", "path": "/scratch"}}}
        return Case("PATCH", f"/1.0/instances/{name}", change,
                    lambda: self.has_scratch(name, lambda: "scratch" in self.found(f"/1.0/instances/{name}")["devices"]))

    def delete_instance(self):
        name = self.instance()
        return Case("DELETE", f"/1.0/instances/{name}", None, lambda: self.status(name) is None)

    def images(self):
        return {i["fingerprint"] for i in self.daemon.get("/1.0/images?recursion=1")}

    def arch(self):
        return self.daemon.get("/1.0/images?recursion=1")[0]["architecture"]

    def import_unified(self):
        before = self.images()
        return Case("POST", "/1.0/images", tiny_image(self.arch()), lambda: len(self.images()) > len(before),
                    {"Content-Type": "application/octet-stream"})

    def import_split(self):
        before = self.images()
        text = json.dumps({"architecture": self.arch(), "creation_date": 1, "properties": {"serial": uuid.uuid4().hex}}).encode()
        body, headers = split_form(tar_of(metadata_yaml=text), tar_of(etc__motd=b"hello\n"))
        return Case("POST", "/1.0/images", body, lambda: len(self.images()) > len(before), headers)

    def image(self):
        before = self.images()
        self.must("POST", "/1.0/images", tiny_image(self.arch()), {"Content-Type": "application/octet-stream"})
        return (self.images() - before).pop()

    def delete_image(self):
        image = self.image()
        return Case("DELETE", f"/1.0/images/{image}", None, lambda: image not in self.images())

    def delete_unpacked_image(self):
        image, name = self.image(), self.name()
        self.must("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "fingerprint": image}})
        self.must("DELETE", f"/1.0/instances/{name}")
        return Case("DELETE", f"/1.0/images/{image}", None, lambda: image not in self.images())

    def update_image(self):
        image = self.image()
        return Case("PATCH", f"/1.0/images/{image}", {"properties": {"x": "1"}},
                    lambda: self.found(f"/1.0/images/{image}")["properties"].get("x") == "1")

    def create_alias(self):
        name, target = self.name(), next(iter(self.images()))
        return Case("POST", "/1.0/images/aliases", {"name": name, "target": target},
                    lambda: self.found(f"/1.0/images/aliases/{name}") is not None)

    def link(self):
        self.serial += 1
        return f"{self.serial:x}{self.daemon.tag}"[:15]

    def network_body(self, **more):
        self.serial += 1
        address = f"10.{60 + os.getpid() % 40}.{self.serial % 256}.1/24"
        return {"config": {"ipv4.address": address, "ipv4.nat": "true", "ipv6.address": "none"}, **more}

    def network(self):
        name = self.link()
        self.must("POST", "/1.0/networks", self.network_body(name=name))
        return name

    def is_network(self, name):
        return self.found(f"/1.0/networks/{name}") is not None and self.found(f"/1.0/networks/{name}")["managed"]

    def create_network(self):
        name = self.link()
        return Case("POST", "/1.0/networks", self.network_body(name=name), lambda: self.is_network(name))

    def update_network(self):
        name, body = self.network(), self.network_body()
        return Case("PATCH", f"/1.0/networks/{name}", body,
                    lambda: self.found(f"/1.0/networks/{name}")["config"]["ipv4.address"] == body["config"]["ipv4.address"])

    def rename_network(self):
        old, new = self.network(), self.link()
        return Case("POST", f"/1.0/networks/{old}", {"name": new}, lambda: self.one_of(new, old, self.is_network))

    def delete_network(self):
        name = self.network()
        return Case("DELETE", f"/1.0/networks/{name}", None, lambda: not self.is_network(name))

    def pool(self):
        name = self.name()
        self.must("POST", "/1.0/storage-pools", {"name": name, "driver": "dir"})
        return name

    def is_pool(self, name):
        return self.found(f"/1.0/storage-pools/{name}") is not None

    def create_pool(self):
        name = self.name()
        return Case("POST", "/1.0/storage-pools", {"name": name, "driver": "dir"}, lambda: self.is_pool(name))

    def update_pool(self):
        name = self.pool()
        return Case("PATCH", f"/1.0/storage-pools/{name}", {"config": {"user.x": "1"}},
                    lambda: self.found(f"/1.0/storage-pools/{name}")["config"].get("user.x") == "1")

    def delete_pool(self):
        name = self.pool()
        return Case("DELETE", f"/1.0/storage-pools/{name}", None, lambda: not self.is_pool(name))

    def profile(self):
        name = self.name()
        self.must("POST", "/1.0/profiles", {"name": name})
        return name

    def is_profile(self, name):
        return self.found(f"/1.0/profiles/{name}") is not None

    def create_profile(self):
        name = self.name()
        return Case("POST", "/1.0/profiles", {"name": name}, lambda: self.is_profile(name))

    def update_profile(self):
        name = self.profile()
        return Case("PATCH", f"/1.0/profiles/{name}", {"config": {"user.x": "1"}},
                    lambda: self.found(f"/1.0/profiles/{name}")["config"].get("user.x") == "1")

    def update_profile_in_use(self):
        name, user = self.profile(), self.instance("Running")
        self.must("PATCH", f"/1.0/instances/{user}", {"profiles": ["default", name]})
        change = {"devices": {"scratch": {"type": "disk", "source": "tmpfs:", "path": "/scratch"}}}
        return Case("PATCH", f"/1.0/profiles/{name}", change,
                    lambda: self.has_scratch(user, lambda: "scratch" in self.found(f"/1.0/profiles/{name}")["devices"]))

    def rename_profile(self):
        old, new = self.profile(), self.name()
        return Case("POST", f"/1.0/profiles/{old}", {"name": new}, lambda: self.one_of(new, old, self.is_profile))

    def delete_profile(self):
        name = self.profile()
        return Case("DELETE", f"/1.0/profiles/{name}", None, lambda: not self.is_profile(name))

    def a_certificate(self):
        """The body of a request that trusts a new one, and its fingerprint."""
        pem = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                              "-subj", "/CN=" + self.name(), "-keyout", "/dev/null"], check=True, capture_output=True, text=True).stdout
        der = ssl.PEM_cert_to_DER_cert(pem)
        return {"type": "client", "name": self.name(), "certificate": base64.b64encode(der).decode()}, hashlib.sha256(der).hexdigest()

    def certificate(self):
        body, fingerprint = self.a_certificate()
        self.must("POST", "/1.0/certificates", body)
        return fingerprint

    def is_certificate(self, fingerprint):
        return self.found(f"/1.0/certificates/{fingerprint}") is not None

    def create_certificate(self):
        body, fingerprint = self.a_certificate()
        return Case("POST", "/1.0/certificates", body, lambda: self.is_certificate(fingerprint),
                    plan={"kind": "certificate.create", "steps": []})

    def update_certificate(self):
        url = "/1.0/certificates/" + self.certificate()
        return Case("PATCH", url, {"restricted": True, "projects": ["default"]}, lambda: self.found(url)["restricted"])

    def delete_certificate(self):
        fingerprint = self.certificate()
        return Case("DELETE", f"/1.0/certificates/{fingerprint}", None, lambda: not self.is_certificate(fingerprint))

    def group(self):
        name = self.name()
        self.must("POST", "/1.0/auth/groups", {"name": name})
        return f"/1.0/auth/groups/{name}"

    def update_group(self):
        url = self.group()
        viewer = {"entity_type": "server", "url": "/1.0", "entitlement": "viewer"}
        return Case("PATCH", url, {"permissions": [viewer]}, lambda: self.found(url)["permissions"] == [viewer])

    def rename_group(self):
        url, name = self.group(), self.name()
        return Case("POST", url, {"name": name}, lambda: self.found(url) is None and self.found(f"/1.0/auth/groups/{name}") is not None)

    def create_identity(self):
        body, fingerprint = self.a_certificate()
        return Case("POST", "/1.0/auth/identities/tls", {"name": "x", "certificate": body["certificate"]},
                    lambda: self.found(f"/1.0/auth/identities/tls/{fingerprint}") is not None,
                    plan={"kind": "auth.identity", "steps": []})

    def create_mapping(self):
        name = self.name()
        return Case("POST", "/1.0/auth/identity-provider-groups", {"name": name},
                    lambda: self.found(f"/1.0/auth/identity-provider-groups/{name}") is not None)

    def project(self):
        name = self.name()
        self.must("POST", "/1.0/projects", {"name": name})
        return name

    def is_project(self, name):
        there = self.found(f"/1.0/projects/{name}") is not None
        own = self.daemon.request("GET", f"/1.0/profiles/default?project={name}")[0] == 200
        assert there == own, f"project {name} and its profile are not of one mind"
        return there

    def create_project(self):
        name = self.name()
        return Case("POST", "/1.0/projects", {"name": name}, lambda: self.is_project(name))

    def update_project(self):
        name = self.project()
        return Case("PATCH", f"/1.0/projects/{name}", {"config": {"limits.instances": "3"}},
                    lambda: self.found(f"/1.0/projects/{name}")["config"].get("limits.instances") == "3")

    def rename_project(self):
        old, new = self.project(), self.name()
        return Case("POST", f"/1.0/projects/{old}", {"name": new}, lambda: self.one_of(new, old, self.is_project))

    def delete_project(self):
        name = self.project()
        return Case("DELETE", f"/1.0/projects/{name}", None, lambda: not self.is_project(name))

    def update_server(self):
        self.serial += 1
        days = str(100 + self.serial)
        return Case("PATCH", "/1.0", {"config": {"operations.retention.days": days}},
                    lambda: self.daemon.get("/1.0")["config"].get("operations.retention.days") == days)

    def sink(self):
        name = self.name()
        self.must("POST", "/1.0/sinks", {"name": name, "type": "file"})
        self.addCleanup(self.daemon.request, "DELETE", f"/1.0/sinks/{name}")
        return name

    def is_sink(self, name):
        return self.found(f"/1.0/sinks/{name}") is not None

    def create_sink(self):
        name = self.name()
        self.addCleanup(self.daemon.request, "DELETE", f"/1.0/sinks/{name}")
        return Case("POST", "/1.0/sinks", {"name": name, "type": "file"}, lambda: self.is_sink(name))

    def update_sink(self):
        name = self.sink()
        return Case("PATCH", f"/1.0/sinks/{name}", {"description": "other"},
                    lambda: self.found(f"/1.0/sinks/{name}")["description"] == "other")

    def delete_sink(self):
        name = self.sink()
        return Case("DELETE", f"/1.0/sinks/{name}", None, lambda: not self.is_sink(name))

    # --- the points, from what the daemon tells

    def plan_of(self, case):
        if case.plan:
            return case.plan
        status, envelope = self.daemon.request(case.method, case.path + "?plan=true", case.body, case.headers)
        self.assertEqual(status, 200, envelope)
        return envelope["metadata"]

    def points(self, plan):
        """[(list to arm, what to arm while it recovers, whether the saga is committed by then)]"""
        kind = plan["kind"]
        before = [f"{kind}/{s['kind']}" for s in plan["steps"] if not s.get("after")]
        after = [f"{kind}/{s['kind']}" for s in plan["steps"] if s.get("after")]
        moments = {m["name"]: m for m in self.daemon.get("/internal/faults")["moments"]}
        self.assertEqual(set(moments), {"accepted", "begun", "acted", "committing", "committed", "undoing", "undone", "ended"},
                         "a moment that this test does not know where to look for")
        of_step = [m for m in moments.values() if m["of_step"] and not m["of_undo"]]
        forth = [f"{kind}/accepted"] * bool(before)
        forth += [f"{step}/{m['name']}" for step in before for m in of_step]
        forth += [f"{kind}/committing"] * bool(before)
        done = [f"{kind}/committed"]
        done += [f"{step}/{m['name']}" for step in after for m in of_step]
        done += [f"{kind}/ended"] * bool(after)
        back = [f"{kind}/undoing", *(f"{step}/undone" for step in reversed(before)), f"{kind}/ended"]
        found = [(f"{p}=kill", "", False) for p in forth] + [(f"{p}=kill", "", True) for p in done]
        for cause in [f"{step}/acted=fail" for step in before[-1:]] + [f"{kind}/committing=fail"] * bool(before):
            found += [(f"{cause},{p}=kill", "", False) for p in back]
        if before:  # killed again while it undoes what the first kill left
            found += [(f"{forth[-1]}=kill", f"{p}=kill", False) for p in back]
        if after:
            again = [p for p in done if p != f"{kind}/committed"]
            found += [(f"{kind}/committed=kill", f"{p}=kill", True) for p in again]
        return found

    # --- one kill

    def submit(self, case):
        """Sends the request; returns when it was answered, or cut off."""
        try:
            self.daemon.outcome(case.method, case.path, case.body, case.headers)
        except (OSError, http.client.HTTPException, AssertionError):
            pass  # killed before the answer

    def wait_for_death(self, point):
        code = self.daemon.process.wait(60)
        self.assertEqual(code, -9, f"{point}: the daemon ended by itself")
        self.daemon.process = None
        self.kills += 1

    def operations_of(self, kind):
        by_status = self.daemon.get("/1.0/operations?all=1&recursion=2&limit=100000")
        return {op["id"]: op for some in by_status.values() for op in some if op["kind"] == kind}

    def kill_at(self, case, kind, point, again):
        """The operation after the daemon was killed and came back."""
        before = set(self.operations_of(kind))
        self.must("POST", "/internal/faults", {"arm": point})
        self.submit(case)
        if not self.died():
            self.fail(f"{point} was not reached")
        self.wait_for_death(point)
        if again:
            self.daemon.process_env = {"TROUPE_FAULTS": again}
            self.daemon.spawn()
            self.wait_for_death(again)
            self.daemon.process_env = dict(self.process_env)
        self.daemon.start()
        eventually(lambda: set(self.host.operations()) <= ENDED, "the end of all operations")
        fresh = {i: op for i, op in self.operations_of(kind).items() if i not in before}
        self.assertEqual(len(fresh), 1, f"{point}: {fresh}")
        return fresh.popitem()[1]

    def died(self):
        """Whether the daemon has ended or is about to: every point comes before the answer that `submit` waits for."""
        try:
            self.daemon.request("GET", "/1.0")
        except (OSError, http.client.HTTPException):
            return True
        return self.daemon.process.poll() is not None

    def judge(self, case, operation, committed):
        problems = []
        wanted = ("succeeded",) if committed else BACK
        if operation["state"] not in wanted:
            problems.append(f"it ended as {operation['state']}: {operation['err']}, {operation['left_behind']}")
        if case.there() != committed and not (case.half_way and not committed):
            problems.append(f"after {operation['state']} the change is {'there' if case.there() else 'not there'}")
        deadline = time.monotonic() + SETTLE_SECONDS
        while (left := self.host.problems()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return problems + left

    def kill_everywhere(self, kind, make):
        report = []
        points = self.points(self.plan_of(make()))
        for point, again, committed in points:
            case = make()
            operation = self.kill_at(case, kind, point, again)
            story = f"{make.__name__}, {point}" + (f", then {again}" if again else "")
            problems = [f"{story}: {problem}" for problem in self.judge(case, operation, committed)]
            report += problems
            for problem in problems:
                print(problem, file=sys.stderr)
            self.assertLess(len(report), 10, "\n".join(report))
        return report

    def test_every_saga_survives_a_kill_at_each_point(self):
        known = set(self.daemon.get("/internal/faults")["sagas"])
        self.assertEqual(known, set(self.CASES), "each saga has a case here")
        report = []
        for kind, cases in list(self.CASES.items())[PART - 1::PARTS]:
            if ONLY and kind not in ONLY:
                continue
            begin = time.monotonic()
            kills = self.kills
            for case in cases:
                report += self.kill_everywhere(kind, getattr(self, case))
            print(f"{kind}: {self.kills - kills} kills, {time.monotonic() - begin:.0f} s", file=sys.stderr)
            self.clear()
        print(f"{self.kills} kills", file=sys.stderr)
        self.assertEqual(report, [], "\n".join(report))

    def clear(self):
        """The instances that the cases made."""
        for url in self.daemon.get("/1.0/instances"):
            self.daemon.outcome("PUT", f"{url}/state", {"action": "stop", "force": True})
            self.must("DELETE", url)


class OrdinaryDaemonTest(DaemonTest):
    bare = True

    def test_a_daemon_without_fault_tests_knows_nothing_of_them(self):
        self.assertEqual(self.daemon.request("GET", "/internal/faults")[0], 404)
        self.assertEqual(self.daemon.request("POST", "/internal/faults", {"arm": ""})[0], 404)


if __name__ == "__main__":
    unittest.main(verbosity=2)
