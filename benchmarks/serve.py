"""Serving over HTTP and by handles: rayjup, bare uvicorn, and Ray Serve and LitServe where they are given.

    python benchmarks/serve.py --out benchmarks/results/serve.md \
        --ray-python PYTHON-WITH-RAY --litserve-python PYTHON-WITH-LITSERVE

Load comes from ``wrk`` (one thread, keep-alive). Servers run one at a time, each measured at 1, 32 and
128 connections. Beside rates and latencies stands the CPU time that all processes of the server took
per request: on a machine that does other things, too, this is what can be compared.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
SERVERS = HERE / "serve_servers.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--ray-python")
    parser.add_argument("--litserve-python")
    parser.add_argument("--out")
    parser.add_argument("--only", help="names of servers, separated by commas")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("this benchmark needs wrk (Debian's package of that name)")
    servers = [
        ("uvicorn", "bare", sys.executable),
        ("rayjup, replica listens", "direct", sys.executable),
        ("rayjup, through the proxy", "routed", sys.executable),
        ("bare FastAPI", "fastapi", sys.executable),
        ("rayjup, FastAPI ingress", "fastapi_ingress", sys.executable),
    ]
    if arguments.litserve_python:
        servers.append(("LitServe", "litserve", arguments.litserve_python))
    if arguments.ray_python:
        servers.append(("Ray Serve", "ray", arguments.ray_python))
        servers.append(("Ray Serve, FastAPI ingress", "ray_fastapi", arguments.ray_python))
    wanted = set(arguments.only.split(",")) if arguments.only else None
    rows: list[str] = []
    extra: list[str] = []
    for title, name, python in servers:
        if wanted is None or name in wanted:
            measure(title, name, python, arguments.seconds, rows, extra)
    for title, name, python in (
        ("rayjup", "handles", sys.executable),
        ("Ray Serve", "ray_handles", arguments.ray_python),
        ("rayjup", "more", sys.executable),
    ):
        if python and (wanted is None or name in wanted):
            output = subprocess.run(
                [python, str(SERVERS), name], capture_output=True, text=True, timeout=300, check=False
            )
            for line in output.stdout.splitlines():
                if line.startswith("RESULT "):
                    extra.append(f"| {title} | " + line[len("RESULT ") :] + " |")
                    print(extra[-1], flush=True)
    report = text(rows, extra)
    print(report)
    if arguments.out:
        Path(arguments.out).write_text(report)


def text(rows: list[str], extra: list[str]) -> str:
    load = os.getloadavg()[1]
    return "\n".join(
        [
            "# Serving",
            "",
            f"{psutil.cpu_count()} cores, load average over five minutes {load:.1f} (the server's and wrk's "
            "own part is "
            "about 2), wrk with one thread.",
            "",
            "| server | connections | requests/s | p50 | p99 | errors | CPU of the server per request |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "| | what | value |",
            "|---|---|---|",
            *extra,
            "",
        ]
    )


def measure(title: str, name: str, python: str, seconds: float, rows: list[str], extra: list[str]) -> None:
    port = free_port()
    home = tempfile.mkdtemp(prefix="rjb-", dir="/tmp")
    server = subprocess.Popen(
        [python, str(SERVERS), name, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": home, "JUPYTER_RUNTIME_DIR": home},
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if line.startswith("RESULT "):
                extra.append(f"| {title} | " + line[len("RESULT ") :].strip() + " |")
            if line.strip() == "READY":
                break
        else:
            print(f"{title}: did not start")
            return
        family = [psutil.Process(server.pid), *orphans(home)]
        wait_for(port)
        for connections in (1, 32, 128):
            before = cpu(family)
            output = subprocess.run(
                [
                    "wrk",
                    "-t1",
                    f"-c{connections}",
                    f"-d{seconds:g}",
                    "--latency",
                    f"http://127.0.0.1:{port}/",
                ],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            took = cpu(family) - before
            rows.append(row(title, connections, output, took))
            print(rows[-1], flush=True)
    finally:
        assert server.stdin is not None
        server.stdin.close()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        shutil.rmtree(home, ignore_errors=True)


def row(title: str, connections: int, output: str, took: float) -> str:
    count = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
    p50 = re.search(r"50%\s+(\S+)", output)[1]  # type: ignore[index]
    p99 = re.search(r"99%\s+(\S+)", output)[1]  # type: ignore[index]
    errors = sum(int(n) for n in re.findall(r"Non-2xx[^:]*: (\d+)", output))
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors += sum(map(int, lost.groups())) if lost else 0
    per = took / max(count, 1) * 1e6
    return f"| {title} | {connections} | {rate:,.0f} | {p50} | {p99} | {errors} | {per:.0f} µs |"


def orphans(home: str) -> list[psutil.Process]:
    """Processes of the server that are not its children: they have its directory in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == home:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def cpu(family: list[psutil.Process]) -> float:
    total = 0.0
    for process in {p.pid: p for p in family}.values():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise SystemExit("the server does not listen")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
