"""Objects by size, large arguments and results, and more data than the object store holds.

Imports nothing but ``ray``, as ``core.py`` does, and writes the same kind of result::

    python -m rayjup.as_ray benchmarks/objects.py --json objects_rayjup.json
    python benchmarks/objects.py --json objects_ray.json                  # where Ray is installed
    python benchmarks/report.py --title Objects --ray objects_ray.json --rayjup objects_rayjup.json

The last lines run in a cluster whose store holds a quarter of the data: three quarters go to disk.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import bare
import harness
import numpy as np
import ray

KB, MB, GB = 1000, 1000**2, 1000**3
SIZES = {"1 KB": KB, "10 KB": 10 * KB, "100 KB": 100 * KB, "1 MB": MB, "10 MB": 10 * MB, "100 MB": 100 * MB}
LARGEST = {"1 GB": GB}
STORE = 250 * MB
BLOCK = 10 * MB
BLOCKS = 4 * STORE // BLOCK

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


def put_and_keep(size: int, repeats: int) -> Sample:
    """Put and keep: always new memory."""
    array = np.ones(size, dtype=np.uint8)

    def sample(line: harness.Line) -> list[float]:
        kept = []
        return timed(lambda: kept.append(ray.put(array)), repeats, max(1, calls_of(size) // 4))

    return sample


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
    line.note = f"{data / GB:.0f} GB, store {STORE / GB:.2f} GB: put {data / MB / put_s:.0f} MB/s"
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


def on_cluster(record: harness.Recorder, sizes: dict[str, int]) -> None:
    repeats = record.budget.repeats
    for name, size in sizes.items():
        record.times(f"put, {name}", "µs", put(size, repeats))
    for name, size in SIZES.items():
        record.times(f"put and keep, {name}", "µs", put_and_keep(size, repeats))
    for name, size in sizes.items():
        record.times(f"get, {name}", "µs", get(size, repeats))
    for name, size in SIZES.items():
        record.times(f"argument of a task, {name}", "µs", argument(size, repeats))
    for name, size in SIZES.items():
        record.times(f"result of a task, {name}", "µs", result(size, repeats))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    harness.add_arguments(parser)
    arguments = parser.parse_args()
    record = harness.recorder(arguments)
    print(f"{ray.__name__} {ray.__version__}, {multiprocessing.cpu_count()} cores", flush=True)
    bare.run(record)
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
    finally:
        ray.shutdown()
    return harness.finish(record, arguments, ray.__name__, ray.__version__)


if __name__ == "__main__":
    sys.exit(main())
