"""Ctrl-C while calls are sent: nothing is half done, and the connection stays usable."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import pytest
from support.clusters import T, poll

# An interrupt may also hit a callback of the garbage collector, which cannot raise it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def interrupt_now_and_then(stop: threading.Event) -> threading.Thread:
    def run():
        chance = random.Random(1)
        while not stop.is_set():
            time.sleep(chance.uniform(0.0005, 0.01))
            if not stop.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.fixture
def interrupted(ray):
    """``interrupted(action, count)``: repeat it until it was interrupted so often; what it has returned."""
    armed = False

    def on_interrupt(number, frame):
        nonlocal armed
        if armed:  # another one, while the first is dealt with, would end the test
            armed = False
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    ray.get(ray.remote(abs).remote(-1), timeout=T)  # waiting puts the shield over the handler of ours

    def repeat(action, count=150):
        nonlocal armed
        results, caught = [], 0
        stop = threading.Event()
        deadline = time.monotonic() + T
        thread = interrupt_now_and_then(stop)
        try:
            while caught < count and time.monotonic() < deadline:
                try:
                    armed = True
                    # One that hits what Python calls by itself is raised to nobody, and not counted.
                    while armed and time.monotonic() < deadline:
                        results.append(action())
                    armed = False
                except KeyboardInterrupt:
                    caught += 1
        finally:
            armed = False
            stop.set()
            thread.join()
        assert caught >= 3  # a busy machine may not come to more in time
        return results

    yield repeat
    signal.signal(signal.SIGINT, before)


def test_tasks(ray, interrupted):
    @ray.remote
    def echo(x):
        return x

    numbers = iter(range(10**9))
    refs = interrupted(lambda: echo.remote(next(numbers)))
    values = ray.get(refs, timeout=T)
    assert sorted(set(values)) == sorted(values)
    assert ray.get([echo.remote(i) for i in range(200)], timeout=T) == list(range(200))
    poll(lambda: ray.available_resources().get("CPU") == 4)


def test_tasks_with_larger_arguments_and_refs(ray, interrupted):
    @ray.remote
    def size(*parts):
        return sum(len(part) for part in parts)

    block = b"x" * 30_000
    ref = ray.put(b"y" * 200_000)
    refs = interrupted(lambda: size.remote(block, ref, ray.put([1])), count=60)
    assert set(ray.get(refs, timeout=T)) <= {230_001}
    assert ray.get(size.remote(ref), timeout=T) == 200_000
    poll(lambda: ray.available_resources().get("CPU") == 4)


def test_calls_of_an_actor(ray, interrupted):
    @ray.remote
    class Counter:
        def __init__(self):
            self.seen = []

        def add(self, i):
            self.seen.append(i)
            return i

        def read(self):
            return self.seen

    counter = Counter.remote()
    numbers = iter(range(10**9))
    refs = interrupted(lambda: counter.add.remote(next(numbers)))
    values = ray.get(refs, timeout=T)
    seen = ray.get(counter.read.remote(), timeout=T)
    assert seen == sorted(set(seen))
    assert set(values) <= set(seen)
