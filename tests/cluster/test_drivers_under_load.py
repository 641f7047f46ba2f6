"""One driver with many threads, with asyncio, with thousands of calls that depend on each other."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest
from support.clusters import T


def test_twenty_threads_submit_and_get(ray):
    @ray.remote
    def add(a, b):
        return a + b

    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    counter = Counter.remote()
    errors = []

    def work(number):
        try:
            for i in range(30):
                assert ray.get(add.remote(number, i), timeout=T) == number + i
                assert ray.get([add.remote(i, j) for j in range(10)], timeout=T) == [i + j for j in range(10)]
                ref = ray.put(np.full(30_000, i))
                assert ray.get(ref)[0] == i
                ready, _ = ray.wait([add.remote(i, 1), counter.add.remote()], num_returns=2, timeout=T)
                assert len(ready) == 2
        except BaseException as error:  # noqa: BLE001 - reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not errors and not any(t.is_alive() for t in threads)
    assert ray.get(counter.add.remote(), timeout=T) == 601


def test_a_thread_waits_while_another_works(ray):
    @ray.remote
    def slow():
        time.sleep(0.5)
        return "slow"

    @ray.remote
    def fast(i):
        return i

    result = []
    waiting = threading.Thread(target=lambda: result.append(ray.get(slow.remote(), timeout=T)))
    waiting.start()
    for i in range(100):
        assert ray.get(fast.remote(i), timeout=T) == i
    waiting.join(T)
    assert result == ["slow"]


def test_await_and_gather(ray):
    @ray.remote
    def square(x):
        return x * x

    @ray.remote
    def fail():
        raise KeyError("k")

    async def main():
        assert await square.remote(3) == 9
        assert await asyncio.gather(*[square.remote(i) for i in range(100)]) == [i * i for i in range(100)]
        with pytest.raises(KeyError):
            await fail.remote()
        results = await asyncio.gather(square.remote(2), fail.remote(), return_exceptions=True)
        assert results[0] == 4 and isinstance(results[1], KeyError)
        ref = ray.put(5)
        return await ref + await ref

    assert asyncio.run(asyncio.wait_for(main(), T)) == 10


def test_await_with_a_timeout_and_again(ray, tmp_path):
    @ray.remote
    def slow():
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        return 1

    async def main():
        ref = slow.remote()
        with pytest.raises((asyncio.TimeoutError, TimeoutError)):
            await asyncio.wait_for(ref.as_future(), 0.02)
        (tmp_path / "go").touch()
        return await asyncio.wait_for(ref.as_future(), T)

    assert asyncio.run(main()) == 1


def test_the_loop_goes_on_while_it_awaits(ray, tmp_path):
    @ray.remote
    def slow():
        deadline = time.monotonic() + 20
        while not (tmp_path / "go").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return (tmp_path / "go").exists()

    async def main():
        future = asyncio.ensure_future(slow.remote().as_future())
        for _ in range(10):
            await asyncio.sleep(0.005)
        assert not future.done()
        (tmp_path / "go").touch()
        return await asyncio.wait_for(future, T)

    assert asyncio.run(main()) is True


def test_concurrent_futures(ray):
    @ray.remote
    def square(x):
        return x * x

    futures = [square.remote(i).future() for i in range(20)]
    assert [f.result(T) for f in futures] == [i * i for i in range(20)]


def test_five_thousand_results_into_one_call(ray):
    @ray.remote
    def one(i):
        return i

    @ray.remote
    def total(*values):
        return sum(values)

    @ray.remote
    def total_of(refs):
        return sum(ray.get(refs, timeout=T))

    refs = [one.remote(i) for i in range(5000)]
    assert ray.get(total.remote(*refs), timeout=T) == sum(range(5000))
    assert ray.get(total_of.remote(refs), timeout=T) == sum(range(5000))


def test_a_chain_of_a_thousand(ray):
    @ray.remote
    def next_(x):
        return x + 1

    ref = 0
    for _ in range(1000):
        ref = next_.remote(ref)
    assert ray.get(ref, timeout=T) == 1000


def test_a_failure_goes_through_a_chain(ray):
    @ray.remote
    def first():
        raise ValueError("at the beginning")

    @ray.remote
    def next_(x):
        return x + 1

    ref = first.remote()
    for _ in range(300):
        ref = next_.remote(ref)
    with pytest.raises(ValueError, match="at the beginning"):
        ray.get(ref, timeout=T)


def test_a_diamond_of_calls(ray):
    @ray.remote
    def add(*xs):
        return sum(xs) % 1009

    layer = [add.remote(i) for i in range(20)]
    expected = list(range(20))
    for _ in range(10):
        layer = [add.remote(*layer) for _ in range(20)]
        expected = [sum(expected) % 1009] * 20
    assert ray.get(layer, timeout=T) == expected


def test_wait_over_a_thousand(ray):
    @ray.remote
    def one(i):
        return i

    left = [one.remote(i) for i in range(1000)]
    seen = []
    while left:
        ready, left = ray.wait(left, num_returns=min(100, len(left)), timeout=T)
        seen += ray.get(ready)
    assert sorted(seen) == list(range(1000))


def test_get_with_a_timeout_of_zero_only_looks(ray, tmp_path):
    @ray.remote
    def slow():
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        return 1

    ref = slow.remote()
    started = time.monotonic()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0)
    assert time.monotonic() - started < 20
    (tmp_path / "go").touch()
    assert ray.get(ref, timeout=T) == 1


def test_a_loop_that_ended_before_the_value_came_disturbs_nobody(ray):
    @ray.remote
    def slow():
        time.sleep(0.2)
        return 1

    async def main(ref):
        ref.as_future()
        await asyncio.sleep(0)

    ref = slow.remote()
    asyncio.run(main(ref))
    assert ray.get([ref, slow.remote()], timeout=T) == [1, 1]
