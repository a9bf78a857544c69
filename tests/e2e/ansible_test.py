"""Ansible's own modules for LXD (community.general), unmodified, on the unix socket: each task changes something once, and nothing
when it is repeated."""

import json
import os
import pathlib
import shutil
import sys
import unittest

from troupe_e2e import DaemonTest, run

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
PLACES = [BUILD / "ansible", *map(pathlib.Path, sys.path)]
MODULE = "ansible_collections/community/general/plugins/modules/lxd_container.py"
COLLECTIONS = next((place for place in PLACES if (place / MODULE).exists()), None)


@unittest.skipUnless(shutil.which("ansible-playbook") and COLLECTIONS, "needs ansible-core and the collection community.general")
class AnsibleTest(DaemonTest):
    def play(self, *tasks):
        """The results of the tasks, in order."""
        folder = self.daemon.home / "ansible"
        folder.mkdir(exist_ok=True)
        steps = [{**task, "register": f"r{at}", "ignore_errors": True} for at, task in enumerate(tasks)]
        names = ", ".join(f"r{at}" for at in range(len(tasks)))
        write = {"ansible.builtin.copy": {"content": "{{ [" + names + "] | to_json }}", "dest": str(folder / "results")}}
        (folder / "book.json").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [*steps, write]}]))
        settings = {"ANSIBLE_COLLECTIONS_PATHS": str(COLLECTIONS), "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3", "HOME": str(folder)}
        run("ansible-playbook", "-i", "localhost,", "-c", "local", folder / "book.json", env={**os.environ, **settings})
        results = json.loads((folder / "results").read_text())
        for result in results:
            self.assertFalse(result.get("failed"), result)
        return results

    def task(self, module, **options):
        return {f"community.general.{module}": {"url": f"unix:{self.daemon.dir}/unix.socket", **options}}

    def container(self, name, **options):
        return self.task("lxd_container", name=name, ignore_volatile_options=True, **options)

    def twice(self, task):
        """What is so already is not changed."""
        first, second = self.play(task, task)
        self.assertEqual((first["changed"], second["changed"]), (True, False), (first, second))
        return first

    def test_the_life_of_a_container(self):
        name = self.daemon.name("an")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        source = {"type": "image", "alias": "busybox"}
        first = self.twice(self.container(name, state="started", source=source, profiles=["default"], config={"limits.processes": "100", "user.by": "ansible"},
                                          wait_for_ipv4_addresses=True, timeout=60))
        self.assertTrue(first["addresses"]["eth0"][0].startswith(self.daemon.subnet), first)
        self.assertEqual(self.daemon.status(name), "Running")
        self.twice(self.container(name, state="started", config={"limits.processes": "200", "user.by": "ansible"}, devices={"null": {"type": "unix-char", "source": "/dev/null", "path": "/dev/other"}}))
        record = self.daemon.get(f"/1.0/instances/{name}")
        self.assertEqual((record["config"]["limits.processes"], list(record["devices"])), ("200", ["null"]))
        self.play(self.container(name, state="frozen"))
        self.assertEqual(self.daemon.status(name), "Frozen")
        self.twice(self.container(name, state="started"))
        self.play(self.container(name, state="restarted", force_stop=True))
        self.assertEqual(self.daemon.status(name), "Running")
        self.twice(self.container(name, state="stopped", force_stop=True))
        self.twice(self.container(name, state="absent"))
        self.assertEqual(self.daemon.request("GET", f"/1.0/instances/{name}")[0], 404)

    def test_the_life_of_a_profile(self):
        name, other = self.daemon.name("web"), self.daemon.name("www")
        self.twice(self.task("lxd_profile", name=name, state="present", description="Web", config={"limits.memory": "64MiB"},
                             devices={"tmp": {"type": "disk", "source": "tmpfs:", "path": "/cache"}}))
        self.twice(self.task("lxd_profile", name=name, state="present", description="Web", config={"limits.memory": "128MiB"},
                             devices={"tmp": {"type": "disk", "source": "tmpfs:", "path": "/cache"}}))
        self.assertEqual(self.daemon.get(f"/1.0/profiles/{name}")["config"], {"limits.memory": "128MiB"})
        self.play(self.task("lxd_profile", name=name, new_name=other, state="present"))
        self.assertEqual(self.daemon.get(f"/1.0/profiles/{other}")["description"], "Web")
        self.twice(self.task("lxd_profile", name=other, state="absent"))

    def test_the_life_of_a_project(self):
        name, other = self.daemon.name("pro"), self.daemon.name("ject")
        config = {"features.images": "false", "features.profiles": "false", "limits.instances": "3"}
        self.play(self.task("lxd_project", name=name, state="present", description="One", config=config))
        config = self.daemon.get(f"/1.0/projects/{name}")["config"]  # the module compares all of it, defaults too
        self.assertFalse(self.play(self.task("lxd_project", name=name, state="present", description="One", config=config))[0]["changed"])
        self.play(self.task("lxd_project", name=name, state="present", description="Two", config={**config, "limits.instances": "5"}))
        self.assertEqual(self.daemon.get(f"/1.0/projects/{name}")["config"]["limits.instances"], "5")
        self.play(self.task("lxd_project", name=name, new_name=other, state="present"))
        self.assertEqual(self.daemon.request("GET", f"/1.0/projects/{name}")[0], 404)
        self.twice(self.task("lxd_project", name=other, state="absent"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
