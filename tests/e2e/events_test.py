"""The event log through REST, the stock client and troupe: cursors, filters, snapshots, durable names, history, retention."""

import pathlib
import subprocess
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / "examples/python"), str(pathlib.Path(__file__).resolve().parent)]

from subscribe import EventStream, Refused  # noqa: E402
from troupe_e2e import BIN, DaemonTest, eventually  # noqa: E402


def seq_of(cursor):
    return int(cursor.rsplit(":", 1)[1])


def is_event(frame):
    return frame["type"] in ("lifecycle", "operation")


def action_of(frame):
    return frame["metadata"].get("action")


class Quiet(DaemonTest):
    """What needs no instance: profiles come and go."""

    bare = True
    made = 0

    def stream(self, **parameters):
        stream = EventStream(str(self.daemon.dir), timeout=30, **parameters)
        self.addCleanup(stream.socket.close)
        return stream

    def make_profile(self, times=1):
        for _ in range(times):
            type(self).made += 1
            status, why = self.daemon.outcome("POST", "/1.0/profiles", {"name": f"p{self.made}"})
            self.assertIn(status, (200, 201), why)
        return f"p{self.made}"

    def until(self, frames, wanted):
        """Frames up to and with the first that is wanted."""
        out = []
        for frame in frames:
            out.append(frame)
            if wanted(frame):
                return out
        self.fail(f"the stream ended: {out[-3:]}")

    # --- tests

    def test_a_reader_that_comes_back_with_its_cursor_misses_nothing(self):
        stream = self.stream(filter=">")
        first = self.until(iter(stream), lambda f: f["type"] == "bookmark")[-1]
        name = self.make_profile()
        seen = self.until(iter(stream), lambda f: action_of(f) == "profile-created" if is_event(f) else False)
        self.assertTrue(seen[-1]["metadata"]["source"].endswith(name))
        stream.socket.close()
        self.make_profile(5)
        again = self.until(iter(self.stream(since=seen[-1]["cursor"])), lambda f: f["type"] == "bookmark")
        numbers = [seq_of(f["cursor"]) for f in seen + again if is_event(f)]
        self.assertEqual(numbers, list(range(seq_of(first["cursor"]) + 1, numbers[-1] + 1)))

    def test_from_the_beginning_every_number_is_there(self):
        self.make_profile(3)
        frames = self.until(iter(self.stream(since="beginning", filter=">")), lambda f: f["type"] == "bookmark")
        numbers = [seq_of(f["cursor"]) for f in frames if is_event(f)]
        self.assertEqual(numbers, list(range(numbers[0], numbers[0] + len(numbers))))

    def test_filters(self):
        mine = self.stream(filter="default.profile.wanted.created", since="beginning")
        other = self.stream(filter="default.profile.*.deleted")
        self.until(iter(other), lambda f: f["type"] == "bookmark")
        self.daemon.outcome("POST", "/1.0/profiles", {"name": "wanted"})
        self.daemon.outcome("POST", "/1.0/profiles", {"name": "unwanted"})
        self.daemon.outcome("DELETE", "/1.0/profiles/unwanted")
        got = self.until(iter(mine), is_event)
        self.assertTrue(got[-1]["metadata"]["source"].endswith("/wanted"))
        self.assertTrue(self.until(iter(other), is_event)[-1]["metadata"]["source"].endswith("/unwanted"))

    def test_the_operation_that_brought_it_about(self):
        status, envelope = self.daemon.request("GET", "/1.0/events/history?entity=profile/default/" + self.make_profile())
        self.assertEqual(status, 200)
        frames = self.until(iter(self.stream(since="beginning", filter="*.operation.*.success")), lambda f: f["type"] == "bookmark")
        operation = [f for f in frames if is_event(f)][-1]["metadata"]["id"]
        caused = self.until(iter(self.stream(since="beginning", operation=operation)), lambda f: f["type"] == "bookmark")
        self.assertIn("profile-created", [action_of(f) for f in caused if f["type"] == "lifecycle"])
        self.assertEqual({f["metadata"]["id"] for f in caused if f["type"] == "operation"}, {operation})

    def test_nonsense_is_refused_before_the_upgrade(self):
        for parameters in ({"filter": "a.b"}, {"since": "yesterday"}, {"since": "1:x"}, {"type": "weather"}, {"level": "loud"},
                           {"snapshot": "1", "since": "beginning"}, {"snapshot": "1", "durable": "x"}, {"durable": "a/b"},
                           {"filter": ">", "project": "default"}, {"project": "default", "all-projects": "true"}):
            with self.subTest(parameters), self.assertRaises(Refused):
                self.stream(**parameters)

    def test_a_snapshot_its_marker_and_then_what_happens(self):
        name = self.make_profile()
        frames = iter(self.stream(snapshot="1", filter="default.profile.>"))
        rows = self.until(frames, lambda f: f["type"] == "marker")
        self.assertEqual({r["name"] for r in rows[:-1]}, {p["name"] for p in self.daemon.get("/1.0/profiles?recursion=1")})
        self.assertIn(name, {r["metadata"]["name"] for r in rows[:-1]})
        later = self.make_profile()
        event = self.until(frames, is_event)[-1]
        self.assertTrue(event["metadata"]["source"].endswith(later))
        self.assertGreater(seq_of(event["cursor"]), seq_of(rows[-1]["cursor"]))

    def test_a_durable_subscription_is_kept_shown_taken_over_and_deleted(self):
        self.make_profile(2)
        stream = self.stream(durable="sink", since="beginning")
        frames = self.until(iter(stream), lambda f: f["type"] == "bookmark")
        middle = [f for f in frames if is_event(f)][0]["cursor"]
        stream.acknowledge(middle)
        eventually(lambda: self.daemon.get("/1.0/events/subscriptions/sink")["acknowledged"] == middle, "the acknowledgement")
        shown = self.daemon.get("/1.0/events/subscriptions/sink")
        self.assertEqual((shown["connected"], shown["owner"]), (True, "root"))
        self.assertIn("sink", self.daemon.troupe("subscription", "list").stdout)
        again = iter(self.stream(durable="sink"))
        self.assertEqual([f["type"] for f in stream][-1], "error")  # taken over
        self.assertEqual(seq_of(next(again)["cursor"]), seq_of(middle) + 1)
        self.daemon.troupe("subscription", "delete", "sink")
        self.assertEqual([f for f in again][-1]["type"], "error")
        self.assertEqual(self.daemon.get("/1.0/events/subscriptions"), [])

    def test_what_no_client_should_say_ends_the_stream(self):
        for text in (b"", b"{}", b'{"ack": 5}', b'{"ack": "1:x:99999999"}', b"\xff\xfe", b'{"ack": "1:x:1", "more": 1}'):
            with self.subTest(text):
                stream = self.stream(durable="odd")
                self.until(iter(stream), lambda f: f["type"] == "bookmark")
                stream._send(1, text)
                self.assertIn([f["type"] for f in stream][-1:], (["error"], []))
        self.daemon.troupe("subscription", "delete", "odd")

    def test_lxds_websocket_is_as_it_was(self):
        stream = self.stream(type="lifecycle")
        name = self.make_profile()
        frame = next(iter(stream))
        self.assertEqual(set(frame), {"type", "timestamp", "metadata", "location", "project"})
        self.assertEqual(frame["metadata"]["source"], f"/1.0/profiles/{name}")
        self.assertEqual(frame["metadata"]["requestor"]["username"], "root")

    def test_history_and_its_pages(self):
        name = self.make_profile()
        for number in range(4):
            self.daemon.outcome("PUT", f"/1.0/profiles/{name}", {"description": str(number), "config": {}, "devices": {}})
        history = self.daemon.get(f"/1.0/events/history?entity=profile/default/{name}")
        self.assertEqual([action_of(e) for e in history], ["profile-created"] + 4 * ["profile-updated"])
        page = self.daemon.get(f"/1.0/events/history?entity=profile/default/{name}&limit=2&before={seq_of(history[-1]['cursor'])}")
        self.assertEqual(page, history[2:4])
        shown = self.daemon.troupe("history", f"profile/default/{name}").stdout
        self.assertEqual(shown.count("profile-updated"), 4)
        self.assertEqual(self.daemon.get("/1.0/events/history?entity=profile/default/nobody"), [])
        for bad in ("", "?entity=x", "?entity=a/b/", "?entity=a/b/c&limit=0", "?entity=a/b/c&limit=x", "?entity=a/b/c&before=-1"):
            self.assertEqual(self.daemon.request("GET", f"/1.0/events/history{bad}")[0], 400, bad)

    def test_the_monitor(self):
        with subprocess.Popen([BIN / "troupe", "monitor", "--filter", "default.profile.>", "--since", "beginning", "--format", "pretty"],
                              env=self.daemon.env, stdout=subprocess.PIPE, text=True) as monitor:
            self.addCleanup(monitor.kill)
            name = self.make_profile()
            line = next(text for text in monitor.stdout if f"/1.0/profiles/{name}" in text)
            self.assertIn("profile-created", line)
            self.assertIn("by root", line)
            monitor.terminate()

    def test_retention_by_count_takes_the_oldest_and_leaves_one_gap(self):
        stream = self.stream(filter=">")
        cursor = self.until(iter(stream), lambda f: f["type"] == "bookmark")[-1]["cursor"]
        self.make_profile(20)
        self.assertNotIn("events.retention.count", self.daemon.get("/1.0")["config"])
        for bad in ("0", "-1", "x", "1.5"):
            self.assertEqual(self.daemon.outcome("PATCH", "/1.0", {"config": {"events.retention.count": bad}})[0], 400, bad)
        status, why = self.daemon.outcome("PATCH", "/1.0", {"config": {"events.retention.count": "10"}})
        self.assertIn(status, (200, 201), why)
        read = lambda since: self.until(iter(self.stream(filter=">", since=since)), lambda f: f["type"] == "bookmark")
        eventually(lambda: len(read("beginning")) < 15, "the retention")
        self.daemon.stop()  # what is in memory is still told
        self.daemon.start()
        frames = read(cursor)
        gap, events = frames[0], [f for f in frames[1:] if is_event(f)]
        self.assertEqual(gap["from"], seq_of(cursor) + 1)
        self.assertEqual([f for f in frames[1:] if f["type"] == "gap"], [])
        self.assertEqual([seq_of(f["cursor"]) for f in events], list(range(gap["to"] + 1, gap["to"] + 1 + len(events))))
        self.assertEqual(self.daemon.get("/1.0")["config"]["events.retention.count"], "10")
        self.daemon.outcome("PATCH", "/1.0", {"config": {"events.retention.count": ""}})

    def test_a_database_of_another_life_is_a_gap_of_unknown_size(self):
        frames = self.until(iter(self.stream(since="77:elsewhere:5")), lambda f: f["type"] == "bookmark")
        self.assertEqual((frames[0]["type"], frames[0]["from"]), ("gap", 0))


class Instances(DaemonTest):
    def test_every_transition_of_an_instance_is_an_event(self):
        name = self.daemon.launch("e1")
        self.daemon.lxc("pause", name)
        self.daemon.lxc("start", name)
        self.daemon.lxc("stop", name, "--force")
        history = self.daemon.get(f"/1.0/events/history?entity=instance/default/{name}")
        moves = [e["metadata"]["context"] for e in history if action_of(e) == "instance-state-changed"]
        self.assertEqual([m["to"] for m in moves], ["Starting", "Running", "Freezing", "Frozen", "Thawed", "Running", "Stopping", "Stopped"])
        self.assertEqual([m["from"] for m in moves], ["Stopped"] + [m["to"] for m in moves[:-1]])
        known = [action_of(e) for e in history if action_of(e) != "instance-state-changed"]
        self.assertEqual(known, ["instance-created", "instance-started", "instance-paused", "instance-resumed", "instance-stopped"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
