"""Datasets on a cluster: processes that die, pools, exchanges, splits, hand-over."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest

import rayjup
import rayjup.data as rd
from rayjup.data import ActorPoolStrategy, DataContext

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def on_cluster():
    """Nothing runs in this process."""
    context = DataContext().copy()
    context.local_max_bytes = context.local_udf_max_bytes = -1
    with DataContext.current(context):
        yield context


def numbers(n=1000, blocks=10):
    return rd.range(n, override_num_blocks=blocks)


def dies_once(path, at):
    """A function of batches that ends its process when it first sees a number."""

    def work(batch):
        if at in batch["id"] and not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    return work


def meet(folder, count):
    """Wait until so many processes have been here: how soon a process starts is nobody's promise."""
    open(os.path.join(folder, f"here-{os.getpid()}"), "w").close()
    deadline = time.monotonic() + 40
    while sum(name.startswith("here-") for name in os.listdir(folder)) < count:
        assert time.monotonic() < deadline, "the other processes do not come"
        time.sleep(0.01)


def test_a_killed_task_is_done_again(tmp_path):
    ds = numbers().map_batches(dies_once(str(tmp_path / "died"), 500))
    assert [r["id"] for r in ds.take_all()] == list(range(1000))
    assert (tmp_path / "died").exists()


def test_a_killed_actor_is_replaced(tmp_path):
    work = dies_once(str(tmp_path / "died"), 500)

    class Model:
        def __call__(self, batch):
            return work(batch)

    ds = numbers().map_batches(Model, concurrency=2)
    assert [r["id"] for r in ds.take_all()] == list(range(1000))
    assert (tmp_path / "died").exists()


def test_a_process_killed_within_an_exchange(tmp_path, on_cluster):
    work = dies_once(str(tmp_path / "died"), 777)
    ds = numbers().map_batches(work).map_batches(lambda b: {"k": b["id"] % 7, "v": b["id"]})
    on_cluster.target_max_block_size = 2000
    rows = ds.groupby("k", num_partitions=3).sum("v").take_all()
    assert [r["sum(v)"] for r in rows] == [sum(range(k, 1000, 7)) for k in range(7)]
    assert (tmp_path / "died").exists()


def test_classes_are_made_once_per_actor(tmp_path):
    class Model:
        def __init__(self, folder):
            self.pid, self.folder = os.getpid(), folder
            open(os.path.join(folder, f"made-{self.pid}.{time.time_ns()}"), "w").close()

        def __call__(self, batch):
            meet(self.folder, 2)
            return {"pid": np.full(len(batch["id"]), self.pid)}

    ds = numbers(blocks=16).map_batches(Model, fn_constructor_args=(str(tmp_path),), concurrency=2)
    assert len({r["pid"] for r in ds.take_all()}) == 2
    assert len(list(tmp_path.glob("made-*"))) == 2


def test_pools_grow_with_the_work(tmp_path):
    folder = str(tmp_path)

    class Slow:
        def __call__(self, batch):
            meet(folder, 3)
            return {"pid": np.full(len(batch["id"]), os.getpid())}

    ds = numbers(blocks=12).map_batches(Slow, compute=ActorPoolStrategy(min_size=1, max_size=3))
    assert len({r["pid"] for r in ds.take_all()}) == 3
    assert "at most 3" in ds.stats() or ds._stats is None


def test_constructors_that_fail_say_why():
    class Broken:
        def __init__(self):
            raise RuntimeError("no weights")

        def __call__(self, batch):
            return batch

    with pytest.raises(RuntimeError, match="no weights"):
        numbers().map_batches(Broken, concurrency=1).take_all()


def test_async_functions_overlap():
    import asyncio

    running: list[int] = []

    async def fetch(row):
        running.append(row["id"])
        at_once = len(running)
        await asyncio.sleep(0.02)
        running.remove(row["id"])
        return {"x": row["id"], "at_once": at_once}

    rows = rd.range(64).map(fetch).take_all()
    assert [r["x"] for r in rows] == list(range(64))
    assert max(r["at_once"] for r in rows) > 2


def test_slow_functions_use_all_cpus():
    def slow(row):
        time.sleep(0.05)
        return {"pid": os.getpid(), "id": row["id"]}

    slow_ = slow
    rows = rd.from_items([{"id": i} for i in range(60)]).map(slow_).take_all()
    assert [r["id"] for r in rows] == list(range(60))
    assert len({r["pid"] for r in rows}) >= 2


def test_concurrency_of_functions_is_a_limit(tmp_path):
    folder = str(tmp_path)

    def work(batch):
        name = os.path.join(folder, str(batch["id"][0]))
        open(name, "w").close()
        count = len(os.listdir(folder))
        time.sleep(0.05)
        os.remove(name)
        return {"running": np.full(len(batch["id"]), count)}

    ds = numbers(100, 10).map_batches(work, concurrency=2)
    assert max(r["running"] for r in ds.take_all()) <= 2


def test_exchanges_larger_than_a_block(on_cluster):
    on_cluster.target_max_block_size = 1 << 20
    ds = rd.range(500_000).map_batches(lambda b: {"x": (b["id"] * 7919) % 500_009, "y": b["id"]})
    rows = 0
    last = -1
    for batch in ds.sort("x").iter_batches(batch_size=None):
        assert (np.diff(batch["x"]) > 0).all() and batch["x"][0] > last
        last = batch["x"][-1]
        rows += len(batch["x"])
    assert rows == 500_000
    shuffled = rd.range(200_000).random_shuffle(seed=2)
    ids = np.concatenate([b["id"] for b in shuffled.iter_batches(batch_size=None)])
    assert (np.sort(ids) == np.arange(200_000)).all() and (ids != np.arange(200_000)).any()


def test_streaming_split_over_processes():
    parts = numbers(103, 8).map_batches(lambda b: b).streaming_split(3, equal=True)

    @rayjup.remote(num_cpus=0.5)
    def consume(part):
        return [[int(v) for b in part.iter_batches(batch_size=8) for v in b["id"]] for _ in range(2)]

    for epoch in zip(*rayjup.get([consume.remote(p) for p in parts]), strict=True):
        assert [len(rows) for rows in epoch] == [34, 34, 34]
        seen = [v for rows in epoch for v in rows]
        assert len(set(seen)) == 102


def test_consumers_that_are_started_again_get_an_epoch_of_their_own():
    parts = numbers(40, 4).streaming_split(2, equal=True)

    @rayjup.remote(num_cpus=0.5)
    def consume(part):
        return sum(len(b["id"]) for b in part.iter_batches(batch_size=8))

    for _ in range(3):
        assert rayjup.get([consume.remote(p) for p in parts]) == [20, 20]


def test_materialized_blocks_stay_in_the_store(on_cluster):
    done = numbers(10_000, 4).map_batches(lambda b: {"x": b["id"] * 2}).materialize()
    assert done.num_blocks() == 4
    assert not any(b.is_local for b in done._cache)
    assert done.map(lambda r: r).sum("x") == 2 * sum(range(10_000))

    @rayjup.remote
    def total(ds):
        return ds.sum("x")

    assert rayjup.get(total.remote(done)) == 2 * sum(range(10_000))


def test_refs_in_and_out():
    import pandas as pd

    ds = rd.from_pandas_refs([rayjup.put(pd.DataFrame({"a": [1, 2]})), rayjup.put(pd.DataFrame({"a": [3]}))])
    assert ds.take_all() == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [t["a"].to_pylist() for t in rayjup.get(ds.to_arrow_refs())] == [[1, 2], [3]]
    assert rayjup.get(ds.to_numpy_refs(column="a"))[0].tolist() == [1, 2]


def test_leaving_an_iteration_ends_its_tasks(tmp_path):
    def slow(batch):
        time.sleep(0.05)
        return batch

    for batch in numbers(blocks=100).map_batches(slow, num_cpus=1).iter_batches(batch_size=5):
        assert len(batch["id"]) == 5
        break
    deadline = time.monotonic() + 30
    while rayjup.available_resources().get("CPU") != 4.0:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_writing_on_the_cluster(tmp_path, on_cluster):
    folder = str(tmp_path / "out")
    numbers(100, 4).map_batches(lambda b: b).write_parquet(folder)
    assert len(os.listdir(folder)) == 4
    assert rd.read_parquet(folder).sum("id") == sum(range(100))


def test_progress_is_told(on_cluster):
    from rayjup.base import notebook

    seen = []
    notebook.on_data_progress = lambda run: seen.append([c.rows for _, c, _ in run.operators()])
    try:
        numbers(1000, 10).map_batches(lambda b: b).take_all()
    finally:
        notebook.on_data_progress = None
    assert seen and seen[-1][-1] == 1000


def test_a_dataset_whose_reader_holds_all_cpus(on_cluster):
    (whole,) = numbers().map(lambda row: row).streaming_split(1)

    @rayjup.remote(num_cpus=4)
    def read(iterator):
        return sum(row["id"] for row in iterator.iter_rows())

    assert rayjup.get(read.remote(whole), timeout=60) == 499500
