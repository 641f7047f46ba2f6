"""put, get and references."""

import asyncio
import time
from concurrent.futures import Future

import numpy as np
import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.mark.parametrize(
    "value",
    [None, 0, "text", b"bytes", 1.5, [1, [2]], {"a": (1, 2)}, {1, 2}, b"x" * 300_000, "é" * 200_000],
    ids=lambda v: type(v).__name__,
)
def test_put_and_get_give_an_equal_object(value):
    assert ray.get(ray.put(value)) == value


def test_instances_of_own_classes():
    class Point:
        def __init__(self, x):
            self.x = x

    point = ray.get(ray.put(Point(3)))
    assert isinstance(point, Point)
    assert point.x == 3


def test_a_list_of_references_gives_a_list_of_values():
    refs = [ray.put(i) for i in range(50)]
    assert ray.get(refs) == list(range(50))
    assert ray.get(refs[::-1]) == list(range(50))[::-1]
    assert ray.get([]) == []
    assert ray.get([refs[1], refs[1]]) == [1, 1]


def test_each_get_gives_a_copy_of_its_own():
    ref = ray.put([1, 2])
    ray.get(ref).append(3)
    assert ray.get(ref) == [1, 2]


def test_arrays_are_shared_and_read_only():
    ref = ray.put(np.arange(1_000_000))
    array = ray.get(ref)
    assert not array.flags.writeable
    with pytest.raises(ValueError):
        array[0] = 1
    assert np.shares_memory(array, ray.get(ref))

    @ray.remote
    def writeable(values):
        return values.flags.writeable

    assert ray.get(writeable.remote(ref)) is False


def test_an_array_outlives_its_reference():
    array = ray.get(ray.put(np.arange(1_000_000)))
    others = [ray.put(np.full(1_000_000, i)) for i in range(5)]
    assert int(array.sum()) == 499_999_500_000
    del others
    assert int(array[-1]) == 999_999


def test_put_of_a_reference_is_refused():
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.put(ray.put(1))


@pytest.mark.parametrize("wrong", [1, "text", None, {"a": 1}], ids=repr)
def test_get_takes_references_only(wrong):
    with pytest.raises((TypeError, ValueError)):
        ray.get(wrong)
    with pytest.raises((TypeError, ValueError)):
        ray.get([ray.put(1), wrong])


def test_get_gives_up_after_its_timeout(gate):
    @ray.remote
    def held(wait):
        wait()
        return 1

    ref = held.remote(gate.wait)
    start = time.monotonic()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.1)
    assert time.monotonic() - start < 30
    with pytest.raises(TimeoutError):
        ray.get([ref], timeout=0)
    gate.open()
    assert ray.get(ref, timeout=30) == 1


def test_references_are_values():
    a, b = ray.put(1), ray.put(1)
    assert a != b
    assert a == ray.get(ray.put([a]))[0]
    assert len({a, b, a}) == 2
    assert len(a.hex()) == 2 * len(a.binary())
    assert bytes.fromhex(a.hex()) == a.binary()
    assert a.hex() in repr(a)
    assert not a.is_nil()


def test_top_level_references_are_resolved_and_inner_ones_are_not():
    @ray.remote
    def kinds(direct, inside, *, named):
        return type(direct).__name__, isinstance(inside[0], ray.ObjectRef), type(named).__name__

    ref = ray.put(1.5)
    assert ray.get(kinds.remote(ref, [ref], named=ref)) == ("float", True, "float")


def test_inner_references_keep_their_object_alive():
    def boxed():
        return ray.put({"inner": ray.put(np.arange(200_000))})

    box = boxed()

    @ray.remote
    def last(box):
        return int(ray.get(box["inner"])[-1])

    assert ray.get(last.remote(box)) == 199_999
    assert int(ray.get(ray.get(box)["inner"])[-1]) == 199_999


def test_a_task_may_return_references():
    @ray.remote
    def refs():
        return [ray.put(i) for i in range(3)]

    inner = ray.get(refs.remote())
    assert all(isinstance(r, ray.ObjectRef) for r in inner)
    assert ray.get(inner) == [0, 1, 2]


def test_a_reference_in_a_closure():
    ref = ray.put([1, 2, 3])

    @ray.remote
    def total():
        return sum(ray.get(ref))

    assert ray.get(total.remote()) == 6


def test_ten_thousand_references_in_one_object():
    @ray.remote
    def many():
        return [ray.put(i) for i in range(10_000)]

    refs = ray.get(many.remote())
    assert ray.get(refs[::1000]) == list(range(0, 10_000, 1000))


def test_a_reference_can_be_awaited():
    @ray.remote
    def double(x):
        return 2 * x

    async def main():
        first = await double.remote(1)
        rest = await asyncio.gather(*[double.remote(i) for i in range(5)])
        return first, rest

    assert asyncio.run(main()) == (2, [0, 2, 4, 6, 8])


def test_awaiting_a_failed_task_raises():
    @ray.remote
    def fail():
        raise KeyError("missing")

    async def main():
        await fail.remote()

    with pytest.raises(KeyError):
        asyncio.run(main())


def test_a_reference_gives_a_future():
    future = ray.put(5).future()
    assert isinstance(future, Future)
    assert future.result(timeout=60) == 5


def test_what_cannot_be_pickled_is_refused_with_its_name():
    import threading

    lock = threading.Lock()
    with pytest.raises(TypeError, match="lock"):
        ray.put(lock)

    @ray.remote
    def take(x):
        return x

    with pytest.raises(TypeError, match="lock"):
        take.remote(lock)
    assert ray.get(take.remote(1)) == 1
