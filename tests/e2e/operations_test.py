"""Operations as a client sees them: idempotent submit, dry run, history, cancel, retention. See docs/operations.md."""

import io
import signal
import tarfile
import threading
import unittest

from troupe_e2e import DaemonTest, eventually


class OperationsTest(DaemonTest):
    driver = "dir"

    def keyed(self, key, method, path, body=None):
        return self.daemon.request(method, path, body, {"Idempotency-Key": key})

    def create(self, key, name, **more):
        return self.keyed(key, "POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}, **more})

    def operation(self, url):
        return self.daemon.get(f"{url}?recursion=1")

    def ended(self, url):
        return self.daemon.get(f"{url}/wait?recursion=1")

    def history(self, entity, query="&all=1"):
        by_status = self.daemon.get(f"/1.0/operations?entity={entity}&recursion=2{query}")
        return sorted((one for some in by_status.values() for one in some), key=lambda one: one["id"])

    def delete(self, name):
        self.daemon.outcome("DELETE", f"/1.0/instances/{name}")

    # --- idempotent submit

    def test_the_same_key_is_the_same_operation_also_after_a_kill(self):
        name = self.daemon.name("idem")
        self.addCleanup(self.delete, name)
        status, first = self.create("k1", name)
        self.assertEqual(status, 202)
        status, again = self.create("k1", name)
        self.assertEqual((status, again["operation"]), (202, first["operation"]))
        self.assertEqual(self.ended(first["operation"])["state"], "succeeded")
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        status, late = self.create("k1", name)
        self.assertEqual((status, late["operation"]), (202, first["operation"]))
        self.assertEqual(late["metadata"]["status_code"], 200)
        self.assertEqual(len(self.history(f"instance/default/{name}")), 1)

    def test_another_request_under_the_same_key_is_refused(self):
        name = self.daemon.name("other")
        self.addCleanup(self.delete, name)
        self.assertEqual(self.create("k2", name)[0], 202)
        self.assertEqual(self.create("k2", name, description="not the same")[0], 409)
        self.assertEqual(self.create("k2", self.daemon.name("another"))[0], 409)

    def test_one_key_sent_many_times_at_once_begins_one_operation(self):
        name = self.daemon.name("crowd")
        self.addCleanup(self.delete, name)
        answers = []
        crowd = [threading.Thread(target=lambda: answers.append(self.create("k3", name))) for _ in range(12)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        self.assertEqual({status for status, _ in answers}, {202})
        self.assertEqual(len({envelope["operation"] for _, envelope in answers}), 1)

    def test_a_refused_request_does_not_use_up_its_key(self):
        name = self.daemon.name("retry")
        self.addCleanup(self.delete, name)
        self.assertEqual(self.create("k4", name, profiles=["none-such"])[0], 400)
        self.assertEqual(self.create("k4", name)[0], 202)

    def test_a_synchronous_request_is_answered_the_same_again(self):
        body = {"name": self.daemon.name("prof"), "config": {}, "devices": {}, "description": ""}
        self.addCleanup(self.daemon.request, "DELETE", f"/1.0/profiles/{body['name']}")
        self.assertEqual(self.keyed("k5", "POST", "/1.0/profiles", body)[0], 201)
        self.assertEqual(self.keyed("k5", "POST", "/1.0/profiles", body)[0], 201)
        self.assertEqual(self.daemon.request("POST", "/1.0/profiles", body)[0], 409)

    def test_keys_that_cannot_be_kept_are_refused(self):
        name = self.daemon.name("badkey")
        for key in ("x" * 129, "a b"):
            self.assertEqual(self.create(key, name)[0], 400)
        self.assertEqual(self.keyed("k6", "PUT", "/1.0/instances", {"state": {"action": "stop"}})[0], 400)
        self.assertNotIn(f"/1.0/instances/{name}", self.daemon.get("/1.0/instances"))

    # --- dry run

    def test_a_plan_says_what_would_be_done_and_does_nothing(self):
        name = self.daemon.name("plan")
        body = {"name": name, "source": {"type": "image", "alias": "busybox"}}
        seen = self.daemon.get("/1.0/operations?all=1")
        status, envelope = self.daemon.request("POST", "/1.0/instances?plan=true", body)
        plan = envelope["metadata"]
        self.assertEqual((status, plan["possible"], plan["kind"]), (200, True, "instance.create"))
        self.assertEqual([(s["kind"], s["undo"]) for s in plan["steps"]], [("volume.clone", "destroy the volume")])
        self.assertEqual(self.daemon.get("/1.0/operations?all=1"), seen)
        self.assertNotIn(f"/1.0/instances/{name}", self.daemon.get("/1.0/instances"))
        self.addCleanup(self.delete, name)
        self.assertEqual(self.daemon.outcome("POST", "/1.0/instances", body), (200, ""))  # its name is free still

    def test_a_plan_that_is_neither_wanted_nor_not_changes_nothing(self):
        body = {"name": self.daemon.name("typo"), "source": {"type": "none"}}
        self.assertEqual(self.daemon.request("POST", "/1.0/instances?plan=ture", body)[0], 400)
        self.assertNotIn(f"/1.0/instances/{body['name']}", self.daemon.get("/1.0/instances"))

    def test_a_plan_shows_what_would_refuse_it(self):
        status, envelope = self.daemon.request("PUT", "/1.0/instances/none-such/state?plan=true", {"action": "start"})
        self.assertEqual((status, envelope["metadata"]["possible"]), (200, False))
        self.assertEqual(envelope["metadata"]["restrictions"][0]["code"], "not_found")
        self.assertEqual(self.daemon.request("PUT", "/1.0/instances?plan=true", {"state": {"action": "stop"}})[0], 400)

    def test_a_plan_tells_whether_a_restart_is_needed(self):
        name = self.daemon.launch("nest")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        path = f"/1.0/instances/{name}?plan=true"
        plan = self.daemon.request("PATCH", path, {"config": {"security.nesting": "true"}})[1]["metadata"]
        self.assertEqual((plan["needs_restart"], plan["at_restart"]), (True, ["security.nesting"]))
        plan = self.daemon.request("PATCH", path, {"config": {"user.x": "1"}})[1]["metadata"]
        self.assertFalse(plan["needs_restart"])
        self.assertNotIn("security.nesting", self.daemon.get(f"/1.0/instances/{name}")["config"])
        self.daemon.lxc("stop", "-f", name)  # the instance waits for no plan

    # --- history

    def test_an_entity_has_its_history_and_each_operation_its_steps(self):
        name = self.daemon.launch("hist")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, check=False)
        self.daemon.lxc("stop", "-f", name)
        found = self.history(f"instance/default/{name}")
        self.assertEqual([one["kind"] for one in found], ["instance.create", "instance.start", "instance.stop"])
        step = found[0]["steps"][0]
        self.assertEqual((step["kind"], step["state"], step["attempts"]), ("volume.clone", "done", 1))
        self.assertGreaterEqual(step["ended_at"], step["started_at"])
        text = self.daemon.troupe("operation", "list", "--all", "--entity", f"instance/default/{name}").stdout
        self.assertEqual([line.count("instance/default") for line in text.splitlines() if name in line], [1, 1, 1])
        text = self.daemon.troupe("operation", "show", found[0]["id"]).stdout
        self.assertIn("volume.clone", text)
        self.assertIn("DONE", text)

    def test_follow_and_wait_end_with_the_operation(self):
        name = self.daemon.name("follow")
        self.addCleanup(self.delete, name)
        _, envelope = self.create("k7", name)
        number = envelope["operation"].rsplit("/", 1)[1]
        self.assertIn("SUCCEEDED", self.daemon.troupe("operation", "follow", number).stdout)
        self.assertIn("SUCCEEDED", self.daemon.troupe("operation", "wait", number).stdout)

    # --- cancel

    def test_what_has_ended_cannot_be_cancelled_and_says_so(self):
        name = self.daemon.name("toolate")
        self.addCleanup(self.delete, name)
        _, envelope = self.create("k8", name)
        done = self.ended(envelope["operation"])
        self.assertEqual((done["may_cancel"], done["cancel_effect"]), (False, "no"))
        self.assertEqual(self.daemon.request("DELETE", envelope["operation"])[0], 400)

    def test_an_image_that_is_being_unpacked_is_interrupted(self):
        alias, fingerprint = self.big_image()
        name = self.daemon.name("big")
        _, envelope = self.daemon.request("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": alias}})
        url = envelope["operation"]
        seen = eventually(lambda: self.progress_of(url), "progress of the unpacking")
        self.assertEqual((seen["cancel_effect"], seen["may_cancel"]), ("now", True))
        self.assertEqual(seen["steps"][0]["unit"], "bytes")
        self.assertLessEqual(seen["steps"][0]["done"], seen["steps"][0]["total"])
        self.assertEqual(self.daemon.request("DELETE", url)[0], 200)
        done = self.ended(url)
        self.assertEqual((done["state"], done["status_code"]), ("cancelled", 401))
        self.assertLess(done["steps"][0]["done"], done["steps"][0]["total"])  # not unpacked to its end
        self.assertNotIn(f"/1.0/instances/{name}", self.daemon.get("/1.0/instances"))
        pool = self.daemon.dir / "storage-pools/default"
        eventually(lambda: not (pool / "images" / fingerprint).exists(), "the end of the half of an image")
        self.assertFalse((pool / "containers" / name).exists())

    def progress_of(self, url):
        seen = self.operation(url)
        self.assertLess(seen["status_code"], 200, "it was unpacked before it could be cancelled")
        return seen if seen["steps"][0].get("done") else None

    def big_image(self):
        """A busybox image with so many files that unpacking takes a while."""
        folder = self.daemon.home / "big"
        image = self.daemon.get("/1.0/images?recursion=1")[0]
        self.daemon.lxc("image", "export", image["fingerprint"], folder, check=False)
        source = next(path for path in self.daemon.home.glob("big*"))
        target = self.daemon.home / "many.tar"
        with tarfile.open(source) as old, tarfile.open(target, "w") as new:
            for entry in old:
                new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
            for number in range(40_000):
                entry = tarfile.TarInfo(f"rootfs/srv/{number // 1000}/{number}")
                entry.size = 8
                new.addfile(entry, io.BytesIO(b"content\n"))
        self.daemon.lxc("image", "import", target, "--alias", "many")
        self.addCleanup(self.daemon.lxc, "image", "delete", "many", check=False)
        return "many", next(i for i in self.daemon.get("/1.0/images?recursion=1") if i["aliases"] and i["aliases"][0]["name"] == "many")["fingerprint"]

    # --- retention

    def test_the_retention_is_shown_and_only_sense_is_taken(self):
        self.assertNotIn("operations.retention.days", self.daemon.get("/1.0")["config"])
        self.assertIn("troupe_operation_history", self.daemon.get("/1.0")["api_extensions"])
        for nonsense in ("0", "-1", "many", "99999"):
            status, _ = self.daemon.outcome("PATCH", "/1.0", {"config": {"operations.retention.days": nonsense}})
            self.assertEqual(status, 400, nonsense)
        self.assertEqual(self.daemon.outcome("PATCH", "/1.0", {"config": {"operations.retention.days": "3"}})[0], 200)
        self.assertEqual(self.daemon.get("/1.0")["config"]["operations.retention.days"], "3")


if __name__ == "__main__":
    unittest.main()
