"""Virtual machines: from the call until QEMU's processors run and until the guest is up, beside plain QEMU with the same machine; what one costs the daemon."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

from bench_client import BenchDaemon, Timings, exec_true, private_kb, report, say

STARTS = int(os.environ.get("BENCH_ROUNDS", "20"))
BOOTS = int(os.environ.get("BENCH_BOOTS", "2"))  # each takes half a minute where QEMU has to translate
MANY = 3
OVMF = pathlib.Path("/usr/share/OVMF")
READY = "ready after"


def power(client, name, action):
    client.call("PUT", f"/1.0/instances/{name}/state", {"action": action, "force": action == "stop", "timeout": -1})


def create(client, name, source, **config):
    client.call("POST", "/1.0/instances", {"name": name, "type": "virtual-machine", "source": source, "config": config})


def plain_words(folder, disk, memory):
    """Without sandbox, descriptors, agent and config drive: what somebody would type."""
    shutil.copyfile(OVMF / "OVMF_VARS_4M.ms.fd", folder / "nvram")
    return ["qemu-system-x86_64", "-nodefaults", "-machine", "q35,smm=on", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", memory,
            "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.secboot.fd",
            "-drive", f"if=pflash,unit=1,format=raw,file={folder}/nvram",
            "-device", "virtio-scsi-pci", "-drive", f"if=none,id=root,format=raw,cache=none,file={disk}", "-device", "scsi-hd,drive=root",
            "-device", "virtio-rng-pci", "-device", "virtio-balloon-pci", "-device", "virtio-serial-pci", "-device", "virtio-vga",
            "-serial", f"file:{folder}/serial", "-display", "none", "-qmp", f"unix:{folder}/qmp,server=on,wait=off"]


@contextlib.contextmanager
def plain_machine(folder, disk, memory):
    """Yields when its processors run."""
    process = subprocess.Popen(plain_words(folder, disk, memory), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: says_running(folder / "qmp"))
        yield process
    finally:
        process.kill()
        process.wait()
        (folder / "qmp").unlink(missing_ok=True)


def says_running(path):
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as qmp:
        qmp.connect(str(path))
        lines = qmp.makefile("rw")
        lines.readline()
        for command in ("qmp_capabilities", "query-status"):
            lines.write(json.dumps({"execute": command}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
        return answer["return"]["running"]
    return False


def wait_for(check):
    deadline = time.monotonic() + 300
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def starts(daemon, client, folder):
    name = daemon.name("empty")
    create(client, name, {"type": "none"}, **{"limits.memory": "256MiB"})
    ours, floor = Timings(), Timings()
    disk = folder / "empty.img"
    with open(disk, "wb") as file:
        file.truncate(10 << 30)
    for _ in range(STARTS):
        with ours.time("start"):
            power(client, name, "start")
        with ours.time("stop_forced"):
            power(client, name, "stop")
        begin = time.perf_counter()
        with plain_machine(folder, disk, "256"):
            floor.add("start", (time.perf_counter() - begin) * 1000)
    client.call("DELETE", f"/1.0/instances/{name}")
    return ours.report(), floor.report()


def boots(daemon, client, folder):
    name = daemon.name("boots")
    create(client, name, {"type": "image", "alias": "busybox-vm"}, **{"limits.memory": "384MiB"})
    disk = folder / "boots.img"
    shutil.copyfile(daemon.dir / f"storage-pools/default/virtual-machines/{name}/root.img", disk)
    ours, floor = Timings(), Timings()
    console = lambda: client.raw("GET", f"/1.0/instances/{name}/console")[1]
    for _ in range(BOOTS):
        with ours.time("boot"):
            power(client, name, "start")
            wait_for(lambda: READY in str(console()))
        wait_for(lambda: exec_answers(client, name))
        power(client, name, "stop")
        (folder / "serial").unlink(missing_ok=True)
        with floor.time("boot"):
            with plain_machine(folder, disk, "384"):
                wait_for(lambda: READY in (folder / "serial").read_text(errors="replace"))
    client.call("DELETE", f"/1.0/instances/{name}")
    return ours.report(), floor.report()


def exec_answers(client, name):
    try:
        exec_true(client, name)
        return True
    except Exception:
        return False


def cpu_seconds(pid):
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def costs(daemon, client):
    before = private_kb(daemon.process.pid)
    names = [daemon.name(f"many{number}") for number in range(MANY)]
    for name in names:
        create(client, name, {"type": "none"}, **{"limits.memory": "64MiB"})
        power(client, name, "start")
    time.sleep(5)
    cpu = cpu_seconds(daemon.process.pid)
    time.sleep(10)
    used = cpu_seconds(daemon.process.pid) - cpu
    figures = {"machines": MANY, "daemon_private_kb_each": (private_kb(daemon.process.pid) - before) // MANY,
               "daemon_cpu_percent_each": round(used / 10 / MANY * 100, 3)}
    for name in names:
        power(client, name, "stop")
        client.call("DELETE", f"/1.0/instances/{name}")
    return figures


def main():
    daemon = BenchDaemon("btrfs")
    try:
        daemon.start().set_up()
        daemon.troupe("image", "build", "busybox", "--vm")
        folder = daemon.home / "plain"
        folder.mkdir()
        client = daemon.client()
        say("starts")
        started, started_floor = starts(daemon, client, folder)
        say("boots")
        booted, booted_floor = boots(daemon, client, folder)
        say("costs")
        report({"bench": "machine", "ours": {**started, **booted}, "floor": {**started_floor, **booted_floor},
                "boot_ratio": round(booted["boot"]["median_ms"] / booted_floor["boot"]["median_ms"], 3), "costs": costs(daemon, client)})
    finally:
        daemon.finish()


if __name__ == "__main__":
    main()
