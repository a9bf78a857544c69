"""A normal call beside 1,000 idle and 1,000 dribbling connections on each listener, and alone: over REST each call on a
connection of its own (over HTTPS with a whole handshake), over the bus one after the other on one connection."""

import contextlib
import http.client
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from bench_client import report, say, summary, troupe_e2e

import crowd
from identities import Identity, context_of, free_port

SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))


def timed(call):
    taken, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        begun = time.monotonic()
        call()
        taken.append((time.monotonic() - begun) * 1000)
    return summary(taken)


def get_https(port, me):
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context_of(me), timeout=30)
    connection.request("GET", "/1.0/instances")
    assert connection.getresponse().status == 200
    connection.close()


def bus_calls(target):
    done = subprocess.run([troupe_e2e.BIN / "bus_load", target, "calls", "view", str(SECONDS)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def measure(daemon, https, bus, me):
    far = f"127.0.0.1:{bus},{daemon.dir}/server.crt,{me.crt},{me.key}"
    pid = daemon.process.pid
    return {"rest_unix": timed(lambda: daemon.get("/1.0/instances")), "rest_tls": timed(lambda: get_https(https, me)),
            "bus_unix": bus_calls(daemon.dir / "bus.socket"), "bus_tls": bus_calls(far),
            "descriptors": crowd.descriptors(pid), "own_memory_kb": crowd.own_memory(pid) >> 10}


@contextlib.contextmanager
def crowds_elsewhere(daemon, https, bus):
    """In a process of low priority: what is measured is the daemon, not this interpreter's threads."""
    there, end = multiprocessing.Event(), multiprocessing.Event()

    def stay():
        os.nice(19)
        with crowd.crowds(daemon, https, bus):
            there.set()
            end.wait()

    process = multiprocessing.Process(target=stay)
    process.start()
    try:
        assert there.wait(120), "the crowds did not come"
        yield
    finally:
        end.set()
        process.join()


def main():
    if not (troupe_e2e.BIN / "bus_load").exists():
        return report({"skipped": "bus_load is not built; ./dev bench builds it"})
    crowd.raise_open_files()
    daemon = troupe_e2e.Daemon("dir")
    problems = []
    try:
        daemon.start()
        https, bus = free_port(), free_port()
        config = {"core.https_address": f"127.0.0.1:{https}", "core.bus_address": f"127.0.0.1:{bus}"}
        assert daemon.outcome("PATCH", "/1.0", {"config": config})[0] == 200
        me = Identity(pathlib.Path(tempfile.mkdtemp(dir=daemon.home)), "me")
        assert daemon.outcome("POST", "/1.0/certificates", {"type": "client", "certificate": me.base64, "name": "me"})[0] == 201
        say("alone")
        alone = measure(daemon, https, bus, me)
        say("beside the crowds")
        with crowds_elsewhere(daemon, https, bus):
            beside = measure(daemon, https, bus, me)
        report({"alone": alone, "beside_the_crowds": beside})
    finally:
        problems = daemon.close()
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
