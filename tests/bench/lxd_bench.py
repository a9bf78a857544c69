"""Containers beside a real LXD (Debian's package `lxd`) with the same image, pool driver and kind of network, in turns in one run.
The ratio is our median to LXD's: below 1 we are faster."""

import os
import pathlib
import shutil
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

from bench_client import BenchDaemon, Client, Refused, Timings, exec_true, report, say  # noqa: E402
from real_lxd import Lxd  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "10"))
EXECS, FILES, GETS = 5, 5, 20  # of one container in each round
SMALL, LARGE = os.urandom(4096), os.urandom(1 << 20) * 32
OWNER = {"X-LXD-uid": "0", "X-LXD-gid": "0", "X-LXD-mode": "0644", "X-LXD-type": "file"}


def push(client, url, data):
    status, text = client.raw("POST", url, data, OWNER)
    if status != 200:
        raise Refused(f"POST {url}: {status} {text[:200]}")


def pull(client, url, data):
    status, text = client.raw("GET", url)
    if status != 200 or text != data:
        raise Refused(f"GET {url}: {status}, {len(text)} bytes")


def life(client, name, timings):
    """Made, started, looked at, stopped."""
    me = f"/1.0/instances/{name}"
    with timings.time("launch"):
        with timings.time("create"):
            client.call("POST", "/1.0/instances", {"name": name, "profiles": ["default"], "source": {"type": "image", "alias": "busybox"}})
        with timings.time("start"):
            client.call("PUT", f"{me}/state", {"action": "start", "timeout": -1})
    for at in range(EXECS):
        with timings.time("exec"):
            exec_true(client, name)
    with timings.time("exec_unattended"):
        client.call("POST", f"{me}/exec", {"command": ["true"], "wait-for-websocket": False, "interactive": False})
    for at in range(FILES):
        with timings.time("push_4k"):
            push(client, f"{me}/files?path=/root/f{at}", SMALL)
        with timings.time("pull_4k"):
            pull(client, f"{me}/files?path=/root/f{at}", SMALL)
    with timings.time("push_32m"):
        push(client, f"{me}/files?path=/root/large", LARGE)
    with timings.time("pull_32m"):
        pull(client, f"{me}/files?path=/root/large", LARGE)
    for _ in range(GETS):
        with timings.time("get_instance"):
            client.call("GET", me)
        with timings.time("get_state"):
            client.call("GET", f"{me}/state")
        with timings.time("list"):
            client.call("GET", "/1.0/instances?recursion=1")
    with timings.time("snapshot_running"):
        client.call("POST", f"{me}/snapshots", {"name": "live", "stateful": False})
    with timings.time("stop_forced"):
        client.call("PUT", f"{me}/state", {"action": "stop", "force": True, "timeout": -1})


def offspring(client, name, timings):
    """What is made from a stopped instance, and its end."""
    me, copy = f"/1.0/instances/{name}", f"{name}-copy"
    with timings.time("snapshot"):
        client.call("POST", f"{me}/snapshots", {"name": "one", "stateful": False})
    with timings.time("restore"):
        client.call("PUT", me, {"restore": "one"})
    with timings.time("copy"):
        client.call("POST", "/1.0/instances", {"name": copy, "profiles": ["default"], "source": {"type": "copy", "source": name, "instance_only": True}})
    with timings.time("delete"):
        client.call("DELETE", f"/1.0/instances/{copy}")
    with timings.time("copy_with_snapshots"):
        client.call("POST", "/1.0/instances", {"name": copy, "profiles": ["default"], "source": {"type": "copy", "source": name}})
    with timings.time("delete_with_snapshots"):
        client.call("DELETE", f"/1.0/instances/{copy}")
    client.call("DELETE", me)


def one_round(client, name, timings):
    life(client, name, timings)
    offspring(client, name, timings)


def metrics(client, timings):
    """One text for all; LXD keeps it for eight seconds, so only its first is an answer of its own."""
    with timings.time("metrics"):
        status, _ = client.raw("GET", "/1.0/metrics")
    if status != 200:
        raise Refused(f"metrics: {status}")


def ratios(ours, theirs):
    return {name: round(statistics.median(ours.all[name]) / statistics.median(theirs.all[name]), 3) for name in theirs.all}


def measure(driver):
    say(f"beside LXD: {driver}")
    daemon = BenchDaemon(driver)
    daemon.start().set_up()
    daemon.troupe("image", "build", "busybox")
    home = pathlib.Path(tempfile.mkdtemp(prefix="troupe-lxd-", dir="/var/tmp"))
    home.chmod(0o711)
    lxd = Lxd(home, driver, f"{daemon.bridge[:-1]}l", "10.99.9")
    try:
        if not lxd.is_ready():
            return {"skipped": "LXD does not start on this host"}, daemon.finish()
        image = home / "busybox"
        daemon.lxc("image", "export", "busybox", image)
        files = sorted(home.glob("busybox*"))
        lxd.lxc("image", "import", *files, "--alias", "busybox")
        sides = [(daemon.client(), Timings()), (Client(lxd.dir / "unix.socket"), Timings())]
        for client, _ in sides:
            one_round(client, "warm", Timings())
        for at in range(ROUNDS):
            for client, timings in sides if at % 2 else reversed(sides):
                one_round(client, f"b{at}", timings)
        for client, timings in sides:
            metrics(client, timings)
        (_, ours), (_, theirs) = sides
        return {"troupe": ours.report(), "lxd": theirs.report(), "ratio": ratios(ours, theirs)}, daemon.finish()
    finally:
        lxd.close()
        shutil.rmtree(home, ignore_errors=True)


def main():
    if not shutil.which("lxd"):
        report({"skipped": "Debian's package lxd is not installed"})
        return 0
    figures, problems = {}, []
    for driver in ("btrfs", "dir"):
        figures[driver], left = measure(driver)
        problems += left
    report({**figures, "problems": problems})
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
