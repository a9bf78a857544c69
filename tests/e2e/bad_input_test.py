"""Broken and hostile input: a clear refusal, nothing changed, nothing left behind."""

import gzip
import io
import os
import pathlib
import tarfile
import unittest

from troupe_e2e import DaemonTest

JSON = {"Content-Type": "application/json"}
IMAGE = {"Content-Type": "application/octet-stream"}

METADATA = "architecture: x86_64\ncreation_date: 1700000000\nproperties: {os: Evil}\n"

BAD_NAMES = ["..", ".", "a/b", "a\nb", "a\0b", "a b", "-a", "a-", "1a", "a_b", "é", "a" * 64, "%2e%2e", "a.b", "$(id)", "\u202ea"]

# Of POST /1.0/instances, beside a good name and source.
BAD_INSTANCES = [
    {"name": 5}, {"name": ["a"]}, {"config": []}, {"config": {"user.a": 1}}, {"config": {"user.a": None, "b": {}}}, {"config": "x"},
    {"config": {"no.such.key": "1"}}, {"config": {"limits.cpu": "many"}}, {"config": {"limits.memory": "-5"}},
    {"config": {"security.privileged": "perhaps"}}, {"config": {"user.a\nb": "1"}}, {"config": {"environment.A": "x\0y"}},
    {"config": {"raw.lxc": "lxc.hook.pre-start = /bin/true\n\0"}},
    {"devices": "x"}, {"devices": {"d": {}}}, {"devices": {"d": {"type": "nope"}}}, {"devices": {"d": {"type": 3}}},
    {"devices": {"../d": {"type": "none"}}}, {"devices": {"eth0": {"type": "nic", "network": "no-such-network"}}},
    {"devices": {"eth0": {"type": "nic", "nictype": "bridged", "parent": "x", "hwaddr": "zz"}}},
    {"devices": {"root": {"type": "disk", "path": "/", "pool": "no-such-pool"}}},
    {"devices": {"root": {"type": "disk", "path": "/", "pool": "default", "nope": "1"}}},
    {"devices": {"root2": {"type": "disk", "path": "/", "pool": "default"}}}, {"devices": {"d": {"type": "disk", "path": "//.", "source": "/tmp"}}},
    {"config": {"volatile.nosuch": "1"}},
    {"devices": {"d": {"type": "disk", "path": "/../x", "source": "relative"}}},
    {"profiles": "default"}, {"profiles": ["no-such-profile"]}, {"profiles": [1]}, {"profiles": ["default", "default"]},
    {"source": {"type": "nope"}}, {"source": {"type": "image", "alias": "no-such-alias"}}, {"source": "x"},
    {"source": {"type": "image", "fingerprint": "../../etc/passwd"}}, {"source": {"type": "image"}},
    {"type": "spaceship"}, {"architecture": "pdp11"}, {"ephemeral": "yes"},
]

# Whole requests: method, path, body (bytes, or an object sent as JSON).
BAD_REQUESTS = [
    ("POST", "/1.0/instances", b"{"), ("POST", "/1.0/instances", b"[]"), ("POST", "/1.0/instances", b'"x"'), ("POST", "/1.0/instances", b""),
    ("POST", "/1.0/instances", b"\xff\xfe"), ("POST", "/1.0/instances", b"[" * 200_000), ("POST", "/1.0/instances", b'{"name":"\xff"}'),
    ("POST", "/1.0/instances", b'{"a":' * 100_000),
    ("PUT", "/1.0/instances/none", {}), ("PATCH", "/1.0/instances/none", {}), ("DELETE", "/1.0/instances/none", None),
    ("GET", "/1.0/instances/none/state", None), ("PUT", "/1.0/instances/none/state", {"action": "start"}),
    ("GET", "/1.0/instances/..%2f..%2fetc", None), ("GET", "/1.0/instances/%00", None), ("GET", "/1.0/nope", None), ("GET", "/2.0", None),
    ("GET", "/1.0/images/zzz", None), ("DELETE", "/1.0/images/0000", None), ("GET", "/1.0/images/..%2f..", None),
    ("GET", "/1.0/images/0000/export", None), ("GET", "/1.0/operations/none", None), ("GET", "/1.0/operations/none/wait", None),
    ("GET", "/1.0/operations/00000000-0000-7000-8000-000000000000/websocket?secret=x", None), ("GET", "/1.0/events?type=nope", None),
    ("POST", "/1.0/images", {"source": {"type": "nope"}}), ("POST", "/1.0/images", {"source": {"type": "url", "url": "file:///etc/passwd"}}),
    ("POST", "/1.0/images/aliases", {"name": "x", "target": "0000"}), ("POST", "/1.0/images/aliases", {"name": "", "target": "x"}),
    ("POST", "/1.0/profiles", {"name": "../x"}), ("POST", "/1.0/profiles", {"name": ""}), ("POST", "/1.0/profiles", {"name": "default"}),
    ("POST", "/1.0/profiles", {"name": "p", "config": {"no.such.key": "1"}}), ("POST", "/1.0/profiles", {"name": "p", "devices": []}),
    ("DELETE", "/1.0/profiles/default", None), ("PUT", "/1.0/profiles/none", {}),
    ("POST", "/1.0/networks", {"name": "x" * 16}), ("POST", "/1.0/networks", {"name": "a/b"}), ("POST", "/1.0/networks", {"name": "../a"}),
    ("POST", "/1.0/networks", {"name": "badnet", "type": "nope"}), ("POST", "/1.0/networks", {"name": "badnet", "config": {"nope": "1"}}),
    ("POST", "/1.0/networks", {"name": "badnet", "config": {"ipv4.address": "10.0.0.300/24"}}),
    ("POST", "/1.0/networks", {"name": "badnet", "config": {"ipv4.address": "10.99.0.1/24", "dns.domain": "a\nserver=1.2.3.4"}}),
    ("POST", "/1.0/networks", {"name": "badnet", "config": {"bridge.mtu": "big"}}), ("DELETE", "/1.0/networks/none", None),
    ("POST", "/1.0/storage-pools", {"name": "p", "driver": "nope"}), ("POST", "/1.0/storage-pools", {"name": "../p", "driver": "dir"}),
    ("POST", "/1.0/storage-pools", {"name": "default", "driver": "dir"}), ("POST", "/1.0/storage-pools", {"name": "p"}),
    ("POST", "/1.0/storage-pools", {"name": "p", "driver": "dir", "config": {"nope": "1"}}),
    ("POST", "/1.0/storage-pools", {"name": "p", "driver": "btrfs", "config": {"size": "1B"}}),
    ("POST", "/1.0/storage-pools", {"name": "p", "driver": "dir", "config": {"source": "/no/such/folder"}}),
    ("DELETE", "/1.0/storage-pools/none", None), ("PATCH", "/1.0", {"config": {"no.such.key": "1"}}), ("PUT", "/1.0", {"config": []}),
    ("GET", "/1.0/instances?project=none", None), ("GET", "/1.0/instances?filter=((", None),
]


def archive(*entries, metadata=METADATA):
    """A gzipped tar of metadata.yaml, a small root and `entries`: TarInfo, or (TarInfo, content)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        def add(info, content=b""):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if metadata is not None:
            add(tarfile.TarInfo("metadata.yaml"), metadata.encode())
        for folder in ("rootfs", "rootfs/etc"):
            add(entry(folder, tarfile.DIRTYPE))
        for each in entries:
            add(*(each if isinstance(each, tuple) else (each,)))
    return out.getvalue()


def entry(name, kind=tarfile.REGTYPE, target="", mode=0o755):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


class BadInput(DaemonTest):
    driver = "dir"

    def state(self):
        """Everything a client can see, and every path in the state folder."""
        seen = {kind: self.daemon.get(f"/1.0/{kind}?recursion=1")
                for kind in ("instances", "images", "images/aliases", "profiles", "networks", "storage-pools")}
        for image in seen["images"]:
            image.pop("last_used_at", None)
        seen["networks"] = [network for network in seen["networks"] if network["managed"]]  # others come and go on the host
        seen["config"] = self.daemon.get("/1.0")["config"]
        skipped = {"database", "logs", ".trash"}  # what is in the trash goes a moment later
        seen["paths"] = sorted(str(path) for path in (p.relative_to(self.daemon.dir) for p in self.daemon.dir.rglob("*"))
                               if not skipped.intersection(path.parts))
        return seen

    def refused(self, what, method, path, body=None, headers=None):
        before = self.state()
        status, error = self.daemon.outcome(method, path, body, headers or (JSON if body is not None else None))
        with self.subTest(str(what)[:120]):
            self.assertIn(status, range(400, 500), error)
            self.assertTrue(error, "a refusal has a sentence")
            self.assertEqual(self.state(), before)

    def test_bad_requests_are_refused_and_change_nothing(self):
        for method, path, body in BAD_REQUESTS:
            self.refused((method, path, body), method, path, body)

    def test_bad_instance_names_are_refused(self):
        for name in BAD_NAMES:
            self.refused(name, "POST", "/1.0/instances", {"name": name, "source": {"type": "none"}})

    def test_bad_instances_are_refused(self):
        for wrong in BAD_INSTANCES:
            body = {"name": self.daemon.name("bad"), "source": {"type": "image", "alias": "busybox"}, **wrong}
            self.refused(wrong, "POST", "/1.0/instances", body)

    def test_a_change_based_on_an_old_state_is_refused(self):
        self.refused("If-Match", "PUT", "/1.0/profiles/default", {"description": "x"}, {**JSON, "If-Match": "0" * 64})

    def test_what_is_no_image_is_refused(self):
        whole = archive((entry("rootfs/etc/file"), b"x" * 100_000))
        bodies = {
            "nothing": b"", "text": b"hello, this is no image", "zeros": bytes(100_000), "noise": os.urandom(100_000),
            "truncated gzip": whole[: len(whole) // 2], "truncated tar": gzip.compress(gzip.decompress(whole)[:1500]),
            "no metadata": archive(metadata=None), "no YAML": archive(metadata="\t{[:"), "a list": archive(metadata="[1, 2]"),
            "no architecture": archive(metadata="creation_date: 1\n"), "wrong types": archive(metadata=METADATA + "templates: [a, b]\n"),
            "huge metadata": archive(metadata=METADATA + "# " + "x" * 50_000_000), "billion laughs": archive(metadata=laughs()),
            "xz magic": b"\xfd7zXZ\0" + os.urandom(1000), "zstd magic": b"\x28\xb5\x2f\xfd" + os.urandom(1000), "squashfs magic": b"hsqs" + os.urandom(1000),
        }
        for what, body in bodies.items():
            self.refused(what, "POST", "/1.0/images", body, IMAGE)

    def test_a_form_that_is_no_split_image_is_refused(self):
        head = {"Content-Type": "multipart/form-data; boundary=B"}
        part = lambda name, data: b'--B\r\nContent-Disposition: form-data; name="%s"; filename="../../f"\r\n\r\n%s\r\n' % (name, data)
        good = archive()
        for what, body in {
            "no parts": b"--B--\r\n", "no end": part(b"metadata", good), "metadata only": part(b"metadata", good) + b"--B--\r\n",
            "wrong order": part(b"rootfs", good) + part(b"metadata", good) + b"--B--\r\n", "garbage": b"garbage",
            "bad root": part(b"metadata", good) + part(b"rootfs", b"hsqs" + bytes(500)) + b"--B--\r\n",
        }.items():
            self.refused(what, "POST", "/1.0/images", body, head)

    def test_a_wrong_fingerprint_is_refused(self):
        self.refused("fingerprint", "POST", "/1.0/images", archive(), {**IMAGE, "X-LXD-fingerprint": "0" * 64})

    def test_an_image_that_points_outside_never_reaches_outside(self):
        canary = self.daemon.home / "canary"
        canary.write_text("untouched")
        outside, secret = str(self.daemon.home), canary
        reads_outside = f"templates: {{/etc/stolen: {{when: [create, start], template: ../../../../../../..{secret}}}}}\n"
        writes_outside = f"templates: {{/../../../../../../..{outside}/escaped: {{when: [create, start], template: t.tpl}}}}\n"
        evil = {
            "template from outside": [reads_outside, entry("templates", tarfile.DIRTYPE)],
            "template to the outside": [writes_outside, entry("templates", tarfile.DIRTYPE), (entry("templates/t.tpl"), b"x")],
            "dots": [(entry("../../../../../../.." + outside + "/escaped"), b"x")],
            "dots in root": [(entry("rootfs/../../../../../../../.." + outside + "/escaped"), b"x")],
            "absolute": [(entry(outside + "/escaped"), b"x")],
            "through a link": [entry("rootfs/out", tarfile.SYMTYPE, outside), (entry("rootfs/out/escaped"), b"x")],
            "over a link": [entry("rootfs/out", tarfile.SYMTYPE, str(secret)), (entry("rootfs/out"), b"x")],
            "hard link": [entry("rootfs/hard", tarfile.LNKTYPE, str(secret)), (entry("rootfs/hard"), b"x")],
            "hard link up": [entry("rootfs/hard", tarfile.LNKTYPE, "../../../../../../.." + str(secret)), (entry("rootfs/hard"), b"x")],
            "root is a link": [entry("rootfs", tarfile.SYMTYPE, outside), (entry("rootfs/escaped"), b"x")],
            "templates is a link": [entry("templates", tarfile.SYMTYPE, outside), (entry("templates/escaped"), b"x")],
            "device": [entry("rootfs/etc/disk", tarfile.BLKTYPE)],
            "hostname is a link": [entry("rootfs/etc/hostname", tarfile.SYMTYPE, str(secret))],
        }
        for what, entries in evil.items():
            before = self.state()
            with self.subTest(what):
                more = entries.pop(0) if isinstance(entries[0], str) else ""
                self.daemon.outcome("POST", "/1.0/images", archive(*entries, metadata=METADATA + more), IMAGE)
                for image in self.daemon.get("/1.0/images?recursion=1"):
                    if image["properties"].get("os") != "Evil":
                        continue
                    name = self.daemon.name("evil")
                    self.daemon.outcome("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "fingerprint": image["fingerprint"]}})
                    self.daemon.outcome("PUT", f"/1.0/instances/{name}/state", {"action": "start", "timeout": 10})
                    self.daemon.lxc("delete", "-f", name, check=False)
                    self.assertEqual(self.daemon.outcome("DELETE", f"/1.0/images/{image['fingerprint']}")[0], 200)
                self.assertEqual(canary.read_text(), "untouched")
                self.assertEqual(sorted(p.name for p in self.daemon.home.iterdir()), ["canary", "client", "state", "trouped.out"])
                self.assertFalse(any(pathlib.Path(p).is_block_device() for p in self.daemon.dir.rglob("disk")))
                self.assertEqual(self.state(), before)

    def test_a_bad_preseed_changes_nothing(self):
        before = self.state()
        for yaml in ("nope: 1", "networks:\n- {name: ok9, nope: 1}", "storage_pools:\n- {name: px, driver: dir}\nprofiles:\n- {name: q, devices: {a: {type: nope}}}",
                     "config: {no.such.key: 1}", "[", "projects:\n- {name: other}"):
            done = self.daemon.troupe("init", "--preseed", stdin=yaml, check=False)
            with self.subTest(yaml):
                self.assertEqual(done.returncode, 1)
                self.assertTrue(done.stderr.strip().splitlines()[-1].startswith("Error: "), done.stderr)
                self.assertEqual(self.state(), before)


def laughs():
    """A little YAML that is a lot of data."""
    lines = ["architecture: x86_64\ncreation_date: 1700000000\n", "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)]
    return "".join(lines) + "properties: {os: Evil, all: *a11}\n"


if __name__ == "__main__":
    unittest.main(verbosity=2)
