"""Expressions on Arrow tables: values, types, push-down, errors."""

from __future__ import annotations

import math
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest

from rayjup.data.datatype import DataType
from rayjup.data.expressions import (
    Expr,
    col,
    exprlist_to_fields,
    is_rename_expr,
    lit,
    monotonically_increasing_id,
    parse,
    pushed_down,
    pyarrow_udf,
    random,
    star,
    to_polars,
    udf,
    unnest,
    uuid,
)
from rayjup.data.expressions.evaluation import EvaluationContext, column, mask, project
from rayjup.data.expressions.nodes import AliasExpr

TABLE = pa.table(
    {
        "x": pa.array([-3, 5, None, 8]),
        "f": [1.5, -2.5, None, math.nan],
        "s": ["Ab,c", " x ", None, "é"],
        "b": [True, False, None, True],
        "l": [[3, 1], [], None, [2, None]],
        "ll": [[[1], [2]], [], None, [[3]]],
        "st": [{"a": 1, "b": "q"}, {"a": None, "b": "r"}, None, {"a": 3, "b": "z"}],
        "m": pa.array([[("k", 1)], [], None, [("i", 2), ("j", 3)]], pa.map_(pa.string(), pa.int64())),
        "fl": pa.array([[1, 2], [3, 4], None, [5, 6]], pa.list_(pa.int64(), 2)),
        "t": pa.array([0, 3600 * 10**6 * 5 + 90 * 10**6, None, 10**15], pa.timestamp("us")),
    }
)
X, F, S, L = col("x"), col("f"), col("s"), col("l")

VALUES: list[tuple[Any, list[Any]]] = [
    (X + 1, [-2, 6, None, 9]),
    (10 - X, [13, 5, None, 2]),
    (X / 2, [-1, 2, None, 4]),
    (X / 2.0, [-1.5, 2.5, None, 4.0]),
    (X // 2, [-2.0, 2.0, None, 4.0]),
    (X % 3, [0.0, 2.0, None, 2.0]),
    (X % -3, [0.0, -1.0, None, -1.0]),
    (S + "!", ["Ab,c!", " x !", None, "é!"]),
    (">" + S, [">Ab,c", "> x ", None, ">é"]),
    (X > 1, [False, True, None, True]),
    ((X > 1) & col("b"), [False, False, None, True]),
    ((X > 1) | col("b"), [True, True, None, True]),
    (~col("b"), [False, True, None, False]),
    (X.is_null(), [False, False, True, False]),
    (F.is_null(), [False, False, True, False]),
    (X.is_not_null(), [True, True, False, True]),
    (X.is_in([5, None]), [False, True, True, False]),
    (X.is_in([5, 2.5, "no"]), [False, True, False, False]),
    (X.not_in([5]), [True, False, True, True]),
    (X.abs(), [3, 5, None, 8]),
    (-X, [3, -5, None, -8]),
    (X.power(2), [9, 25, None, 64]),
    (X.sign(), [-1, 1, None, 1]),
    (X.cast(DataType.string()), ["-3", "5", None, "8"]),
    (S.str.upper(), ["AB,C", " X ", None, "É"]),
    (S.str.len(), [4, 3, None, 1]),
    (S.str.byte_len(), [4, 3, None, 2]),
    (S.str.contains("AB", ignore_case=True), [True, False, None, False]),
    (S.str.match("A%"), [True, False, None, False]),
    (S.str.strip(), ["Ab,c", "x", None, "é"]),
    (S.str.strip("A"), ["b,c", " x ", None, "é"]),
    (S.str.pad(6, "*", "both"), ["*Ab,c*", "* x **", None, "**é***"]),
    (S.str.split(","), [["Ab", "c"], [" x "], None, ["é"]]),
    (S.str.extract("(?P<first>[A-Z])"), [{"first": "A"}, None, None, None]),
    (S.str.replace_slice(0, 1, "##"), ["##b,c", "##x ", None, "##"]),
    (S.str.replace_regex("([A-Z])", r"<\1>"), ["<A>b,c", " x ", None, "é"]),
    (S.str.slice(0, 2), ["Ab", " x", None, "é"]),
    (L.list.len(), [2, 0, None, 2]),
    (L.list.get(0), [3, None, None, 2]),
    (L.list[-1], [1, None, None, None]),
    (L.list[1:], [[1], [], None, [None]]),
    (L.list.slice(None, None, 2), [[3], [], None, [2]]),
    (L.list.slice(-1), [[1], [], None, [None]]),
    (L.list.sort(), [[1, 3], [], None, [2, None]]),
    (L.list.sort("descending", "at_start"), [[3, 1], [], None, [None, 2]]),
    (col("ll").list.flatten(), [[1, 2], [], None, [3]]),
    (col("st").struct["a"], [1, None, None, 3]),
    (col("st").struct.field_by_index(1), ["q", "r", None, "z"]),
    (col("m").map.keys(), [["k"], [], None, ["i", "j"]]),
    (col("m").map.values(), [[1], [], None, [2, 3]]),
    (col("fl").arr.to_list(), [[1, 2], [3, 4], None, [5, 6]]),
    (col("fl").list.get(1), [2, 4, None, 6]),
    (col("t").dt.hour(), [0, 5, None, 1]),
    (col("t").dt.strftime("%Y-%m-%d"), ["1970-01-01", "1970-01-01", None, "2001-09-09"]),
    (col("t").dt.floor("hour").dt.minute(), [0, 0, None, 0]),
    (lit(3), [3, 3, 3, 3]),
]


@pytest.mark.parametrize(("expr", "expected"), VALUES, ids=[repr(expr) for expr, _ in VALUES])
def test_values(expr: Expr, expected: list[Any]) -> None:
    assert column(expr, TABLE).to_pylist() == expected


@pytest.mark.parametrize(("expr", "expected"), VALUES, ids=[repr(expr) for expr, _ in VALUES])
def test_the_type_is_known_before_and_survives_slices_chunks_and_pickle(
    expr: Expr, expected: list[Any]
) -> None:
    assert expr.get_type(TABLE.schema) == column(expr, TABLE).type
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    again = cloudpickle.loads(cloudpickle.dumps(expr))
    assert again.structurally_equals(expr)
    assert column(again, chunked).to_pylist() == expected
    assert column(expr, TABLE.slice(1, 2)).to_pylist() == expected[1:3]
    assert column(expr, TABLE.slice(0, 0)).to_pylist() == []


def test_what_pyarrow_evaluates_itself_gives_the_same() -> None:
    told_so = 0
    for expr, expected in VALUES:
        try:
            pushed = expr.to_pyarrow()
        except TypeError:
            continue
        got = pads.dataset(TABLE).to_table(columns={"out": pushed}).column("out").to_pylist()
        assert got == expected, expr
        told_so += 1
    assert told_so > 30


def test_big_integers_stay_exact() -> None:
    table = pa.table({"n": [2**62 + 1, -(2**62) - 1]})
    assert column(col("n") % 10, table).to_pylist() == [float((2**62 + 1) % 10), float((-(2**62) - 1) % 10)]
    with pytest.raises(pa.ArrowInvalid, match="overflow"):
        column(col("n") * 4, table)


def test_comparison_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="Write & for and"):
        bool(X == 1)


def test_structural_equality_and_hash() -> None:
    assert (X + 1).structurally_equals(col("x") + 1)
    assert not (X + 1).structurally_equals(X + 2)
    assert not (X + 1).structurally_equals(X - 1)
    assert S.str.upper().structurally_equals(col("s").str.upper())
    assert L.list.sort().structurally_equals(col("l").list.sort())
    assert not L.list.sort().structurally_equals(L.list.sort("descending"))
    assert not random(seed=1).structurally_equals(random(seed=1))
    assert len({X, X, col("x")}) == 2


def test_names_types_and_fields() -> None:
    assert X.name == "x"
    assert (X + 1).name is None
    assert (X + 1).alias("y").name == "y"
    assert (X + 1).alias("y").to_field(TABLE.schema) == pa.field("y", pa.int64())
    assert X.is_null().alias("n").to_field(TABLE.schema) == pa.field("n", pa.bool_(), nullable=False)
    assert col("nope").get_type(TABLE.schema) is None
    fields = exprlist_to_fields([star(), (X > 1).alias("x")], TABLE.schema)
    assert fields is not None
    assert [f.name for f in fields] == TABLE.column_names
    assert fields[0].type == pa.bool_()
    assert S.str.upper().get_type(pa.schema([("s", pa.large_string())])) == pa.large_string()


def test_projection_replaces_in_place_and_renames() -> None:
    small = TABLE.select(["x", "f"])
    assert project([star(), (X + 1).alias("x")], small).column_names == ["x", "f"]
    renamed = project([star(), AliasExpr(X.data_type, X, "z", True)], small)
    assert renamed.column_names == ["z", "f"]
    assert is_rename_expr(X._rename("z"))
    assert not is_rename_expr(X.alias("z"))
    assert project([X.alias("z"), X], small).column_names == ["z", "x"]
    assert project([], small).num_rows == 4
    with pytest.raises(ValueError, match="has no name"):
        project([X + 1], small)


def test_unnest_makes_a_column_per_field_and_calls_the_function_once() -> None:
    calls = []

    @udf(return_dtype=DataType.struct([("sum", DataType.int64()), ("half", DataType.float64())]))
    def features(x: pa.Array) -> pa.Array:
        calls.append(len(x))
        return pa.StructArray.from_arrays(
            [pc.add(x, x).combine_chunks(), pc.divide(x, 2.0).combine_chunks()], names=["sum", "half"]
        )

    made = project([star(), unnest(features(X))], TABLE.select(["x"]))
    assert made.to_pydict() == {
        "x": [-3, 5, None, 8],
        "sum": [-6, 10, None, 16],
        "half": [-1.5, 2.5, None, 4.0],
    }
    assert calls == [4]
    with pytest.raises(TypeError, match="within unnest"):
        unnest(unnest(X))
    with pytest.raises(ValueError, match="fields of the record"):
        unnest(X).expand_projection(None)
    with pytest.raises(TypeError, match="of type int64"):
        unnest(X).expand_projection(TABLE.schema)


def test_functions_get_arrays_and_plain_arguments_and_are_checked() -> None:
    @udf(return_dtype=DataType.int32())
    def scaled(x: Any, factor: int = 1, *, plus: Any) -> Any:
        assert isinstance(factor, int)
        return pc.add(pc.multiply(x, factor), plus)

    out = column(scaled(X, 2, plus=X), TABLE)
    assert out.to_pylist() == [-9, 15, None, 24]
    assert out.type == pa.int32()  # as declared

    @udf(return_dtype=DataType.int64())
    def as_numpy(x: Any) -> np.ndarray:
        return np.arange(len(x))

    assert column(as_numpy(X), TABLE).to_pylist() == [0, 1, 2, 3]

    @udf(return_dtype=DataType.int64())
    def short(x: Any) -> Any:
        return x[:2]

    with pytest.raises(ValueError, match="'short' returned 2 values for a block of 4 rows"):
        column(short(X), TABLE)

    @udf(return_dtype=DataType.int64())
    def wrong(x: Any) -> Any:
        return [1, 2, 3, 4]

    with pytest.raises(TypeError, match="'wrong' returned a list"):
        column(wrong(X), TABLE)
    with pytest.raises(TypeError, match="return_dtype is a DataType"):
        udf(return_dtype=int)  # type: ignore[arg-type]


def test_a_class_is_made_once_per_process() -> None:
    made = []

    @udf(return_dtype=DataType.int64())
    class Add:
        def __init__(self, offset: int = 1) -> None:
            made.append(offset)
            self.offset = offset

        def __call__(self, x: pa.Array) -> pa.Array:
            return pc.add(x, self.offset)

    five = Add(5)
    for _ in range(3):
        assert column(five(X), TABLE).to_pylist() == [2, 10, None, 13]
    assert made == [5]
    assert five(X).callable_class_spec.args == (5,)
    assert column(Add()(X), TABLE).to_pylist() == [-2, 6, None, 9]

    @pyarrow_udf(return_dtype=DataType.int64())
    class Slow:
        async def __call__(self, x: pa.Array) -> pa.Array:
            return x

    assert column(Slow()(X), TABLE).to_pylist() == [-3, 5, None, 8]


def test_errors_name_expression_columns_and_row() -> None:
    table = pa.table({"a": [1, 2, 3], "b": [1, 0, 2]})
    with pytest.raises(
        pa.ArrowInvalid, match=r"divide by zero at row 1 of the block. Expression \(col\('a'\) / col"
    ):
        column(col("a") / col("b"), table)
    with pytest.raises(pa.ArrowInvalid, match=r"at row 2 of the block.*columns s: string"):
        column(col("s").cast(DataType.int64()), pa.table({"s": ["1", "2", "three"]}))
    with pytest.raises(pa.ArrowNotImplementedError, match=r"string, int64.*columns s: string"):
        column(S > 1, TABLE)
    with pytest.raises(KeyError, match="no column 'zz'; the columns are 'a', 'b'"):
        column(col("zz"), table)
    with pytest.raises(TypeError, match=r"of type int64. Compare"):
        mask(col("a"), table)
    with pytest.raises(TypeError, match="lists of lists"):
        column(L.list.flatten(), TABLE)
    for wrong in (
        lambda: col(3),  # type: ignore[arg-type]
        lambda: X.alias(3),  # type: ignore[arg-type]
        lambda: X.cast(int),  # type: ignore[arg-type]
        lambda: lit(X),
        lambda: column(star() + 1, table),
        lambda: random().to_pyarrow(),
    ):
        with pytest.raises(TypeError):
            wrong()
    for bad_value in (
        lambda: X.dt.floor("fortnight"),  # type: ignore[arg-type]
        lambda: X.list.sort("up"),  # type: ignore[arg-type]
        lambda: X.str.pad(3, side="top"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="is n"):
            bad_value()


def test_masks_drop_nulls() -> None:
    assert TABLE.filter(mask(X > 1, TABLE)).column("x").to_pylist() == [5, 8]
    assert TABLE.filter(mask(lit(None), TABLE)).num_rows == 0


def test_random_numbers_ids_and_uuids() -> None:
    table = pa.table({"a": range(1000)})
    seeded = random(seed=7, reseed_after_execution=False)
    context = EvaluationContext(task_index=2)
    first, second = column(seeded, table, context), column(seeded, table, context)
    assert first != second
    assert column(seeded, table, EvaluationContext(2, execution_index=5)) == first
    assert column(seeded, table, EvaluationContext(3)) != first
    again = random(seed=7)
    assert column(again, table, EvaluationContext(2, 0)) != column(again, table, EvaluationContext(2, 1))
    numbers = np.asarray(column(random(), table))
    assert 0 <= numbers.min() < 0.1 and 0.9 < numbers.max() < 1

    ids = monotonically_increasing_id()
    context = EvaluationContext(task_index=1)
    assert column(ids, table.slice(0, 3), context).to_pylist() == [2**33, 2**33 + 1, 2**33 + 2]
    assert column(ids, table.slice(0, 1), context).to_pylist() == [2**33 + 3]

    import uuid as standard

    made = column(uuid(), table).to_pylist()
    assert len(set(made)) == 1000
    assert all(standard.UUID(text).version == 4 and str(standard.UUID(text)) == text for text in made)
    assert not (X + random()).is_idempotent()
    assert (X + 1).is_idempotent()


def test_repr_is_readable_and_plain_pickle_works() -> None:
    expr = ((X + 1).alias("y") * 2 > lit(6)) & S.str.contains("a").is_not_null()
    assert repr(X + 1 > 2) == "((col('x') + 1) > 2)"
    assert "col('x') + 1" in repr(expr)
    assert pickle.loads(pickle.dumps(expr)).structurally_equals(expr)
    assert expr.required_columns() == {"x", "s"}
    assert (star()).required_columns() is None


PARSED = [
    ("x > 1 and not b", (X > 1) & ~col("b")),
    ("x in [5, 8] or f is None", X.is_in([5, 8]) | F.is_null()),
    ("-3 <= x < 8", (lit(-3) <= X) & (X < 8)),
    ("x % 2 == 0", X % 2 == 0),
    ("s.str.upper() == 'É'", S.str.upper() == "É"),
    ("is_null(x) or x ** 2 > 30", X.is_null() | (X.power(2) > 30)),
    ("col('x') not in (5,)", X.not_in([5])),
    ("st['a'] == 1 or l[0] == 2", (col("st").struct["a"] == 1) | (L.list[0] == 2)),
]


@pytest.mark.parametrize(("text", "expected"), PARSED, ids=[text for text, _ in PARSED])
def test_text(text: str, expected: Expr) -> None:
    assert column(parse(text), TABLE).to_pylist() == column(expected, TABLE).to_pylist()


@pytest.mark.parametrize(
    "text", ["x >", "lambda: 1", "__import__('os')", "x.__class__", "x is 3", "[x]", "open('f')", "x.nope()"]
)
def test_text_that_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be (read|used)"):
        parse(text)


def test_polars_gives_exactly_the_same_or_is_not_asked() -> None:
    import polars as pl

    frame = pl.from_arrow(TABLE.select(["x", "f", "s", "b"]))
    asked = 0
    more = [
        F > -3.0, F == F, F != F, F >= 1.5, lit(math.nan) > F, F + 1.5 > 0.0, F / 0.0, X == 5, X != 5,
        S == "é", X.not_in([5, None]), X.is_in([None]), F.is_null() & (X > 0), ~(X > 1), S.is_in(["é", "no"]),
    ]  # fmt: skip
    for expr in [*more, *(expr for expr, _ in VALUES)]:
        translated = to_polars(expr, TABLE.schema)
        if translated is None:
            continue
        asked += 1
        got = frame.select(translated.alias("out"))["out"].to_list()
        assert repr(got) == repr(column(expr, TABLE).to_pylist()), expr
    assert asked >= len(more) + 5
    assert to_polars(X + 1, TABLE.schema) is None
    assert to_polars(F > 1, TABLE.schema) is None


def test_what_can_be_pushed_down() -> None:
    assert pushed_down(X > 1, TABLE.schema) is not None
    assert pushed_down(S > 1, TABLE.schema) is None
    assert pushed_down(random() > 0.5) is None
    assert (X + F).columns() == {"x", "f"}
    assert (X + 1).eval(TABLE).to_pylist() == [-2, 6, None, 9]
