"""The same plans in this process and through the nodes of a cluster run, with tasks called directly."""

from __future__ import annotations

import datetime
import random

import numpy as np
import pyarrow as pa
import pytest

import rayjup.data as rd
from rayjup.data.block.bundle import Bundle
from rayjup.data.block.metadata import BlockMetadata
from rayjup.data.compute import ActorPoolStrategy
from rayjup.data.context import DataContext
from rayjup.data.execution.local import LocalRun
from rayjup.data.execution.policy import Limits, PoolState, resize
from rayjup.data.execution.runner import Runner
from rayjup.data.expressions import col
from rayjup.data.logical.rules import optimize
from rayjup.data.physical.planner import Planner


class Finished:
    def next_ready(self):
        return True


class Direct:
    """A backend whose tasks end in random order."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.alive = 0
        self.most = 0

    def start(self, task, skip=0):
        self.alive += 1
        self.most = max(self.most, self.alive)
        return Called(self, task)

    def make_actor(self, work, options, threads):
        work.prepare()
        return object()

    def start_on(self, actor, task, skip=0):
        return self.start(task, skip)

    def end_actor(self, actor):
        pass

    def wait(self, calls, timeout_s):
        return [self.random.choice(calls)]


class Called:
    def __init__(self, backend, task):
        self.backend, self.task, self.generator = backend, task, Finished()
        self.complete, self.received = True, 0

    def poll(self):
        tables = [i.table() if isinstance(i, Bundle) else i for i in self.task.inputs]
        out = []
        for table in self.task.work.run(self.task.index, tables):
            meta = BlockMetadata(table.num_rows, table.nbytes, None)
            out.append(Bundle(table, meta=meta))
        self.backend.alive -= 1
        return out, True

    def cancel(self):
        self.backend.alive -= 1


def on_nodes(ds, seed=0, block_bytes=2000):
    """The rows of a dataset, run through the nodes of the cluster."""
    node = Planner(ds.context, 2, block_bytes).node(optimize(ds._op))
    runner = Runner(node, Direct(seed), Limits(2, 1 << 30), ds.context)
    return [row for bundle in runner for row in bundle.table().to_pylist()]


def here(ds):
    def no(inputs, chain):
        raise AssertionError("handed over")

    run = LocalRun(ds.context, 2, no, 1e9)
    return [row for table in run.tables(optimize(ds._op)) for row in table.to_pylist()]


def numbers(n=1000, blocks=7):
    return rd.range(n, override_num_blocks=blocks)


def keyed(n=1000, keys=10):
    return numbers(n).map(lambda r: {"k": r["id"] % keys, "v": r["id"]})


PLANS = {
    "map": lambda: numbers().map(lambda r: {"x": r["id"] * 2}),
    "filter": lambda: numbers().filter(lambda r: r["id"] % 7 == 0),
    "filter expression": lambda: numbers().filter(expr=col("id") > 990),
    "flat_map": lambda: numbers(20).flat_map(lambda r: [r] * (r["id"] % 3)),
    "batches": lambda: numbers().map_batches(lambda b: {"y": b["id"] + 1}, batch_size=13),
    "chain": lambda: keyed().filter(expr=col("k") == 3).rename_columns({"v": "w"}).select_columns(["w"]),
    "sort": lambda: keyed().sort(["k", "v"], descending=[True, False]),
    "sort many": lambda: numbers(5000, 9).map_batches(lambda b: {"z": b["id"][::-1] % 997}).sort("z"),
    "groupby": lambda: keyed().groupby("k").sum("v"),
    "groupby many": lambda: keyed(3000, 1000).groupby("k").mean("v"),
    "std": lambda: keyed().groupby("k").std("v"),
    "unique": lambda: keyed().groupby("k").aggregate(),
    "map_groups": lambda: keyed().groupby("k").map_groups(lambda g: {"k": g["k"][:1], "n": [len(g["v"])]}),
    "limit": lambda: keyed().limit(17),
    "union": lambda: numbers(10).union(numbers(5), numbers(3)),
    "zip": lambda: numbers(100, 3).zip(numbers(100, 5).map(lambda r: {"b": r["id"]})),
    "repartition": lambda: numbers(100, 3).repartition(7),
    "join": lambda: numbers(50).join(numbers(20).map(lambda r: {"id": r["id"] * 3, "y": 1}), "inner", 3),
    "outer": lambda: numbers(30).join(numbers(9).map(lambda r: {"id": r["id"] * 5, "y": 1}), "full_outer", 3),
    "empty": lambda: numbers().filter(lambda r: False),
    "empty group": lambda: keyed().filter(expr=col("v") < 0).groupby("k").sum("v"),
    "class": lambda: numbers().map_batches(Times, fn_constructor_args=(3,), concurrency=2),
    "struct key": lambda: numbers(20).map(lambda r: {"s": {"a": r["id"] % 2}, "v": 1}).groupby("s").sum("v"),
    "time": lambda: rd.from_items([{"d": datetime.time(3)}, {"d": datetime.time(1)}]).sort("d"),
    "zone": lambda: rd.from_items([{"t": NOON, "v": i} for i in range(3)]).groupby("t").max("v"),
    "long strings": lambda: (
        rd.from_items(["ä", "z" * 100_000, None]).sort("item").map(lambda r: {"n": len(r["item"] or "")})
    ),
    "nothing": lambda: rd.from_items([]).map(lambda r: r),
    "join of nothing": lambda: numbers(5).filter(lambda r: False).join(numbers(3), "inner", 2),
    "ragged": lambda: rd.from_items([{"a": np.ones(i + 1)} for i in range(3)]).map(
        lambda r: {"n": r["a"].sum()}
    ),
    "objects": lambda: rd.from_items([{"o": {1, 2}}, {"o": {3}}]).map(lambda r: {"n": len(r["o"])}),
    "tensor": lambda: rd.range_tensor(60, shape=(2,), override_num_blocks=4).filter(
        lambda r: r["data"][0] > 50
    ),
}
NOON = datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.timezone.utc)
UNORDERED = {"map_groups", "join", "outer"}


class Times:
    def __init__(self, n):
        self.n = n

    def __call__(self, batch):
        return {"id": batch["id"] * self.n}


@pytest.mark.parametrize("name", sorted(PLANS))
def test_both_ways_give_the_same_rows(name):
    ds = PLANS[name]()
    one, other = here(ds), on_nodes(ds, seed=len(name))
    if name in UNORDERED or name == "tensor":
        one, other = sorted(map(str, one)), sorted(map(str, other))
    assert one or name.startswith(("empty", "join of", "nothing"))
    assert other == one


def test_shuffle_keeps_all_rows_and_its_order_with_a_seed():
    ds = numbers(3000).random_shuffle(seed=4)
    first, second = on_nodes(ds, 1), on_nodes(ds, 2)
    assert first == second
    assert sorted(r["id"] for r in first) == list(range(3000)) != [r["id"] for r in first]


def test_order_does_not_depend_on_who_is_faster():
    ds = numbers(400, 40).map(lambda r: r)
    assert [r["id"] for r in on_nodes(ds, 9)] == list(range(400))


def test_limit_stops_what_is_before():
    ds = numbers(100_000, 100).map_batches(lambda b: b).limit(5)
    node = Planner(ds.context, 2, 1 << 20).node(optimize(ds._op))
    backend = Direct(0)
    assert sum(b.num_rows for b in Runner(node, backend, Limits(2, 1 << 30), ds.context)) == 5
    assert node.inputs[0].counts.started < 10
    assert backend.alive == 0


def test_memory_holds_tasks_back():
    ds = numbers(100_000, 50).map_batches(lambda b: b)
    node = Planner(ds.context, 2, 1 << 20).node(optimize(ds._op))
    most = 0
    for _ in Runner(node, Direct(0), Limits(2, 50_000), ds.context):
        most = max(most, node.buffered)
    assert most <= 100_000


def test_bad_blocks_may_be_passed_over():
    context = DataContext()
    context.max_errored_blocks = 1

    class Failing(Direct):
        def start(self, task, skip=0):
            call = super().start(task)
            if task.index == 2:
                call.poll = lambda: (_ for _ in ()).throw(ValueError("bad block"))
            return call

    ds = numbers(100, 10).map_batches(lambda b: b)
    node = Planner(context, 2, 1 << 20).node(ds._op)
    rows = sum(b.num_rows for b in Runner(node, Failing(0), Limits(2, 1 << 30), context))
    assert rows == 90


def test_pools_grow_and_shrink():
    pool = ActorPoolStrategy(min_size=1, max_size=4)
    assert resize(PoolState(0, 0, 0, 5, True), pool, 8, 1.75) == 1
    assert resize(PoolState(1, 1, 2, 5, True), pool, 8, 1.75) == 3
    assert resize(PoolState(1, 1, 2, 5, True), pool, 8, 1.75, max_step=2) == 2
    assert resize(PoolState(4, 4, 8, 5, True), pool, 8, 1.75) == 0
    assert resize(PoolState(4, 1, 1, 0, False), pool, 8, 1.75) == -3
    assert resize(PoolState(4, 1, 1, 0, True), pool, 8, 1.75) == 0
    fixed = ActorPoolStrategy(size=2)
    assert resize(PoolState(0, 0, 0, 1, False), fixed, 8, 1.75) == 2
    assert resize(PoolState(1, 1, 1, 0, False), fixed, 8, 1.75) == 0


def test_slow_functions_are_handed_over():
    import time

    def slow(row):
        time.sleep(0.02)
        return row

    ds = rd.from_items(list(range(40))).map(slow)
    handed = []

    def take(inputs, chain):
        handed.extend(inputs)
        return iter(inputs)

    run = LocalRun(ds.context, 2, take, 0.2)
    rows = [r["item"] for t in run.tables(ds._op) for r in t.to_pylist()]
    assert rows == list(range(40))
    assert 0 < sum(t.num_rows for t in handed) < 40


def test_different_schemas_are_joined():
    ds = rd.from_arrow([pa.table({"x": [1, 2]}), pa.table({"x": [1.5], "y": ["a"]}), pa.table({"x": [None]})])
    assert here(ds.sort("x")) == [
        {"x": 1.0, "y": None},
        {"x": 1.5, "y": "a"},
        {"x": 2.0, "y": None},
        {"x": None, "y": None},
    ]
    assert on_nodes(ds.sort("x")) == here(ds.sort("x"))
    sums = ds.groupby("x").count()
    assert on_nodes(sums) == here(sums)


NAMES = [
    "Sum",
    "Mean",
    "Min",
    "Max",
    "Std",
    "Count",
    "CountDistinct",
    "AsList",
    "Unique",
    "Quantile",
    "MissingValuePercentage",
    "ValueCounter",
]


@pytest.mark.parametrize("name", NAMES)
def test_nulls_and_changing_types_in_groups(name):
    """A column is of integers in one block, of nulls in the next, of floats in a third."""
    from rayjup.data import aggregate

    ds = rd.from_arrow(
        [
            pa.table({"k": [1, 1], "x": [1, 2]}),
            pa.table({"k": [1, 2], "x": pa.nulls(2)}),
            pa.table({"k": [2.0, None], "x": [1.5, 3]}),
            pa.table({"k": pa.array([], pa.int64()), "x": pa.array([], pa.int64())}),
        ]
    )
    grouped = ds.groupby("k").aggregate(getattr(aggregate, name)("x"))
    one, other = here(grouped), on_nodes(grouped)
    assert str(one) == str(other)
    assert [r["k"] for r in one] == [1.0, 2.0, None]
