"""Serving over HTTP and by handles: rayjup, bare uvicorn and FastAPI, and Ray Serve and LitServe where given.

    python benchmarks/serve.py --out benchmarks/results/serve.md \
        --ray-python PYTHON-WITH-RAY --litserve-python PYTHON-WITH-LITSERVE

Load comes from ``wrk`` (one thread, keep-alive). Servers that are compared with each other run side by side
and are asked in turn, several rounds long: a machine that is busy for a while is so for all of them, and the
table has medians of the rounds, and of the ratios within a round. Ray's and LitServe's run alone, since they
take processor time when nobody asks. Beside rates and latencies stands the CPU time that all processes of a
server took per request. With both given it takes about seven minutes; ``--quick`` takes four.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
SERVERS = HERE / "serve_servers.py"
CONNECTIONS = (1, 32, 128)


@dataclass
class Turn:
    """What wrk says of one server for some seconds."""

    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_us: float


@dataclass
class Server:
    """One row of the table."""

    title: str
    name: str
    python: str
    beside: str = ""  # the title of the server that it is compared with
    port: int = 0
    family: list[psutil.Process] = field(default_factory=list)
    turns: dict[int, list[Turn]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=2, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the long run")
    parser.add_argument("--ray-python")
    parser.add_argument("--litserve-python")
    parser.add_argument("--out")
    parser.add_argument("--only", help="names of servers, separated by commas")
    parser.add_argument("--quick", action="store_true", help="three rounds, without the long runs")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("this benchmark needs wrk (Debian's package of that name)")
    rounds = 3 if arguments.quick else arguments.rounds
    began = time.monotonic()
    me, ray, litserve = sys.executable, arguments.ray_python, arguments.litserve_python
    groups = [
        [
            Server("uvicorn", "bare", me),
            Server("rayjup, replica listens", "direct", me, "uvicorn"),
            Server("rayjup, through the proxy", "routed", me, "uvicorn"),
        ],
        [
            Server("FastAPI on uvicorn", "fastapi", me),
            Server("rayjup, FastAPI ingress", "fastapi_ingress", me, "FastAPI on uvicorn"),
        ],
        [Server("LitServe", "litserve", litserve)] if litserve else [],
        [Server("Ray Serve", "ray", ray)] if ray else [],
        [Server("Ray Serve, FastAPI ingress", "ray_fastapi", ray)] if ray else [],
    ]
    wanted = set(arguments.only.split(",")) if arguments.only else None
    rows: list[str] = []
    extra: list[str] = []
    for group in groups:
        group = [one for one in group if wanted is None or one.name in wanted]
        with contextlib.ExitStack() as stack:
            up = [one for one in group if stack.enter_context(running(one, extra))]
            few = len(group) == 1 and group[0].python != me
            for _ in range(2 if few else rounds):
                for connections in CONNECTIONS:
                    for one in up:
                        one.turns.setdefault(connections, []).append(
                            turn(one, connections, arguments.seconds)
                        )
            by_title = {one.title: one for one in up}
            for one in up:
                rows += lines(one, by_title.get(one.beside))
                print("\n".join(rows[-len(CONNECTIONS) :]), flush=True)
    single = [
        ("rayjup", "handles", me, ()),
        ("Ray Serve", "ray_handles", ray, ()),
        ("rayjup", "more", me, ()),
        ("Ray Serve", "ray_more", ray, ()),
    ]
    if not arguments.quick:
        single.append(("rayjup", "long", me, (str(arguments.requests),)))
    for title, name, python, given in single:
        if python and (wanted is None or name in wanted):
            alone(title, name, python, given, extra)
    report = text(rows, extra, time.monotonic() - began)
    print(report)
    if arguments.out:
        path = Path(arguments.out)
        _, mark, faults = path.read_text().partition("\n## Faults") if path.exists() else ("", "", "")
        path.write_text(report + mark + faults)


def alone(title: str, name: str, python: str, given: tuple[str, ...], extra: list[str]) -> None:
    """Run something that measures itself."""
    home = tempfile.mkdtemp(prefix="rjb-", dir="/tmp")
    try:
        output = subprocess.run(
            [python, str(SERVERS), name, *given],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**os.environ, "TMPDIR": home, "JUPYTER_RUNTIME_DIR": home},
        )
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if output.returncode:
        extra.append(f"| {title} | {name} | failed: {output.stderr.strip().splitlines()[-1][:100]} |")
        print(output.stderr[-2000:], flush=True)
    for line in output.stdout.splitlines():
        if line.startswith("RESULT "):
            extra.append(f"| {title} | " + line[len("RESULT ") :] + " |")
            print(extra[-1], flush=True)


def text(rows: list[str], extra: list[str], took_s: float) -> str:
    load = os.getloadavg()[1]
    return "\n".join(
        [
            "# Serving",
            "",
            f"{psutil.cpu_count()} cores, load average over five minutes {load:.1f} (the server's and wrk's "
            f"own part is about 2), wrk with one thread, {took_s / 60:.1f} minutes. Rates, latencies and CPU "
            "are medians of the rounds; the ratio is the median of those within a round, in brackets the "
            "least and the greatest.",
            "",
            "| server | connections | requests/s | of the bare one beside it | p50 | p99 | errors "
            "| CPU of the server per request |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "| | what | value |",
            "|---|---|---|",
            *extra,
            "",
        ]
    )


def lines(one: Server, beside: Server | None) -> list[str]:
    """A server's rows."""
    found = []
    for connections, turns in one.turns.items():
        ratio = ""
        if beside is not None:
            pairs = zip(turns, beside.turns[connections], strict=True)
            ratios = sorted(mine.rate / max(its.rate, 1e-9) for mine, its in pairs)
            ratio = f"{statistics.median(ratios):.0%} ({ratios[0]:.0%} to {ratios[-1]:.0%})"
        rate, p50, p99, cpu = (
            statistics.median(getattr(each, name) for each in turns)
            for name in ("rate", "p50_ms", "p99_ms", "cpu_us")
        )
        errors = sum(each.errors for each in turns)
        found.append(
            f"| {one.title} | {connections} | {rate:,.0f} | {ratio} | {p50:.3g} ms | {p99:.3g} ms | {errors} "
            f"| {cpu:.0f} µs |"
        )
    return found


@contextlib.contextmanager
def running(one: Server, extra: list[str]) -> Iterator[bool]:
    """A server while the block runs; gives whether it is up."""
    one.port = free_port()
    home = tempfile.mkdtemp(prefix="rjb-", dir="/tmp")
    script = HERE / "serve_litserve.py" if one.name == "litserve" else SERVERS
    server = subprocess.Popen(
        [one.python, str(script), one.name, str(one.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": home, "JUPYTER_RUNTIME_DIR": home},
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        up = False
        for line in server.stdout:
            if line.startswith("RESULT "):
                extra.append(f"| {one.title} | " + line[len("RESULT ") :].strip() + " |")
            if line.strip() == "READY":
                up = wait_for(one.port)
                break
        if up:
            one.family = [psutil.Process(server.pid), *orphans(home)]
            turn(one, 8, 1)  # warm
        else:
            print(f"{one.title}: did not start", flush=True)
        yield up
    finally:
        server.stdin.close()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        for process in orphans(home):  # LitServe's stay
            process.kill()
        shutil.rmtree(home, ignore_errors=True)


def turn(one: Server, connections: int, seconds: int) -> Turn:
    """Ask a server for some seconds."""
    before = cpu(one.family)
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--latency", f"http://127.0.0.1:{one.port}/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    took = cpu(one.family) - before
    count = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
    p50 = milliseconds(re.search(r"\n +50% +(\S+)", output)[1])  # type: ignore[index]
    p99 = milliseconds(re.search(r"\n +99% +(\S+)", output)[1])  # type: ignore[index]
    errors = sum(int(n) for n in re.findall(r"Non-2xx[^:]*: (\d+)", output))
    lost = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    errors += sum(map(int, lost.groups())) if lost else 0
    return Turn(rate, p50, p99, errors, took / max(count, 1) * 1e6)


def milliseconds(shown: str) -> float:
    """A duration as wrk shows it; infinite where nothing was answered."""
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", shown)
    if found is None:
        return float("inf")
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[found[2]]


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


def wait_for(port: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


if __name__ == "__main__":
    main()
