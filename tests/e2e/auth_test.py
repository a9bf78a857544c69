"""Roles: identities, groups and what they give, over HTTPS as a client with a certificate of its own that a group gives
rights to; what such a client sees, does and is refused, and what is cut when a group gives less."""

import base64
import json
import unittest

from https_e2e import Client, RolesTest
from identities import Identity, free_port
from troupe_e2e import eventually


class AuthTest(RolesTest):
    def identity(self, name, *groups):
        made = Identity(self.folder, f"{name}{len(list(self.folder.iterdir()))}")
        self.must("POST", f"{self.IDENTITIES}/tls", {"name": name, "certificate": made.base64, "groups": list(groups)})
        return made

    def project(self, name, **config):
        self.must("POST", "/1.0/projects", {"name": name, "config": {"features.images": "false", "features.profiles": "false", **config}})
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/projects/{name}")

    def instance(self, name, project):
        self.must("POST", f"/1.0/instances?project={project}", {
            "name": name, "source": {"type": "none"}, "devices": {"root": {"type": "disk", "path": "/", "pool": "default"}}})
        self.addCleanup(self.daemon.outcome, "DELETE", f"/1.0/instances/{name}?project={project}")

    def status(self, method, path, who, body=None):
        return self.call(method, path, body, who)[0]

    # --- groups and identities as such

    def test_groups_are_made_changed_renamed_and_deleted(self):
        url = self.group("viewers", ("project", "/1.0/projects/default", "can_view"), ("server", "/1.0", "viewer"))
        who = self.identity("alice", "viewers")
        group = self.daemon.get(url)
        self.assertEqual(group["identities"], {"tls": [who.fingerprint]})
        self.assertEqual({p["url"] for p in group["permissions"]}, {"/1.0", "/1.0/projects/default"})
        self.must("PATCH", url, {"description": "who look"})
        self.assertEqual((len(self.daemon.get(url)["permissions"]), self.daemon.get(url)["description"]), (2, "who look"))
        self.must("POST", self.MAPPINGS, {"name": "staff", "groups": ["viewers"]})
        self.must("POST", url, {"name": "lookers"})
        self.assertEqual(self.daemon.request("GET", url)[0], 404)
        renamed = self.daemon.get(f"{self.GROUPS}/lookers")
        self.assertEqual((renamed["identities"], renamed["identity_provider_groups"]), ({"tls": [who.fingerprint]}, ["staff"]))
        self.must("DELETE", f"{self.GROUPS}/lookers")
        self.assertEqual(self.daemon.get(f"{self.IDENTITIES}/tls/alice")["groups"], [])
        self.assertEqual(self.daemon.get(f"{self.MAPPINGS}/staff")["groups"], [])
        actions = [e["metadata"]["action"] for e in self.daemon.get("/1.0/events/history?entity=auth-group//viewers") if e["type"] == "lifecycle"]
        self.assertIn("auth-group-created", actions)
        self.assertIn("auth-group-updated", actions)

    def test_what_cannot_be_is_refused(self):
        self.group("some")
        who = Identity(self.folder, "who")
        permission = lambda *p: {"name": "bad", "permissions": [dict(zip(("entity_type", "url", "entitlement"), p))]}
        for path, body, status in (
                (self.GROUPS, {"name": "some"}, 409), (self.GROUPS, {"name": ""}, 400), (self.GROUPS, {"name": "a/b"}, 400),
                (self.GROUPS, permission("server", "/1.0", "can_fly"), 400), (self.GROUPS, permission("moon", "/1.0", "admin"), 400),
                (self.GROUPS, permission("instance", "/1.0/instances/nothing", "can_view"), 404),
                (self.GROUPS, permission("instance", "/1.0/projects/default", "can_view"), 400),
                (self.MAPPINGS, {"name": "x", "groups": ["nobody"]}, 404), (self.MAPPINGS, {"name": "x", "groups": ["some", "some"]}, 400),
                (self.IDENTITIES + "/tls", {"name": "x", "certificate": who.base64, "groups": ["nobody"]}, 404),
                (self.IDENTITIES + "/tls", {"name": "x", "certificate": "junk"}, 400)):
            self.assertEqual(self.daemon.outcome("POST", path, body)[0], status, (path, body))
        self.assertEqual(self.daemon.get(self.GROUPS), [f"{self.GROUPS}/some"])
        self.assertEqual(self.daemon.get(self.IDENTITIES), {})

    def test_permissions_are_listed(self):
        self.group("g", ("project", "/1.0/projects/default", "operator"))
        listed = self.daemon.get("/1.0/auth/permissions?entity-type=project&recursion=1")
        found = [p for p in listed if p["url"] == "/1.0/projects/default" and p["entitlement"] == "operator"]
        self.assertEqual(found, [{"entity_type": "project", "url": "/1.0/projects/default", "entitlement": "operator", "groups": ["g"]}])
        self.assertEqual({p["entity_type"] for p in listed}, {"project"})
        self.assertEqual(self.daemon.request("GET", "/1.0/auth/permissions?entity-type=moon")[0], 400)

    def test_certificates_of_the_trust_store_are_identities(self):
        full, tenant = Identity(self.folder, "full"), Identity(self.folder, "tenant")
        self.trust(full)
        self.trust(tenant, restricted=True, projects=["default"])
        types = {i["id"]: i["type"] for i in self.daemon.get(self.IDENTITIES + "/tls?recursion=1")}
        self.assertEqual(types, {full.fingerprint: "Client certificate (unrestricted)", tenant.fingerprint: "Client certificate (restricted)"})
        self.assertEqual(self.daemon.outcome("PUT", f"{self.IDENTITIES}/tls/{full.fingerprint}", {"groups": []})[0], 400)
        self.assertEqual(self.call("GET", self.IDENTITIES + "/current", identity=full)[1]["metadata"]["fine_grained"], False)
        for path in (self.IDENTITIES, self.GROUPS, self.MAPPINGS, "/1.0/auth/permissions"):  # a restricted one learns nothing
            self.assertEqual(self.status("GET", path, tenant), 403)
            self.assertEqual(self.status("GET", path, None), 403)
        self.assertEqual(self.daemon.request("GET", self.IDENTITIES + "/current")[0], 400)

    # --- joining

    def test_a_pending_identity_is_joined_with_its_token_once(self):
        self.group("viewers", ("server", "/1.0", "viewer"))
        status, answer = self.daemon.request("POST", self.IDENTITIES + "/tls", {"name": "laptop", "token": True, "groups": ["viewers"]})
        self.assertEqual(status, 201)
        pending = self.daemon.get(self.IDENTITIES + "/tls/laptop")
        self.assertEqual((pending["type"], pending["groups"]), ("Client certificate (pending)", ["viewers"]))
        secret = answer["metadata"]["secret"]
        self.assertNotIn(secret, json.dumps(self.daemon.get("/1.0/events/history?entity=identity//tls/" + pending["id"])))
        wrong, right = Identity(self.folder, "wrong"), Identity(self.folder, "right")
        self.assertEqual(self.status("POST", self.IDENTITIES + "/tls", wrong, {"trust_token": "0" * 64}), 403)
        self.assertEqual(self.status("POST", self.IDENTITIES + "/tls", right, {"trust_token": secret}), 201)
        self.assertEqual(self.status("POST", self.IDENTITIES + "/tls", wrong, {"trust_token": secret}), 403)
        self.assertEqual(self.status("GET", "/1.0/instances", right), 200)
        self.assertEqual(self.daemon.get(self.IDENTITIES + "/tls/laptop")["id"], right.fingerprint)
        self.assertEqual(self.daemon.get("/1.0/certificates"), [])

    def test_the_stock_client_joins_as_a_pending_identity(self):
        self.group("operators", ("project", "/1.0/projects/default", "operator"))
        answer = self.daemon.request("POST", self.IDENTITIES + "/tls", {"name": "phone", "token": True, "groups": ["operators"]})[1]
        client = Client(self.folder)
        client.lxc("remote", "add", "far", base64.b64encode(json.dumps(answer["metadata"]).encode()).decode())
        self.assertIn("busybox", client.lxc("image", "list", "far:").stdout)
        self.assertNotEqual(client.lxc("config", "set", "far:", "user.x", "y", check=False).returncode, 0)

    # --- what a group gives, and what it does not

    def test_who_has_no_group_sees_nothing(self):
        who = self.identity("nobody")
        self.assertEqual(self.call("GET", "/1.0", identity=who)[1]["metadata"]["auth"], "trusted")
        self.assertEqual(self.call("GET", "/1.0", identity=who)[1]["metadata"]["config"], {})
        self.assertEqual(self.call("GET", "/1.0/projects", identity=who)[1]["metadata"], [])
        for path in ("/1.0/instances", "/1.0/images", "/1.0/profiles", "/1.0/networks", "/1.0/storage-pools", "/1.0/operations", "/1.0/events"):
            shown = self.call("GET", path, identity=who)
            self.assertTrue(shown[0] == 404 or shown[1].get("metadata") == [], (path, shown))
        for method, path, body in (("POST", "/1.0/projects", {"name": "x"}), ("PATCH", "/1.0", {"config": {}}), ("POST", "/1.0/certificates", {}),
                                   ("POST", self.GROUPS, {"name": "x"}), ("GET", "/1.0/sinks", None),
                                   ("POST", self.IDENTITIES + "/tls", {"name": "x", "token": True}), ("GET", "/1.0/warnings", None)):
            self.assertEqual(self.status(method, path, who, body), 403, path)
        me = self.call("GET", self.IDENTITIES + "/current", identity=who)[1]["metadata"]
        self.assertEqual((me["id"], me["effective_permissions"], me["fine_grained"]), (who.fingerprint, [], True))

    def test_a_right_on_one_instance_shows_that_one(self):
        self.project("ta")
        for name in ("mine", "theirs"):
            self.instance(name, "ta")
        self.group("users", ("instance", "/1.0/instances/mine?project=ta", "user"))
        who = self.identity("user", "users")
        self.assertEqual(self.call("GET", "/1.0/instances?project=ta", identity=who)[1]["metadata"], ["/1.0/instances/mine"])
        self.assertEqual(len(self.call("GET", "/1.0/instances?all-projects=true&recursion=2", identity=who)[1].get("metadata") or [1]), 1)
        self.assertEqual(self.status("GET", "/1.0/instances/mine?project=ta", who), 200)
        missing = self.call("GET", "/1.0/instances/nothing?project=ta", identity=who)
        for sub in ("", "/state", "/console", "/logs"):
            self.assertEqual(self.call("GET", f"/1.0/instances/theirs{sub}?project=ta", identity=who), missing, sub)
            self.assertEqual(self.call("GET", f"/1.0/instances/nothing{sub}?project=ta", identity=who), missing, sub)
        self.assertEqual(self.call("DELETE", "/1.0/instances/theirs?project=ta", identity=who), missing)
        for method, path, body in (("PUT", "/1.0/instances/mine/state", {"action": "start"}), ("DELETE", "/1.0/instances/mine", None),
                                   ("PATCH", "/1.0/instances/mine", {"config": {}}), ("POST", "/1.0/instances", {"name": "x", "source": {"type": "none"}}),
                                   ("PUT", "/1.0/instances", {"state": {"action": "start"}}), ("POST", "/1.0/profiles", {"name": "x"})):
            self.assertEqual(self.status(method, path + "?project=ta", who, body), 403, path)
        self.assertEqual(self.call("GET", "/1.0/profiles?project=ta", identity=who)[1]["metadata"], [])
        self.assertEqual(self.status("GET", "/1.0/projects/ta", who), 403)
        for path in ("/1.0/instances?project=default", "/1.0/instances?project=nowhere", "/1.0/projects/nowhere", "/1.0/events?project=default"):
            self.assertEqual(self.status("GET", path, who), 404, path)

    def test_an_operator_of_a_project_does_all_in_it_and_nothing_beside_it(self):
        self.project("tb", **{"features.profiles": "true"})
        self.group("ops", ("project", "/1.0/projects/tb", "operator"))
        who = self.identity("op", "ops")
        self.assertEqual(self.call("GET", "/1.0/projects", identity=who)[1]["metadata"], ["/1.0/projects/tb"])
        root = {"root": {"type": "disk", "path": "/", "pool": "default"}}
        status, begun = self.call("POST", "/1.0/instances?project=tb", {"name": "one", "source": {"type": "none"}, "devices": root}, who)
        self.assertEqual(status, 202, begun)
        self.assertEqual(self.call("GET", begun["operation"] + "/wait?project=tb", identity=who)[1]["metadata"]["status"], "Success")
        status, begun = self.call("DELETE", "/1.0/instances/one?project=tb", identity=who)
        self.assertEqual(status, 202, begun)
        self.assertEqual(self.call("GET", begun["operation"] + "/wait?project=tb", identity=who)[1]["metadata"]["status"], "Success")
        self.assertEqual(self.status("POST", "/1.0/profiles?project=tb", who, {"name": "mine"}), 201)
        self.assertEqual(self.status("DELETE", "/1.0/profiles/mine?project=tb", who), 200)
        self.assertEqual(self.status("PATCH", "/1.0/projects/tb", who, {"config": {"restricted": "true"}}), 403)
        bridge = f"/1.0/networks/{self.daemon.bridge}"
        self.assertEqual(self.status("GET", bridge + "?project=tb", who), 200)  # borrowed from default: to be read
        self.assertEqual(self.status("PATCH", bridge + "?project=tb", who, {"description": "mine"}), 403)
        self.assertEqual(self.status("GET", bridge, who), 404)

    def test_nobody_gives_what_he_does_not_have(self):
        self.group("editors", ("server", "/1.0", "can_edit_groups"), ("server", "/1.0", "can_edit_identities"), ("server", "/1.0", "can_create_groups"))
        self.group("admins", ("server", "/1.0", "admin"))
        self.group("managers", ("server", "/1.0", "permission_manager"))
        editor, manager = self.identity("editor", "editors"), self.identity("manager", "managers")
        other = self.identity("other")
        admin = [{"entity_type": "server", "url": "/1.0", "entitlement": "admin"}]
        operator = [{"entity_type": "project", "url": "/1.0/projects/default", "entitlement": "operator"}]
        for who in (editor, manager):
            self.assertEqual(self.status("PATCH", self.GROUPS + "/editors", who, {"permissions": admin}), 403)
            self.assertEqual(self.status("PATCH", f"{self.IDENTITIES}/tls/{other.fingerprint}", who, {"groups": ["admins"]}), 403)
            self.assertEqual(self.status("POST", self.GROUPS, who, {"name": "sneaky", "permissions": admin}), 403)
        self.assertEqual(self.status("PATCH", self.GROUPS + "/editors", editor, {"permissions": operator}), 403)
        self.assertEqual(self.status("POST", self.GROUPS, manager, {"name": "fine", "permissions": operator}), 201)
        self.assertEqual(self.status("PATCH", f"{self.IDENTITIES}/tls/{other.fingerprint}", editor, {"groups": ["editors"]}), 200)

    def test_rights_end_with_the_thing_they_are_on(self):
        self.project("tc")
        self.instance("gone", "tc")
        self.group("users", ("instance", "/1.0/instances/gone?project=tc", "user"), ("project", "/1.0/projects/tc", "can_view"))
        self.must("DELETE", "/1.0/instances/gone?project=tc")
        self.instance("gone", "tc")
        self.assertEqual([p["entity_type"] for p in self.daemon.get(self.GROUPS + "/users")["permissions"]], ["project"])

    def test_rights_on_a_volume_are_on_one_that_there_is_and_end_with_it(self):
        self.instance("vol", "default")
        permission = lambda name: ("storage_volume", f"/1.0/storage-pools/default/volumes/container/{name}", "can_view")
        one = dict(zip(("entity_type", "url", "entitlement"), permission("none")))
        self.assertEqual(self.daemon.outcome("POST", self.GROUPS, {"name": "early", "permissions": [one]})[0], 404)
        self.group("seers", permission("vol"), ("project", "/1.0/projects/default", "can_view"))
        self.must("DELETE", "/1.0/instances/vol")
        self.assertEqual([p["entity_type"] for p in self.daemon.get(self.GROUPS + "/seers")["permissions"]], ["project"])
        told = self.daemon.get("/1.0/events/history?entity=auth-group//seers")
        self.assertIn("auth-group-updated", [e["metadata"]["action"] for e in told if e["type"] == "lifecycle"])

    # --- what the caller may do with what he is shown

    def entitled(self, path, who, *entitlements):
        query = "&" if "?" in path else "?"
        status, answer = self.call("GET", f"{path}{query}with-access-entitlements={','.join(entitlements)}", identity=who)
        self.assertEqual(status, 200, answer)
        return answer["metadata"]

    def test_views_tell_what_their_reader_may_do(self):
        self.project("te")
        for name in ("mine", "theirs"):
            self.instance(name, "te")
        self.group("some")
        self.give("some", ("project", "/1.0/projects/te", "viewer"), ("project", "/1.0/projects/te", "can_edit"),
                  ("instance", "/1.0/instances/mine?project=te", "operator"), ("group", "/1.0/auth/groups/some", "can_view"),
                  ("server", "/1.0", "can_view_identities"), ("server", "/1.0", "can_edit_storage_pools"))
        who = self.identity("entitled", "some")
        wanted = ("can_edit", "can_delete", "can_exec")
        one = self.entitled("/1.0/instances/mine?project=te", who, *wanted)
        self.assertEqual(one["access_entitlements"], ["can_exec"])
        for query in ("project=te", "all-projects=true"):
            for recursion in (1, 2):
                listed = {i["name"]: i.get("access_entitlements") for i in
                          self.entitled(f"/1.0/instances?{query}&recursion={recursion}", who, *wanted)}
                self.assertEqual(listed, {"mine": ["can_exec"], "theirs": None}, query)
        expected = {"/1.0/projects?recursion=1": ["can_edit"], "/1.0/projects/te": ["can_edit"], "/1.0/storage-pools?recursion=1&project=te": ["can_edit"],
                    "/1.0/storage-pools/default?project=te": ["can_edit"], "/1.0/profiles/default?project=te": None, "/1.0/auth/groups/some": None,
                    "/1.0/auth/groups?recursion=1": None, "/1.0/auth/identities?recursion=1": None, "/1.0": None,
                    f"/1.0/networks/{self.daemon.bridge}?project=te": None, "/1.0/images?recursion=1&project=te": None,
                    "/1.0/storage-pools/default/volumes/container/mine?project=te": None}
        for path, entitlements in expected.items():
            wanted = ("can_edit",)
            shown = self.entitled(path, who, *wanted)
            for item in shown if isinstance(shown, list) else [shown]:
                self.assertEqual(item.get("access_entitlements"), entitlements, path)
        for path in ("/1.0/profiles?recursion=1&project=te", f"/1.0/auth/identities/tls/{who.fingerprint}", "/1.0/auth/identities/current",
                     "/1.0/storage-pools/default/volumes?recursion=1&project=te", "/1.0/auth/groups/some"):
            shown = self.entitled(path, who, "can_view")
            for item in shown if isinstance(shown, list) else [shown]:
                self.assertEqual(item.get("access_entitlements"), ["can_view"], path)

    def test_what_is_borrowed_is_changed_by_who_may_in_both_projects(self):
        self.project("tf")
        self.group("both", ("project", "/1.0/projects/tf", "operator"), ("project", "/1.0/projects/default", "viewer"))
        who = self.identity("borrower", "both")
        path = "/1.0/profiles/default?project=tf"
        self.assertEqual(self.entitled(path, who, "can_view", "can_edit")["access_entitlements"], ["can_view"])
        self.assertEqual(self.status("PATCH", path, who, {"description": "x"}), 403)
        self.give("both", ("project", "/1.0/projects/tf", "operator"), ("profile", "/1.0/profiles/default?project=default", "can_edit"))
        self.assertEqual(self.entitled(path, who, "can_view", "can_edit")["access_entitlements"], ["can_view", "can_edit"])
        description = self.daemon.get("/1.0/profiles/default")["description"]
        self.assertEqual(self.status("PATCH", path, who, {"description": description}), 200)

    def test_entitlements_that_cannot_be_told_are_refused(self):
        self.group("viewers", ("server", "/1.0", "viewer"))
        who = self.identity("curious", "viewers")
        for path in ("/1.0/instances?with-access-entitlements=can_edit", "/1.0/projects?recursion=1&with-access-entitlements=can_exec",
                     "/1.0?with-access-entitlements=can_fly"):
            self.assertEqual(self.status("GET", path, who), 400, path)
        self.assertEqual(self.daemon.request("GET", "/1.0/instances?recursion=1&with-access-entitlements=can_edit")[0], 400)
        extensions = self.daemon.get("/1.0")["api_extensions"]
        for name in ("access_management", "access_management_tls", "entities_with_entitlements"):
            self.assertIn(name, extensions)

    # --- what is open when a group gives less

    def test_the_events_of_a_project_end_with_it(self):
        self.project("td")
        self.group("hearers", ("project", "/1.0/projects/td", "viewer"))
        stream = self.websocket("/1.0/events?project=td", self.identity("hearer", "hearers"))
        self.must("DELETE", "/1.0/projects/td")
        self.assertCut(stream)  # else it would tell of whatever has this name next

    def test_a_group_that_gives_less_cuts_what_is_open(self):
        name = self.daemon.launch("cut")
        self.addCleanup(self.daemon.lxc, "delete", "--force", name)
        instance = ("instance", f"/1.0/instances/{name}", "operator")
        project = ("project", "/1.0/projects/default", "can_view_events")  # older clients learn from events how operations end
        self.group("users", instance, project)
        answer = self.daemon.request("POST", self.IDENTITIES + "/tls", {"name": "cut", "token": True, "groups": ["users"]})[1]
        client = Client(self.folder)
        client.lxc("remote", "add", "far", base64.b64encode(json.dumps(answer["metadata"]).encode()).decode())
        running = client.popen("exec", f"far:{name}", "--", "sleep", "1000")
        alive = lambda: "sleep 1000" in self.daemon.exec(name, "ps").stdout
        eventually(alive, "the command")
        self.give("users", instance, project, ("project", "/1.0/projects/default", "can_view"))  # more: nothing is cut
        self.assertTrue(alive())
        self.assertIsNone(running.poll())
        self.give("users", project)
        running.wait(30)
        running.stdout.close()
        eventually(lambda: not alive(), "the command's end")


class BusAuthTest(RolesTest):
    """The same over the bus, and what a handle offers."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bus_port = free_port()
        try:
            cls.set("core.bus_address", f"127.0.0.1:{cls.bus_port}")
        except BaseException:
            cls.daemon.close()
            raise

    def bus(self, path, arguments=None, who=None, wait=True):
        """What was answered; of a refusal the text."""
        words = ["bus", "call", path, json.dumps(arguments or {})]
        if who:
            words += ["--server", f"127.0.0.1:{self.bus_port}", "--server-cert", self.daemon.dir / "server.crt", "--cert", who.crt, "--key", who.key]
        done = self.daemon.troupe(*words, check=False)
        if done.returncode != 0:
            return done.stderr.strip()
        answer = json.loads(done.stdout) if done.stdout.strip() else {}
        return answer

    def does(self, path, arguments=None, who=None):
        words = ["--server", f"127.0.0.1:{self.bus_port}", "--server-cert", self.daemon.dir / "server.crt", "--cert", who.crt, "--key", who.key] if who else []
        done = self.daemon.troupe("bus", "call", path, json.dumps(arguments or {}), "--wait", *words)
        self.assertEqual(json.loads(done.stdout)["state"], "succeeded", done.stdout)

    def permission(self, *words):
        return dict(zip(("entity_type", "url", "entitlement"), words))

    def test_groups_and_mappings(self):
        viewer = self.permission("server", "/1.0", "viewer")
        self.does("auth.groups.create", {"name": "one", "description": "first", "permissions": [viewer]})
        self.does("auth.providerGroups.create", {"name": "staff", "groups": ["one"]})
        shown = self.bus("auth.groups.get(one).view")
        self.assertEqual((shown["spec"]["permissions"], shown["provider_groups"]), ([viewer], ["staff"]))
        self.does("auth.groups.get(one).update", {"body": {"description": "second"}, "given": ["description"], "etag": shown["etag"]})
        self.assertEqual(self.daemon.get(self.GROUPS + "/one")["permissions"], [viewer])
        self.assertIn("ETag does not match", self.bus("auth.groups.get(one).update", {"body": {}, "etag": shown["etag"]}))
        self.does("auth.groups.get(one).rename", {"name": "two"})
        self.assertEqual([g["spec"]["name"] for g in self.bus("auth.groups.list")["items"]], ["two"])
        self.assertEqual(self.bus("auth.providerGroups.list")["items"][0]["spec"], {"name": "staff", "groups": ["two"]})
        self.does("auth.providerGroups.get(staff).rename", {"name": "people"})
        self.does("auth.providerGroups.get(people).update", {"body": {"groups": []}})
        self.assertEqual(self.bus("auth.providerGroups.get(people).view")["spec"].get("groups", []), [])
        self.does("auth.providerGroups.get(people).delete")
        self.does("auth.groups.get(two).delete")
        for path in ("auth.groups.get(two).view", "auth.groups.get(two).delete", "auth.providerGroups.get(people).view"):
            self.assertIn("not found", self.bus(path), path)

    def test_identities(self):
        self.group("users", ("server", "/1.0", "viewer"))
        made = Identity(self.folder, "bus-made")
        self.does("auth.identities.create", {"name": "robot", "certificate": made.base64, "groups": ["users"]})
        shown = self.bus("auth.identities.get(tls,robot).view")
        self.assertEqual((shown["spec"]["id"], shown["spec"]["groups"]), (made.fingerprint, ["users"]))
        self.assertEqual(self.bus("auth.groups.get(users).view")["identities"], [f"tls/{made.fingerprint}"])
        mine = self.bus("auth.identities.current", who=made)
        self.assertEqual((mine["effective_groups"], mine["fine_grained"]), (["users"], True))
        self.assertEqual(mine["effective_permissions"], [self.permission("server", "/1.0", "viewer")])
        self.does(f"auth.identities.get(tls,{made.fingerprint}).update", {"body": {"groups": []}, "given": ["groups"]})
        self.does("auth.identities.get(tls,robot).delete")
        self.assertEqual(self.bus("auth.identities.list").get("items", []), [])
        self.assertIn("has no identity", self.bus("auth.identities.current"))

    def test_a_token_of_the_bus_lets_the_stock_client_in(self):
        self.group("operators", ("project", "/1.0/projects/default", "operator"))
        invited = self.bus("auth.identities.invite", {"name": "phone", "groups": ["operators"]})
        self.assertEqual(self.bus("auth.identities.get(tls,phone).view")["spec"]["type"], "Client certificate (pending)")
        client = Client(self.folder)
        client.lxc("remote", "add", "far", invited["token"])
        self.assertIn("busybox", client.lxc("image", "list", "far:").stdout)
        listed = self.bus("auth.identities.list", {"filter": "name eq phone"})["items"]
        self.assertEqual([i["spec"]["id"] for i in listed], [client.fingerprint])
        self.assertNotIn("token_hash", json.dumps(listed))

    def test_permissions_come_by_pages(self):
        self.group("g", ("project", "/1.0/projects/default", "operator"))
        rest = self.daemon.get("/1.0/auth/permissions?entity-type=project&recursion=1")
        found, after = [], ""
        while True:
            page = self.bus("auth.permissions", {"entity_type": "project", "page": {"limit": 7, "after": after}})
            found += [{**one["spec"], "groups": one.get("groups", [])} for one in page["items"]]
            after = page.get("next", "")
            if not after:
                break
            self.assertEqual(len(page["items"]), 7)
        self.assertEqual(found, [{**one, "groups": one.get("groups") or []} for one in rest])
        self.assertIn("no entity type", self.bus("auth.permissions", {"entity_type": "moon"}))

    def test_the_rights_are_those_of_rest_and_are_what_a_handle_offers(self):
        self.group("editors", ("server", "/1.0", "can_edit_groups"))
        self.group("viewers", ("server", "/1.0", "can_view_groups"))
        self.group("plain", ("project", "/1.0/projects/default", "viewer"))
        people = {}
        for name in ("editors", "viewers", "plain"):
            people[name] = Identity(self.folder, f"bus-{name}")
            self.must("POST", self.IDENTITIES + "/tls", {"name": name, "certificate": people[name].base64, "groups": [name]})
        tenant = Identity(self.folder, "bus-tenant")
        self.trust(tenant, restricted=True, projects=["default"])
        offers = lambda path, who=None: set(self.bus(f"{path}.offers", who=who)["methods"])
        whole = {"Group.view", "Group.update", "Group.rename", "Group.delete", "Handle.restrict", "Handle.offers"}
        self.assertEqual(offers("auth.groups.get(plain)"), whole)
        self.assertEqual(offers("auth.groups.get(plain)", people["editors"]), whole - {"Group.delete"})
        self.assertEqual(offers("auth.groups.get(plain)", people["viewers"]), {"Group.view", "Handle.restrict", "Handle.offers"})
        self.assertEqual(offers("auth.groups.get(plain)", people["plain"]), {"Handle.restrict", "Handle.offers"})
        self.assertEqual(offers("auth", tenant), {"Handle.restrict", "Handle.offers"})
        for who in (people["plain"], tenant):
            for path in ("auth.groups.get(plain).view", "auth.groups.get(plain).delete", "auth.identities.get(tls,plain).view"):
                said = self.bus(path, who=who)
                self.assertTrue("not found" in said or "not authorized" in said, said)
        self.assertIn("not authorized", self.bus("auth.groups.get(plain).delete", who=people["viewers"]))
        self.assertIn("not authorized", self.bus("auth.identities.invite", {"name": "x"}, who=people["editors"]))
        admin = {"body": {"permissions": [self.permission("server", "/1.0", "admin")]}, "given": ["permissions"]}
        said = self.bus("auth.groups.get(editors).update", admin, who=people["editors"])  # nobody gives what he does not have
        self.assertIn("You cannot give", said)
        self.assertEqual(self.bus("auth.groups.list", who=people["plain"]).get("items", []), [])
        self.assertIn("not authorized", self.bus("auth.groups.list", who=tenant))
        self.assertIn("Group", self.daemon.troupe("bus", "describe", "Groups").stdout)
        self.assertIn("Instance.start", offers("instances.get(nothing)"))
        self.assertNotIn("Instance.start", offers("instances.get(nothing)", people["plain"]))


if __name__ == "__main__":
    unittest.main()
