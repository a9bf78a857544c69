"""HTTPS and trust, by the stock client on a remote of its own: joining by password and by token, every kind of command over
the network, certificates that must be refused, what strangers see, and what is cut when trust ends."""

import base64
import contextlib
import http.client
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import ssl
import tempfile
import unittest

from https_e2e import Client, HttpsTest
from identities import Identity, context_of, dated, free_port, short_lived
from troupe_e2e import COMMAND_SECONDS, DaemonTest, eventually, run

PASSWORD = "correct horse battery staple"


class TrustTest(HttpsTest):
    def joined(self):
        client = Client(self.folder)
        self.set("core.trust_password", PASSWORD)
        client.lxc("remote", "add", "far", self.url, "--accept-certificate", "--password", PASSWORD)
        return client

    # --- the door

    def test_files_have_their_modes_and_the_server_says_who_it_is(self):
        key, crt = self.daemon.dir / "server.key", self.daemon.dir / "server.crt"
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        self.assertEqual(crt.stat().st_mode & 0o777, 0o644)
        text = run("openssl", "x509", "-in", crt, "-noout", "-text").stdout
        self.assertIn("P-384", text)
        self.assertIn("DNS:", text)
        environment = self.daemon.get("/1.0")["environment"]
        self.assertEqual(environment["certificate"].strip(), crt.read_text().strip())
        self.assertEqual(environment["addresses"], [f"127.0.0.1:{self.port}"])
        self.assertIn(f"DNS:{socket.gethostname()}", text)

    def test_an_address_that_cannot_be_had_changes_nothing(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            status, error = self.daemon.outcome("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{port}"}})
        self.assertEqual(status, 400)
        self.assertIn("somebody else", error)
        self.assertEqual(self.daemon.get("/1.0")["config"]["core.https_address"], f"127.0.0.1:{self.port}")
        self.assertEqual(self.call("GET", "/1.0")[0], 200)

    def test_the_address_changes_live(self):
        other = free_port()
        self.set("core.https_address", f":{self.port},127.0.0.1:{other}")  # the wildcard takes over from 127.0.0.1
        try:
            self.assertEqual(self.call("GET", "/1.0", port=other)[0], 200)
            self.assertEqual(self.call("GET", "/1.0")[0], 200)
        finally:
            self.set("core.https_address", f"127.0.0.1:{self.port}")
        self.assertEqual(self.call("GET", "/1.0")[0], 200)
        with self.assertRaises(ConnectionRefusedError):
            self.call("GET", "/1.0", port=other)

    def test_only_tls_1_3(self):
        context = context_of()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", self.port)) as raw:
            with self.assertRaises(ssl.SSLError):
                context.wrap_socket(raw)

    def test_pages_of_other_origins_are_refused(self):
        me = Identity(self.folder, "browser")
        self.trust(me)
        own = f"https://127.0.0.1:{self.port}"
        origin = lambda o, **more: self.call("GET", "/1.0", identity=me, headers={"Origin": o, **more})[0]
        self.assertEqual(origin(own), 200)
        self.assertEqual(origin("https://evil.example"), 403)
        self.assertEqual(origin("https://evil.example:1", Host="evil.example:1"), 403)  # its name points here
        self.set("core.https_allowed_origin", "https://good.example")
        try:
            self.assertEqual(origin("https://good.example"), 200)
            self.assertEqual(origin("https://evil.example"), 403)
        finally:
            self.set("core.https_allowed_origin", "")

    # --- strangers

    def test_strangers_learn_nothing(self):
        status, envelope = self.call("GET", "/1.0")
        self.assertEqual(status, 200)
        self.assertEqual(set(envelope["metadata"]), {"api_extensions", "api_status", "api_version", "auth", "auth_methods", "public"})
        self.assertEqual(envelope["metadata"]["auth"], "untrusted")
        for path in ("/1.0/instances", "/1.0/events", "/1.0/certificates", "/1.0/operations", "/1.0/projects",
                     "/1.0/networks", "/1.0/storage-pools", "/1.0/profiles", "/1.0/resources", "/1.0/sinks",
                     "/1.0/instances/nothing", "/1.0/operations/nothing/wait"):
            self.assertEqual(self.call("GET", path)[0], 403, path)
        for method, path in (("POST", "/1.0/instances"), ("PUT", "/1.0"), ("POST", "/1.0/images"), ("POST", "/1.0/certificates")):
            self.assertEqual(self.call(method, path, {})[0], 403, path)
        self.assertEqual(self.call("GET", "/1.0/images")[1]["metadata"], [])

    def test_an_upload_of_a_stranger_is_refused_before_its_body(self):
        with context_of().wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS)) as tls:
            tls.sendall(b"POST /1.0/images HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\nx")
            self.assertIn(b" 403 ", tls.recv(4096))

    def test_public_images_are_for_everybody(self):
        image = self.daemon.get("/1.0/images?recursion=1")[0]
        path = f"/1.0/images/{image['fingerprint']}"
        self.assertEqual(self.call("GET", path)[0], 404)
        self.assertEqual(self.call("GET", "/1.0/images/aliases/busybox")[0], 404)
        self.daemon.outcome("PATCH", path, {"public": True})
        try:
            self.assertEqual(self.call("GET", path)[0], 200)
            self.assertEqual(self.call("GET", "/1.0/images/aliases/busybox")[0], 200)
            self.assertEqual(self.call("GET", "/1.0/images")[1]["metadata"], [path])
        finally:
            self.daemon.outcome("PATCH", path, {"public": False})

    def test_certificates_that_prove_nothing_are_refused(self):
        good = Identity(self.folder, "good")
        self.trust(good)
        self.assertEqual(self.call("GET", "/1.0/instances", identity=good)[0], 200)
        twin = Identity(self.folder, "twin", "-subj", "/O=test/CN=good")
        self.assertEqual(self.call("GET", "/1.0/instances", identity=twin)[0], 403)
        for name, options, reason in (("usage", ("-addext", "extendedKeyUsage=serverAuth"), "not made for"),
                                      ("signing", ("-addext", "keyUsage=keyCertSign"), "not made for")):
            bad = Identity(self.folder, name, *options)
            status, error = self.daemon.outcome("POST", "/1.0/certificates", {"type": "client", "certificate": bad.base64})
            self.assertEqual(status, 400)
            self.assertIn(reason, error)
            self.assertEqual(self.call("GET", "/1.0/instances", identity=bad)[0], 403)

    def test_certificates_out_of_their_time_are_refused(self):
        authority = Identity(self.folder, "ca")
        for name, start, end, reason in (("old", "20200101000000Z", "20210101000000Z", "expired"),
                                         ("early", "20900101000000Z", "20910101000000Z", "not valid yet")):
            made = dated(self.folder, authority, name, start, end)
            status, error = self.daemon.outcome("POST", "/1.0/certificates", {"type": "client", "certificate": made.base64})
            self.assertEqual(status, 400)
            self.assertIn(reason, error)
            self.assertEqual(self.call("GET", "/1.0/instances", identity=made)[0], 403)

    # --- joining

    def test_joining_by_password(self):
        client = Client(self.folder)
        self.set("core.trust_password", PASSWORD)
        self.assertEqual(self.daemon.get("/1.0")["config"]["core.trust_password"], "true")
        wrong = client.lxc("remote", "add", "far", self.url, "--accept-certificate", "--password", "wrong", check=False)
        self.assertNotEqual(wrong.returncode, 0)
        client.lxc("remote", "add", "far", self.url, "--accept-certificate", "--password", PASSWORD)
        self.assertIn("far", client.lxc("remote", "list").stdout)
        client.lxc("remote", "switch", "far")
        self.assertIn(client.fingerprint[:12], client.lxc("config", "trust", "list").stdout)
        self.set("core.https_trusted_proxy", "")  # a change of something else keeps the password
        self.assertEqual(self.daemon.get("/1.0")["config"]["core.trust_password"], "true")

    def test_wrong_passwords_are_limited(self):
        me = Identity(self.folder, "guesser")
        self.set("core.trust_password", PASSWORD)
        self.set("core.https_trusted_proxy", "127.0.0.1")  # as if from far away, so that the other tests can join
        try:
            self.assertEqual([self.join_from("192.0.2.7", me, f"wrong{i}") for i in range(6)], [403] * 5 + [409])
            self.assertEqual(self.join_from("192.0.2.7", me, PASSWORD), 409)
            self.assertEqual(self.join_from("192.0.2.8", me, PASSWORD), 201)
        finally:
            self.set("core.https_trusted_proxy", "")

    def join_from(self, host, identity, password):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS)
        raw.sendall(f"PROXY TCP4 {host} 127.0.0.1 4000 {self.port}\r\n".encode())
        with context_of(identity).wrap_socket(raw) as tls:
            body = json.dumps({"type": "client", "password": password})
            tls.sendall(f"POST /1.0/certificates HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            return int(tls.recv(4096).split(b" ")[1])

    def test_joining_by_token_works_once(self):
        issued = self.daemon.lxc("config", "trust", "add", "--name", "laptop").stdout
        token = issued.strip().splitlines()[-1]
        self.assertIn("laptop", self.daemon.lxc("config", "trust", "list-tokens").stdout)
        self.assertNotIn(json.loads(base64.b64decode(token))["secret"], json.dumps(self.daemon.get("/1.0/operations?recursion=1")))
        client = Client(self.folder)
        client.lxc("remote", "add", "far", token)
        self.assertIn("laptop", client.lxc("config", "trust", "list", "far:").stdout)
        again = Client(self.folder).lxc("remote", "add", "far", token, check=False)
        self.assertNotEqual(again.returncode, 0)
        self.assertNotIn("laptop", self.daemon.lxc("config", "trust", "list-tokens").stdout)

    def test_tokens_are_revoked_and_expire(self):
        add = lambda name: self.daemon.lxc("config", "trust", "add", "--name", name).stdout.strip().splitlines()[-1]
        token = add("lost")
        self.daemon.lxc("config", "trust", "revoke-token", "lost")
        self.assertNotEqual(Client(self.folder).lxc("remote", "add", "far", token, check=False).returncode, 0)
        self.set("core.remote_token_expiry", "1S")
        token = add("short")
        eventually(lambda: "short" not in self.daemon.lxc("config", "trust", "list-tokens").stdout, "the token's end")
        self.assertNotEqual(Client(self.folder).lxc("remote", "add", "far", token, check=False).returncode, 0)

    # --- who is restricted

    def test_a_restricted_client_sees_its_project_only(self):
        inside, outside = Identity(self.folder, "inside"), Identity(self.folder, "outside")
        self.trust(inside, restricted=True, projects=["default"])
        self.trust(outside, restricted=True, projects=[])
        self.assertEqual(self.call("GET", "/1.0/instances", identity=inside)[0], 200)
        self.assertEqual(self.call("GET", "/1.0/instances", identity=outside)[0], 404)
        self.assertEqual(self.call("GET", "/1.0/projects", identity=outside)[1]["metadata"], [])
        self.assertEqual(len(self.call("GET", "/1.0/certificates", identity=inside)[1]["metadata"]), 1)
        self.assertEqual(self.call("GET", "/1.0", identity=inside)[1]["metadata"]["config"], {})
        for method, path, body in (("PATCH", "/1.0", {"config": {"user.x": "y"}}), ("POST", "/1.0/storage-pools", {}),
                                   ("POST", "/1.0/networks", {}), ("GET", "/1.0/sinks", None),
                                   ("POST", "/1.0/certificates", {"token": True, "name": "x"}),
                                   ("DELETE", f"/1.0/certificates/{inside.fingerprint}", None)):
            self.assertEqual(self.call(method, path, body, inside)[0], 403, path)
        wider = {"name": "x", "type": "client", "restricted": False, "projects": []}
        self.assertEqual(self.call("PUT", f"/1.0/certificates/{inside.fingerprint}", wider, inside)[0], 403)
        self.assertEqual(self.call("GET", f"/1.0/certificates/{outside.fingerprint}", None, inside)[0], 404)

    def test_a_restricted_client_follows_its_project_only(self):
        me = Identity(self.folder, "listener")
        self.trust(me, restricted=True, projects=["default"])
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        follow = lambda query: self.call("GET", f"/1.0/events?{query}", None, me, upgrade)[0]
        for query in ("all-projects=true", "filter=_.%3E", "filter=%3E", "filter=*.instance.%3E", "durable=x"):
            self.assertEqual(follow(query), 403, query)
        self.assertEqual(self.call("GET", f"/1.0/events/history?entity=certificate//{me.fingerprint}", None, me)[0], 404)
        status, envelope = self.daemon.request("POST", "/1.0/certificates", {"token": True, "name": "secret", "type": "client"})
        self.assertEqual(status, 202)
        for method, more in (("GET", ""), ("DELETE", ""), ("GET", "/wait")):
            self.assertEqual(self.call(method, envelope["operation"] + more, None, me)[0], 404, method)
        self.assertNotIn("secret", json.dumps(self.call("GET", "/1.0/operations?recursion=1", None, me)[1]))
        self.daemon.request("DELETE", envelope["operation"])

    def test_tenants_do_not_see_and_cannot_touch_each_other(self):
        root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
        tenants = {}
        for name in ("ta", "tb"):
            config = {"restricted": "true", "features.images": "false", "features.profiles": "false", "limits.instances": "1"}
            self.assertEqual(self.daemon.outcome("POST", "/1.0/projects", {"name": name, "config": config})[0], 201)
            self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/projects/{name}")
            tenants[name] = Identity(self.folder, name)
            self.trust(tenants[name], restricted=True, projects=[name])
        a, b = tenants.values()
        make = lambda name, project, who, **more: self.call(
            "POST", f"/1.0/instances?project={project}", {"name": name, "source": {"type": "none"}, "devices": root, **more}, who)
        status, begun = make("mine", "ta", a)
        self.assertEqual(status, 202, begun)
        self.addCleanup(self.daemon.outcome, "DELETE", "/1.0/instances/mine?project=ta")
        self.assertEqual(self.call("GET", begun["operation"] + "/wait?project=ta", None, a)[1]["metadata"]["status"], "Success")

        # B: no trace of it, and none of who else there is.
        self.assertEqual(self.call("GET", "/1.0/projects", identity=b)[1]["metadata"], ["/1.0/projects/tb"])
        for path in ("/1.0/instances?project=ta", "/1.0/instances/mine?project=ta", "/1.0/projects/ta", "/1.0/projects/ta/state",
                     "/1.0/projects/nobody", "/1.0/instances", "/1.0/operations?project=ta", begun["operation"] + "?project=tb",
                     "/1.0/events/history?entity=instance/ta/mine&project=tb"):
            self.assertEqual(self.call("GET", path, identity=b)[0], 404, path)
        for query in ("project=tb", "all-projects=true"):
            listed = self.call("GET", f"/1.0/instances?{query}&recursion=1", identity=b)[1]
            self.assertNotIn("mine", json.dumps(listed), query)
        # Nor in what both use: the pool, the bridge, the borrowed profile and images, their leases and volumes.
        self.daemon.lxc("launch", "busybox", "neighbour")
        self.addCleanup(self.daemon.lxc, "delete", "-f", "neighbour")
        self.daemon.note_cards()
        self.daemon.address("neighbour")
        bridge = f"/1.0/networks/{self.daemon.bridge}"
        self.assertIn("neighbour", json.dumps(self.daemon.get(bridge + "/leases")))
        for path in ("/1.0/storage-pools", "/1.0/storage-pools/default", "/1.0/networks", bridge, bridge + "/leases", "/1.0/profiles",
                     "/1.0/profiles/default", "/1.0/images", "/1.0/storage-pools/default/volumes"):
            status, shown = self.call("GET", path + "?recursion=1&project=tb", identity=b)
            self.assertEqual(status, 200, path)
            for word in ("mine", "neighbour", '"eth0"' if path == "/1.0/networks" else "project=ta"):
                self.assertNotIn(word, json.dumps(shown), path)
        for path in ("/1.0/networks/lo", "/1.0/networks/lo/state"):
            self.assertEqual(self.call("GET", path + "?project=tb", identity=b)[0], 404, path)
            self.assertEqual(self.daemon.request("GET", path)[0], 200, path)
        for who in (None, b):  # which projects there are is nobody's business
            self.assertEqual(self.call("GET", "/1.0/images?project=ta", identity=who)[0], 404)
            self.assertEqual(self.call("GET", "/1.0/images?project=nowhere", identity=who)[0], 404)
        self.assertEqual(make("theirs", "ta", b), make("theirs", "nowhere", b))  # what is not his looks like what is not there
        self.assertEqual(make("theirs", "ta", b)[0], 403)
        self.assertEqual(self.call("DELETE", "/1.0/instances/mine?project=ta", None, b)[0], 404)
        self.assertEqual(self.call("DELETE", begun["operation"] + "?project=tb", None, b)[0], 404)

        # A: within its rules, and what its project borrows from default is not its own.
        self.assertEqual(make("second", "ta", a)[0], 403)
        self.assertEqual(self.call("PATCH", "/1.0/instances/mine?project=ta", {"config": {"raw.lxc": "a = b"}}, a)[0], 403)
        self.assertEqual(self.call("PATCH", "/1.0/projects/ta", {"config": {"restricted": "false"}}, a)[0], 403)
        self.assertEqual(self.call("DELETE", "/1.0/projects/ta", None, a)[0], 403)
        images = self.call("GET", "/1.0/images?project=ta", identity=a)[1]["metadata"]
        self.assertEqual(len(images), 1)
        self.assertEqual(self.call("GET", "/1.0/profiles/default?project=ta", identity=a)[0], 200)
        for method, path, body in (("PUT", "/1.0/profiles/default", {"config": {}}), ("POST", "/1.0/profiles", {"name": "x"}),
                                   ("DELETE", images[0].split("?")[0], None), ("POST", "/1.0/images/aliases", {"name": "x", "target": "y"})):
            self.assertEqual(self.call(method, f"{path}?project=ta", body, a)[0], 403, path)
        self.assertEqual(self.call("GET", "/1.0/images", identity=a)[1]["metadata"], [])  # default's, without a project that borrows

    def test_cards_of_tenants_are_not_the_hosts(self):
        config = {"restricted": "true", "features.images": "false", "features.profiles": "false"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/projects", {"name": "tc", "config": config})[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", "/1.0/projects/tc")
        tenant = Identity(self.folder, "tc")
        self.trust(tenant, restricted=True, projects=["tc"])
        for project, name in (("tc", "tenant"), ("default", "bystander")):
            self.daemon.lxc("launch", "busybox", name, "--project", project)
            self.addCleanup(self.daemon.lxc, "delete", "-f", name, "--project", project)
        self.daemon.note_cards()
        mine, theirs = (self.daemon.get(f"/1.0/instances/{name}")["config"]["volatile.eth0.host_name"] for name in ("tenant?project=tc", "bystander"))
        card = {"type": "nic", "network": self.daemon.bridge}
        for more in ({"host_name": self.daemon.bridge}, {"host_name": "mine0"}, {"ipv4.routes": "198.51.100.0/24"}):
            status, error = self.call("PATCH", "/1.0/instances/tenant?project=tc", {"devices": {"eth1": {**card, **more}}}, tenant)
            self.assertEqual(status, 403, (more, error))
        state = self.call("GET", f"/1.0/networks/{self.daemon.bridge}/state?project=tc", identity=tenant)[1]["metadata"]
        self.assertEqual(state["bridge"]["upper_devices"], [mine])
        self.assertIn(theirs, self.daemon.get(f"/1.0/networks/{self.daemon.bridge}/state")["bridge"]["upper_devices"])
        granted = {"config": {"restricted.networks.subnets": f"{self.daemon.bridge}:198.51.100.0/24"}}
        self.assertEqual(self.daemon.outcome("PATCH", "/1.0/projects/tc", granted)[0], 200)
        self.assertLess(self.call("PATCH", "/1.0/instances/tenant?project=tc", {"devices": {"eth1": {**card, "ipv4.routes": "198.51.100.0/25"}}}, tenant)[0], 300)

    def test_tokens_of_our_own_client(self):
        token = self.daemon.troupe("config", "trust", "add", "--name", "phone", "--restricted", "--projects", "default").stdout.strip()
        self.assertIn("phone", self.daemon.troupe("config", "trust", "list-tokens").stdout)
        client = Client(self.folder)
        client.lxc("remote", "add", "far", token)
        fingerprint = client.fingerprint
        shown = self.daemon.troupe("config", "trust", "show", fingerprint[:12]).stdout
        self.assertIn("restricted: true", shown)
        self.daemon.troupe("config", "trust", "edit", fingerprint[:12], stdin=shown.replace("name: phone", "name: tablet"))
        self.assertIn("tablet", self.daemon.troupe("config", "trust", "list").stdout)
        self.daemon.troupe("config", "trust", "remove", fingerprint[:12])
        self.assertNotEqual(client.lxc("list", "far:", check=False).returncode, 0)

    def test_a_client_renews_its_own_certificate(self):
        old, new = Identity(self.folder, "before"), Identity(self.folder, "after")
        self.trust(old, restricted=True, projects=["default"])
        body = {"name": "x", "type": "client", "restricted": True, "projects": ["default"], "certificate": new.base64}
        self.assertEqual(self.call("PUT", f"/1.0/certificates/{old.fingerprint}", body, old)[0], 200)
        self.assertEqual(self.call("GET", "/1.0/instances", identity=new)[0], 200)
        self.assertEqual(self.call("GET", "/1.0/instances", identity=old)[0], 403)

    # --- everything over the network, and its end

    def test_every_command_over_the_network(self):
        client, name = self.joined(), self.daemon.name("far")
        client.lxc("launch", "far:busybox", f"far:{name}")
        self.daemon.note_cards()
        self.assertIn(name, client.lxc("list", "far:").stdout)
        self.assertEqual(client.lxc("exec", f"far:{name}", "--", "echo", "hello").stdout, "hello\n")
        big = self.folder / "big"
        big.write_bytes(os.urandom(8 << 20))
        client.lxc("file", "push", big, f"far:{name}/root/big")
        client.lxc("file", "pull", f"far:{name}/root/big", self.folder / "back")
        self.assertEqual((self.folder / "back").read_bytes(), big.read_bytes())
        client.lxc("image", "export", "far:busybox", self.folder / "image")
        client.lxc("delete", "--force", f"far:{name}")

    def test_removal_cuts_what_is_open(self):
        client, name = self.joined(), self.daemon.launch("cut")
        running = client.popen("exec", f"far:{name}", "--", "sleep", "1000")
        monitor = client.popen("monitor", "far:")
        alive = lambda: "sleep 1000" in self.daemon.exec(name, "ps").stdout
        eventually(alive, "the command")
        eventually(lambda: self.daemon.get("/1.0/operations?recursion=1").get("running"), "the exec operation")
        self.daemon.lxc("config", "trust", "remove", client.fingerprint)
        for process in (running, monitor):
            process.wait(30)
            process.stdout.close()
        eventually(lambda: not alive(), "the command's end")
        self.assertNotEqual(client.lxc("list", "far:", check=False).returncode, 0)
        self.daemon.lxc("delete", "--force", name)

    def test_who_came_and_who_was_refused_is_in_the_event_log(self):
        me = Identity(self.folder, "seen")
        self.trust(me)
        self.call("GET", "/1.0/instances", identity=me)
        stranger = Identity(self.folder, "unseen")
        self.call("GET", "/1.0/instances", identity=stranger)
        told = lambda: self.daemon.troupe("history", f"security//{me.fingerprint}", "--format", "json").stdout
        eventually(lambda: "authenticated" in told(), "the event of who came")
        refused = lambda: self.daemon.troupe("history", "security//127.0.0.1", "--format", "json").stdout
        eventually(lambda: "refused" in refused(), "the event of who was refused")

    # --- crowds

    def test_idle_and_dribbling_connections_keep_nobody_out(self):
        before = len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))
        crowd = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(1000)]
        try:
            for one in crowd[:500]:
                one.sendall(b"\x16")  # the first byte of a handshake, and no more
            self.assertEqual(self.call("GET", "/1.0")[0], 200)
            self.assertLess(len(os.listdir(f"/proc/{self.daemon.process.pid}/fd")), before + 1100)
        finally:
            for one in crowd:
                one.close()
        eventually(lambda: len(os.listdir(f"/proc/{self.daemon.process.pid}/fd")) < before + 20, "their descriptors")

    def test_garbage_is_closed(self):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1000, os.urandom(5000)):
            with socket.create_connection(("127.0.0.1", self.port), timeout=COMMAND_SECONDS) as raw:
                raw.sendall(garbage)
                with contextlib.suppress(ConnectionError):
                    while raw.recv(4096):
                        pass
        self.assertEqual(self.call("GET", "/1.0")[0], 200)


class CutTest(HttpsTest):
    """What is open, and what is cut when trust ends or shrinks."""

    process_env = {"TROUPE_FAULTS": ""}

    def setUp(self):
        super().setUp()
        self.me = Identity(self.folder, f"me{len(list(self.folder.iterdir()))}")

    def project(self, name):
        config = {"features.images": "false", "features.profiles": "false"}
        self.assertEqual(self.daemon.outcome("POST", "/1.0/projects", {"name": name, "config": config})[0], 201)
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/projects/{name}")

    def narrow(self, *projects):
        body = {"name": "x", "type": "client", "restricted": True, "projects": list(projects)}
        status, error = self.daemon.outcome("PUT", f"/1.0/certificates/{self.me.fingerprint}", body)
        self.assertEqual(status, 200, error)

    def read_until(self, tls, word):
        got = b""
        for more in self.frames(tls):
            got += more
            if word in got:
                return
        self.fail(f"the stream ended before {word}")

    def runs(self, name, command):
        return command in self.daemon.exec(name, "ps").stdout

    # ---

    def test_a_change_that_takes_nothing_cuts_nothing(self):
        self.trust(self.me, restricted=True, projects=["default"])
        stream = self.websocket("/1.0/events", self.me)
        mine = f"/1.0/certificates/{self.me.fingerprint}"
        for body in ({}, {"name": "x"}):  # what a restricted client may do itself
            self.assertEqual(self.call("PATCH", mine, body, self.me)[0], 200)
        self.project("more")
        self.narrow("more", "default")
        self.daemon.outcome("POST", "/1.0/profiles", {"name": "heard"})
        self.addCleanup(self.daemon.outcome, "DELETE", "/1.0/profiles/heard")
        self.read_until(stream, b"profile-created")
        self.narrow("more")
        self.assertCut(stream)

    def test_the_end_of_a_certificate_cuts_what_is_open(self):
        name = self.daemon.launch("brief")
        self.addCleanup(self.daemon.lxc, "delete", "--force", name)
        me = short_lived(self.folder, "brief", 12)
        self.trust(me)
        stream = self.websocket("/1.0/events", me)
        body = {"command": ["sleep", "1237"], "wait-for-websocket": False, "record-output": True}
        self.assertEqual(self.call("POST", f"/1.0/instances/{name}/exec", body, me)[0], 202)
        eventually(lambda: self.runs(name, "sleep 1237"), "the command")
        self.assertCut(stream)
        eventually(lambda: not self.runs(name, "sleep 1237"), "the command's end")
        self.assertEqual(self.call("GET", "/1.0/instances", identity=me)[0], 403)

    def helper(self):
        """The process that begins commands inside instances."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                if f"\nPPid:\t{self.daemon.process.pid}\n" in status and os.readlink(f"/proc/{pid}/exe").endswith("troupe-lxc"):
                    return int(pid)
        self.fail("troupe-lxc is missing")

    def test_what_is_cut_while_it_begins_ends_alone(self):
        name = self.daemon.launch("begin")
        self.addCleanup(self.daemon.lxc, "delete", "--force", name)
        self.trust(self.me, restricted=True, projects=["default"])
        for what, body in (("exec", {"command": ["sleep", "1241"], "interactive": True}), ("exec", {"command": ["sleep", "1241"]}),
                           ("console", {"width": 80, "height": 24})):
            helper = self.helper()
            os.kill(helper, signal.SIGSTOP)
            try:
                status, begun = self.call("POST", f"/1.0/instances/{name}/{what}", {"wait-for-websocket": True, **body} if what == "exec" else body, self.me)
                self.assertEqual(status, 202, begun)
                for secret in begun["metadata"]["metadata"]["fds"].values():
                    self.websocket(f"{begun['operation']}/websocket?secret={secret}", self.me)
                self.narrow()
                ended = self.daemon.get(begun["operation"] + "/wait?timeout=30")
                self.assertIn(ended["status"], ("Failure", "Cancelled"), ended)
            finally:
                os.kill(helper, signal.SIGCONT)
            eventually(lambda: not self.runs(name, "sleep 1241"), "the command's end")
            self.assertIsNone(self.daemon.process.poll())
            self.narrow("default")

    def test_a_command_without_websockets_is_cut(self):
        name = self.daemon.launch("mute")
        self.addCleanup(self.daemon.lxc, "delete", "--force", name)
        self.trust(self.me, restricted=True, projects=["default"])
        for more in ({}, {"record-output": True}):
            status, begun = self.call("POST", f"/1.0/instances/{name}/exec", {"command": ["sleep", "1242"], "wait-for-websocket": False, **more}, self.me)
            self.assertEqual(status, 202, begun)
            eventually(lambda: self.runs(name, "sleep 1242"), "the command")
            self.narrow()
            eventually(lambda: not self.runs(name, "sleep 1242"), "the command's end")
            self.assertEqual(self.daemon.get(begun["operation"] + "/wait")["metadata"]["return"], 137)
            self.narrow("default")

    def test_rights_do_not_outlive_their_project(self):
        self.project("tp")
        self.trust(self.me, restricted=True, projects=["default", "tp"])
        stream = self.websocket("/1.0/events?project=tp", self.me)
        self.assertEqual(self.daemon.outcome("POST", "/1.0/projects/tp", {"name": "tq"})[0], 200)
        self.assertCut(stream)  # it was of a name, which is free now
        self.assertEqual(self.call("GET", "/1.0/instances?project=tq", identity=self.me)[0], 200)
        stream = self.websocket("/1.0/events?project=tq", self.me)
        self.assertEqual(self.daemon.outcome("DELETE", "/1.0/projects/tq")[0], 200)
        self.assertCut(stream)
        self.project("tq")
        self.assertEqual(self.call("GET", "/1.0/instances?project=tq", identity=self.me)[0], 404)
        self.assertEqual(self.daemon.get(f"/1.0/certificates/{self.me.fingerprint}")["projects"], ["default"])

    def test_removal_cuts_also_behind_a_restart_of_the_event_log(self):
        client = Client(self.folder)
        self.set("core.trust_password", PASSWORD)
        client.lxc("remote", "add", "far", self.url, "--accept-certificate", "--password", PASSWORD)
        restarts = lambda: len(self.daemon.get("/1.0/events/history?entity=actor//events"))
        before = restarts()
        self.assertEqual(self.daemon.outcome("POST", "/internal/faults", {"kill": {"kind": "events", "name": ""}})[0], 200)
        is_there = lambda: any(actor["kind"] == "events" for actor in self.daemon.get("/internal/faults")["actors"])
        eventually(lambda: restarts() > before and is_there(), "the event log's actor")
        monitor = client.popen("monitor", "far:", "--format", "json")
        self.addCleanup(monitor.stdout.close)
        self.addCleanup(monitor.kill)

        def told():
            for method, path in (("POST", "/1.0/profiles"), ("DELETE", "/1.0/profiles/heard")):
                self.daemon.outcome(method, path, {"name": "heard"} if method == "POST" else None)
            return select.select([monitor.stdout], [], [], 0.1)[0]

        eventually(told, "the monitor's first line")
        self.daemon.lxc("config", "trust", "remove", client.fingerprint)
        monitor.wait(30)


class AuthorityTest(DaemonTest):
    """PKI mode: server.ca and ca.crl in the state folder."""

    bare = True

    def call(self, identity):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context_of(identity), timeout=COMMAND_SECONDS)
        try:
            connection.request("GET", "/1.0/instances")
            return connection.getresponse().status
        finally:
            connection.close()

    def test_only_whom_the_authority_vouches_for(self):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.daemon.home))
        authority = Identity(folder, "authority", "-addext", "keyUsage=keyCertSign,cRLSign")
        signed, own = Identity(folder, "signed", authority=authority), Identity(folder, "own")
        shutil.copy(authority.crt, self.daemon.dir / "server.ca")
        self.port = free_port()
        self.daemon.outcome("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{self.port}"}})
        self.daemon.outcome("POST", "/1.0/certificates", {"type": "client", "certificate": own.base64})
        self.assertEqual(self.call(own), 403)
        self.assertEqual(self.call(signed), 403)
        self.daemon.outcome("PATCH", "/1.0", {"config": {"core.trust_ca_certificates": "true"}})
        self.assertEqual(self.call(signed), 200)
        self.assertEqual(self.call(own), 403)
        self.revoke(folder, authority, signed)
        self.daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: self.refused(signed), "the revocation")

    def refused(self, identity):
        with contextlib.suppress(ConnectionError):  # reading the list anew cuts what is open, this call perhaps
            return self.call(identity) == 403

    def revoke(self, folder, authority, identity):
        config = folder / "crl.cnf"
        (folder / "index").write_text("")
        (folder / "number").write_text("01\n")
        config.write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={folder}/index\ncrlnumber={folder}/number\ndefault_md=sha384\ndefault_crl_days=30\n")
        base = ("openssl", "ca", "-config", config, "-cert", authority.crt, "-keyfile", authority.key)
        run(*base, "-revoke", identity.crt)
        run(*base, "-gencrl", "-out", self.daemon.dir / "ca.crl")


if __name__ == "__main__":
    unittest.main()
