"""Actors with many callers, many actors, threaded and async actors under load."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time

import pytest
from support.clusters import T, poll


def test_two_hundred_actors_without_cpus(ray):
    @ray.remote(num_cpus=0)
    class Small:
        def __init__(self, n):
            self.n = n

        def get(self):
            return self.n

    actors = [Small.remote(i) for i in range(200)]
    assert ray.get([a.get.remote() for a in actors], timeout=60) == list(range(200))
    assert ray.available_resources()["CPU"] == 4
    del actors


def test_two_hundred_callers_of_one_actor(ray):
    """Callers are tasks of their own processes; each sees its own calls in order."""

    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self):
            self.seen = {}

        def add(self, who, number):
            self.seen.setdefault(who, []).append(number)
            return sum(map(len, self.seen.values()))

        def all(self):
            return self.seen

    @ray.remote(num_cpus=0.02)
    def call(log, who):
        return max(ray.get([log.add.remote(who, i) for i in range(20)], timeout=T))

    log = Log.remote()
    ray.get([call.remote(log, who) for who in range(200)], timeout=60)
    seen = ray.get(log.all.remote(), timeout=T)
    assert len(seen) == 200 and all(numbers == list(range(20)) for numbers in seen.values())


def test_order_is_kept_from_one_thread_with_slow_arguments(ray):
    @ray.remote
    def slow(x):
        time.sleep(0.05)
        return x

    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, x):
            self.seen.append(x)
            return list(self.seen)

    log = Log.remote()
    refs = [log.add.remote(slow.remote(i) if i % 7 == 0 else i) for i in range(40)]
    assert ray.get(refs[-1], timeout=T) == list(range(40))


def test_threaded_actor_runs_calls_at_once(ray):
    @ray.remote(num_cpus=0, max_concurrency=8)
    class Meeting:
        def __init__(self):
            self.barrier = threading.Barrier(8)

        def come(self):
            self.barrier.wait(60)
            return True

    meeting = Meeting.remote()
    for _ in range(20):
        assert all(ray.get([meeting.come.remote() for _ in range(8)], timeout=T))


def test_threaded_actor_never_keeps_a_call_waiting_while_a_thread_is_free(ray):
    """One call waits for an event that the next one sets, right after another has ended."""

    @ray.remote(num_cpus=0, max_concurrency=2)
    class Gate:
        def __init__(self):
            self.events = {}

        def wait(self, key):
            return self.events.setdefault(key, threading.Event()).wait(60)

        def open(self, key):
            self.events.setdefault(key, threading.Event()).set()

    gate = Gate.remote()
    for key in range(300):
        waiting = gate.wait.remote(key)
        opened = gate.open.remote(key)
        assert ray.get([waiting, opened], timeout=T)[0] is True


def test_threaded_actor_under_load(ray):
    @ray.remote(num_cpus=0, max_concurrency=16)
    class Adder:
        def __init__(self):
            self.lock = threading.Lock()
            self.total = 0
            self.running = 0
            self.most = 0

        def add(self, n):
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            if n % 10 == 0:
                time.sleep(0.001)
            with self.lock:
                self.running -= 1
                self.total += n
            return n

        def summary(self):
            return self.total, self.most

    adder = Adder.remote()
    assert ray.get([adder.add.remote(i) for i in range(3000)], timeout=T) == list(range(3000))
    total, most = ray.get(adder.summary.remote(), timeout=T)
    assert total == sum(range(3000)) and most <= 16


def test_async_actor_under_load(ray):
    @ray.remote(num_cpus=0)
    class Echo:
        async def echo(self, x):
            await asyncio.sleep(0)
            return x

        def plain(self, x):
            return -x

    echo = Echo.remote()
    refs = [echo.echo.remote(i) if i % 2 else echo.plain.remote(i) for i in range(4000)]
    assert ray.get(refs, timeout=T) == [i if i % 2 else -i for i in range(4000)]


def test_async_actor_respects_its_limit_and_awaits_refs(ray):
    @ray.remote
    def child(x):
        return x + 1

    @ray.remote(num_cpus=0, max_concurrency=5)
    class Limited:
        def __init__(self):
            self.running = self.most = 0

        async def call(self, x):
            self.running += 1
            self.most = max(self.most, self.running)
            value = await child.remote(x)
            await asyncio.sleep(0.002)
            self.running -= 1
            return value

        def highest(self):
            return self.most

    limited = Limited.remote()
    refs = [limited.call.remote(i) for i in range(100)]
    assert ray.get(refs, timeout=T) == [i + 1 for i in range(100)]
    assert 2 <= ray.get(limited.highest.remote(), timeout=T) <= 5


def test_async_signal_with_many_waiters(ray):
    @ray.remote(num_cpus=0)
    class Signal:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()
            return True

        async def send(self):
            self.event.set()

    @ray.remote(num_cpus=0.02)
    def waiter(signal):
        return ray.get(signal.wait.remote(), timeout=T)

    signal = Signal.remote()
    refs = [waiter.remote(signal) for _ in range(30)]
    assert ray.wait(refs, timeout=0.1)[0] == []
    ray.get(signal.send.remote(), timeout=T)
    assert all(ray.get(refs, timeout=T))


def test_actors_that_call_each_other(ray):
    @ray.remote(num_cpus=0)
    class Node:
        def link(self, other):
            self.other = other

        def down(self, n):
            return 0 if not n else 1 + ray.get(self.other.down.remote(n - 1), timeout=T)

    chain = [Node.remote() for _ in range(10)]
    for a, b in itertools.pairwise(chain):
        ray.get(a.link.remote(b), timeout=T)
    assert ray.get(chain[0].down.remote(9), timeout=T) == 9


def test_actors_made_and_dropped_in_a_loop(ray):
    @ray.remote
    class Short:
        def pid(self):
            return os.getpid()

    pids = set()
    for _ in range(20):
        actor = Short.remote()
        pids.add(ray.get(actor.pid.remote(), timeout=T))
        del actor
    assert len(pids) == 20
    poll(lambda: ray.available_resources()["CPU"] == 4)
    poll(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def test_calls_right_before_the_handle_goes_are_still_made(ray, tmp_path):
    path = str(tmp_path / "log")

    @ray.remote(num_cpus=0)
    class Writer:
        def write(self):
            with open(path, "ab", buffering=0) as file:
                file.write(b".")

    refs = [Writer.remote().write.remote() for _ in range(10)]
    ray.get(refs, timeout=T)
    assert os.path.getsize(path) == 10


def test_a_failed_argument_fails_its_call_only(ray):
    @ray.remote
    def fail():
        raise ValueError("bad argument")

    @ray.remote(num_cpus=0)
    class Echo:
        def echo(self, x):
            return x

    echo = Echo.remote()
    refs = [echo.echo.remote(1), echo.echo.remote(fail.remote()), echo.echo.remote(2)]
    assert ray.get(refs[0], timeout=T) == 1 and ray.get(refs[2], timeout=T) == 2
    with pytest.raises(ValueError, match="bad argument"):
        ray.get(refs[1], timeout=T)
