"""Plans rewritten, placed and shown; nothing is run on a cluster."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rayjup
import rayjup.data as rd
from rayjup.data.block.convert import rows_to_table, to_batch, to_table
from rayjup.data.block.unify import concat, unify_schemas
from rayjup.data.context import DataContext
from rayjup.data.expressions import col
from rayjup.data.logical.base import walk
from rayjup.data.logical.rules import optimize
from rayjup.data.logical.sources import Read
from rayjup.data.physical.batching import batches, numpy_batches, shuffled
from rayjup.data.physical.placement import runs_here
from rayjup.data.streaming_split import Sharing


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": range(10), "b": range(10), "c": ["x"] * 10}), path)
    return str(path)


def read_of(ds):
    return next(op for op in walk(optimize(ds._op)) if isinstance(op, Read)).source


def test_only_needed_columns_are_read(table):
    ds = rd.read_parquet(table)
    assert list(read_of(ds.groupby("a").sum("b")).get_projection_map()) == ["a", "b"]
    assert list(read_of(ds.select_columns(["c"])).get_projection_map()) == ["c"]
    assert read_of(ds.map(lambda r: r)).get_projection_map() is None
    assert ds.sort("b").select_columns(["a"]).take(1) == [{"a": 0}]


def test_filters_reach_the_source(table):
    ds = rd.read_parquet(table).filter(expr=col("a") > 7)
    assert read_of(ds).get_current_predicate() is not None
    assert [r["a"] for r in ds.take_all()] == [8, 9]
    assert ds.count() == 2


def test_limits_reach_the_source():
    ds = rd.range(1000).map(lambda r: r).limit(3)
    assert next(op for op in walk(optimize(ds._op)) if isinstance(op, Read)).limit == 3
    filtered = rd.range(1000).filter(lambda r: r["id"] > 10).limit(3)
    assert next(op for op in walk(optimize(filtered._op)) if isinstance(op, Read)).limit is None


def test_where_plans_run():
    context = DataContext()
    small = rd.range(100)
    assert runs_here(small.map(lambda r: r)._op, context)
    assert runs_here(small.sort("id")._op, context)
    assert not runs_here(small.map(lambda r: r, num_cpus=2)._op, context)
    assert not runs_here(small.map_batches(Model, concurrency=1)._op, context)
    assert not runs_here(rd.range(10**9).map(lambda r: r)._op, context)
    assert not runs_here(rd.range(10**10).sort("id")._op, context)
    assert not runs_here(small.map(lambda r: {"pid": os.getpid()})._op, context)
    assert runs_here(rd.range(10**7).sort("id")._op, context, store_bytes=1e9)
    assert not runs_here(rd.range(10**8).sort("id")._op, context, store_bytes=1e9)


class Model:
    def __call__(self, batch):
        return batch


def test_small_data_starts_no_cluster():
    ds = rd.from_items([{"k": i % 2, "v": i} for i in range(10)]).map(lambda r: {**r, "w": r["v"] * 2})
    assert ds.groupby("k").sum("w").take_all() == [{"k": 0, "sum(w)": 40}, {"k": 1, "sum(w)": 50}]
    assert not rayjup.is_initialized()


def test_importing_costs_little():
    code = (
        "import sys, time; t = time.perf_counter(); import rayjup.data; "
        "print(time.perf_counter() - t, 'pyarrow' in sys.modules, 'polars' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert out[1:] == ["False", "False"]
    assert float(out[0]) < 2


def test_repr_and_html_run_nothing():
    def explode(row):
        raise AssertionError("run")

    ds = rd.range(3).map(explode)
    assert repr(ds) == "Map(explode)\n+- ReadRange: Dataset(num_rows=3, schema=Unknown schema)"
    assert "Map(explode)" in ds._repr_mimebundle_()["text/html"]
    assert "<td" in rd.range(3).materialize()._repr_mimebundle_()["text/html"]


def test_explain_and_stats(capsys):
    ds = rd.range(5).map(lambda r: r)
    ds.explain()
    shown = capsys.readouterr().out
    assert "Logical Plan" in shown and "Runs in this process" in shown
    assert ds.stats() == ""
    done = ds.materialize()
    assert "ReadRange->Map(<lambda>)" in done.stats()
    assert "5 total" in done.stats()


def test_errors_name_operator_column_and_way_out():
    with pytest.raises(ValueError, match="there is no column 'nope'"):
        rd.range(3).sort("nope").take()
    with pytest.raises(ValueError, match=r"Select\[nope\]: there is no column 'nope'"):
        rd.range(3).map(lambda r: r).select_columns(["nope"]).take()
    with pytest.raises(ValueError, match="rows must be dicts"):
        rd.range(3).map(lambda r: 1).take()
    with pytest.raises(ValueError, match="same length"):
        rd.range(3).map_batches(lambda b: {"x": [1], "y": [1, 2]}).take()
    with pytest.raises(ValueError, match="either a function or an expression"):
        rd.range(3).filter()
    with pytest.raises(ValueError, match="classes"):
        rd.range(3).map(lambda r: r, fn_constructor_args=(1,))
    with pytest.raises(ValueError, match="join_type='sideways'"):
        rd.range(3).join(rd.range(3), "sideways", 1)


def test_user_errors_keep_their_type():
    def bad(row):
        raise KeyError("lost")

    with pytest.raises(KeyError) as caught:
        rd.range(3).map(bad).take()
    assert isinstance(caught.value, rayjup.exceptions.RayTaskError)
    assert "in bad" in str(caught.value)


def test_functions_are_copies():
    seen = []

    def note(row):
        seen.append(row["id"])
        return row

    rd.range(3).map(note).take_all()
    assert seen == []


def test_what_cannot_travel_is_named():
    import threading

    lock = threading.Lock()

    def locked(row):
        with lock:
            return row

    with pytest.raises(TypeError, match=r"Map\(locked\).*cannot be"):
        rd.range(3).map(locked).take()


def test_rows_and_batches():
    table = rows_to_table([{"a": 1}, {"a": 2.5, "b": "x"}, {"b": None}])
    assert table.to_pylist() == [{"a": 1.0, "b": None}, {"a": 2.5, "b": "x"}, {"a": None, "b": None}]
    assert to_table({"x": np.arange(3), "t": np.ones((3, 2, 2))}).num_rows == 3
    images = to_table({"i": [np.zeros((2, 2)), np.ones((3, 1))]})
    assert [a.shape for a in to_batch(images, "numpy")["i"]] == [(2, 2), (3, 1)]
    assert to_batch(to_table({"x": [1, None]}), "pandas")["x"].isna().tolist() == [False, True]
    frame = pd.DataFrame(
        {"when": pd.date_range("2024-01-01", periods=2, tz="Europe/Berlin"), "s": ["ä", None]}
    )
    back = to_batch(to_table(frame), "pandas")
    assert back["when"].tolist() == frame["when"].tolist()
    assert back["s"].isna().tolist() == [False, True]
    mixed = to_table({"m": [1, "a", object]})
    assert to_batch(mixed, "numpy")["m"].tolist() == [1, "a", object]


def test_nested_and_ragged():
    rows = [{"l": [1, 2], "s": {"a": 1}}, {"l": [], "s": {"a": None, "b": "x"}}, {"l": None, "s": None}]
    assert rd.from_items(rows).map(lambda r: r).take_all() == [
        {"l": [1, 2], "s": {"a": 1, "b": None}},
        {"l": [], "s": {"a": None, "b": "x"}},
        {"l": None, "s": None},
    ]


def test_schemas_unify():
    both = unify_schemas([pa.schema([("a", pa.int64())]), pa.schema([("a", pa.float32()), ("b", pa.null())])])
    assert both == pa.schema([("a", pa.float64()), ("b", pa.null())])
    with pytest.raises(ValueError, match="column 'a' is of type"):
        unify_schemas([pa.schema([("a", pa.int64())]), pa.schema([("a", pa.list_(pa.int64()))])])
    joined = concat([pa.table({"a": [1]}), pa.table({"b": [[1]]}), pa.table({"a": [2.5]})])
    assert joined.to_pylist() == [
        {"a": 1.0, "b": None},
        {"a": None, "b": [1]},
        {"a": 2.5, "b": None},
    ]


def test_batches_cross_blocks():
    parts = [pa.table({"x": range(a, b)}) for a, b in ((0, 3), (3, 3), (3, 10))]
    assert [t["x"].to_pylist() for t in batches(iter(parts), 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [t.num_rows for t in batches(iter(parts), 4, drop_last=True)] == [4, 4]
    assert [b["x"].tolist() for b in numpy_batches(iter(parts), 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [b["x"].tolist() for b in numpy_batches(iter(parts), 2, True)] == [
        [i, i + 1] for i in range(0, 10, 2)
    ]
    mixed = [v for t in shuffled(iter(parts), 2, 4, seed=0) for v in t["x"].to_pylist()]
    assert sorted(mixed) == list(range(10)) != mixed


def test_sharing_is_equal():
    sharing = Sharing(3, equal=True)
    for block, rows in (("a", 5), ("b", 1), ("c", 7)):
        sharing.add(block, rows)
    sharing.end()
    taken = [0, 0, 0]
    for consumer in range(3):
        while (piece := sharing.take(consumer)) is not None:
            taken[consumer] += piece[2] - piece[1]
    assert taken == [4, 4, 4]


def test_datasets_pickle():
    ds = pickle.loads(pickle.dumps(rd.from_items([1, 2]).materialize()))
    assert ds.take_all() == [{"item": 1}, {"item": 2}]
    again = rd.Dataset.deserialize_lineage(rd.range(3).map(lambda r: {"y": r["id"]}).serialize_lineage())
    assert again.take_all() == [{"y": 0}, {"y": 1}, {"y": 2}]


def test_nan_and_nulls_sort_last():
    ds = rd.from_arrow(pa.table({"x": [2.0, None, float("nan"), 1.0]}))
    for down, expected in ((False, [1.0, 2.0]), (True, [2.0, 1.0])):
        rows = [r["x"] for r in ds.sort("x", descending=down).take_all()]
        assert rows[:2] == expected
        assert rows[2] != rows[2] and rows[3] is None


def test_write_modes(tmp_path):
    folder = str(tmp_path / "out")
    rd.range(4).repartition(2).write_parquet(folder)
    assert len(os.listdir(folder)) == 2
    rd.range(3).write_parquet(folder, mode="append")
    assert rd.read_parquet(folder).count() == 7
    rd.range(3).write_parquet(folder, mode="ignore")
    assert rd.read_parquet(folder).count() == 7
    rd.range(3).write_parquet(folder, mode="overwrite")
    assert rd.read_parquet(folder).count() == 3
    with pytest.raises(ValueError, match="not empty"):
        rd.range(3).write_parquet(folder, mode="error")


def test_missing_columns_in_files(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [2.5]}), tmp_path / "2.parquet")
    ds = rd.read_parquet(str(tmp_path))
    assert ds.take_all() == [{"a": 1.0, "b": "x"}, {"a": 2.5, "b": None}]
    assert ds.sum("a") == 3.5


def test_annotations_say_the_format():
    def frame(batch: pd.DataFrame) -> pd.DataFrame:
        return batch[batch["id"] > 1]

    def arrow(batch: pa.Table):
        return batch.slice(0, 1)

    assert rd.range(3).map_batches(frame).take_all() == [{"id": 2}]
    assert rd.range(3, override_num_blocks=1).map_batches(arrow).count() in (1, 2)


def test_samples():
    pytest.importorskip("sklearn")
    ds = rd.read_csv("example://iris.csv")
    assert ds.count() == 150
    assert ds.columns()[:2] == ["sepal.length", "sepal.width"]


def test_dictionaries_only_where_values_repeat():
    from rayjup.data.datasource.parquet_sink import repeating_columns

    n = 200_000
    table = pa.table({"id": np.arange(n), "k": np.arange(n) % 7, "s": [str(i % 3) for i in range(n)]})
    assert repeating_columns(table) == ["k", "s"]
    assert repeating_columns(pa.table({"l": [[1]]})) is None
