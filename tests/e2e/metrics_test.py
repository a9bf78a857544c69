"""/1.0/metrics as a scraper sees it: the kernel's figures of running instances, whatever these do. See docs/metrics.md."""

import re
import unittest

from troupe_e2e import DaemonTest

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

    def scrape(self, query=""):
        status, text = self.daemon.request("GET", f"/1.0/metrics{query}")
        self.assertEqual(status, 200)
        return parse(text.decode())

    def of(self, samples, instance):
        return [one for one in samples if one[1].get("name") == instance]

    def value(self, samples, name, **labels):
        found = [value for each, have, value in samples if each == name and labels.items() <= have.items()]
        self.assertEqual(len(found), 1, (name, labels, found))
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
        state = self.daemon.get(f"/1.0/instances/{name}/state")
        self.assertEqual(self.value(after, "lxd_procs_total", name=name), state["processes"])
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
        self.assertEqual(self.value(self.scrape(), "lxd_procs_total", name=name, project="measured"),
                         self.value(alone, "lxd_procs_total", name=name))
        self.assertEqual(self.daemon.request("GET", "/1.0/metrics?project=nosuch")[0], 404)


if __name__ == "__main__":
    unittest.main(verbosity=2)
