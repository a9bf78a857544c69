"""A normal call on the unix socket beside a flood of TLS handshakes, and alone: how long each takes, and how many
handshakes there are."""

import multiprocessing
import os
import pathlib
import socket
import sys
import tempfile
import time

from bench_client import report, say, summary, troupe_e2e

from identities import Identity, context_of, free_port

SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
FLOODERS = 4


def timed(call):
    taken, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        begun = time.monotonic()
        call()
        taken.append((time.monotonic() - begun) * 1000)
    return summary(taken)


def flood(port, me, stop, done):
    context = context_of(me)
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port)) as raw, context.wrap_socket(raw) as tls:
            tls.version()
        with done.get_lock():
            done.value += 1


def main():
    daemon = troupe_e2e.Daemon("dir").start()
    try:
        port = free_port()
        assert daemon.outcome("PATCH", "/1.0", {"config": {"core.https_address": f"127.0.0.1:{port}"}})[0] == 200
        me = Identity(pathlib.Path(tempfile.mkdtemp(dir=daemon.home)), "me")
        call = lambda: daemon.get("/1.0/projects")
        alone = timed(call)
        stop, done = multiprocessing.Event(), multiprocessing.Value("q", 0)
        crowd = [multiprocessing.Process(target=flood, args=(port, me, stop, done)) for _ in range(FLOODERS)]
        for one in crowd:
            one.start()
        while done.value < FLOODERS:
            call()
        begun, first = time.monotonic(), done.value
        beside = timed(call)
        rate = (done.value - first) / (time.monotonic() - begun)
        stop.set()
        for one in crowd:
            one.join()
        say(f"beside {rate:.0f} handshakes/s: {beside}")
        report({"alone": alone, "beside_handshakes": beside, "handshakes_per_second": round(rate)})
    finally:
        problems = daemon.close()
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
