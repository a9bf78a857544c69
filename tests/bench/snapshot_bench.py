"""Snapshot, copy and restore of a stopped busybox container on btrfs and dir, and the floor: a btrfs snapshot beside one synced
write, which is what a commit costs the disk."""

import os
import subprocess

from bench_client import BenchDaemon, Timings, report, say

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "20"))


def one_round(client, number, timings):
    snapshots = "/1.0/instances/base/snapshots"
    with timings.time("snapshot"):
        client.call("POST", snapshots, {"name": f"s{number}"})
    with timings.time("restore"):
        client.call("PUT", "/1.0/instances/base", {"restore": f"s{number}"})
    with timings.time("copy"):
        client.call("POST", "/1.0/instances", {"name": "copy", "source": {"type": "copy", "source": f"base/s{number}"}})
    with timings.time("delete_copy"):
        client.call("DELETE", "/1.0/instances/copy")
    with timings.time("delete_snapshot"):
        client.call("DELETE", f"{snapshots}/s{number}")


def measure(driver):
    daemon = BenchDaemon(driver)
    try:
        daemon.start().set_up()
        daemon.troupe("image", "build", "busybox")
        client = daemon.client()
        client.call("POST", "/1.0/instances", {"name": "base", "source": {"type": "image", "alias": "busybox"}})
        one_round(client, 0, Timings())
        timings = Timings()
        for number in range(1, ROUNDS + 1):
            one_round(client, number, timings)
        return {"troupe": timings.report(), "floor": floor(daemon) if driver == "btrfs" else None}
    finally:
        daemon.finish()


def floor(daemon):
    """In the same pool: what the kernel takes for the snapshot itself (with the program's start), and for a synced write."""
    pool = daemon.dir / "storage-pools" / "default"
    timings = Timings()
    for number in range(ROUNDS):
        target = pool / ".incomplete" / f"floor{number}"
        with timings.time("btrfs_subvolume_snapshot"):
            subprocess.run(["btrfs", "-q", "subvolume", "snapshot", pool / "containers/base", target], check=True)
        subprocess.run(["btrfs", "-q", "subvolume", "delete", target], check=True)
        with open(daemon.dir / "floor", "wb") as file, timings.time("synced_write"):
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
    return timings.report()


if __name__ == "__main__":
    say("snapshots, restores and copies")
    report({"snapshots": {driver: measure(driver) for driver in ("btrfs", "dir")}})
