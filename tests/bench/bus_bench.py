"""The message bus: calls and operations per second and their latency, beside a bare Cap'n Proto server; what a flood by
another session adds to them; and 10,000 short operations, all found a minute later with the right result.

The flooding client runs at the lowest priority, so that it is the daemon that is measured, not the client's hunger for the
processors of this machine.
"""

import json
import os
import subprocess
import sys
import time

from bench_client import report, say, troupe_e2e

SECONDS = os.environ.get("BENCH_SECONDS", "3")
COUNT = int(os.environ.get("BENCH_OPERATIONS", "10000"))
REST_SECONDS = int(os.environ.get("BENCH_REST_SECONDS", "60"))
FLOOR_COMMITS = 1000
SUCCEEDED = 3  # Operation.State


def program(name):
    path = troupe_e2e.BIN / name
    return path if path.exists() else None


def load(daemon, *words):
    done = subprocess.run([program("bus_load"), daemon.dir / "bus.socket", *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def beside_a_flood(daemon, kind):
    """A session's calls without and with another session that floods."""
    alone = load(daemon, "calls", "view", SECONDS)
    flood = subprocess.Popen(["nice", "-n", "19", program("bus_load"), daemon.dir / "bus.socket", "flood", kind, str(float(SECONDS) + 2)],
                             stdout=subprocess.PIPE, text=True)
    time.sleep(1)  # until it floods
    beside = load(daemon, "calls", "view", SECONDS)
    return {"alone": alone, "beside": beside, "flood": json.loads(flood.communicate()[0])}


def memory_kb(daemon):
    """Resident: its own memory, and the files it has mapped (the database among them, which the kernel may drop)."""
    lines = open(f"/proc/{daemon.process.pid}/status").read().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("VmRSS", "RssAnon", "RssFile"))}


def check(daemon, done):
    """Every operation is kept and succeeded; every profile is as its last change left it."""
    states = load(daemon, "listed", 1000)["states"]
    wrong = [i for i in done["ids"] if states.get(i) != SUCCEEDED]
    now = {p["name"]: p["description"] for p in daemon.get("/1.0/profiles?recursion=1")}
    lost = {name: text for name, text in done["last"].items() if now.get(name) != text}
    assert not wrong and not lost, f"{len(wrong)} operations are lost or failed; {lost}"
    return len(done["ids"])


def many_operations(daemon, lanes):
    before = memory_kb(daemon)
    done = load(daemon, "submit", COUNT, lanes)
    accepted = memory_kb(daemon)
    time.sleep(REST_SECONDS)
    found = check(daemon, done)
    return {"found_after_seconds": REST_SECONDS, "found": found, "per_second": done["per_second"], "submit_to_accepted": done["submit_to_accepted"],
            "memory_before_kb": before, "memory_after_kb": accepted, "memory_after_reading_all_kb": memory_kb(daemon)}


def floor(daemon):
    if not program("bench_store"):
        return "skipped: bench_store is not built; ./dev bench builds it"
    out = subprocess.run([program("bench_store"), daemon.home, str(FLOOR_COMMITS)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["floor"]


def main():
    if not program("bench_bus") or not program("bus_load"):
        return report({"skipped": "bench_bus or bus_load is not built; ./dev bench builds them"})
    daemon = troupe_e2e.Daemon("dir")
    problems = []
    try:
        daemon.start()
        done = subprocess.run([program("bench_bus"), daemon.dir / "bus.socket", SECONDS], stdout=subprocess.PIPE, text=True, check=True)
        figures = json.loads(done.stdout)
        for kind in ("view", "list", "update"):
            say(f"bus: beside a flood of {kind}")
            figures[f"flood_{kind}"] = beside_a_flood(daemon, kind)
        figures["floor_lmdb_commit"] = floor(daemon)
        for lanes in (1, 64):
            say(f"bus: {COUNT} operations, {lanes} at a time")
            figures[f"operations_{lanes}_at_a_time"] = many_operations(daemon, lanes)
        report(figures)
    finally:
        problems = daemon.close()
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
