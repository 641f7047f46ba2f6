"""Values of common types come back equal, whole, and without a copy where that is promised."""

import datetime
import decimal
import enum
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def through(value, how):
    """The value after a way through the cluster."""
    if how == "put":
        return ray.get(ray.put(value))

    @ray.remote
    def same(x):
        return x

    return ray.get(same.remote(value), timeout=60)


@pytest.fixture(params=["put", "task"])
def how(request):
    return request.param


PLAIN = {
    "bool": True,
    "huge int": 1 << 200,
    "float": -0.0,
    "complex": 1 - 2j,
    "bytearray": bytearray(b"x" * 200),
    "nested": {"a": [1, (2, {3}), frozenset({4})], None: ...},
    "range": range(3, 100, 7),
    "slice": slice(1, None, 2),
    "datetime": datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(days=3, microseconds=5),
    "decimal": decimal.Decimal("1.10"),
    "fraction": Fraction(3, 7),
    "uuid": uuid.UUID(int=5),
    "counter": Counter("abca"),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "deque": deque([1, 2], maxlen=3),
    "type": dict,
    "builtin": len,
    "dtype": np.dtype("f4"),
    "numpy scalar": np.float32(1.5),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values(name, how):
    got = through(PLAIN[name], how)
    assert got == PLAIN[name]
    assert type(got) is type(PLAIN[name])


ARRAYS = {
    "empty": np.zeros((0, 3)),
    "no dimension": np.array(5),
    "small": np.arange(10),
    "large": np.arange(300_000, dtype=np.int64),
    "fortran": np.asfortranarray(np.arange(120_000.0).reshape(300, 400)),
    "strided": np.arange(400_000)[::3],
    "negative strides": np.arange(200_000)[::-1],
    "bool": np.arange(200_000) % 3 == 0,
    "complex": np.arange(50_000) * 1j,
    "half": np.arange(2000, dtype=np.float16),
    "big endian": np.arange(50_000, dtype=">i8"),
    "strings": np.array(["a", "bcd"] * 20_000),
    "objects": np.array([{"a": 1}, None, "x"], dtype=object),
    "dates": np.arange("2000-01", "2020-01", dtype="datetime64[D]"),
    "records": np.zeros(20_000, dtype=[("x", "i4"), ("y", "f8")]),
    "with nan": np.array([np.nan, np.inf, -np.inf] * 20_000),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name, how):
    array = ARRAYS[name]
    got = through(array, how)
    assert got.dtype == array.dtype
    assert got.shape == array.shape
    np.testing.assert_array_equal(got, array)


def test_large_arrays_are_read_only_wherever_they_lie(how):
    got = through({"a": [np.arange(300_000)], "b": np.ones(200_000)}, how)
    assert not got["a"][0].flags.writeable
    assert not got["b"].flags.writeable


def test_the_same_object_twice_in_a_value_is_one(how):
    inner = [1]
    got = through({"a": inner, "b": inner}, how)
    assert got["a"] is got["b"]


def test_a_value_that_contains_itself(how):
    loop = [1]
    loop.append(loop)
    got = through(loop, how)
    assert got[1] is got


def test_classes_of_the_program(how):
    class Color(enum.Enum):
        RED = 1

    @dataclass
    class Point:
        x: int
        color: Color

    got = through(Point(3, Color.RED), how)
    assert got.x == 3
    assert got.color.name == "RED"


def test_functions_and_their_closures(how):
    base = 10

    def add(x):
        return x + base

    assert through(add, how)(5) == 15
    assert through(lambda x: add(x) * 2, how)(1) == 22


def test_containers_with_factories(how):
    Pair = namedtuple("Pair", "left right")
    assert tuple(through(Pair(1, 2), how)) == (1, 2)
    got = through(defaultdict(list, a=[1]), how)
    assert got["a"] == [1]
    assert got["missing"] == []


def test_exceptions_as_values(how):
    got = through(ValueError("text", 3), how)
    assert isinstance(got, ValueError)
    assert got.args == ("text", 3)


def test_data_frames(how):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {
            "number": np.arange(50_000),
            "ratio": np.arange(50_000) / 7,
            "text": [f"row {i}" for i in range(50_000)],
            "kind": pd.Categorical(["a", "b"] * 25_000),
            "when": pd.date_range("2020-01-01", periods=50_000, freq="min", tz="UTC"),
            "maybe": pd.array([1, None] * 25_000, dtype="Int64"),
        },
        index=pd.Index(range(1, 50_001), name="key"),
    )
    pd.testing.assert_frame_equal(through(frame, how), frame)
    pd.testing.assert_series_equal(through(frame["text"], how), frame["text"])


def test_arrow_tables(how):
    pa = pytest.importorskip("pyarrow")
    table = pa.table(
        {
            "number": np.arange(100_000),
            "text": [f"row {i}" for i in range(100_000)],
            "list": [[i, None] for i in range(100_000)],
        },
        metadata={"of": "this test"},
    )
    got = through(table, how)
    assert got.equals(table, check_metadata=True)
    part = table.slice(10, 500)
    assert through(part, how).equals(part)


def test_tensors(how):
    torch = pytest.importorskip("torch")
    for tensor in (
        torch.arange(300_000),
        torch.arange(12.0).reshape(3, 4).t(),
        torch.ones(5, dtype=torch.bfloat16),
        torch.tensor(3),
    ):
        got = through(tensor, how)
        assert got.dtype == tensor.dtype
        assert torch.equal(got, tensor)


def test_more_data_than_the_store_holds_in_the_shape_of_results():
    @ray.remote
    def make(i):
        return np.full(5_000_000, i, dtype=np.uint8)

    refs = [make.remote(i) for i in range(20)]
    assert [int(block[-1]) for block in ray.get(refs, timeout=120)] == list(range(20))
