"""Projects with the stock client: own and shared things, restrictions, limits that hold exactly. See docs/projects.md."""

import hashlib
import json
import os
import pathlib
import random
import threading
import unittest

from backup_file import HEADERS, backup, description
from troupe_e2e import DaemonTest, eventually, run


class ProjectsTest(DaemonTest):
    driver = "dir"

    def project(self, name, *config):
        self.daemon.lxc("project", "create", name, *(word for pair in config for word in ("-c", pair)))
        self.addCleanup(self.remove, name)
        return name

    def remove(self, project):
        for name in self.names(project):
            self.daemon.lxc("delete", "-f", name, "--project", project, check=False)
        for image in self.daemon.get(f"/1.0/images?project={project}&recursion=1"):
            if any(user.endswith(f"project={project}") for user in self.used_by(project) if "/images/" in user):
                self.daemon.lxc("image", "delete", image["fingerprint"], "--project", project, check=False)
        for url in self.used_by(project):
            if "/profiles/" in url and "/profiles/default?" not in url:
                self.daemon.outcome("DELETE", url)
        self.daemon.lxc("project", "delete", project)

    def used_by(self, project):
        return self.daemon.get(f"/1.0/projects/{project}")["used_by"]

    def names(self, project):
        return [url.split("/")[-1].split("?")[0] for url in self.daemon.get(f"/1.0/instances?project={project}")]

    def sharing(self, name, *config):
        """A project that uses the images and profiles of project default."""
        return self.project(name, "features.images=false", "features.profiles=false", *config)

    def create(self, project, name, **more):
        return self.daemon.outcome("POST", f"/1.0/instances?project={project}",
                                   {"name": name, "source": {"type": "none"}, "devices": self.root, **more})

    root = {"root": {"type": "disk", "path": "/", "pool": "default"}}

    # --- the records

    def test_create_show_edit_rename_delete(self):
        self.project("p1", "user.colour=red")
        self.assertIn("p1", self.daemon.lxc_out("project", "list", "-f", "csv"))
        self.daemon.lxc("project", "set", "p1", "user.colour", "blue")
        self.assertEqual(self.daemon.lxc_out("project", "get", "p1", "user.colour"), "blue")
        shown = self.daemon.get("/1.0/projects/p1")
        self.assertEqual(shown["config"]["features.images"], "true")
        self.assertEqual(shown["used_by"], ["/1.0/profiles/default?project=p1"])
        self.daemon.lxc("project", "rename", "p1", "p2")
        self.addCleanup(self.daemon.lxc, "project", "rename", "p2", "p1")
        self.assertEqual(self.daemon.get("/1.0/profiles/default?project=p2")["description"], "Default LXD profile for project p1")
        self.assertEqual(self.daemon.request("GET", "/1.0/projects/p1")[0], 404)

    def test_what_is_refused(self):
        self.project("p3")
        status = lambda *call: self.daemon.outcome(*call)[0]
        self.assertEqual(status("POST", "/1.0/projects", {"name": "p3"}), 409)
        for name in ("", "a_b", "a--b", "a/b", "..", "a:b", "-a", "a-", "x" * 64):
            self.assertEqual(status("POST", "/1.0/projects", {"name": name}), 400, name)
        for key, value in (("features.networks.zones", "true"), ("features.storage.buckets", "false"), ("restricted.devices.infiniband", "allow")):
            got, why = self.daemon.outcome("PATCH", "/1.0/projects/p3", {"config": {key: value}})
            self.assertEqual((got, "not supported yet" in why), (400, True), (key, why))
        self.assertEqual(status("PATCH", "/1.0/projects/p3", {"config": {"nonsense": "1"}}), 400)
        self.assertEqual(status("DELETE", "/1.0/projects/default"), 403)
        self.assertEqual(status("GET", "/1.0/instances?project=nowhere"), 404)
        self.assertEqual(self.daemon.request("PUT", "/1.0/projects/p3", {"config": {}}, {"If-Match": '"old"'})[0], 412)
        self.assertEqual(set(self.daemon.get("/1.0/projects/p3")["config"]),
                         {"features.images", "features.profiles", "features.storage.volumes"})

    # --- own things and shared ones

    def test_the_same_name_lives_in_two_projects_and_an_image_in_each(self):
        self.project("own")
        name = self.daemon.name("twin")
        self.daemon.lxc("profile", "device", "add", "default", "root", "disk", "path=/", "pool=default", "--project", "own")
        self.assertEqual(self.daemon.outcome("GET", "/1.0/images/aliases/busybox?project=own")[0], 404)
        self.daemon.lxc("image", "export", "busybox", self.daemon.home / "exported")
        files = [str(file) for file in sorted(self.daemon.home.glob("exported*"))]
        self.daemon.lxc("image", "import", *files, "--alias", "mine", "--project", "own")
        self.addCleanup(run, "rm", *files)
        self.daemon.lxc("launch", "mine", name, "--project", "own")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name)
        self.daemon.lxc("launch", "busybox", name)
        self.daemon.note_cards()
        self.assertEqual(self.daemon.exec(name, "hostname").stdout.strip(), name)
        self.daemon.exec(name, "touch", "/only-in-default")
        self.assertNotIn("only-in-default", self.daemon.lxc_out("exec", name, "--project", "own", "--", "ls", "/"))
        listed = self.daemon.lxc_out("list", "--all-projects", "-f", "csv", "-c", "n").splitlines()
        self.assertEqual(listed.count(name), 2)
        self.assertEqual(self.daemon.outcome("DELETE", "/1.0/projects/own"), (400, "Only empty projects can be removed"))
        # The image goes in one project and stays, files and all, in the other.
        self.daemon.lxc("delete", "-f", name, "--project", "own")
        self.daemon.lxc("image", "delete", "mine", "--project", "own")
        self.daemon.lxc("restart", "-f", name)
        self.daemon.lxc("image", "export", "busybox", self.daemon.home / "exported")

    def test_a_project_with_networks_of_its_own_has_none(self):
        self.daemon.lxc("project", "create", "apart", "-c", "features.networks=true", "-c", "features.images=false", "-c", "limits.networks=1")
        self.addCleanup(self.daemon.outcome, "DELETE", "/1.0/projects/apart")
        bridge, asked = self.daemon.bridge, lambda *call: self.daemon.outcome(*call)
        self.assertEqual(self.daemon.lxc_out("network", "list", "--project", "apart", "-f", "csv"), "")
        self.assertEqual(json.loads(self.daemon.troupe("bus", "call", "project(apart).networks.list").stdout).get("items", []), [])
        refused = self.daemon.lxc("network", "create", "own0", "--project", "apart", check=False)
        self.assertIn("can only be in project \"default\"", refused.stderr)
        self.assertEqual(asked("POST", "/1.0/networks?project=apart", {"name": "own0"})[0], 400)
        before = self.daemon.get(f"/1.0/networks/{bridge}")
        for method, path, body in (("GET", bridge, None), ("PUT", bridge, {"description": "x"}), ("PATCH", bridge, {"description": "x"}),
                                   ("POST", bridge, {"name": "own1"}), ("DELETE", bridge, None), ("GET", bridge + "/leases", None),
                                   ("GET", bridge + "/state", None), ("GET", "lo", None), ("GET", "lo/state", None)):
            self.assertEqual(asked(method, f"/1.0/networks/{path}?project=apart", body)[0], 404, (method, path))
        for path in ("view", "state", "leases", "delete"):
            said = self.daemon.troupe("bus", "call", f"project(apart).networks.get({bridge}).{path}", "--wait", check=False)
            self.assertIn("not found", said.stderr + said.stdout, path)
        self.assertEqual(self.daemon.get(f"/1.0/networks/{bridge}"), before)
        root = {"root": {"type": "disk", "path": "/", "pool": "default"}, "eth0": {"type": "nic", "network": bridge}}
        body = {"name": "lost", "source": {"type": "none"}, "devices": root}
        status, error = asked("POST", "/1.0/instances?project=apart", body)
        self.assertEqual((status, "does not exist" in error), (400, True), error)
        self.assertEqual(asked("PATCH", "/1.0/projects/apart", {"config": {"features.networks": "false", "limits.networks": ""}})[0], 200)
        self.assertEqual(asked("GET", f"/1.0/networks/{bridge}?project=apart", None)[0], 200)

    def test_a_project_without_the_feature_uses_what_is_defaults(self):
        self.sharing("share")
        name = self.daemon.name("shared")
        self.daemon.lxc("launch", "busybox", name, "--project", "share")
        self.daemon.note_cards()
        self.assertEqual(self.names("share"), [name])
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}")[0], 404)
        self.assertIn(f"/1.0/instances/{name}?project=share", self.daemon.get("/1.0/profiles/default")["used_by"])
        status, why = self.daemon.outcome("PATCH", "/1.0/projects/share", {"config": {"features.profiles": "true"}})
        self.assertEqual((status, why.startswith("Features can only be changed on empty projects")), (400, True), why)
        self.assertEqual(self.daemon.get(f"/1.0/events/history?entity=instance/share/{name}")[0]["project"], "share")

    def test_an_image_that_goes_in_two_projects_at_once_leaves_no_files(self):
        projects = [self.project(name) for name in ("left", "right")]
        arch = self.daemon.get("/1.0/images?recursion=1")[0]["architecture"]
        folder = self.daemon.home / "tiny"
        (folder / "rootfs").mkdir(parents=True)
        (folder / "metadata.yaml").write_text(json.dumps({"architecture": arch, "creation_date": 1}))
        run("tar", "-C", folder, "-cf", f"{folder}.tar", "metadata.yaml", "rootfs")
        fingerprint = hashlib.sha256(pathlib.Path(f"{folder}.tar").read_bytes()).hexdigest()
        kept = lambda: [file.name for file in (self.daemon.dir / "images").iterdir() if file.name.startswith(fingerprint)]
        for _ in range(3):
            for project in projects:
                self.daemon.lxc("image", "import", f"{folder}.tar", "--project", project)
            self.assertNotEqual(kept(), [])
            self.crowd(2, lambda n: self.daemon.outcome("DELETE", f"/1.0/images/{fingerprint}?project={projects[n]}"))
            for project in projects:  # one of them may have been told to try again
                self.daemon.outcome("DELETE", f"/1.0/images/{fingerprint}?project={project}")
                self.assertEqual(self.daemon.get(f"/1.0/images?project={project}"), [])
            self.assertEqual(kept(), [])

    def test_names_in_dns_are_apart(self):
        self.sharing("dns")
        one, two = self.daemon.launch("dnsa"), self.daemon.name("dnsb")
        self.addCleanup(self.daemon.lxc, "delete", "-f", one)
        self.daemon.lxc("launch", "busybox", two, "--project", "dns")
        self.daemon.note_cards()
        self.daemon.address(one)
        leases = lambda: {l["hostname"] for l in self.daemon.get(f"/1.0/networks/{self.daemon.bridge}/leases")}
        eventually(lambda: f"{two}--dns" in leases(), "a lease of the other project's instance")
        self.assertNotIn(two, leases())

    # --- restrictions

    def test_no_verb_brings_in_what_the_project_forbids(self):
        self.sharing("strict", "restricted=true")
        status, begun = self.daemon.request("POST", "/1.0/instances?project=strict",
                                            {"name": "good", "source": {"type": "none"}, "devices": self.root})
        self.assertEqual(begun["metadata"]["resources"]["instances"], ["/1.0/instances/good?project=strict"])
        self.assertEqual(self.daemon.get(begun["operation"] + "/wait")["status"], "Success")
        closed = {"security.nesting": "true", "security.privileged": "true", "raw.lxc": "lxc.environment = A=B",
                  "linux.sysctl.net.ipv4.ip_forward": "1", "security.idmap.size": "131072"}
        devices = {"root": self.root["root"], "eth1": {"type": "nic", "nictype": "bridged", "parent": self.daemon.bridge}}
        self.daemon.lxc("profile", "create", "evil")
        self.addCleanup(self.daemon.lxc, "profile", "delete", "evil")
        put = {"architecture": "x86_64", "profiles": ["default"], "devices": self.root}
        url = "/1.0/instances/good?project=strict"
        for key, value in closed.items():
            config = {key: value}
            self.assertEqual(self.create("strict", "bad", config=config)[0], 403, key)
            self.assertEqual(self.daemon.outcome("PUT", url, {**put, "config": config})[0], 403, key)
            self.assertEqual(self.daemon.outcome("PATCH", url, {"config": config})[0], 403, key)
            self.assertEqual(self.daemon.outcome("PUT", "/1.0/profiles/evil", {"config": config})[0], 200, key)
            self.assertEqual(self.create("strict", "bad", profiles=["default", "evil"])[0], 403, key)
            self.assertEqual(self.daemon.outcome("PATCH", url, {"profiles": ["default", "evil"]})[0], 403, key)
        self.assertEqual(self.create("strict", "bad", devices=devices)[0], 403)
        self.assertEqual(self.daemon.outcome("PATCH", url, {"devices": devices})[0], 403)
        # A profile in use cannot become what its users may not have.
        self.daemon.outcome("PUT", "/1.0/profiles/evil", {"config": {}})
        self.assertEqual(self.daemon.outcome("PATCH", url, {"profiles": ["default", "evil"]}), (200, ""))
        for key, value in closed.items():
            self.assertEqual(self.daemon.outcome("PUT", "/1.0/profiles/evil", {"config": {key: value}})[0], 403, key)
        self.assertEqual(self.daemon.get(url)["config"].get("security.nesting"), None)
        self.daemon.outcome("PATCH", url, {"profiles": ["default"]})

    def test_a_project_is_not_restricted_over_the_head_of_its_instances(self):
        self.sharing("later")
        self.assertEqual(self.create("later", "nested", config={"security.nesting": "true"}), (200, ""))
        status, why = self.daemon.outcome("PATCH", "/1.0/projects/later", {"config": {"restricted": "true"}})
        self.assertEqual((status, '"nested"' in why), (403, True), why)
        allowed = {"restricted": "true", "restricted.containers.nesting": "allow"}
        self.assertEqual(self.daemon.outcome("PATCH", "/1.0/projects/later", {"config": allowed}), (200, ""))
        self.assertEqual(self.daemon.outcome("PATCH", "/1.0/projects/later", {"config": {"restricted.containers.nesting": ""}})[0], 403)

    # --- limits

    def crowd(self, count, call):
        answers, threads = [], []
        for number in range(count):
            threads.append(threading.Thread(target=lambda n=number: answers.append(call(n))))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def test_of_200_parallel_creates_exactly_ten_come_through(self):
        self.sharing("ten", "limits.instances=10")
        answers = self.crowd(200, lambda n: self.create("ten", f"c{n}"))
        self.assertEqual(sorted({status for status, _ in answers}), [200, 403], answers[:3])
        self.assertEqual(sum(status == 200 for status, _ in answers), 10)
        self.assertEqual(len(self.names("ten")), 10)
        state = self.daemon.get("/1.0/projects/ten/state")["resources"]
        self.assertEqual(state["instances"], {"Limit": 10, "Usage": 10})
        self.assertEqual(state["memory"], {"Limit": -1, "Usage": 0})
        self.assertEqual(self.daemon.outcome("PATCH", "/1.0/projects/ten", {"config": {"limits.instances": "9"}})[0], 403)
        self.daemon.outcome("DELETE", f"/1.0/instances/{self.names('ten')[0]}?project=ten")
        self.assertEqual(self.create("ten", "again"), (200, ""))

    def test_memory_is_shared_out_exactly_by_parallel_changes(self):
        self.sharing("mem", "limits.memory=100MiB")
        self.assertEqual(self.create("mem", "no-key")[0], 400)
        for n in range(8):
            self.assertEqual(self.create("mem", f"m{n}", config={"limits.memory": "1MiB"}), (200, ""))
        grow = {"config": {"limits.memory": "30MiB"}}
        answers = self.crowd(8, lambda n: self.daemon.outcome("PATCH", f"/1.0/instances/m{n}?project=mem", grow))
        self.assertEqual(sorted({status for status, _ in answers}), [200, 403], answers)
        self.assertEqual(sum(status == 200 for status, _ in answers), 3)
        self.assertEqual(self.daemon.get("/1.0/projects/mem/state")["resources"]["memory"],
                         {"Limit": 100 << 20, "Usage": 95 << 20})
        # Who shrinks makes room; a claim that was refused holds none.
        big = next(n for n in range(8) if self.daemon.get(f"/1.0/instances/m{n}?project=mem")["config"]["limits.memory"] == "30MiB")
        self.assertEqual(self.daemon.outcome("PATCH", f"/1.0/instances/m{big}?project=mem", {"config": {"limits.memory": "1MiB"}})[0], 200)
        small = next(n for n in range(8) if n != big and
                     self.daemon.get(f"/1.0/instances/m{n}?project=mem")["config"]["limits.memory"] == "1MiB")
        self.assertEqual(self.daemon.outcome("PATCH", f"/1.0/instances/m{small}?project=mem", grow), (200, ""))

    def test_rules_and_instances_that_change_at_once_never_disagree(self):
        self.sharing("race")
        for n in range(12):
            name = f"r{n}"
            def tighten():
                return self.daemon.outcome("PATCH", "/1.0/projects/race", {"config": {"restricted": "true"}})
            def nest():
                return self.create("race", name, config={"security.nesting": "true"})
            both = self.crowd(2, lambda which: nest() if which else tighten())
            restricted = self.daemon.get("/1.0/projects/race")["config"].get("restricted") == "true"
            self.assertFalse(restricted and name in self.names("race"), both)
            if name in self.names("race"):
                self.daemon.outcome("DELETE", f"/1.0/instances/{name}?project=race")
            self.daemon.outcome("PATCH", "/1.0/projects/race", {"config": {"restricted": ""}})

    # --- whatever is tried, in whatever order

    def test_no_sequence_of_calls_leads_to_what_direct_creation_would_refuse(self):
        seed = int(os.environ.get("TROUPE_SEED", random.randrange(1 << 32)))
        print(f"TROUPE_SEED={seed}", flush=True)
        walk = Walk(self.daemon, self.project("walk", "restricted=true"), random.Random(seed))
        for step in range(int(os.environ.get("TROUPE_STEPS", "400"))):
            done = walk.step()
            for name, refusals in walk.contradictions():
                self.fail(f"seed {seed}, step {step}, after {done}: {name} has what a new instance may not have: {refusals}")
        self.assertGreater(walk.accepted, 10)
        self.assertGreater(walk.refused, 10)


class Walk:
    """Random calls in one restricted project; its instances are then held against what creating them anew would say."""

    KEYS = {"security.nesting": ["true", "false", "1", ""], "security.privileged": ["true", "no", ""],
            "security.idmap.isolated": ["true", "false", ""], "security.idmap.size": ["65536", "100000", ""],
            "raw.lxc": ["lxc.environment = A=B", ""], "linux.sysctl.net.ipv4.ip_forward": ["1", ""],
            "user.x": ["1", ""], "limits.memory": ["64MiB", ""], "environment.A": ["b"]}
    RULES = {"restricted.containers.nesting": ["allow", "block", ""], "restricted.containers.lowlevel": ["allow", "block", ""],
             "restricted.containers.privilege": ["allow", "isolated", "unprivileged", ""],
             "restricted.devices.nic": ["allow", "managed", "block", ""], "restricted.snapshots": ["allow", "allow", "block", ""],
             "restricted": ["true", "true", ""]}

    def __init__(self, daemon, project, dice):
        self.daemon, self.project, self.dice = daemon, project, dice
        self.accepted = self.refused = 0

    def call(self, method, path, body=None):
        headers = HEADERS if isinstance(body, bytes) else None
        status, _ = self.daemon.outcome(method, path if "?" in path else f"{path}?project={self.project}", body, headers)
        assert status < 500, (method, path, body, status)
        self.accepted += status < 300
        self.refused += status == 403
        return method, path, body, status

    def config(self):
        keys = self.dice.sample(sorted(self.KEYS), self.dice.randrange(3))
        return {key: self.dice.choice(self.KEYS[key]) for key in keys}

    def devices(self):
        root = {"type": "disk", "path": "/", "pool": "default"}
        nic = self.dice.choice([None, {"type": "nic", "network": self.daemon.bridge}, {"type": "none"},
                                {"type": "nic", "nictype": "bridged", "parent": self.daemon.bridge}])
        return {"root": root, **({"eth0": nic} if nic else {})}

    def profiles(self):
        return self.dice.sample(["default", "a", "b"], self.dice.randrange(3))

    def name(self):
        return self.dice.choice(["i1", "i2", "i3"])

    def profile(self):
        return self.dice.choice(["default", "a", "b"])

    def step(self):
        instance, profile = f"/1.0/instances/{self.name()}", f"/1.0/profiles/{self.profile()}"
        wish = {"config": self.config(), "devices": self.devices(), "profiles": self.profiles()}
        some = dict(self.dice.sample(sorted(wish.items()), self.dice.randrange(1, 3)))
        part = {"config": self.config(), "devices": self.dice.choice([{}, self.devices()])}
        rules = {key: self.dice.choice(values) for key, values in self.RULES.items() if self.dice.random() < 0.3}
        copy = {"type": "copy", "source": self.name(), "refresh": self.dice.random() < 0.3}
        return self.call(*self.dice.choice([
            ("POST", "/1.0/instances", {"name": self.name(), "source": {"type": "none"}, **wish}),
            ("POST", "/1.0/instances", {"name": self.name(), "source": {"type": "none"}, **wish}),
            ("POST", "/1.0/instances", {"name": self.name(), "source": copy, **wish}),
            ("POST", "/1.0/instances?project=default", {"name": "outside", "source": {"type": "none"}, **wish, "profiles": []}),
            ("POST", "/1.0/instances", {"name": self.name(), "source": {**copy, "source": "outside", "project": "default"}, **wish}),
            ("POST", "/1.0/instances/outside?project=default", {"name": self.name(), "migration": True, "project": self.project}),
            ("POST", f"{instance}/snapshots", {"name": "s"}),
            ("DELETE", f"{instance}/snapshots/s"),
            ("PUT", instance, {"restore": "s"}),
            ("POST", f"{instance}/rebuild", {"source": {"type": "none"}}),
            ("POST", "/1.0/instances", backup(name := self.name(), description(name, **wish))),
            ("PUT", instance, {"architecture": "x86_64", **wish}),
            ("PATCH", instance, some),
            ("PATCH", instance, some),
            ("POST", instance, {"name": self.name()}),
            ("DELETE", instance),
            ("POST", "/1.0/profiles", {"name": self.profile(), **part}),
            ("PUT", profile, part),
            ("PATCH", profile, part),
            ("POST", profile, {"name": self.profile()}),
            ("DELETE", profile),
            ("PATCH", f"/1.0/projects/{self.project}", {"config": rules}),
        ]))

    def contradictions(self):
        for one in self.daemon.get(f"/1.0/instances?recursion=1&project={self.project}"):
            config = {key: value for key, value in one["expanded_config"].items() if not key.startswith(("volatile.", "image."))}
            again = {"name": "again", "source": {"type": "none"}, "profiles": [], "config": config, "devices": one["expanded_devices"]}
            status, plan = self.daemon.request("POST", f"/1.0/instances?project={self.project}&plan=true", again)
            assert status == 200, (status, plan)
            if not plan["metadata"]["possible"]:
                yield one["name"], plan["metadata"]["restrictions"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
