"""Datasets: sorted, grouped, joined, split."""

import pandas as pd
import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(autouse=True, scope="module")
def _quiet():
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.default_hash_shuffle_parallelism = 2


def rows(n=12):
    return ray.data.from_items([{"k": i % 3, "x": float(i)} for i in range(n)])


def test_sort():
    ds = ray.data.from_items([3, 1, 2])
    assert [r["item"] for r in ds.sort("item").take_all()] == [1, 2, 3]
    assert [r["item"] for r in ds.sort("item", descending=True).take_all()] == [3, 2, 1]
    both = rows(6).sort(["k", "x"], descending=[True, False]).take_all()
    assert [(r["k"], r["x"]) for r in both] == [(2, 2), (2, 5), (1, 1), (1, 4), (0, 0), (0, 3)]


def test_random_shuffle_and_sample():
    ds = ray.data.range(100)
    shuffled = [r["id"] for r in ds.random_shuffle(seed=5).take_all()]
    assert sorted(shuffled) == list(range(100))
    assert shuffled != list(range(100))
    assert 10 < ray.data.range(1000).random_sample(0.1, seed=1).count() < 250


def test_numbers():
    ds = ray.data.range(5)
    assert ds.sum("id") == 10
    assert ds.min("id") == 0
    assert ds.max("id") == 4
    assert ds.mean("id") == 2
    assert ds.std("id") == pytest.approx(1.5811388)
    assert sorted(rows().unique("k")) == [0, 1, 2]


def test_aggregate():
    from ray.data.aggregate import Count, Max, Mean, Std

    result = rows().aggregate(Max("x"), Mean("x"), Count())
    assert result["max(x)"] == 11
    assert result["mean(x)"] == 5.5
    assert result["count()"] == 12
    grouped = rows().groupby("k").aggregate(Std("x"), Mean("x")).sort("k").take_all()
    assert [r["mean(x)"] for r in grouped] == [4.5, 5.5, 6.5]
    assert grouped[0]["std(x)"] == pytest.approx(3.8729833)


def test_groupby_shortcuts():
    grouped = rows().groupby("k")
    assert [r["sum(x)"] for r in grouped.sum("x").sort("k").take_all()] == [18, 22, 26]
    assert [r["count()"] for r in grouped.count().sort("k").take_all()] == [4, 4, 4]
    assert [r["max(x)"] for r in grouped.max("x").sort("k").take_all()] == [9, 10, 11]


def test_own_aggregation():
    from ray.data.aggregate import AggregateFn

    longest = AggregateFn(
        init=lambda key: 0,
        accumulate_row=lambda a, row: max(a, len(row["s"])),
        merge=max,
        name="longest",
    )
    ds = ray.data.from_items([{"s": "a"}, {"s": "abc"}])
    assert ds.aggregate(longest)["longest"] == 3


def test_nulls_in_groups():
    ds = ray.data.from_items([{"k": 1, "x": 1.0}, {"k": 1, "x": None}, {"k": 2, "x": None}])
    ignored = {r["k"]: r["sum(x)"] for r in ds.groupby("k").sum("x").take_all()}
    assert ignored[1] == 1.0
    assert ignored[2] is None
    kept = {r["k"]: r["sum(x)"] for r in ds.groupby("k").sum("x", ignore_nulls=False).take_all()}
    assert kept[1] is None


def test_map_groups():
    def top(group):
        return {"k": group["k"][:1], "top": [group["x"].max()]}

    result = rows().groupby("k").map_groups(top).take_all()
    assert sorted((r["k"], r["top"]) for r in result) == [(0, 9), (1, 10), (2, 11)]

    def frame(group):
        assert isinstance(group, pd.DataFrame)
        return group.head(1)

    assert rows().groupby("k").map_groups(frame, batch_format="pandas").count() == 3


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [(1, 10, 1), (2, 20, 2)]),
        ("left_outer", [(0, 0, None), (1, 10, 1), (2, 20, 2)]),
        ("right_outer", [(1, 10, 1), (2, 20, 2), (3, None, 3)]),
        ("full_outer", [(0, 0, None), (1, 10, 1), (2, 20, 2), (3, None, 3)]),
    ],
)
def test_join(how, expected):
    left = ray.data.from_items([{"id": i, "x": i * 10} for i in range(3)])
    right = ray.data.from_items([{"id": i, "y": i} for i in range(1, 4)])
    result = left.join(right, how, 2).take_all()
    found = [(r["id"], r["x"], r["y"]) for r in result]
    clean = [tuple(None if v != v else v for v in row) for row in found]
    assert sorted(clean, key=lambda r: r[0]) == expected


@pytest.mark.parametrize(("how", "expected"), [("left_semi", [1, 2]), ("left_anti", [0])])
def test_semi_and_anti_join(how, expected):
    left = ray.data.from_items([{"id": i, "x": i} for i in range(3)])
    right = ray.data.from_items([{"id": i, "y": i} for i in range(1, 4)])
    assert sorted(r["id"] for r in left.join(right, how, 2).take_all()) == expected


def test_union_and_zip():
    assert ray.data.range(2).union(ray.data.range(3)).count() == 5
    zipped = ray.data.range(3).zip(ray.data.range(3).map(lambda row: {"y": row["id"] * 2}))
    assert zipped.take_all() == [{"id": 0, "y": 0}, {"id": 1, "y": 2}, {"id": 2, "y": 4}]


def test_repartition():
    blocks = ray.data.range(10).repartition(5).materialize()
    assert blocks.num_blocks() == 5
    assert blocks.count() == 10


def test_splits():
    ds = ray.data.range(10)
    assert sorted(p.count() for p in ds.split(2)) == [5, 5]
    assert [p.count() for p in ds.split(3, equal=True)] == [3, 3, 3]
    assert [p.count() for p in ds.split_at_indices([2, 5])] == [2, 3, 5]
    assert [p.count() for p in ds.split_proportionately([0.2, 0.5])] == [2, 5, 3]
    train, test = ds.train_test_split(0.3)
    assert (train.count(), test.count()) == (7, 3)
    assert [r["id"] for r in test.take_all()] == [7, 8, 9]


def test_stratified_split():
    ds = ray.data.from_items([{"x": i, "label": i % 2} for i in range(20)])
    train, test = ds.train_test_split(0.5, stratify="label")
    assert (train.count(), test.count()) == (10, 10)
    assert sum(r["label"] for r in test.take_all()) == 5


def test_streaming_split():
    parts = ray.data.range(20, override_num_blocks=4).streaming_split(2, equal=True)

    @ray.remote
    def consume(part):
        return [sum(len(b["id"]) for b in part.iter_batches(batch_size=4)) for _ in range(2)]

    assert ray.get([consume.remote(p) for p in parts]) == [[10, 10], [10, 10]]


def test_parquet_round_trip(tmp_path):
    from ray.data.expressions import col

    path = str(tmp_path / "table")
    rows().write_parquet(path)
    ds = ray.data.read_parquet(path)
    assert ds.count() == 12
    assert ds.select_columns(["x"]).schema().names == ["x"]
    assert ds.filter(expr=col("x") > 9).count() == 2
    assert ray.data.read_parquet(path, columns=["k"]).take(1)[0].keys() == {"k"}


def test_partitioned_parquet(tmp_path):
    path = str(tmp_path / "table")
    rows().write_parquet(path, partition_cols=["k"])
    ds = ray.data.read_parquet(path)
    assert ds.count() == 12
    assert sorted({int(r["k"]) for r in ds.take_all()}) == [0, 1, 2]
