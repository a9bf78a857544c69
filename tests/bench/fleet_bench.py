"""100 busybox containers made and started by a few clients at once: total time, p50 and p99 of each, and how the last ten compare
with the first ten; then 20 that start by themselves, in waves, after the host has come up again."""

import os
import sys
import time

from bench_client import BenchDaemon, Client, parallel, rate, report, say, status_kb, summary

COUNT = int(os.environ.get("BENCH_FLEET", "100"))
CLIENTS = 2 * (os.cpu_count() or 1)  # enough to keep the processors busy
WAVES, WAVE = 4, 5
TENTH = 10


def launch_all(daemon):
    """(seconds, [(moment it was asked for, milliseconds)] of all)."""
    def work(number):
        client, out = Client(daemon.socket), []
        for at in range(number, COUNT, CLIENTS):
            name, begin = daemon.name(f"f{at}"), time.monotonic()
            client.call("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}})
            client.call("PUT", f"/1.0/instances/{name}/state", {"action": "start", "timeout": -1})
            out.append((begin, (time.monotonic() - begin) * 1000))
        return out
    seconds, lists = parallel(CLIENTS, work)
    return seconds, sorted(tuple(entry) for one in lists for entry in one)


def mean(values):
    return sum(values) / len(values)


def fleet(daemon):
    seconds, each = launch_all(daemon)
    client = daemon.client()
    states = [i["status"] for i in client.get("/1.0/instances?recursion=1")]
    assert states == ["Running"] * COUNT, states
    taken = [ms for _, ms in each]
    first, last = mean(taken[:TENTH]), mean(taken[-TENTH:])
    memory = status_kb(daemon.process.pid, "RssAnon")
    begin = time.monotonic()
    client.call("PUT", "/1.0/instances", {"state": {"action": "stop", "force": True}})
    stopped = time.monotonic() - begin
    names = [i["name"] for i in client.get("/1.0/instances?recursion=1")]
    begin = time.monotonic()
    parallel(CLIENTS, lambda number: [Client(daemon.socket).call("DELETE", f"/1.0/instances/{name}") and None for name in names[number::CLIENTS]])
    ordered = sorted(taken)
    return {"total_s": round(seconds, 2), **rate(COUNT, seconds), "clients": CLIENTS,
            "each": {**summary(taken), "p50_ms": round(ordered[len(ordered) // 2], 1)},
            "first_ten_ms": round(first, 1), "last_ten_ms": round(last, 1), "decay_percent": round((last / first - 1) * 100, 1),
            "stop_all_s": round(stopped, 2), "delete_all_s": round(time.monotonic() - begin, 2), "daemon_kb": memory}


def boot(daemon):
    """The daemon starts on a host where nothing runs yet, after an orderly shutdown."""
    client = daemon.client()
    names = [daemon.name(f"w{at}") for at in range(WAVES * WAVE)]
    for at, name in enumerate(names):
        config = {"boot.autostart": "true", "boot.autostart.priority": str(WAVES - at // WAVE)}
        client.call("POST", "/1.0/instances", {"name": name, "config": config, "source": {"type": "image", "alias": "busybox"}})
    daemon.stop()
    running = lambda found: sum(i["status"] == "Running" for i in found.get("/1.0/instances?recursion=1")) == len(names)
    answered, up = daemon.start_timed(running)
    client = daemon.client()
    started = {i["name"]: i["last_used_at"] for i in client.get("/1.0/instances?recursion=1")}
    waves = [sorted(started[name] for name in names[at:at + WAVE]) for at in range(0, len(names), WAVE)]
    in_order = all(before[-1] <= after[0] for before, after in zip(waves, waves[1:]))
    return {"containers": len(names), "waves": WAVES, "answers_ms": round(answered, 1), "all_running_ms": round(up, 1), "waves_in_order": in_order}


def main():
    figures, problems = {}, []
    for driver in ("btrfs", "dir"):
        say(f"fleet: {driver}")
        daemon = BenchDaemon(driver)
        daemon.start().set_up()
        daemon.troupe("image", "build", "busybox")
        client = daemon.client()
        name = daemon.name("warm")
        client.call("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}})
        client.call("DELETE", f"/1.0/instances/{name}")
        figures[driver] = {"fleet": fleet(daemon), "boot": boot(daemon)}
        problems += daemon.finish()
    report({**figures, "problems": problems})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
