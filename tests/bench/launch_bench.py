"""Launch, exec, forced stop and delete of busybox on btrfs and dir, the floor of the same work, and 20 launches at once."""

import os
import sys

from bench_client import BenchDaemon, Timings, exec_true, parallel, rate, report, say, summary
from lxc_floor import LxcFloor, missing_programs

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "20"))
EXECS = 5  # of one container
AT_ONCE = 20


def launch(client, name):
    """Milliseconds of (create, start)."""
    timings = Timings()
    with timings.time("create"):
        client.call("POST", "/1.0/instances", {"name": name, "source": {"type": "image", "alias": "busybox"}})
    with timings.time("start"):
        client.call("PUT", f"/1.0/instances/{name}/state", {"action": "start", "timeout": -1})
    return timings.all["create"][0], timings.all["start"][0]


def stop(client, name):
    client.call("PUT", f"/1.0/instances/{name}/state", {"action": "stop", "force": True, "timeout": -1})


def one_round(client, name, timings):
    create, start = launch(client, name)
    assert client.get(f"/1.0/instances/{name}")["status"] == "Running"
    for kind, value in (("create", create), ("start", start), ("launch", create + start)):
        timings.add(kind, value)
    for i in range(EXECS):
        with timings.time("exec_first" if i == 0 else "exec"):
            exec_true(client, name)
    with timings.time("stop_forced"):
        stop(client, name)
    with timings.time("delete"):
        client.call("DELETE", f"/1.0/instances/{name}")


def one_floor_round(floor, name, timings):
    with timings.time("launch"):
        with timings.time("snapshot"):
            floor.snapshot(name)
        with timings.time("start"):
            floor.start(name)
    for _ in range(EXECS):
        with timings.time("exec"):
            floor.attach_true(name)
    with timings.time("stop_forced"):
        floor.stop(name)
    with timings.time("delete"):
        floor.delete(name)


def at_once(daemon):
    def work(number):
        client = daemon.client()
        return sum(launch(client, daemon.name(f"many{number}")))
    seconds, each = parallel(AT_ONCE, work)
    client = daemon.client()
    states = [i["status"] for i in client.get("/1.0/instances?recursion=1")]
    assert states == ["Running"] * AT_ONCE, states
    for number in range(AT_ONCE):
        name = daemon.name(f"many{number}")
        stop(client, name)
        client.call("DELETE", f"/1.0/instances/{name}")
    return {**rate(AT_ONCE, seconds), "each": summary(each)}


def prepared(driver):
    daemon = BenchDaemon(driver)
    daemon.start().set_up()
    daemon.troupe("image", "build", "busybox")
    client = daemon.client()
    one_round(client, daemon.name("warm"), Timings())
    return daemon, client


def measure(driver, with_floor):
    say(f"launch: {driver}")
    daemon, client = prepared(driver)
    mine, floors = Timings(), Timings()
    if with_floor:
        with LxcFloor(daemon.home, daemon.bridge) as floor:
            one_floor_round(floor, daemon.name("floorwarm"), Timings())
            for i in range(ROUNDS):  # in turns: a slow minute of the machine hits both
                one_round(client, daemon.name(f"c{i}"), mine)
                one_floor_round(floor, daemon.name(f"floor{i}"), floors)
    else:
        for i in range(ROUNDS):
            one_round(client, daemon.name(f"c{i}"), mine)
    result = {**mine.report(), f"launch_{AT_ONCE}_at_once": at_once(daemon)}
    problems = daemon.finish()
    return {**result, "problems": problems}, floors.report()


def main():
    missing = missing_programs()
    figures = {}
    figures["btrfs"], floor = measure("btrfs", not missing)
    figures["floor"] = floor if not missing else f"skipped: not installed: {', '.join(missing)}"
    figures["dir"], _ = measure("dir", False)
    report(figures)
    return 1 if figures["btrfs"]["problems"] or figures["dir"]["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
