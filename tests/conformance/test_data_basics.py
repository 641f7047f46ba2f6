"""Datasets: made, transformed, consumed."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False


def test_range_take_and_count():
    ds = ray.data.range(100)
    assert ds.take(3) == [{"id": 0}, {"id": 1}, {"id": 2}]
    assert ds.count() == 100
    assert ds.schema().names == ["id"]
    assert ds.columns() == ["id"]


def test_items_are_rows_or_a_column():
    assert ray.data.from_items([1, 2]).take_all() == [{"item": 1}, {"item": 2}]
    assert ray.data.from_items([{"a": 1, "b": "x"}]).take_all() == [{"a": 1, "b": "x"}]


def test_range_tensor():
    rows = ray.data.range_tensor(3, shape=(2, 2)).take_all()
    assert rows[2]["data"].shape == (2, 2)
    assert (rows[2]["data"] == 2).all()


def test_from_pandas_numpy_and_arrow():
    assert ray.data.from_pandas(pd.DataFrame({"x": [1, 2]})).take_all() == [{"x": 1}, {"x": 2}]
    assert ray.data.from_numpy(np.arange(2)).take_all() == [{"data": 0}, {"data": 1}]
    assert ray.data.from_arrow(pa.table({"x": ["a"]})).take_all() == [{"x": "a"}]


def test_map_filter_and_flat_map():
    ds = ray.data.range(6)
    assert sorted(r["x"] for r in ds.map(lambda row: {"x": row["id"] * 2}).take_all()) == [0, 2, 4, 6, 8, 10]
    assert sorted(r["id"] for r in ds.filter(lambda row: row["id"] % 2 == 0).take_all()) == [0, 2, 4]
    twice = ds.flat_map(lambda row: [{"x": row["id"]}, {"x": row["id"]}])
    assert twice.count() == 12


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow", "default"])
def test_batch_formats(batch_format):
    def double(batch):
        if batch_format == "pyarrow":
            assert isinstance(batch, pa.Table)
            return pa.table({"id": pa.array([2 * v for v in batch["id"].to_pylist()])})
        if batch_format == "pandas":
            assert isinstance(batch, pd.DataFrame)
            return pd.DataFrame({"id": batch["id"] * 2})
        assert isinstance(batch, dict)
        return {"id": batch["id"] * 2}

    rows = ray.data.range(5).map_batches(double, batch_format=batch_format).take_all()
    assert sorted(r["id"] for r in rows) == [0, 2, 4, 6, 8]


def test_batch_size_and_generators():
    sizes = ray.data.range(10, override_num_blocks=1).map_batches(
        lambda batch: {"n": [len(batch["id"])]}, batch_size=4
    )
    assert sorted(r["n"] for r in sizes.take_all()) == [2, 4, 4]

    def pieces(batch):
        for value in batch["id"]:
            yield {"v": np.array([value])}

    assert sorted(r["v"] for r in ray.data.range(4).map_batches(pieces).take_all()) == [0, 1, 2, 3]


def test_arguments_of_functions():
    def add(batch, n, *, times):
        return {"id": (batch["id"] + n) * times}

    rows = ray.data.range(2).map_batches(add, fn_args=(1,), fn_kwargs={"times": 10}).take_all()
    assert sorted(r["id"] for r in rows) == [10, 20]


def test_classes_keep_their_state():
    class Adder:
        def __init__(self, n):
            self.n = n

        def __call__(self, batch):
            return {"id": batch["id"] + self.n}

    ds = ray.data.range(4).map_batches(Adder, fn_constructor_args=(10,), concurrency=1, batch_size=2)
    assert sorted(r["id"] for r in ds.take_all()) == [10, 11, 12, 13]


def test_columns():
    ds = ray.data.from_items([{"a": 1, "b": 2, "c": 3}])
    assert ds.select_columns(["c", "a"]).take() == [{"c": 3, "a": 1}]
    assert ds.drop_columns(["a"]).take() == [{"b": 2, "c": 3}]
    assert ds.rename_columns({"a": "z"}).take() == [{"z": 1, "b": 2, "c": 3}]
    assert ds.add_column("d", lambda df: df["a"] + 10).take()[0]["d"] == 11


def test_expressions():
    from ray.data.expressions import col, lit

    ds = ray.data.range(10)
    assert [r["id"] for r in ds.filter(expr=col("id") > 7).take_all()] == [8, 9]
    assert ds.with_column("x", col("id") * lit(2) + 1).take(2) == [{"id": 0, "x": 1}, {"id": 1, "x": 3}]


def test_limit_and_take_batch():
    ds = ray.data.range(100).map(lambda row: row)
    assert ds.limit(7).count() == 7
    assert len(ds.take_batch(5)["id"]) == 5
    with pytest.raises(ValueError):
        ds.take_all(limit=10)
    with pytest.raises(ValueError):
        ray.data.range(10).filter(lambda row: False).take_batch()


def test_iterating():
    ds = ray.data.range(10)
    assert [r["id"] for r in ds.iter_rows()] == list(range(10))
    assert [len(b["id"]) for b in ds.iter_batches(batch_size=4)] == [4, 4, 2]
    assert [len(b["id"]) for b in ds.iter_batches(batch_size=4, drop_last=True)] == [4, 4]
    assert [type(b) for b in ds.iter_batches(batch_size=None, batch_format="pandas")][:1] == [pd.DataFrame]
    mixed = [
        v
        for b in ds.iter_batches(batch_size=5, local_shuffle_buffer_size=10, local_shuffle_seed=1)
        for v in b["id"].tolist()
    ]
    assert sorted(mixed) == list(range(10))


def test_torch_batches():
    torch = pytest.importorskip("torch")
    batches = list(ray.data.range(5).iter_torch_batches(batch_size=2, dtypes=torch.float32))
    assert [b["id"].dtype for b in batches] == [torch.float32] * 3
    assert torch.cat([b["id"] for b in batches]).tolist() == [0, 1, 2, 3, 4]


def test_materialize_runs_once(counted):
    def note(batch):
        counted()
        return batch

    done = ray.data.range(10, override_num_blocks=2).map_batches(note).materialize()
    calls = counted()
    assert done.num_blocks() == 2
    assert done.count() == 10
    assert len(done.take_all()) == 10
    assert counted() == calls + 1


def test_errors_of_functions():
    def bad(row):
        raise KeyError("no such thing")

    with pytest.raises(ray.exceptions.RayTaskError, match="no such thing"):
        ray.data.range(3).map(bad).take_all()


def test_datasets_travel_to_tasks():
    ds = ray.data.range(20).map(lambda row: {"x": row["id"] + 1})

    @ray.remote
    def total(dataset):
        return sum(b["x"].sum() for b in dataset.iter_batches(batch_size=8))

    assert ray.get(total.remote(ds)) == 210


def test_pandas_round_trip_with_nulls():
    df = pd.DataFrame({"x": [1.0, None, 3.0], "s": ["a", None, "c"]})
    back = ray.data.from_pandas(df).to_pandas()
    assert back["x"].isna().tolist() == [False, True, False]
    assert back["s"].isna().tolist() == [False, True, False]


def test_repr_runs_nothing(counted):
    def note(row):
        counted()
        return row

    assert "Dataset" in repr(ray.data.range(3).map(note))
    assert counted() == 1
