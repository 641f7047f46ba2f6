"""Values come back as they went, whatever their type and size."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import uuid

import numpy as np
import pytest
from support.clusters import T

VALUES = [
    None,
    True,
    0,
    -(2**70),
    1.5,
    float("-inf"),
    1 + 2j,
    "",
    "ä€\U0001f600",
    "x" * 300_000,
    b"",
    b"\x00" * 300_000,
    bytearray(b"abc" * 100_000),
    (),
    (1, (2, (3,))),
    [],
    [None] * 1000,
    {},
    {"a": {"b": [1, 2]}},
    {1, 2},
    frozenset({"a"}),
    range(0, 10, 3),
    slice(1, None, 2),
    datetime.datetime(2024, 2, 29, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=1),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    pathlib.PurePosixPath("/a/b"),
    uuid.UUID(int=5),
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.Counter("aab"),
    collections.deque([1, 2], maxlen=3),
    int,
    len,
    Ellipsis,
    NotImplemented,
]


def short(value: object) -> str:
    return repr(value)[:20]


@pytest.mark.parametrize("value", VALUES, ids=short)
def test_through_put_argument_and_result(ray, value):
    @ray.remote
    def same(x, *, y):
        assert x == y and type(x) is type(y)
        return x

    for got in (ray.get(ray.put(value)), ray.get(same.remote(value, y=ray.put(value)), timeout=T)):
        assert got == value and type(got) is type(value)


ARRAYS = [
    np.array([]),
    np.zeros((0, 3)),
    np.array(7.0),
    np.arange(10),
    np.arange(100_000, dtype=np.float32),
    np.asfortranarray(np.arange(120_000).reshape(300, 400)),
    np.arange(200_000)[::2],
    np.array(["a", "bcd"]),
    np.array([1, None, "x"], dtype=object),
    np.zeros(3, dtype=[("a", "i4"), ("b", "f8", 2)]),
    np.array(["2024-01-01"], dtype="M8[D]"),
    np.ma.masked_array([1, 2], mask=[True, False]),
]


@pytest.mark.parametrize("array", ARRAYS, ids=short)
def test_arrays(ray, array):
    @ray.remote
    def same(x):
        return x

    for got in (ray.get(ray.put(array)), ray.get(same.remote(array), timeout=T)):
        assert got.dtype == array.dtype and got.shape == array.shape and type(got) is type(array)
        np.testing.assert_array_equal(got, array)


def test_arrays_from_the_store_are_read_only_everywhere(ray):
    @ray.remote
    def writeable(x):
        return x.flags.writeable

    array = np.ones(100_000)
    ref = ray.put(array)
    assert array.flags.writeable, "the caller's own array is not touched"
    assert not ray.get(ref).flags.writeable
    assert ray.get(writeable.remote(ref), timeout=T) is False
    with pytest.raises(ValueError, match="read-only"):
        ray.get(ref)[0] = 2
    array[0] = 5
    assert ray.get(ref)[0] == 1, "the stored value is a snapshot"


def test_two_gets_share_memory(ray):
    ref = ray.put(np.ones(100_000))
    assert np.shares_memory(ray.get(ref), ray.get(ref))


def test_small_mutable_values_are_copies(ray):
    ref = ray.put([1])
    ray.get(ref).append(2)
    assert ray.get(ref) == [1]


def test_a_large_array(ray, freed):
    array = np.arange(300 * 2**20 // 8)  # 300 MB
    ref = ray.put(array)
    got = ray.get(ref)
    assert got[-1] == array[-1] and got.nbytes == array.nbytes

    @ray.remote
    def ends(x):
        return int(x[0]), int(x[-1])

    assert ray.get(ends.remote(ref), timeout=T) == (0, len(array) - 1)
    del got, ref
    freed()


def test_user_classes(ray):
    @dataclasses.dataclass
    class Point:
        x: int
        tags: list = dataclasses.field(default_factory=list)

    class Color(enum.Enum):
        RED = 1

    Pair = collections.namedtuple("Pair", "a b")

    @ray.remote
    def same(*values):
        return values

    point, color, pair = ray.get(same.remote(Point(1, [2]), Color.RED, Pair(1, 2)), timeout=T)
    assert (point.x, point.tags) == (1, [2]) and type(point).__name__ == "Point"
    assert color.name == "RED" and tuple(pair) == (1, 2)


def test_identity_inside_one_value(ray):
    inner = [1]
    loop = {}
    loop["self"] = loop
    a, b, got = ray.get(ray.put((inner, inner, loop)))
    assert a is b and got["self"] is got


def test_functions_lambdas_and_closures(ray):
    n = 5

    def add(x):
        return x + n

    @ray.remote
    def call(f, x):
        return f(x)

    assert ray.get(call.remote(add, 1), timeout=T) == 6
    assert ray.get(call.remote(lambda x: x * n, 3), timeout=T) == 15
    assert ray.get(ray.get(ray.put([add]))[0](2) and ray.put(1)) == 1


def test_handles_and_remote_functions_travel(ray):
    @ray.remote(num_cpus=0)
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    def use(parts):
        counter, function = parts["counter"], parts["function"]
        return ray.get(function.remote(ray.get(counter.add.remote())), timeout=T)

    counter = Counter.remote()
    assert ray.get(use.remote({"counter": counter, "function": double}), timeout=T) == 2
    assert ray.get(counter.add.remote(), timeout=T) == 2


@pytest.mark.parametrize("size", [100 * 1024 - 300, 100 * 1024 - 1, 100 * 1024, 100 * 1024 + 1, 4096 * 40])
def test_sizes_around_the_limit_of_messages(ray, size):
    @ray.remote
    def make(n):
        return b"q" * n

    @ray.remote
    def length(x):
        return len(x)

    assert len(ray.get(make.remote(size), timeout=T)) == size
    assert ray.get(length.remote(b"q" * size), timeout=T) == size
    assert ray.get(length.remote(make.remote(size)), timeout=T) == size
