"""Many of everything: calls in flight, long calls beside short ones, a thousand actors, Ray's envelope.

Imports nothing but ``ray``, as ``core.py`` does, and writes the same kind of result::

    python -m rayjup.as_ray benchmarks/scale.py --json scale_rayjup.json
    python benchmarks/scale.py --most 20000 --json scale_ray.json         # where Ray is installed
    python benchmarks/report.py --title Scale --ray scale_ray.json --rayjup scale_rayjup.json

The lines of the envelope are those of Ray's published single-node tests, at twice their size.
``--most`` leaves out the lines with more objects, calls or actors than that.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import fresh
import harness
import numpy as np
import ray

ARGUMENTS, RETURNS, OBJECTS, QUEUED, ACTORS = 20_000, 6_000, 20_000, 2_000_000, 1_000
SHARED = 120_000  # bytes: too large to travel in a message, so each is an object in shared memory


@ray.remote
def ok(*_):
    return b"ok"


@ray.remote(num_returns=RETURNS)
def many():
    return list(range(RETURNS))


@ray.remote
def read(refs):
    return sum(len(array) for array in ray.get(refs))


@ray.remote
def wait_for_file(path):
    while not os.path.exists(path):
        time.sleep(0.02)


@ray.remote
def finished_at(seconds):
    if seconds:
        time.sleep(seconds)
    return time.time()


@ray.remote(num_cpus=0)
class Server:
    def answer(self):
        return b"ok"


def once(call: Callable[[], Any]) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        start = time.perf_counter()
        call()
        return [time.perf_counter() - start]

    return sample


def in_flight(count: int, repeats: int) -> Callable[[harness.Line], list[float]]:
    """Microseconds per call with ``count`` calls submitted before the first is asked for."""

    def sample(line: harness.Line) -> list[float]:
        rounds = max(1, 5000 // count)
        ray.get([ok.remote() for _ in range(count)])
        samples = []
        for _ in range(repeats):
            start = time.perf_counter()
            for _ in range(rounds):
                ray.get([ok.remote() for _ in range(count)])
            samples.append((time.perf_counter() - start) / (rounds * count) * 1e6)
        return samples

    return sample


def beside_a_long_call(quantile: float) -> Callable[[harness.Line], list[float]]:
    """Milliseconds from submission to end of short calls, while one call of the same function is long.

    Twenty short calls are submitted at a time; another executor is free for them.
    """

    def sample(line: harness.Line) -> list[float]:
        ray.get([finished_at.remote(0) for _ in range(1000)])
        samples = []
        for _ in range(3):
            long = finished_at.remote(1.0)
            times = []
            until = time.time() + 0.9
            while time.time() < until:
                start = time.time()
                refs = [finished_at.remote(0) for _ in range(20)]
                times += [end - start for end in ray.get(refs)]
            ray.get(long)
            samples.append(sorted(times)[int(len(times) * quantile)] * 1e3)
        return samples

    return sample


def one_long_among_many(line: harness.Line) -> list[float]:
    """Milliseconds until 1999 short calls are done, of 2000 submitted at once of which one takes 500 ms."""
    samples = []
    for _ in range(3):
        start = time.time()
        ends = ray.get([finished_at.remote(0.5 if i == 300 else 0) for i in range(2000)])
        samples.append(max(end - start for i, end in enumerate(ends) if i != 300) * 1e3)
    return samples


def shared_arguments() -> None:
    refs = [ray.put(np.zeros(SHARED // 8)) for _ in range(OBJECTS)]
    assert ray.get(read.remote(refs)) == OBJECTS * (SHARED // 8)


def queued(line: harness.Line) -> list[float]:
    """All executors are busy until the last call is submitted."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/go"
        busy = [wait_for_file.remote(path) for _ in range(multiprocessing.cpu_count())]
        time.sleep(0.5)
        start = time.perf_counter()
        refs = [ok.remote() for _ in range(QUEUED)]
        submitted = time.perf_counter() - start
        open(path, "w").close()
        ray.get([*busy, *refs])
        line.note = f"{submitted:.1f} s of it submitting"
        return [time.perf_counter() - start]


def actors(line: harness.Line) -> list[float]:
    before = fresh.tree_uss(fresh.cluster_processes())
    start = time.perf_counter()
    servers = [Server.remote() for _ in range(ACTORS)]
    ray.get([s.answer.remote() for s in servers])
    took = time.perf_counter() - start
    line.note = f"{(fresh.tree_uss(fresh.cluster_processes()) - before) / 2**30:.1f} GiB"
    for server in servers:
        ray.kill(server)
    return [took]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    harness.add_arguments(parser)
    parser.add_argument("--most", type=int, default=QUEUED, metavar="N", help="no line with more than N")
    arguments = parser.parse_args()
    record = harness.recorder(arguments)
    print(f"{ray.__name__} {ray.__version__}, {multiprocessing.cpu_count()} cores", flush=True)
    ray.init()
    try:
        ray.get(ok.remote())
        for count in (10, 100, 1000, 10_000, 100_000):
            if count <= arguments.most:
                record.times(f"cost of a call, {harness.number(count)} in flight", "µs", in_flight(count, 3))
        record.times("short calls beside a long one: median", "ms", beside_a_long_call(0.5))
        record.times("short calls beside a long one: 99 of 100", "ms", beside_a_long_call(0.99))
        record.times("2000 calls of which one takes 500 ms: all others", "ms", one_long_among_many)
        if arguments.most >= ARGUMENTS:
            refs = [ray.put(i) for i in range(ARGUMENTS)]
            record.times(
                f"{harness.number(ARGUMENTS)} object arguments of one task",
                "s",
                once(lambda: ray.get(ok.remote(*refs))),
            )
            del refs
        record.times(
            f"{harness.number(RETURNS)} returns of one task", "s", once(lambda: ray.get(many.remote()))
        )
        if arguments.most >= OBJECTS:
            record.times(
                f"{harness.number(OBJECTS)} shared-memory objects: put, and one get in a task",
                "s",
                once(shared_arguments),
            )
        if arguments.most >= QUEUED:
            record.times(f"{harness.number(QUEUED)} tasks queued and run", "s", queued)
            record.times(f"{ACTORS} actors without CPUs: created and called", "s", actors)
    finally:
        ray.shutdown()
    return harness.finish(record, arguments, ray.__name__, ray.__version__)


if __name__ == "__main__":
    sys.exit(main())
