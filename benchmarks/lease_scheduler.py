"""How many decisions per second the ``LeaseScheduler`` makes, from 10 to 10 000 nodes.

    python benchmarks/lease_scheduler.py [--nodes 10 100 1000 10000] [--leases 1000000]

One decision is one event answered: a request that is granted or queued, or a release that grants
to somebody who waits. ``fill``: leases are asked for until every node is full. ``churn``: on a full
cluster with a queue, leases are given back at random and granted to those who wait, of several
shapes. ``gangs``: placement groups of 8 bundles come and go on a half-full cluster.
"""

from __future__ import annotations

import argparse
import random
import resource
import time

from rayjup.engine.leases import (
    Default,
    Grant,
    GroupPlaced,
    GroupRemoved,
    GroupRequested,
    LeaseScheduler,
    NodeJoined,
    Released,
    Requested,
    Shape,
    Spread,
)

SHAPES = [
    Shape.of({"CPU": 1}),
    Shape.of({"CPU": 1}, Spread()),
    Shape.of({"CPU": 2, "memory": 2**30}, env="other"),
    Shape.of({"CPU": 1, "GPU": 0.5}, Default()),
]


def main() -> None:
    """Print one row per cluster size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--leases", type=int, default=200_000, help="at most so many leases at once")
    parser.add_argument("--decisions", type=int, default=100_000, help="of churn, per cluster size")
    options = parser.parse_args()
    print(f"{'nodes':>7} {'leases':>9} {'join/s':>9} {'fill/s':>9} {'churn/s':>9} {'gangs/s':>9} {'MB':>7}")
    for nodes in options.nodes:
        print(row(nodes, options.leases, options.decisions), flush=True)


def row(nodes: int, most: int, decisions: int) -> str:
    """Measure one cluster size."""
    draw = random.Random(nodes)
    scheduler = LeaseScheduler(seed=1)
    cpus = max(8, min(100, most // nodes))
    start = time.perf_counter()
    for i in range(nodes):
        total = {"CPU": float(cpus), "memory": float(2**38)} | ({"GPU": 8.0} if i % 4 == 0 else {})
        scheduler.handle(NodeJoined(f"node{i}", total, {"zone": str(i % 3)}))
    joined = time.perf_counter() - start

    leases: list[str] = []
    asked = 0
    start = time.perf_counter()
    waiting: dict[Shape, int] = dict.fromkeys(SHAPES, 0)
    while len(leases) < most and (open_ := [s for s in SHAPES if waiting[s] < 250]):
        shape = draw.choice(open_)  # until so many wait that none of its kind fits any more
        client = f"client{draw.randrange(50)}"
        near = f"node{draw.randrange(nodes)}"
        out = scheduler.handle(Requested(f"r{asked}", client, near, shape))
        asked += 1
        granted = [i.lease_id for i in out if isinstance(i, Grant)]
        leases += granted
        waiting[shape] += not granted
    filled = time.perf_counter() - start
    held = len(leases)

    start = time.perf_counter()
    for step in range(decisions):
        place = draw.randrange(len(leases))
        leases[place], leases[-1] = leases[-1], leases[place]
        out = scheduler.handle(Released(leases.pop()))
        leases += [i.lease_id for i in out if isinstance(i, Grant)]
        shape = draw.choice(SHAPES)
        client = f"client{draw.randrange(50)}"
        out = scheduler.handle(Requested(f"c{step}", client, f"node{draw.randrange(nodes)}", shape))
        leases += [i.lease_id for i in out if isinstance(i, Grant)]
    churned = time.perf_counter() - start

    half = LeaseScheduler(seed=2)
    for i in range(nodes):
        half.handle(NodeJoined(f"node{i}", {"CPU": 16.0}, {}))
    for i in range(nodes * 8):
        half.handle(Requested(f"h{i}", "client", None, SHAPES[0]))
    gangs = max(20, min(500, nodes // 4))
    start = time.perf_counter()
    for i in range(gangs):
        group = i.to_bytes(8, "little")
        out = half.handle(GroupRequested(group, "client", [{"CPU": 2.0}] * 8, "SPREAD", False))
        assert any(isinstance(o, GroupPlaced) for o in out)
        half.handle(GroupRemoved(group))
    ganged = time.perf_counter() - start
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{nodes:>7} {held:>9} {nodes / joined:>9.0f} {asked / filled:>9.0f} {2 * decisions / churned:>9.0f} "
        f"{2 * gangs / ganged:>9.0f} {megabytes:>7.0f}"
    )


if __name__ == "__main__":
    main()
