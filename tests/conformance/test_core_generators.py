"""Generator tasks and methods: streaming and dynamic returns."""

import asyncio
import time

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_items_come_as_they_are_yielded(gate):
    @ray.remote(num_returns="streaming")
    def count(n):
        for i in range(n):
            yield i
            gate.wait()

    generator = count.remote(3)
    assert ray.get(next(generator)) == 0
    gate.open()
    assert [ray.get(ref) for ref in generator] == [1, 2]
    with pytest.raises(StopIteration):
        next(generator)


def test_a_generator_function_streams_by_default():
    @ray.remote
    def letters():
        for letter in "abc":  # noqa: UP028 - Ray cannot delegate to an iterator of str
            yield letter

    generator = letters.remote()
    assert isinstance(generator, ray.ObjectRefGenerator)
    assert [ray.get(ref) for ref in generator] == ["a", "b", "c"]


def test_nothing_yielded():
    @ray.remote
    def nothing():
        return
        yield

    assert list(nothing.remote()) == []


def test_large_items():
    import numpy as np

    @ray.remote
    def arrays():
        for i in range(4):
            yield np.full(200_000, i)

    for i, ref in enumerate(arrays.remote()):
        assert (ray.get(ref) == i).all()


def test_an_error_is_the_last_item():
    @ray.remote
    def fails():
        yield 1
        raise ValueError("in the middle")

    generator = fails.remote()
    assert ray.get(next(generator)) == 1
    with pytest.raises(ValueError, match="in the middle"):
        ray.get(next(generator))
    with pytest.raises(StopIteration):
        next(generator)


def test_dynamic_returns_one_reference_to_all():
    @ray.remote(num_returns="dynamic")
    def parts(n):
        for i in range(n):
            yield i * i

    ref = parts.remote(4)
    assert isinstance(ref, ray.ObjectRef)
    assert [ray.get(item) for item in ray.get(ref)] == [0, 1, 4, 9]

    @ray.remote
    def total(items):
        return sum(ray.get(list(items)))

    assert ray.get(total.remote(ref)) == 14


def test_generator_methods():
    @ray.remote(num_cpus=0)
    class Source:
        def __init__(self):
            self.base = 10

        def items(self, n):
            for i in range(n):
                yield self.base + i

        @ray.method(num_returns="streaming")
        def marked(self):
            yield "m"

    source = Source.remote()
    assert [ray.get(ref) for ref in source.items.remote(3)] == [10, 11, 12]
    assert [ray.get(ref) for ref in source.marked.remote()] == ["m"]
    chosen = source.items.options(num_returns="streaming").remote(1)
    assert [ray.get(ref) for ref in chosen] == [10]


def test_async_generator_methods():
    @ray.remote(num_cpus=0)
    class Source:
        async def items(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    source = Source.remote()
    assert [ray.get(ref) for ref in source.items.remote(5)] == list(range(5))


def test_asynchronous_iteration():
    @ray.remote
    def count():
        for i in range(5):
            time.sleep(0.01)
            yield i

    async def collect():
        return [await ref async for ref in count.remote()]

    assert asyncio.run(collect()) == list(range(5))


def test_wait_takes_generators(gate):
    @ray.remote
    def slow():
        gate.wait()
        yield 1

    generator = slow.remote()
    ready, waiting = ray.wait([generator], timeout=0.01)
    assert (ready, waiting) == ([], [generator])
    gate.open()
    ready, waiting = ray.wait([generator], timeout=60)
    assert ready == [generator]
    assert ray.get(next(generator)) == 1


def test_completed_is_resolved_at_the_end():
    @ray.remote
    def few():
        yield 1
        yield 2

    generator = few.remote()
    ray.get(generator.completed(), timeout=30)
    assert [ray.get(ref) for ref in generator] == [1, 2]
    assert generator.is_finished()


def test_backpressure(tmp_path, eventually):
    @ray.remote(num_returns="streaming", _generator_backpressure_num_objects=2)
    def produce(n):
        for i in range(n):
            (tmp_path / str(i)).touch()
            yield i

    generator = produce.remote(10)
    eventually((tmp_path / "1").exists)
    time.sleep(0.3)  # it must not go on: there is nothing to wait for
    assert not (tmp_path / "5").exists()
    assert [ray.get(ref) for ref in generator] == list(range(10))


def test_a_generator_is_cancelled(tmp_path, eventually):
    @ray.remote
    def endless():
        i = 0
        while True:
            yield i
            (tmp_path / "runs").touch()
            time.sleep(0.05)
            i += 1

    generator = endless.remote()
    eventually((tmp_path / "runs").exists)
    ray.cancel(generator)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.RayTaskError)):
        for ref in generator:
            ray.get(ref, timeout=30)


def test_what_is_no_generator():
    with pytest.raises(ValueError, match="generator"):

        @ray.remote(num_returns="streaming")
        def plain():
            return 5
