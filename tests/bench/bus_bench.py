"""The message bus: calls and operations per second and their latency, beside a bare Cap'n Proto server."""

import json
import os
import subprocess

from bench_client import report, troupe_e2e

SECONDS = os.environ.get("BENCH_SECONDS", "3")


def main():
    program = troupe_e2e.BIN / "bench_bus"
    if not program.exists():
        return report({"skipped": f"{program} is not built; ./dev bench builds it"})
    daemon = troupe_e2e.Daemon("dir")
    try:
        daemon.start()
        done = subprocess.run([program, daemon.dir / "bus.socket", SECONDS], stdout=subprocess.PIPE, text=True, check=True)
        report(json.loads(done.stdout))
    finally:
        daemon.close()


if __name__ == "__main__":
    main()
