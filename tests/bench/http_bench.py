"""The HTTP server alone (the program bench_http): rates of a GET from shared bytes, and the resident memory."""

import os
import pathlib
import subprocess
import tempfile

from bench_client import get_rate, report, status_kb, troupe_e2e

SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))


def measure(program):
    with tempfile.TemporaryDirectory(prefix="troupe-bench-") as folder:
        socket = pathlib.Path(folder) / "socket"
        server = subprocess.Popen([program, socket], stdin=subprocess.DEVNULL)
        try:
            troupe_e2e.eventually(lambda: socket.exists() or server.poll() is not None, "the server's socket")
            result = {f"get_{clients}{'_pipelined' if depth > 1 else ''}": get_rate(socket, "/", clients, depth, SECONDS)
                      for clients, depth in ((1, 1), (8, 1), (8, 32))}
            return {**result, "resident_kb": status_kb(server.pid)}
        finally:
            server.terminate()
            server.wait()


def main():
    program = troupe_e2e.BIN / "bench_http"
    report(measure(program) if program.exists() else {"skipped": f"{program} is not built; ./dev bench builds it"})


if __name__ == "__main__":
    main()
