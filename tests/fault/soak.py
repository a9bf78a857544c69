"""A daemon under steady work: launch, exec, files, lists, events, power, delete by several clients at once, for a while.

  soak.py [--seconds 600] [--clients 3]

Made for sanitizer builds (TROUPE_BIN): it fails when the daemon or a helper reports, ends by itself, leaves something
behind or gives a wrong answer. Prints how many rounds were made.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from troupe_e2e import Daemon, run  # noqa: E402

REPORT = re.compile(r"(AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:)")


def one_round(daemon, name, number):
    daemon.lxc("launch", "busybox", name)
    said = daemon.exec(name, "sh", "-c", f"echo {number}; exit 3", check=False)
    assert (said.returncode, said.stdout) == (3, f"{number}\n"), said
    with_terminal = run("script", "-qec", f"lxc exec {name} -t -- echo on a terminal", "/dev/null", env=daemon.env)
    assert "on a terminal" in with_terminal.stdout, with_terminal
    daemon.lxc("file", "push", "-", f"{name}/root/pushed", stdin="kept")
    assert daemon.lxc_out("file", "pull", f"{name}/root/pushed", "-") == "kept"
    daemon.lxc("config", "set", name, "user.round", str(number))
    assert name in daemon.lxc_out("list", "-f", "csv", "-c", "n")
    daemon.get(f"/1.0/instances/{name}/state")
    if number % 3 == 0:
        daemon.lxc("pause", name)
        daemon.lxc("start", name)
    if number % 4 == 0:
        daemon.lxc("restart", "-f", name)
    if number % 2 == 0:
        daemon.lxc("stop", "-f", name)
        daemon.lxc("rename", name, name + "r")
        name += "r"
    daemon.lxc("delete", "-f", name)


def client(daemon, number, until, rounds, problems):
    try:
        while time.monotonic() < until and not problems:
            one_round(daemon, daemon.name(f"s{number}"), len(rounds))
            rounds.append(number)
    except Exception as problem:
        problems.append(f"client {number}: {problem}")


def reports(home):
    """What sanitizers wrote, each kind once: to the daemon's output, or to files where a helper has no stderr."""
    kinds = {}
    for file in [home / "trouped.out", *home.glob("sanitizer.*")]:
        text = file.read_text(errors="replace") if file.exists() else ""
        for report in re.split(r"^={18,}$", text, flags=re.M) if REPORT.search(text) else []:
            if summary := re.search(r"^SUMMARY: .*$", report, re.M):
                kinds.setdefault(summary[0], []).append(report)
    return [f"--- {len(found)} times: {summary}\n{found[0][:8000]}" for summary, found in kinds.items()]


def soak(seconds, clients):
    daemon = Daemon()
    for kind in ("ASAN_OPTIONS", "TSAN_OPTIONS"):  # helpers have /dev/null for stderr
        os.environ[kind] = f"{os.environ.get(kind, '')}:log_path={daemon.home}/sanitizer"
    daemon.start().set_up()
    daemon.troupe("image", "build", "busybox")
    monitor = subprocess.Popen(["lxc", "monitor"], env=daemon.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rounds, problems, until = [], [], time.monotonic() + seconds
    threads = [threading.Thread(target=client, args=(daemon, n, until, rounds, problems)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monitor.terminate()
    monitor.wait()
    daemon.stop()  # leaks are reported at the end
    problems += reports(daemon.home)
    daemon.start()
    problems += daemon.close()
    print(json.dumps({"rounds": len(rounds), "seconds": seconds, "problems": len(problems)}))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems or not rounds else 0


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--clients", type=int, default=3)
    given = options.parse_args()
    sys.exit(soak(given.seconds, given.clients))
