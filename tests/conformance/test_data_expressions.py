"""Expressions on datasets, as Ray documents them."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS = [
    {"x": -3, "f": 1.5, "s": "Ab,c", "b": True, "l": [3, 1], "st": {"a": 1, "b": "q"}},
    {"x": 5, "f": -2.5, "s": " x ", "b": False, "l": [], "st": {"a": None, "b": "r"}},
    {"x": None, "f": None, "s": None, "b": None, "l": None, "st": None},
    {"x": 8, "f": 4.0, "s": "é", "b": True, "l": [2, 2], "st": {"a": 3, "b": "z"}},
]


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False


def values(**exprs):
    """The values of several expressions, from one run."""
    ds = ray.data.from_arrow(pa.Table.from_pylist(ROWS))
    for name, expr in exprs.items():
        ds = ds.with_column(name, expr)
    rows = ds.take_all()
    return {name: [row[name] for row in rows] for name in exprs}


def test_arithmetic_comparison_and_logic():
    from ray.data.datatype import DataType
    from ray.data.expressions import col, lit

    x, b = col("x"), col("b")
    assert values(
        plus=x + 1,
        minus=10 - x,
        half=x / 2.0,
        floor=x.abs() // 2,
        rest=x % 3,
        text=col("s") + "!",
        more=x > 1,
        both=(x > 1) & b,
        either=(x > 1) | b,
        inverse=~b,
        nulls=x.is_null(),
        known=x.is_not_null(),
        among=x.is_in([5, 8]),
        other=x.not_in([5]),
        magnitude=x.abs(),
        square=x.power(2),
        up=col("f").ceil(),
        near=col("f").round(),
        as_text=x.cast(DataType.string()),
        constant=lit(7),
    ) == {
        "plus": [-2, 6, None, 9],
        "minus": [13, 5, None, 2],
        "half": [-1.5, 2.5, None, 4.0],
        "floor": [1.0, 2.0, None, 4.0],
        "rest": [0.0, 2.0, None, 2.0],
        "text": ["Ab,c!", " x !", None, "é!"],
        "more": [False, True, None, True],
        "both": [False, False, None, True],
        "either": [True, True, None, True],
        "inverse": [False, True, None, False],
        "nulls": [False, False, True, False],
        "known": [True, True, False, True],
        "among": [False, True, False, True],
        "other": [True, False, True, True],
        "magnitude": [3, 5, None, 8],
        "square": [9, 25, None, 64],
        "up": [2.0, -2.0, None, 4.0],
        "near": [2.0, -2.0, None, 4.0],
        "as_text": ["-3", "5", None, "8"],
        "constant": [7, 7, 7, 7],
    }


def test_namespaces():
    from ray.data.expressions import col

    s, items = col("s"), col("l")
    assert values(
        upper=s.str.upper(),
        length=s.str.len(),
        has=s.str.contains("b"),
        like=s.str.match("A%"),
        bare=s.str.strip(),
        padded=s.str.pad(6, "*", "both"),
        parts=s.str.split(","),
        start=s.str.slice(0, 2),
        changed=s.str.replace("b", "Z"),
        count=items.list.len(),
        first=items.list.slice(0, 1),
        ordered=items.list.sort(),
        field=col("st").struct.field("a"),
        same_field=col("st").struct["b"],
    ) == {
        "upper": ["AB,C", " X ", None, "É"],
        "length": [4, 3, None, 1],
        "has": [True, False, None, False],
        "like": [True, False, None, False],
        "bare": ["Ab,c", "x", None, "é"],
        "padded": ["*Ab,c*", "* x **", None, "**é***"],
        "parts": [["Ab", "c"], [" x "], None, ["é"]],
        "start": ["Ab", " x", None, "é"],
        "changed": ["AZ,c", " x ", None, "é"],
        "count": [2, 0, None, 2],
        "first": [[3], [], None, [2]],
        "ordered": [[1, 3], [], None, [2, 2]],
        "field": [1, None, None, 3],
        "same_field": ["q", "r", None, "z"],
    }


def test_filters_take_expressions():
    from ray.data.expressions import col

    ds = ray.data.range(20)
    kept = ds.filter(expr=(col("id") >= 5) & (col("id") % 2 == 0) & (col("id") < 10))
    assert [row["id"] for row in kept.take_all()] == [6, 8]
    assert ds.filter(expr=~(col("id") > 1)).count() == 2


def test_functions_and_classes():
    from ray.data.datatype import DataType
    from ray.data.expressions import col, udf

    @udf(return_dtype=DataType.int64())
    def doubled(x: pa.Array) -> pa.Array:
        return pc.multiply(x, 2)

    @udf(return_dtype=DataType.int64())
    class Add:
        def __init__(self, offset=1):
            self.offset = offset

        def __call__(self, x: pa.Array) -> pa.Array:
            return pc.add(x, self.offset)

    ds = ray.data.range(3).with_column("d", doubled(col("id")) + 1).with_column("a", Add(5)(col("id")))
    assert sorted((row["id"], row["d"], row["a"]) for row in ds.take_all()) == [
        (0, 1, 5),
        (1, 3, 6),
        (2, 5, 7),
    ]


def test_generated_columns():
    from ray.data.expressions import monotonically_increasing_id, random, uuid

    ds = ray.data.range(50, override_num_blocks=2)
    rows = (
        ds.with_column("r", random(seed=1))
        .with_column("u", uuid())
        .with_column("n", monotonically_increasing_id())
        .take_all()
    )
    assert all(0 <= row["r"] < 1 for row in rows)
    assert len({row["u"] for row in rows}) == len({row["n"] for row in rows}) == 50


def test_downloads(tmp_path):
    from ray.data.expressions import download

    (tmp_path / "a").write_bytes(b"one")
    ds = ray.data.from_items([{"uri": str(tmp_path / "a")}, {"uri": str(tmp_path / "nothing")}])
    assert [row["bytes"] for row in ds.with_column("bytes", download("uri")).take_all()] == [b"one", None]


def test_unnest_and_structure():
    from ray.data.expressions import col, star, unnest

    ds = ray.data.from_arrow(pa.Table.from_pylist([{"st": {"a": 1, "b": "q"}}, {"st": {"a": 2, "b": "r"}}]))
    assert ds.with_columns(unnest(col("st"))).take(1) == [{"st": {"a": 1, "b": "q"}, "a": 1, "b": "q"}]
    assert (col("a") + 1).structurally_equals(col("a") + 1)
    assert not (col("a") + 1).structurally_equals(col("a") + 2)
    assert col("a").alias("z").name == "z"
    assert star().name is None
    schema = pa.schema([("a", pa.int64())])
    assert (col("a") > 1).get_type(schema) == pa.bool_()
    assert (col("a") + 1).alias("n").to_field(schema) == pa.field("n", pa.int64())


def test_data_types():
    from ray.data.datatype import DataType, TypeCategory

    assert DataType.infer_dtype([1]) == DataType.list(DataType.int64())
    assert DataType.from_numpy("int32").to_arrow_dtype() == pa.int32()
    assert DataType.temporal("timestamp", "ms", "UTC").to_arrow_dtype() == pa.timestamp("ms", "UTC")
    assert DataType.list(DataType.int8()).is_of(TypeCategory.LIST)
    assert DataType.tensor((2, 3), DataType.float32()).is_tensor_type()
    assert DataType.from_dtype("nonsense") is None
    with pytest.raises(ValueError, match=r"."):
        DataType.int64().to_python_type()
