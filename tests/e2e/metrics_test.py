"""/1.0/metrics as a scraper sees it: the kernel's figures of running instances, whatever these do. See docs/metrics.md."""

import http.client
import json
import pathlib
import re
import shutil
import ssl
import tempfile
import unittest

from identities import Identity, context_of, free_port
from troupe_e2e import DaemonTest, eventually

SAMPLE = re.compile(r"([A-Za-z_]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def parse(text):
    """[(name, labels, value)], after a look at the form."""
    assert text.endswith("# EOF\n"), text[-200:]
    samples, family, seen = [], None, set()
    for line in text.splitlines()[:-1]:
        if line.startswith("# "):
            family = line.split()[2]
            if line.startswith("# HELP"):
                assert family not in seen, f"{family} comes twice"
                seen.add(family)
            continue
        name, labels, value = SAMPLE.match(line).groups()
        assert name == family, line
        samples.append((name, dict(LABEL.findall(labels or "")), float(value)))
    return samples


class MetricsTest(DaemonTest):
    driver = "dir"
    process_env = {"TROUPE_FAULTS": ""}  # actors can be killed

    def scrape(self, query=""):
        status, text = self.daemon.request("GET", f"/1.0/metrics{query}")
        self.assertEqual(status, 200)
        return parse(text.decode())

    def of(self, samples, instance):
        return [one for one in samples if one[1].get("name") == instance]

    def value(self, samples, metric, /, **labels):
        found = [value for each, have, value in samples if each == metric and labels.items() <= have.items()]
        self.assertEqual(len(found), 1, (metric, labels, found))
        return found[0]

    def test_a_running_instance_is_told_as_the_kernel_counts_it(self):
        name = self.daemon.launch("metric")
        stopped = self.daemon.name("stopped")
        self.daemon.lxc("init", "busybox", stopped)
        self.addCleanup(self.daemon.lxc, "delete", stopped)
        before = self.scrape()
        self.daemon.exec(name, "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
        self.daemon.exec(name, "sh", "-c", "ping -c 3 -i 0.2 127.0.0.1 >/dev/null")
        after = self.scrape()
        cpu = [sum(v for n, _, v in self.of(s, name) if n == "lxd_cpu_seconds_total") for s in (before, after)]
        self.assertGreater(cpu[1], cpu[0])
        received = [self.value(s, "lxd_network_receive_packets_total", name=name, device="lo") for s in (before, after)]
        self.assertGreaterEqual(received[1], received[0] + 3)
        self.assertGreater(self.value(after, "lxd_network_receive_bytes_total", name=name, device="eth0"), 0)
        processes = lambda: self.daemon.get(f"/1.0/instances/{name}/state")["processes"]
        eventually(lambda: self.value(self.scrape(), "lxd_procs_total", name=name) == processes(), "the same number of processes")
        for field in ("RSS", "Active", "Inactive", "Cached", "MemTotal", "MemFree", "MemAvailable"):
            self.assertGreater(self.value(after, f"lxd_memory_{field}_bytes", name=name), 0, field)
        size = self.value(after, "lxd_filesystem_size_bytes", name=name, mountpoint="/")
        self.assertEqual(size, self.daemon.get(f"/1.0/storage-pools/default/resources")["space"]["total"])
        for each, labels, _ in self.of(after, name):
            self.assertEqual((labels["project"], labels["type"]), ("default", "container"), each)
        self.assertEqual(self.of(after, stopped), [])
        self.assertEqual(self.value(after, "lxd_instances", project="default", type="container"),
                         len(self.daemon.get("/1.0/instances")))
        self.assertGreater(self.value(after, "lxd_uptime_seconds"), self.value(before, "lxd_uptime_seconds"))
        self.assertGreater(self.value(after, "troupe_events_total"), self.value(before, "troupe_events_total") - 1)
        self.assertEqual(self.value(after, "lxd_operations_total"), 0)

    def test_a_frozen_instance_is_told_too(self):
        name = self.daemon.launch("frozen")
        self.daemon.lxc("pause", name)
        self.assertGreater(self.value(self.scrape(), "lxd_procs_total", name=name), 0)
        self.daemon.lxc("start", name)

    def test_one_project_is_told_alone(self):
        self.daemon.lxc("project", "create", "measured", "-c", "features.images=false", "-c", "features.profiles=false")
        self.addCleanup(self.daemon.lxc, "project", "delete", "measured")
        name = self.daemon.name("inproject")
        self.daemon.lxc("launch", "busybox", name, "--project", "measured")
        self.addCleanup(self.daemon.lxc, "delete", "-f", name, "--project", "measured")
        alone = self.scrape("?project=measured")
        self.assertEqual({labels["project"] for _, labels, _ in alone}, {"measured"})
        self.assertEqual(self.value(alone, "lxd_instances", type="container"), 1)
        self.assertEqual(self.value(self.scrape(), "lxd_memory_MemTotal_bytes", name=name, project="measured"),
                         self.value(alone, "lxd_memory_MemTotal_bytes", name=name))
        self.assertEqual(self.daemon.request("GET", "/1.0/metrics?project=nosuch")[0], 404)

    def test_the_daemon_tells_of_its_parts_and_operations(self):
        self.daemon.launch("counted")
        self.assertNotEqual(self.daemon.outcome("PUT", f"/1.0/instances/{self.daemon.name('counted')}/state", {"action": "start"})[0], 200)
        before = self.scrape()
        for metric in ("waiting_messages", "handled_messages_total", "busy_seconds_total"):
            self.assertGreaterEqual(self.value(before, f"troupe_mailbox_{metric}", actor="instances"), 0)
        self.assertGreater(self.value(before, "troupe_mailbox_handled_messages_total", actor="operations"), 0)
        ended = self.value(before, "troupe_operations_ended_total", kind="instance.create", result="success")
        self.assertGreater(self.value(before, "troupe_operations_seconds_total", kind="instance.create", result="success"), 0)
        self.daemon.lxc("init", "busybox", self.daemon.name("another"))
        self.assertEqual(self.value(self.scrape(), "troupe_operations_ended_total", kind="instance.create", result="success"), ended + 1)
        self.assertEqual(self.daemon.request("POST", "/internal/faults", {"kill": {"kind": "scheduler", "name": ""}})[0], 200)
        eventually(lambda: any(name == "troupe_actor_restarts_total" and labels == {"actor": "scheduler"} and value == 1
                               for name, labels, value in self.scrape()), "the restart")

    def test_the_dashboard_asks_for_what_there_is(self):
        self.daemon.launch("shown")
        told = {line.split()[2] for line in self.daemon.request("GET", "/1.0/metrics")[1].decode().splitlines() if line.startswith("# TYPE")}
        late = {"troupe_subscription_lag_events", "troupe_actor_restarts_total", "lxd_memory_OOM_kills_total",
                "lxd_disk_read_bytes_total", "lxd_disk_written_bytes_total"}  # told when there is one
        board = json.loads((pathlib.Path(__file__).parents[2] / "examples" / "grafana-dashboard.json").read_text())
        asked = {word for panel in board["panels"] for target in panel.get("targets", ()) for word in re.findall(r"(?:lxd|troupe)_\w+", target["expr"])}
        self.assertGreater(len(asked), 15)
        self.assertLessEqual(asked, told | late)

    # --- over the network

    def ask(self, port, path, identity=None):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context_of(identity), timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def set(self, **config):
        status, error = self.daemon.outcome("PATCH", "/1.0", {"config": {f"core.{key}": value for key, value in config.items()}})
        self.assertEqual(status, 200, error)

    def trust(self, identity, **more):
        self.daemon.outcome("POST", "/1.0/certificates", {"certificate": identity.base64, "name": identity.crt.stem, **more})
        self.addCleanup(self.daemon.request, "DELETE", f"/1.0/certificates/{identity.fingerprint}")

    def test_a_door_of_its_own_and_certificates_for_nothing_else(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        whole, door = free_port(), free_port()
        self.set(https_address=f"127.0.0.1:{whole}", metrics_address=f"127.0.0.1:{door}")
        self.addCleanup(self.set, https_address="", metrics_address="", metrics_authentication="")
        scraper, part, nobody, admin, stranger = (Identity(folder, name) for name in ("scraper", "part", "nobody", "admin", "stranger"))
        self.trust(scraper, type="metrics")
        self.daemon.lxc("project", "create", "quiet")
        self.addCleanup(self.daemon.lxc, "project", "delete", "quiet")
        self.trust(part, type="metrics", restricted=True, projects=["quiet"])
        self.trust(nobody, type="metrics", restricted=True)
        self.trust(admin, type="client")
        name = self.daemon.launch("scraped")
        for port in (whole, door):
            status, text = self.ask(port, "/1.0/metrics", scraper)
            self.assertEqual(status, 200)
            self.assertGreater(self.value(parse(text), "lxd_procs_total", name=name), 0)
            self.assertEqual(self.ask(port, "/1.0/instances", scraper)[0], 403 if port == whole else 404)
            self.assertEqual(self.ask(port, "/1.0/metrics", stranger)[0], 403)
            self.assertEqual(self.ask(port, "/1.0/metrics")[0], 403)
            for one in (part, nobody):  # not even how long the daemon runs
                self.assertEqual(self.ask(port, "/1.0/metrics", one), (200, "# EOF\n"))
            self.assertEqual(self.ask(port, "/1.0/metrics?project=quiet", part), (200, "# EOF\n"))
            self.assertEqual(self.ask(port, "/1.0/metrics?project=quiet", scraper)[0], 200)
            for one, project in ((part, "default"), (nobody, "quiet"), (scraper, "nosuch")):
                self.assertEqual(self.ask(port, f"/1.0/metrics?project={project}", one)[0], 404)
        self.assertEqual(self.ask(whole, "/1.0/instances", admin)[0], 200)
        self.assertEqual(self.ask(door, "/1.0/instances", admin)[0], 404)
        self.assertEqual(self.ask(door, "/1.0", admin)[0], 200)
        self.set(metrics_authentication="false")
        self.assertEqual(self.ask(door, "/1.0/metrics")[0], 200)
        self.assertEqual(self.ask(whole, "/1.0/instances")[0], 403)
        self.set(metrics_authentication="true")
        self.assertEqual(self.ask(door, "/1.0/metrics")[0], 403)
        self.set(metrics_address="")
        with self.assertRaises((ConnectionRefusedError, ssl.SSLError)):
            self.ask(door, "/1.0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
