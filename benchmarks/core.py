"""The core API's speed: the lines of Ray's own microbenchmark, with its names and definitions.

It imports nothing but ``ray``, so the same file measures both engines::

    python benchmarks/core.py --json ray.json                          # where Ray is installed
    python -m rayjup.as_ray benchmarks/core.py --json rayjup.json      # rayjup
    python benchmarks/report.py --ray ray.json --rayjup rayjup.json    # side by side

Beyond Ray's lines: start-up, actor creation and memory (``fresh.py``), large arguments and results,
and what the machine itself gives: an echo over a unix socket, a copy of memory (``bare.py``).
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
import fresh
import harness
import numpy as np
import ray

Prepared = tuple[Callable[[], Any], float]

CALLS = "/s"
GIGABYTES = "GB/s"
# Ray counts 100 Mi int64 numbers (839 MB) as 0.8 GB; so does every line here.
LARGE = 100 * 1024 * 1024
LARGE_GB = 0.8
# Servers of the "n" lines: half of the machine's cores.
HALF = max(1, multiprocessing.cpu_count() // 2)
CLIENTS = 4


@ray.remote
def ok():
    return b"ok"


@ray.remote(num_cpus=0)
class Server:
    def answer(self):
        return b"ok"

    def answer_to(self, value):
        return b"ok"

    def run_tasks(self, count):
        ray.get([ok.remote() for _ in range(count)])


@ray.remote
class AsyncServer:
    async def answer(self):
        return b"ok"

    async def answer_to(self, value):
        return b"ok"


@ray.remote(num_cpus=0)
class Caller:
    def __init__(self, servers):
        self.servers = servers

    def call(self, count):
        ray.get([server.answer.remote() for server in self.servers for _ in range(count)])

    def call_with_ref(self, count):
        value = ray.put(0)
        ray.get([server.answer_to.remote(value) for server in self.servers for _ in range(count)])


@ray.remote
def call_in_turn(servers, count):
    ray.get([servers[i % len(servers)].answer.remote() for i in range(count)])


@ray.remote
def put_small_numbers(count):
    for _ in range(count):
        ray.put(0)


@ray.remote
def put_arrays(count):
    for _ in range(count):
        ray.put(np.zeros(LARGE // 10, dtype=np.int64))


@ray.remote
def many_refs(count):
    return [ray.put(1) for _ in range(count)]


# ---------------------------------------------------------------- objects


def get_calls() -> Prepared:
    value = ray.put(0)
    return lambda: ray.get(value), 1


def put_calls() -> Prepared:
    return lambda: ray.put(0), 1


def multi_client_put_calls() -> Prepared:
    return lambda: ray.get([put_small_numbers.remote(100) for _ in range(10)]), 1000


def put_gigabytes() -> Prepared:
    array = np.zeros(LARGE, dtype=np.int64)
    return lambda: ray.put(array), LARGE_GB


def multi_client_put_gigabytes() -> Prepared:
    return lambda: ray.get([put_arrays.remote(10) for _ in range(10)]), 10 * LARGE_GB


def get_object_of_refs() -> Prepared:
    ref = many_refs.remote(10_000)
    return lambda: ray.get(ref), 1


def wait_1k_refs() -> Prepared:
    def call() -> None:
        waiting = [ok.remote() for _ in range(1000)]
        # Fetching has to be asked for once only; it goes on after `wait` has returned.
        _, waiting = ray.wait(waiting, fetch_local=True)
        while waiting:
            _, waiting = ray.wait(waiting, fetch_local=False)

    return call, 1


# ---------------------------------------------------------------- tasks


def tasks_and_get_batch() -> Prepared:
    return lambda: ray.get([ok.remote() for _ in range(1000)]), 1


def tasks_sync() -> Prepared:
    return lambda: ray.get(ok.remote()), 1


def tasks_async() -> Prepared:
    return lambda: ray.get([ok.remote() for _ in range(1000)]), 1000


def multi_client_tasks_async() -> Prepared:
    clients = [Server.remote() for _ in range(CLIENTS)]
    return lambda: ray.get([c.run_tasks.remote(10_000) for c in clients]), CLIENTS * 10_000


# ---------------------------------------------------------------- actors


def one_to_one_sync(create: Callable[[], Any]) -> Callable[[], Prepared]:
    def prepare() -> Prepared:
        server = create()
        return lambda: ray.get(server.answer.remote()), 1

    return prepare


def one_to_one_async(create: Callable[[], Any]) -> Callable[[], Prepared]:
    def prepare() -> Prepared:
        server = create()
        return lambda: ray.get([server.answer.remote() for _ in range(1000)]), 1000

    return prepare


def one_to_one_args() -> Prepared:
    server = AsyncServer.remote()
    return lambda: ray.get([server.answer_to.remote(i) for i in range(1000)]), 1000


def one_to_n(create: Callable[[], Any]) -> Callable[[], Prepared]:
    def prepare() -> Prepared:
        caller = Caller.remote([create() for _ in range(HALF)])
        return lambda: ray.get(caller.call.remote(5000)), 5000 * HALF

    return prepare


def n_to_n(create: Callable[[], Any]) -> Callable[[], Prepared]:
    def prepare() -> Prepared:
        servers = [create() for _ in range(HALF)]
        return lambda: ray.get([call_in_turn.remote(servers, 5000) for _ in range(CLIENTS)]), CLIENTS * 5000

    return prepare


def n_to_n_args() -> Prepared:
    callers = [Caller.remote([Server.remote()]) for _ in range(HALF)]
    return lambda: ray.get([c.call_with_ref.remote(1000) for c in callers]), 1000 * HALF


def placement_groups() -> Prepared:
    if not hasattr(getattr(ray, "util", None), "placement_group"):
        raise harness.Unavailable("ray.util.placement_group is missing")

    def call() -> None:
        groups = [ray.util.placement_group([{"custom": 0.001}]) for _ in range(100)]
        for group in groups:
            if not group.wait(timeout_seconds=30):
                raise TimeoutError("a placement group was not ready after 30 s")
        for group in groups:
            ray.util.remove_placement_group(group)

    return call, 100


CALL_LINES: list[tuple[str, str, Callable[[], Prepared]]] = [
    ("single client get calls (Plasma Store)", CALLS, get_calls),
    ("single client put calls (Plasma Store)", CALLS, put_calls),
    ("multi client put calls (Plasma Store)", CALLS, multi_client_put_calls),
    ("single client put gigabytes", GIGABYTES, put_gigabytes),
    ("single client tasks and get batch", CALLS, tasks_and_get_batch),
    ("multi client put gigabytes", GIGABYTES, multi_client_put_gigabytes),
    ("single client get object containing 10k refs", CALLS, get_object_of_refs),
    ("single client wait 1k refs", CALLS, wait_1k_refs),
    ("single client tasks sync", CALLS, tasks_sync),
    ("single client tasks async", CALLS, tasks_async),
    ("multi client tasks async", CALLS, multi_client_tasks_async),
    ("1:1 actor calls sync", CALLS, one_to_one_sync(lambda: Server.remote())),
    ("1:1 actor calls async", CALLS, one_to_one_async(lambda: Server.remote())),
    (
        "1:1 actor calls concurrent",
        CALLS,
        one_to_one_async(lambda: Server.options(max_concurrency=16).remote()),
    ),
    ("1:n actor calls async", CALLS, one_to_n(lambda: Server.remote())),
    ("n:n actor calls async", CALLS, n_to_n(lambda: Server.remote())),
    ("n:n actor calls with arg async", CALLS, n_to_n_args),
    ("1:1 async-actor calls sync", CALLS, one_to_one_sync(lambda: AsyncServer.remote())),
    ("1:1 async-actor calls async", CALLS, one_to_one_async(lambda: AsyncServer.remote())),
    ("1:1 async-actor calls with args async", CALLS, one_to_one_args),
    ("1:n async-actor calls async", CALLS, one_to_n(lambda: AsyncServer.remote())),
    ("n:n async-actor calls async", CALLS, n_to_n(lambda: AsyncServer.remote())),
]
GROUP_LINE = "placement group create/removal"


# ---------------------------------------------------------------- large arguments, fan-out, actors


@ray.remote
def length(array):
    return len(array)


@ray.remote
def zeros(size):
    return np.zeros(size, dtype=np.uint8)


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def repeated(call: Callable[[], Any], repeats: int) -> Callable[[harness.Line], list[float]]:
    def sample(line: harness.Line) -> list[float]:
        call()
        return [seconds(call) for _ in range(repeats)]

    return sample


def first_answer(line: harness.Line) -> list[float]:
    """From ``remote()`` of a new actor to its first answer, one actor after the other."""
    samples = []
    for _ in range(6):
        start = time.perf_counter()
        server = Server.remote()
        ray.get(server.answer.remote())
        samples.append(time.perf_counter() - start)
        ray.kill(server)
    return samples[1:]


def twenty_actors(line: harness.Line) -> list[float]:
    """Twenty actors created together until all have answered; the memory they take as a note."""
    before = fresh.tree_uss(fresh.cluster_processes())
    start = time.perf_counter()
    servers = [Server.remote() for _ in range(20)]
    ray.get([s.answer.remote() for s in servers])
    took = time.perf_counter() - start
    after = fresh.tree_uss(fresh.cluster_processes())
    line.note = f"{(after - before) / 1e6:+.0f} MB"
    for server in servers:
        ray.kill(server)
    return [took]


def run_on_cluster(record: harness.Recorder) -> None:
    """Everything that shares one cluster."""
    for name, unit, prepare in CALL_LINES:
        record.rate(name, unit, prepare)
    repeats = record.budget.repeats
    array = np.zeros(100_000_000, dtype=np.uint8)
    record.times("100 MB argument, put once", "s", repeated_with(array, repeats))
    record.times(
        "100 MB result of a task", "s", repeated(lambda: ray.get(zeros.remote(100_000_000)), repeats)
    )
    record.times(
        "10k tasks in one list", "s", repeated(lambda: ray.get([ok.remote() for _ in range(10_000)]), repeats)
    )
    record.times("actor: creation to first answer", "s", first_answer)
    record.times("20 actors: creation to all answers", "s", twenty_actors)
    record.times(fresh.JOIN, "s", fresh.join_running_cluster(repeats))


def repeated_with(array: np.ndarray, repeats: int) -> Callable[[harness.Line], list[float]]:
    """Call a task with one stored array: what a worker needs to see memory that is already there."""

    def sample(line: harness.Line) -> list[float]:
        ref = ray.put(array)
        return repeated(lambda: ray.get(length.remote(ref)), repeats)(line)

    return sample


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    harness.add_arguments(parser)
    arguments = parser.parse_args()
    record = harness.recorder(arguments)
    print(f"{ray.__name__} {ray.__version__}, {multiprocessing.cpu_count()} cores", flush=True)
    bare.run(record)
    fresh.run(record)
    ray.init()
    try:
        run_on_cluster(record)
    finally:
        ray.shutdown()
    if record.wants(GROUP_LINE):
        ray.init(resources={"custom": 100})
        try:
            record.rate(GROUP_LINE, CALLS, placement_groups)
        finally:
            ray.shutdown()
    return harness.finish(record, arguments, ray.__name__, ray.__version__)


if __name__ == "__main__":
    sys.exit(main())
