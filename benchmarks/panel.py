"""The panel's server under load: ten nodes with eight GPUs each, a thousand actors, many browsers.

The cluster is simulated (its snapshots are, as pickled bytes that are unpickled as those of a real one);
the Jupyter server, the extension and the websockets are real. Measured are the longest time the server's
event loop was held, the processor time of the server, and what goes over the wire.

    python benchmarks/panel.py [--browsers 1,10,50] [--seconds 15] [--out benchmarks/results/panel.md]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import pickle
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NODES, GPUS, ACTORS = 10, 8, 1000
_LOOK_S = 0.005
EXTENSION = Path(__file__).resolve().parents[1] / "extension"
STATIC = EXTENSION / "rayjup_lab" / "labextension" / "static"


def snapshot(turn: int) -> dict[str, Any]:
    """A cluster in which all machines move, and two of a hundred actors."""

    def moving(base: int, most: int) -> int:
        return (base * 7919 + turn * 104729) % most

    nodes = [
        {
            "node_id": f"{node:056x}",
            "name": f"node-{node}",
            "host": f"10.0.0.{node}",
            "alive": True,
            "is_head": node == 0,
            "resources_total": {"CPU": 64.0, "GPU": float(GPUS), "memory": 5e11},
            "resources_available": {"CPU": float(moving(node, 64)), "GPU": 1.0, "memory": 4e11},
            "cpu_percent": float(moving(node, 100)),
            "mem_used": moving(node, 500) * 10**9,
            "mem_total": 512 * 10**9,
            "store_used": moving(node, 100) * 10**9,
            "store_capacity": 150 * 10**9,
            "store_objects": moving(node, 5000),
            "store_spilled": 0,
            "executors": 120,
            "gpus": [
                {
                    "index": gpu,
                    "name": "NVIDIA H200",
                    "utilization": moving(node * GPUS + gpu, 100),
                    "mem_used": moving(gpu, 140) * 10**9,
                    "mem_total": 141 * 10**9,
                    "temperature": 40 + moving(gpu, 40),
                }
                for gpu in range(GPUS)
            ],
        }
        for node in range(NODES)
    ]
    actors = [
        {
            "actor_id": f"{actor:032x}",
            "class_name": "Worker",
            "name": f"worker-{actor}",
            "state": "ALIVE",
            "node_id": f"{actor % NODES:056x}",
            "pid": 10_000 + actor,
            "pending": moving(actor, 50) if (actor + turn) % 50 == 0 else 0,
        }
        for actor in range(ACTORS)
    ]
    tasks = [
        {"name": f"task_{i}", "pending": 5, "running": 3, "finished": turn * 10, "failed": 0}
        for i in range(30)
    ]
    return {
        "cluster_id": "rj-simulated",
        "name": "simulated",
        "address": "tcp://10.0.0.0:8786",
        "time": time.time(),
        "started_by": "benchmark",
        "uptime_s": float(turn),
        "nodes": nodes,
        "tasks": tasks,
        "actors": actors,
        "resources_total": {"CPU": 640.0, "GPU": 80.0},
        "resources_available": {"CPU": float(moving(1, 640)), "GPU": 10.0},
        "demand": [],
        "runtime_envs": [],
        "drivers": [{"pid": 1, "job_id": "01000000"}],
    }


def serve(home: Path) -> None:
    """The server, with a cluster that is not there; notes how long its loop was held."""
    from jupyter_server.serverapp import ServerApp
    from tornado.ioloop import IOLoop

    from rayjup.cluster import descriptors
    from rayjup.observe import ClusterView

    cluster = descriptors.Descriptor(
        "rj-simulated", "simulated", "tcp://10.0.0.0:8786", str(home), str(home / "agent"), os.getpid()
    )
    turns = iter(range(1 << 30))
    packed = [pickle.dumps(snapshot(turn)) for turn in range(120)]
    ClusterView.snapshot = lambda self: pickle.loads(packed[next(turns) % len(packed)])  # type: ignore[method-assign]
    descriptors.list_clusters = lambda: [cluster]  # type: ignore[assignment]
    held: list[float] = []
    worked: list[float] = []  # the loop's own work alone, without waiting for a processor

    async def look() -> None:
        while True:
            before, own = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_LOOK_S)
            held.append(time.perf_counter() - before - _LOOK_S)
            worked.append(time.thread_time() - own)

    def reset(*_: Any) -> None:
        # What was held since the last signal, in one write.
        shown = sorted(held) or [0.0]
        result = {
            "longest_ms": shown[-1] * 1000,
            "p99_ms": shown[int(len(shown) * 0.99)] * 1000,
            "work_ms": max(worked, default=0.0) * 1000,
        }
        held.clear()
        worked.clear()
        (home / "held.new").write_text(json.dumps(result))
        (home / "held.new").rename(home / "held")

    signal.signal(signal.SIGUSR2, reset)
    app = ServerApp()
    app.initialize(
        [
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=0",
            f"--ServerApp.root_dir={home}",
            "--ServerApp.jpserver_extensions={'rayjup_lab': True, 'jupyterlab': True}",
        ]
    )
    IOLoop.current().add_callback(look)
    app.start()


async def browse(url: str, token: str, browsers: int, seconds: float) -> dict[str, float]:
    """So many browsers that watch; what they were sent."""
    from tornado.httpclient import HTTPRequest
    from tornado.websocket import websocket_connect

    address = url.replace("http", "ws", 1) + "rayjup/live"
    headers = {"Authorization": f"token {token}"}
    lines = [
        await websocket_connect(HTTPRequest(address, headers=headers), compression_options={})
        for _ in range(browsers)
    ]
    wholes, changes, sizes = 0, 0, [0, 0]
    for line in lines:
        await line.write_message(json.dumps({"type": "subscribe", "topic": "clusters"}))
        await line.write_message(
            json.dumps({"type": "subscribe", "topic": "snapshot", "cluster": "rj-simulated"})
        )

    async def read(line: Any) -> None:
        nonlocal wholes, changes
        while (text := await line.read_message()) is not None:
            if text.startswith('{"type": "whole"'):
                wholes, sizes[0] = wholes + 1, sizes[0] + len(text)
            elif text.startswith('{"type": "change"'):
                changes, sizes[1] = changes + 1, sizes[1] + len(text)

    readers = [asyncio.ensure_future(read(line)) for line in lines]
    await asyncio.sleep(seconds)
    for line in lines:
        line.close()
    await asyncio.gather(*readers)
    return {
        "messages": (wholes + changes) / seconds / browsers,
        "whole_kb": sizes[0] / max(1, wholes) / 1024,
        "change_kb": sizes[1] / max(1, changes) / 1024,
    }


@contextlib.contextmanager
def running() -> Iterator[tuple[subprocess.Popen[bytes], Path, str, str]]:
    """A server: its process, directory, address and token."""
    with tempfile.TemporaryDirectory(prefix="rj-bench-") as directory:
        home, token = Path(directory), secrets.token_hex(16)
        places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("RUNTIME", "CONFIG", "DATA")}
        panel = home / "share" / "labextensions" / "@rayjup" / "lab"
        panel.parent.mkdir(parents=True)
        panel.symlink_to(EXTENSION / "rayjup_lab" / "labextension")
        places["JUPYTER_PATH"] = str(home / "share")
        environment = {**os.environ, **places, "JUPYTER_TOKEN": token}
        with (home / "log").open("wb") as log:
            command = [sys.executable, __file__, "--serve", str(home)]
            server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            url = ""
            deadline = time.monotonic() + 60
            while not url:
                assert time.monotonic() < deadline and server.poll() is None, (home / "log").read_text()
                for path in (home / "runtime").glob("jpserver-*.json"):
                    url = json.loads(path.read_text() or "{}").get("url", "")
                time.sleep(0.2)
            yield server, home, url, token
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


def measured(browsers: int, seconds: float) -> dict[str, float]:
    """One row of the table."""
    import psutil

    with running() as (server, home, url, token):
        process = psutil.Process(server.pid)
        asyncio.run(browse(url, token, browsers, 3.0))  # everything imported, every line opened once
        ask(server, home)
        before = sum(process.cpu_times()[:2])
        sent = asyncio.run(browse(url, token, browsers, seconds))
        used = sum(process.cpu_times()[:2]) - before
        held = ask(server, home)
    return {"cpu_percent": used / seconds * 100, **held, **sent}


def ask(server: subprocess.Popen[bytes], home: Path) -> dict[str, float]:
    """How long the server's loop was held since it was asked last."""
    (home / "held").unlink(missing_ok=True)
    server.send_signal(signal.SIGUSR2)
    deadline = time.monotonic() + 20
    while not (home / "held").exists():
        assert time.monotonic() < deadline and server.poll() is None, (home / "log").read_text()[-3000:]
        time.sleep(0.02)
    found: dict[str, float] = json.loads((home / "held").read_text())
    return found


def in_chromium(seconds: float) -> dict[str, float] | None:
    """What the panel costs a browser; None where there is none."""
    node, chromium = shutil.which("node"), shutil.which("chromium")
    if node is None or chromium is None:
        print("no Node or no Chromium on the path: the browser's side is left out")
        return None
    with running() as (_, _, url, token):
        command = [node, "ui-tests/speed.mjs", "--url", url.rstrip("/"), "--token", token]
        command += ["--seconds", f"{seconds:g}", "--chromium", chromium]
        done = subprocess.run(command, cwd=EXTENSION, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browsers", default="1,10,50")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--serve", type=Path)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    lines = [
        "# The panel's server under load",
        "",
        f"{NODES} nodes with {GPUS} GPUs each and {ACTORS} actors (simulated), once a second, to so many "
        f"browsers; {options.seconds:g} s each. {platform.system()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start.",
        "",
        "| browsers | server, % of a core | loop held, longest | own work at a time | p99 | messages/s each "
        "| whole | change |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for browsers in map(int, options.browsers.split(",")):
        row = measured(browsers, options.seconds)
        lines.append(
            f"| {browsers} | {row['cpu_percent']:.1f} | {row['longest_ms']:.0f} ms | "
            f"{row['work_ms']:.0f} ms | "
            f"{row['p99_ms']:.1f} ms | {row['messages']:.2f} | {row['whole_kb']:.0f} KB | "
            f"{row['change_kb']:.1f} KB |"
        )
        print(lines[-1], flush=True)
    lines += ["", "Goals: 5 % of a core, 50 ms.", ""]
    browser = in_chromium(options.seconds)
    if browser is not None:
        lines += [
            "| in Chromium | measured | goal |",
            "|---|---:|---:|",
            f"| first paint after the panel is opened | {browser['painted_ms']:.0f} ms | 300 ms |",
            f"| script per update (once a second) | {browser['script_ms']:.1f} ms | 16 ms |",
            f"| tasks above 50 ms in {options.seconds:g} s | {browser['long_tasks']:.0f} | 0 |",
            f"| rows in the page, of {ACTORS} actors and 30 functions | {browser['rows']:.0f} | |",
        ]
    size = sum(len(gzip.compress(path.read_bytes())) for path in STATIC.glob("*.js"))
    lines += [f"| JavaScript of the panel, compressed | {size / 1024:.0f} KB | 200 KB |"]
    print("\n".join(lines[-6:]))
    lines += ["", "Made by `python benchmarks/panel.py`."]
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
