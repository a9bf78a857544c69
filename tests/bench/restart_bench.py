"""kill -9 of the daemon with 20 running containers: how long until all are seen again, and what each container costs."""

import os
import sys

from bench_client import BenchDaemon, Timings, parallel, private_kb, processes_with, report, say, status_kb

CONTAINERS = int(os.environ.get("BENCH_CONTAINERS", "20"))
KILLS = 10


def launch_all(daemon):
    def work(number):
        client = daemon.client()
        for i in range(number, CONTAINERS, 4):
            name = daemon.name(f"c{i}")
            client.call("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}})
            client.call("PUT", f"/1.0/instances/{name}/state", {"action": "start", "timeout": -1})
    parallel(4, work)
    daemon.note_cards()


def running(client):
    return sum(i["status"] == "Running" for i in client.get("/1.0/instances?recursion=1"))


def pids(client):
    return {i["name"]: i["state"]["pid"] for i in client.get("/1.0/instances?recursion=2")}


def helpers_kb(daemon):
    """Private memory of each process beside the daemon that carries its folder: monitors, the helper, dnsmasq."""
    found = {}
    for pid, line in processes_with(str(daemon.dir)):
        if pid != daemon.process.pid:
            kind = "monitor" if line.startswith("[lxc monitor]") else os.path.basename(line.split()[0])
            found.setdefault(kind, []).append(private_kb(pid))
    return found


def memory(daemon, empty_kb):
    full_kb = status_kb(daemon.process.pid)
    kinds = helpers_kb(daemon)
    monitors = sorted(kinds.get("monitor", []))
    per_container = (sum(monitors) + max(0, full_kb - empty_kb)) / CONTAINERS
    return {"monitors": len(monitors), "monitor_private_kb_median": monitors[len(monitors) // 2] if monitors else None,
            "monitor_private_kb_sum": sum(monitors), "daemon_resident_kb_without_containers": empty_kb,
            "daemon_resident_kb": full_kb, "private_kb_per_container": round(per_container),
            "other_processes_private_kb": {kind: sum(kb) for kind, kb in kinds.items() if kind != "monitor"}}


def kill_and_start(daemon, timings):
    daemon.process.kill()
    daemon.process.wait()
    answered, seen = daemon.start_timed(lambda client: running(client) == CONTAINERS)
    timings.add("first_answer", answered)
    timings.add("all_seen_running", seen)


def main():
    daemon = BenchDaemon("btrfs")
    daemon.start().set_up()
    daemon.troupe("image", "build", "busybox")
    empty_kb = status_kb(daemon.process.pid)
    say(f"restart: {CONTAINERS} launches")
    launch_all(daemon)
    before = pids(daemon.client())
    kept = {"before_kill": memory(daemon, empty_kb)}
    timings, survived = Timings(), True
    say("restart: kills")
    for _ in range(KILLS):
        kill_and_start(daemon, timings)
        survived &= pids(daemon.client()) == before
    kept["after_restarts"] = memory(daemon, empty_kb)
    problems = [] if survived else ["a container has another process than before the kill"]
    problems += daemon.finish()
    report({**timings.report(), "containers": CONTAINERS, "memory": kept, "problems": problems})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
