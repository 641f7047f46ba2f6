"""Objects by size, large arguments and results, and more data than the object store holds.

Imports nothing but ``ray``, as ``core.py`` does, and writes the same kind of result::

    python -m rayjup.as_ray benchmarks/objects.py --json objects_rayjup.json
    python benchmarks/objects.py --json objects_ray.json                  # where Ray is installed
    python benchmarks/report.py --title Objects --ray objects_ray.json --rayjup objects_rayjup.json

Some lines run in a cluster whose store holds a quarter of the data: three quarters go to disk. The last ones
lose something, and measure how long it takes to be there again.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import harness
import numpy as np
import ray

KB, MB, GB = 1000, 1000**2, 1000**3
SIZES = {"1 KB": KB, "10 KB": 10 * KB, "100 KB": 100 * KB, "1 MB": MB, "10 MB": 10 * MB, "100 MB": 100 * MB}
LARGEST = {"1 GB": GB}
STORE = 250 * MB
BLOCK = 10 * MB
BLOCKS = 4 * STORE // BLOCK
PARTS = 20
LOST = 1000
LOST_BYTES = 150 * KB  # too large for a message, so they lie in the store
COPY = "bare: copy of 100 MB, several threads"

Sample = Callable[[harness.Line], list[float]]


@ray.remote
def length(array):
    return len(array)


@ray.remote
def make(size, value=0):
    return np.full(size, value, dtype=np.uint8)


@ray.remote
def total(block):
    return int(block.sum())


@ray.remote(num_cpus=0)
class Holder:
    def __init__(self, size):
        self.array = np.ones(size, dtype=np.uint8)

    def give(self):
        return self.array


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Restarts:
    def pid(self):
        return os.getpid()


@ray.remote
def random_block(seed):
    return np.random.default_rng(seed).integers(0, 1 << 31, BLOCK // 4, dtype=np.int32)


@ray.remote
def split(block):
    block = np.sort(block)
    bounds = np.searchsorted(block, np.linspace(0, 1 << 31, PARTS + 1)[1:-1])
    return np.split(block, bounds)


@ray.remote
def merge(*pieces):
    return np.sort(np.concatenate(pieces))


@ray.remote
def ends(part):
    """First, last, how many, and whether they are in order."""
    return int(part[0]), int(part[-1]), len(part), bool((part[1:] >= part[:-1]).all())


def timed(call: Callable[[], Any], repeats: int, per: int = 1) -> list[float]:
    """Microseconds of a call, after one that doesn't count."""
    call()
    values = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(per):
            call()
        values.append((time.perf_counter() - start) / per * 1e6)
    return values


def calls_of(size: int) -> int:
    """How many calls make up a repeat: about 100 MB, if that is not too many."""
    return max(1, min(2000, 100 * MB // size))


def put(size: int, repeats: int) -> Sample:
    """Put and drop: the next one may use the same memory again."""
    array = np.ones(size, dtype=np.uint8)
    return lambda line: timed(lambda: ray.put(array), repeats, calls_of(size))


def put_and_keep(size: int, repeats: int, kept: list[Any]) -> Sample:
    """Put and keep: always new memory, where nothing that was put before has been dropped."""
    array = np.ones(size, dtype=np.uint8)
    calls = max(1, calls_of(size) // 4)
    return lambda line: timed(lambda: kept.append(ray.put(array)), repeats, calls)


def get(size: int, repeats: int) -> Sample:
    def sample(line: harness.Line) -> list[float]:
        ref = ray.put(np.ones(size, dtype=np.uint8))
        return timed(lambda: ray.get(ref), repeats, calls_of(size))

    return sample


def argument(size: int, repeats: int) -> Sample:
    """The array itself is passed, so it is copied for each call."""
    array = np.ones(size, dtype=np.uint8)
    return lambda line: timed(lambda: ray.get(length.remote(array)), repeats, min(50, calls_of(size)))


def result(size: int, repeats: int) -> Sample:
    return lambda line: timed(lambda: ray.get(make.remote(size)), repeats, min(50, calls_of(size)))


def argument_put_once(size: int, repeats: int) -> Sample:
    def sample(line: harness.Line) -> list[float]:
        ref = ray.put(np.ones(size, dtype=np.uint8))
        return timed(lambda: ray.get(length.remote(ref)), repeats, 20)

    return sample


def returned(size: int, repeats: int) -> Sample:
    """The array is there already: what is measured is its way to the caller."""

    def sample(line: harness.Line) -> list[float]:
        holder = Holder.remote(size)
        return timed(lambda: ray.get(holder.give.remote()), repeats, 20)

    return sample


def bare_copy(line: harness.Line) -> list[float]:
    source, target = np.ones((2, 100 * MB), dtype=np.uint8)
    threads = min(4, os.cpu_count() or 1)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:
        return timed(lambda: list(pool.map(lambda part: np.copyto(*part), parts)), 5, 10)


def four_stores_put(line: harness.Line) -> list[float]:
    """Seconds to put four times what the store holds, and to sum it in tasks; what it is per second."""
    block = np.ones(BLOCK, dtype=np.uint8)
    start = time.perf_counter()
    refs = []
    for _ in range(BLOCKS):
        refs.append(ray.put(block))
    put_s = time.perf_counter() - start
    sums = ray.get([total.remote(ref) for ref in refs])
    took = time.perf_counter() - start
    assert sum(sums) == BLOCKS * BLOCK
    data = BLOCKS * BLOCK
    spilled = (data - STORE) / MB
    line.note = f"{data / GB:.0f} GB, store {STORE / GB:.2f} GB: {spilled / put_s:.0f} MB/s to disk"
    return [took]


def four_stores_made(line: harness.Line) -> list[float]:
    """Results of tasks, four times what the store holds, each read by another task."""
    start = time.perf_counter()
    refs = [make.remote(BLOCK, i % 7) for i in range(BLOCKS)]
    sums = ray.get([total.remote(ref) for ref in refs])
    took = time.perf_counter() - start
    assert sums == [i % 7 * BLOCK for i in range(BLOCKS)]
    line.note = f"{BLOCKS * BLOCK / MB / took:.0f} MB/s"
    return [took]


def four_stores_sorted(line: harness.Line) -> list[float]:
    """Random numbers, four times what the store holds: split by value, each part merged and looked at."""
    start = time.perf_counter()
    pieces = [split.options(num_returns=PARTS).remote(random_block.remote(seed)) for seed in range(BLOCKS)]
    parts = [merge.remote(*[piece[i] for piece in pieces]) for i in range(PARTS)]
    del pieces
    found = ray.get([ends.remote(part) for part in parts])
    took = time.perf_counter() - start
    assert all(row[3] for row in found)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(found))
    assert sum(row[2] for row in found) == BLOCKS * BLOCK // 4
    data = BLOCKS * BLOCK
    # Blocks, pieces and parts are as much data each; what of it fits into the store need not go to disk.
    line.note = f"{data / MB / took:.0f} MB/s sorted, up to {(3 * data - STORE) / MB / took:.0f} MB/s to disk"
    return [took]


def reconstructed(line: harness.Line) -> list[float]:
    """Seconds until a thousand results are there again whose node has died."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=2, resources={"there": 1000}, object_store_memory=500 * MB)
        ray.init(address=cluster.address, log_to_driver=False)
        there = make.options(resources={"there": 0.001}, max_retries=3)
        refs = [there.remote(LOST_BYTES, i % 250) for i in range(LOST)]
        ready, _ = ray.wait(refs, num_returns=LOST, timeout=120, fetch_local=False)
        assert len(ready) == LOST
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=2, resources={"there": 1000}, object_store_memory=500 * MB)
        start = time.perf_counter()
        values = ray.get(refs, timeout=300)
        took = time.perf_counter() - start
        assert all(value[0] == i % 250 for i, value in enumerate(values))
        line.note = f"{LOST} objects of {LOST_BYTES // KB} KB"
        return [took]
    finally:
        ray.shutdown()
        cluster.shutdown()


def restarted(line: harness.Line) -> list[float]:
    """From killing an actor's process to the next answer."""
    actor = Restarts.remote()
    values = []
    for _ in range(5):
        pid = ray.get(actor.pid.remote())
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        while ray.get(actor.pid.remote()) == pid:
            pass
        values.append(time.perf_counter() - start)
    ray.kill(actor)
    return values


def head_lost(line: harness.Line) -> list[float]:
    """From killing the head to the first answer of a task that needs a new lease."""
    if ray.__name__ != "rayjup":
        raise harness.Unavailable("its head restarts only with a Redis server")
    from ray.core import session

    values = []
    for i in range(3):
        pid, _ = session.current().cluster.head()
        start = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        ray.get(length.options(num_cpus=0.5 + i / 10).remote(b""))
        values.append(time.perf_counter() - start)
    return values


def on_cluster(record: harness.Recorder, sizes: dict[str, int]) -> None:
    repeats = record.budget.repeats
    # First of all: a store that gives no memory back has used memory from then on.
    kept: list[Any] = []
    for name, size in SIZES.items():
        record.times(f"put and keep, {name}", "µs", put_and_keep(size, repeats, kept))
    kept.clear()
    for name, size in sizes.items():
        record.times(f"put, {name}", "µs", put(size, repeats))
    for name, size in sizes.items():
        record.times(f"get, {name}", "µs", get(size, repeats))
    for name, size in SIZES.items():
        record.times(f"argument of a task, {name}", "µs", argument(size, repeats))
    record.times("argument of a task, put once, 100 MB", "µs", argument_put_once(100 * MB, repeats))
    for name, size in SIZES.items():
        record.times(f"result of a task, {name}", "µs", result(size, repeats))
    record.times("result that an actor has, 100 MB", "µs", returned(100 * MB, repeats))
    record.times("actor: killed to next answer", "s", restarted)
    record.times("head: killed to first new task", "s", head_lost)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    harness.add_arguments(parser)
    arguments = parser.parse_args()
    record = harness.recorder(arguments)
    print(f"{ray.__name__} {ray.__version__}, {multiprocessing.cpu_count()} cores", flush=True)
    record.times(COPY, "µs", bare_copy)
    ray.init(num_cpus=2, object_store_memory=3 * GB)
    try:
        ray.get(length.remote(b""))
        on_cluster(record, SIZES | LARGEST)
    finally:
        ray.shutdown()
    ray.init(num_cpus=2, object_store_memory=STORE)
    try:
        ray.get([length.remote(b"") for _ in range(10)])
        record.times("four times the store: put, and summed by tasks", "s", four_stores_put)
        record.times("four times the store: made and summed by tasks", "s", four_stores_made)
        record.times("four times the store: sorted", "s", four_stores_sorted)
    finally:
        ray.shutdown()
    record.times("1000 lost objects made again", "s", reconstructed)
    return harness.finish(record, arguments, ray.__name__, ray.__version__)


if __name__ == "__main__":
    sys.exit(main())
