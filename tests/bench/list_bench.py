"""Calls without containers: GET /1.0, config changes, creation, lists of 1,000 defined instances, memory, start-up.

The clients are Python processes on the same processors, which bounds the rates; `pipelined` asks for 32 at a time and so
comes closest to what the daemon alone can do.
"""

import os
import sys
import time

from bench_client import BenchDaemon, Timings, get_rate, parallel, private_kb, rate, report, say, status_kb

INSTANCES = int(os.environ.get("BENCH_INSTANCES", "1000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
LISTS = 100
STARTS = 10
PIPELINED = 32
SYNCED_WRITES = 300


def gets(daemon, clients, depth=1):
    return get_rate(daemon.socket, "/1.0", clients, depth, SECONDS)


def synced_writes(daemon):
    """The floor of what is committed: two writes of a page, each synced, as LMDB's data and meta pages are."""
    timings, path = Timings(), daemon.home / "floor"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(file, bytes(1 << 20), 0)
        os.fsync(file)
        for i in range(SYNCED_WRITES):
            with timings.time("write"):
                for page in (i % 200 + 2, i % 2):
                    os.pwrite(file, os.urandom(4096), page * 4096)
                    os.fdatasync(file)
    finally:
        os.close(file)
        path.unlink()
    return timings.report()["write"]


def changes(daemon, clients):
    """PUT of a changed config and the wait for its operation; each client has an instance of its own."""
    def work(number):
        client, timings, serial = daemon.client(), Timings(), 0
        name = daemon.name(f"c{number}")
        wanted = {"config": {}, "devices": {}, "profiles": ["default"], "architecture": "x86_64", "description": ""}
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            serial += 1
            wanted["config"] = {"user.bench": str(serial)}
            with timings.time("put"):
                client.call("PUT", f"/1.0/instances/{name}", wanted)
        assert client.get(f"/1.0/instances/{name}")["config"]["user.bench"] == str(serial)
        return timings.all["put"]
    return rated(*parallel(clients, work))


def creations(daemon, clients, first, count):
    def work(number):
        client, timings = daemon.client(), Timings()
        for i in range(first + number, first + count, clients):
            with timings.time("create"):
                client.call("POST", "/1.0/instances", {"name": daemon.name(f"c{i}"), "source": {"type": "none"}})
        return timings.all["create"]
    return rated(*parallel(clients, work))


def rated(seconds, lists):
    timings = Timings()
    timings.all["x"] = [ms for each in lists for ms in each]
    return {**rate(len(timings.all["x"]), seconds), **timings.report()["x"]}


def lists(daemon, timings):
    client, sizes = daemon.client(), {}
    for _ in range(LISTS):
        for level in (0, 1, 2):
            with timings.time(f"recursion_{level}"):
                status, body = client.raw("GET", f"/1.0/instances?recursion={level}")
            assert status == 200 and body.count(daemon.tag.encode()) >= INSTANCES, (status, body[:200])
            sizes[f"recursion_{level}_bytes"] = len(body)
    return sizes


def starts(daemon, count):
    timings = Timings()
    for _ in range(count):
        daemon.stop()
        timings.add("start", daemon.start_timed()[0])
    return timings.report()["start"]


def memory(daemon):
    pid = daemon.process.pid
    return {"resident_kb": status_kb(pid), "private_kb": private_kb(pid), "peak_kb": status_kb(pid, "VmHWM")}


def new_databases(problems):
    timings = Timings()
    for _ in range(STARTS):
        daemon = BenchDaemon("dir")
        timings.add("start", daemon.start_timed()[0])
        kept = memory(daemon)
        problems += daemon.finish()
    return timings.report()["start"], kept


def delete_all(daemon):
    def work(number):
        client, count = daemon.client(), 0
        for i in range(number, INSTANCES, 8):
            client.call("DELETE", f"/1.0/instances/{daemon.name(f'c{i}')}")
            count += 1
        return count
    seconds, counts = parallel(8, work)
    return rate(sum(counts), seconds)


def main():
    problems, result, kept = [], {}, {}
    say("list: start-up with new databases")
    result["start_up_new_database"], kept["new_database"] = new_databases(problems)
    daemon = BenchDaemon("dir")
    daemon.start().set_up()
    kept["pool_and_network"] = memory(daemon)
    for clients, depth in ((1, 1), (8, 1), (8, PIPELINED)):
        name = f"get_server_{clients}" + ("_pipelined" if depth > 1 else "")
        say(f"list: {name}")
        result[name] = gets(daemon, clients, depth)
    half = INSTANCES // 2
    result["floor_synced_write"] = synced_writes(daemon)
    say("list: creations")
    result["create_none_1"] = creations(daemon, 1, 0, half)
    result["create_none_8"] = creations(daemon, 8, half, INSTANCES - half)
    kept[f"after_{INSTANCES}_creations"] = memory(daemon)
    say("list: start-up, lists, changes")
    result[f"start_up_{INSTANCES}"] = starts(daemon, STARTS)
    kept[f"started_with_{INSTANCES}"] = memory(daemon)
    timings = Timings()
    result["list"] = {**lists(daemon, timings), **timings.report()}
    kept["after_lists"] = memory(daemon)
    result["floor_synced_write_again"] = synced_writes(daemon)
    for clients in (1, 8):
        result[f"put_config_{clients}"] = changes(daemon, clients)
    lists(daemon, Timings())
    gets(daemon, 8)
    kept["after_load"] = memory(daemon)
    say("list: deletions")
    result["delete_8"] = delete_all(daemon)
    problems += daemon.finish()
    report({**result, "memory": kept, "problems": problems})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
