"""10,000 short operations over REST: how fast they are accepted, that all are found afterwards with the right result.

An operation is a change of a stopped instance's config: planned, journaled and committed with its events in one
transaction. The floor is one plain LMDB commit of a record of like size on the same disk (bench_store).
"""

import json
import os
import subprocess
import sys
import time

from bench_client import BenchDaemon, parallel, rate, report, say, status_kb, summary, troupe_e2e

COUNT = int(os.environ.get("BENCH_OPERATIONS", "10000"))
CLIENTS = 8
INSTANCES_EACH = 10  # of every client: changes of one instance come one after the other
FLOOR_COMMITS = 1000


def change(number):
    return {"config": {"user.n": str(number)}, "devices": {}, "profiles": ["default"], "description": ""}


def submit(daemon, client_number, first, count):
    """Milliseconds from a request to its 202, and the operations, each with the instance it changed."""
    client, taken, begun = daemon.client(), [], []
    for number in range(first, first + count):
        name = daemon.name(f"c{client_number}i{number % INSTANCES_EACH}")
        begin = time.perf_counter()
        status, text = client.raw("PUT", f"/1.0/instances/{name}", change(number))
        taken.append((time.perf_counter() - begin) * 1000)
        reply = json.loads(text)
        assert status == 202, reply
        begun.append(reply["metadata"]["id"])
    return taken, begun


def check_all(daemon, begun):
    """Every operation is kept and succeeded; every instance has the value of its last change."""
    client = daemon.client()
    for operation in begun:
        client.wait(f"/1.0/operations/{operation}")
    kept = client.get("/1.0/operations?all=1&limit=100000&recursion=1")
    states = {one["id"]: status for status, some in kept.items() for one in some}
    wrong = [operation for operation in begun if states.get(operation) != "success"]
    assert not wrong, f"{len(wrong)} operations are lost or failed"
    return client


def floor(folder):
    program = troupe_e2e.BIN / "bench_store"
    if not program.exists():
        return f"skipped: {program} is not built; ./dev bench builds it"
    out = subprocess.run([program, folder, str(FLOOR_COMMITS)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["floor"]


def measure(daemon, clients, count):
    each = count // clients
    seconds, results = parallel(clients, lambda number: submit(daemon, number, number * each, each))
    begun = [operation for _, some in results for operation in some]
    client = check_all(daemon, begun)
    for number in range(clients):
        for last in range((number + 1) * each - INSTANCES_EACH, (number + 1) * each):
            name = daemon.name(f"c{number}i{last % INSTANCES_EACH}")
            assert client.get(f"/1.0/instances/{name}")["config"]["user.n"] == str(last), name
    return {**rate(len(begun), seconds), "submit_to_accepted": summary([ms for some, _ in results for ms in some])}


def main():
    daemon = BenchDaemon("dir")
    daemon.start().set_up()
    client = daemon.client()
    say(f"operations: {CLIENTS * INSTANCES_EACH} instances")
    for number in range(CLIENTS):
        for i in range(INSTANCES_EACH):
            client.call("POST", "/1.0/instances", {"name": daemon.name(f"c{number}i{i}"), "source": {"type": "none"}})
    figures = {"floor_lmdb_commit": floor(daemon.home)}
    for clients in (1, CLIENTS):
        say(f"operations: {COUNT} by {clients} clients")
        figures[f"clients_{clients}"] = measure(daemon, clients, COUNT)
    figures["resident_kb"] = status_kb(daemon.process.pid)
    report({**figures, "problems": (problems := daemon.finish())})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
