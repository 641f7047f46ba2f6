"""Many nodes: what the head costs per node, and how fast real light nodes of this machine join.

``python benchmarks/nodes.py [--simulated 1000 10000] [--real 100] [--out FILE]``
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.scaling.plan import Situation, Up, Wanted, decide
from rayjup.cluster.scaling.settings import NodeType, ScalingSettings
from rayjup.engine.head.head import Head
from rayjup.observe import ClusterView

CPUS = 16.0
LEASES = 20_000


def info(number: int) -> dict[str, object]:
    node = f"{number:056x}"
    return {
        **{"node_id": node, "name": f"n{number}", "host": f"h{number}", "host_id": f"h{number}"},
        **{"lane_host": f"h{number}", "endpoint": ("10.0.0.1", 1), "agent_path": f"/run/{number}"},
        **{"resources": {"CPU": CPUS, "memory": 64e9, "object_store_memory": 19e9}, "pid": 1},
        **{"session_dir": "/run", "store_dir": "/run", "socket_dir": "/run"},
    }


SAMPLE = {
    "cpu_percent": 1.0,
    "mem_used": 1,
    "mem_total": 2,
    "store_used": 0,
    "store_own": 0,
    "executors": 2,
    "tasks": {},
}


def simulated(count: int) -> list[tuple[str, str]]:
    """The head's own work, with nodes that only listen."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    head = Head({"cluster_id": "rj-sim", "name": "sim", "address": "", "started_by": "bench"})
    grants: list[str] = []

    def hear(message: tuple[object, ...]) -> None:
        if message[0] == "grant":
            grants.append(str(message[1]))

    for number in range(count):
        head.node_joined(info(number), hear)
    memory = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    head = Head({"cluster_id": "rj-sim", "name": "sim", "address": "", "started_by": "bench"})
    began = time.perf_counter()
    for number in range(count):
        head.node_joined(info(number), hear)
    join = time.perf_counter() - began
    ids = list(head.nodes)
    began = time.perf_counter()
    for node_id in ids:
        head.on_message(node_id, ("sample", dict(SAMPLE), 1))
    sample = (time.perf_counter() - began) / count
    head.on_message(ids[0], ("driver", "d" * 16, 1, {}))
    shape = {"resources": {"CPU": 1.0}}
    rounds, taken = 0, 0.0
    while len(grants) < LEASES:
        wanted = min(LEASES - len(grants), int(count * CPUS) // 2)
        start = len(grants)
        began = time.perf_counter()
        head.on_message(ids[0], ("lease", "d" * 16, 1, shape, wanted))
        for lease_id in grants[start:]:
            head.on_message(ids[0], ("release", "d" * 16, lease_id))
        taken += time.perf_counter() - began
        rounds += 1
        assert len(grants) - start == wanted, "not all leases were granted"
    began = time.perf_counter()
    head.scaling.state("observer")
    state = time.perf_counter() - began
    kind = NodeType("w", {"CPU": CPUS}, 0, 2 * count)
    rules = ScalingSettings((kind,), 2 * count)
    nodes = tuple(Up(i, "w", {"CPU": CPUS}, {"CPU": 0.0}) for i in ids)
    demand = tuple(Wanted({"CPU": float(cpus)}, count) for cpus in (1, 2, 4, 8))
    began = time.perf_counter()
    decide(rules, Situation(nodes, demand=demand))
    decision = time.perf_counter() - began
    n = f"{count:,} nodes"
    return [
        (f"{n}: all join, head's part", f"{join:.2f} s ({join / count * 1e6:.0f} µs each)"),
        (
            f"{n}: memory of the head's tables",
            f"{memory / 2**20:.1f} MiB ({memory / count / 1024:.1f} KiB each)",
        ),
        (
            f"{n}: one sample of a node",
            f"{sample * 1e6:.1f} µs ({sample * count * 100:.1f} % of a core at one per second)",
        ),
        (f"{n}: a lease granted and given back", f"{taken / LEASES * 1e6:.0f} µs ({LEASES / taken:,.0f}/s)"),
        (f"{n}: what the autoscaler asks", f"{state * 1e3:.1f} ms"),
        (f"{n}: a decision with 4 kinds of demand, {15 * count:,} CPUs", f"{decision * 1e3:.0f} ms"),
    ]


def real(count: int) -> list[tuple[str, str]]:
    """Nodes as processes of this machine; two cores start them, so they come one after the other."""
    cluster = manager.start(num_cpus=0, owner_pid=os.getpid(), object_store_memory=20 << 20)
    view = ClusterView(cluster, timeout_s=30.0)
    try:
        began = time.monotonic()
        manager.add_node(cluster, num_cpus=1, object_store_memory=10 << 20, memory=1 << 26)
        first = time.monotonic() - began
        with ThreadPoolExecutor(4) as pool:
            began = time.monotonic()

            def add(_: int) -> None:
                manager.add_node(
                    cluster, num_cpus=1, object_store_memory=10 << 20, memory=1 << 26, timeout_s=120.0
                )

            list(pool.map(add, range(count - 1)))
            took = time.monotonic() - began
        head = psutil.Process(cluster.head()[0])
        nodes = [p for p in psutil.process_iter() if is_node_of(p, head.pid, cluster.session_dir)]
        before, at = [spent(head), sum(map(spent, nodes))], time.monotonic()
        time.sleep(10.0)
        passed = time.monotonic() - at
        busy, each = (spent(head) - before[0]) / passed, (sum(map(spent, nodes)) - before[1]) / passed
        each /= len(nodes)
        node_own = statistics.median(p.memory_full_info().uss for p in nodes)
        began = time.monotonic()
        alive = sum(row["Alive"] for row in view.request("nodes"))
        asked = time.monotonic() - began
        assert alive == count + 1
        own = head.memory_full_info().uss
        first_round, later, per_lease = leases(cluster, count, head)
        return [
            ("one more node on a quiet machine", f"{first:.2f} s"),
            (f"{count} real nodes join, four at a time", f"{took:.1f} s ({took / (count - 1):.2f} s each)"),
            (
                f"{count} real nodes, all idle: the head",
                f"{busy * 100:.1f} % of a core, {own / 2**20:.0f} MiB of its own",
            ),
            (
                f"{count} real nodes, all idle: a node",
                f"{each * 100:.1f} % of a core, {node_own / 2**20:.0f} MiB of its own (median)",
            ),
            (f"{count} real nodes: asking for all", f"{asked * 1e3:.1f} ms"),
            (f"{count} real nodes: a call on each, all at once", f"{first_round:.2f} s, processes and all"),
            (
                f"{count} real nodes: the same again, with new leases",
                f"{later * 1e3:.0f} ms ({count / later:,.0f} leases/s), "
                f"{per_lease * 1e6:.0f} µs of the head each",
            ),
        ]
    finally:
        view.close()
        manager.stop(cluster, timeout_s=60.0)


def is_node_of(process: psutil.Process, head: int, session: str) -> bool:
    """Whether a process is a node of the cluster: it holds a socket of an agent in its directory."""
    try:
        if process.pid == head or "rayjup.cluster.boot" not in " ".join(process.cmdline()):
            return False
        return any(
            c.laddr.startswith(session) and "agent" in c.laddr for c in process.net_connections("unix")
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def spent(process: psutil.Process) -> float:
    """Seconds of a core."""
    times = process.cpu_times()
    return times.user + times.system


def leases(cluster: Descriptor, count: int, head: psutil.Process) -> tuple[float, float, float]:
    """Seconds for one call on each node, at first and later; what a lease takes of the head then."""
    import rayjup as ray
    from rayjup.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    @ray.remote
    def nothing(round: int) -> None:
        """A call for one node, so under a lease of its own."""

    ray.init(cluster.cluster_id, log_to_driver=False)
    try:
        free = ray.available_resources()["CPU"]
        ids = [row["NodeID"] for row in ray.nodes() if row["Resources"].get("CPU")]
        assert len(ids) == count
        on = [nothing.options(scheduling_strategy=NodeAffinitySchedulingStrategy(i, soft=False)) for i in ids]
        took, spent_by_head = [], []
        for round in range(6):
            while ray.available_resources()["CPU"] < free:  # all leases are given back
                time.sleep(0.05)
            before, began = spent(head), time.monotonic()
            ray.get([each.remote(round) for each in on])
            took.append(time.monotonic() - began)
            spent_by_head.append(spent(head) - before)
    finally:
        ray.shutdown()
    return took[0], statistics.median(took[1:]), sum(spent_by_head[1:]) / count / len(took[1:])


def commands() -> list[tuple[str, str]]:
    """The command line, whole: Python's start, the import, the cluster."""
    rows = []
    run = [sys.executable, "-m", "rayjup"]

    def timed(*arguments: str) -> float:
        began = time.monotonic()
        subprocess.run([*run, *arguments], check=True, capture_output=True)
        return time.monotonic() - began

    head = ("start", "--head", "--name", "bench-nodes", "--num-cpus", "1", "--no-dashboard")
    for what, more in (("one machine", ()), ("with TLS", ("--port", "0", "--node-ip-address", "127.0.0.1"))):
        took = []
        for _ in range(3):
            took.append(timed(*head, *more))
            if more:
                node = timed("start", "--address", "bench-nodes", "--num-cpus", "1")
            timed("stop", "bench-nodes")
        rows.append((f"rayjup start --head, {what}", f"{min(took):.2f} s (best of three)"))
        if more:
            rows.append(("rayjup start --address", f"{node:.2f} s"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulated", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--real", type=int, default=100)
    parser.add_argument("--out", default=None)
    options = parser.parse_args()
    rows = commands()
    for count in options.simulated:
        rows += simulated(count)
    if options.real:
        rows += real(options.real)
    lines = [
        "# Many nodes",
        "",
        f"{os.cpu_count()} cores, Python {platform.python_version()}; `python benchmarks/nodes.py`.",
        "",
    ]
    lines += ["| what | measured |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        Path(options.out).write_text(text)


if __name__ == "__main__":
    main()
