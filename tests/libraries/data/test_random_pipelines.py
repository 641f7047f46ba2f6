"""Random pipelines over random tables give what plain Python gives, in this process and on the cluster.

``RAYJUP_PIPELINES`` says how many are tried (of each kind).
"""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from rayjup import data
from rayjup.data import aggregate
from rayjup.data.expressions import col

PIPELINES = int(os.environ.get("RAYJUP_PIPELINES", "25"))
SCHEMA = pa.schema([("id", pa.int64()), ("k", pa.int64()), ("v", pa.float64()), ("s", pa.string())])
Rows = list[dict[str, Any]]


class Pipeline:
    """A dataset beside the rows that it should have.

    Attributes
    ----------
    ordered
        Whether the order of the rows is promised.
    """

    def __init__(self, chance: random.Random, folder: Path) -> None:
        self.chance, self.folder = chance, folder
        self.done: list[str] = []
        self.ordered = True
        keys = chance.choice([1, 3, 50])
        self.rows: Rows = [
            {
                "id": i,
                "k": chance.randrange(keys),
                "v": chance.randint(-99, 99) / 10,
                "s": chance.choice("aüß"),
            }
            for i in range(chance.choice([0, 1, 2, 7, 100, 1000, 5000]))
        ]
        self.dataset = self.source()

    def source(self) -> Any:
        table = pa.Table.from_pylist(self.rows, schema=SCHEMA)
        cuts = sorted(self.chance.randint(0, len(self.rows)) for _ in range(2))
        edges = [0, *cuts, len(self.rows)]
        parts = [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]
        kind = self.chance.choice(["arrow", "pandas", "items", "parquet"])
        self.done.append(f"{len(self.rows)} rows from {kind}")
        if kind == "pandas":
            return data.from_pandas([part.to_pandas() for part in parts])
        if kind == "items" and self.rows:
            return data.from_items(self.rows, override_num_blocks=self.chance.choice([None, 3]))
        if kind == "parquet":
            for number, part in enumerate(parts):
                parquet.write_table(part, self.folder / f"{number}.parquet", row_group_size=100)
            return data.read_parquet(str(self.folder))
        return data.from_arrow(parts)

    def go(self) -> None:
        """One more operator."""
        steps = [name for name in dir(self) if name.startswith("do_")]
        name = self.chance.choice(steps)
        self.done.append(name)
        getattr(self, name)()

    def of_rows(self, dataset: Any, change: Callable[[Rows], Rows]) -> None:
        self.dataset, self.rows = dataset, change(self.rows)

    def do_map(self) -> None:
        self.of_rows(
            self.dataset.map(lambda row: {**row, "id": row["id"] + 1}),
            lambda rows: [{**row, "id": row["id"] + 1} for row in rows],
        )

    def do_map_batches(self) -> None:
        def twice(batch: Any) -> Any:
            batch["k"] = batch["k"] * 2
            return batch

        size = self.chance.choice([1, 3, 64, None, "default"])
        self.of_rows(
            self.dataset.map_batches(twice, batch_size=size),
            lambda rows: [{**row, "k": row["k"] * 2} for row in rows],
        )

    def do_map_tables(self) -> None:
        def more(table: pa.Table) -> pa.Table:
            return table.set_column(table.column_names.index("k"), "k", pc.add(table["k"], 1))

        self.of_rows(
            self.dataset.map_batches(more, batch_format="pyarrow", batch_size=self.chance.choice([2, None])),
            lambda rows: [{**row, "k": row["k"] + 1} for row in rows],
        )

    def do_filter(self) -> None:
        self.of_rows(
            self.dataset.filter(lambda row: row["k"] % 2 == 0),
            lambda rows: [row for row in rows if row["k"] % 2 == 0],
        )

    def do_filter_by_expression(self) -> None:
        self.of_rows(
            self.dataset.filter(expr=col("v") > 0.0), lambda rows: [row for row in rows if row["v"] > 0]
        )

    def do_filter_frames(self) -> None:
        self.of_rows(
            self.dataset.map_batches(lambda frame: frame[frame["k"] > 0], batch_format="pandas"),
            lambda rows: [row for row in rows if row["k"] > 0],
        )

    def do_flat_map(self) -> None:
        self.of_rows(
            self.dataset.flat_map(lambda row: [row] * (row["id"] % 3)),
            lambda rows: [row for row in rows for _ in range(row["id"] % 3)],
        )

    def do_with_column(self) -> None:
        self.of_rows(
            self.dataset.with_column("w", col("k") * 2 + 1),
            lambda rows: [{**row, "w": row["k"] * 2 + 1} for row in rows],
        )

    def do_limit(self) -> None:
        if self.ordered:
            most = self.chance.choice([0, 1, 5, 10_000])
            self.of_rows(self.dataset.limit(most), lambda rows: rows[:most])

    def do_union(self) -> None:
        if len(self.rows) < 20_000:
            self.of_rows(self.dataset.union(self.dataset), lambda rows: rows + rows)

    def do_repartition(self) -> None:
        self.dataset = self.dataset.repartition(self.chance.randint(1, 7))

    def do_shuffle(self) -> None:
        self.dataset, self.ordered = self.dataset.random_shuffle(seed=self.chance.choice([None, 1])), False

    def do_sort(self) -> None:
        last = self.chance.random() < 0.5
        self.of_rows(
            self.dataset.sort(["k", "id"], descending=last),
            lambda rows: sorted(rows, key=lambda row: (row["k"], row["id"]), reverse=last),
        )
        self.ordered = len({(row["k"], row["id"]) for row in self.rows}) == len(self.rows)

    def do_join(self) -> None:
        right = [{"k": k, "x": k * 10} for k in range(0, self.chance.choice([1, 5, 60]), 2)]
        how = self.chance.choice(["inner", "left_outer"])
        known = {row["k"]: row["x"] for row in right}
        if "x" in (self.rows or [{}])[0] or not self.rows:
            return
        self.of_rows(
            self.dataset.join(data.from_items(right), how, 2, on=("k",)),
            lambda rows: [
                {**row, "x": known.get(row["k"])} for row in rows if row["k"] in known or how != "inner"
            ],
        )
        self.ordered = False

    def do_materialize(self) -> None:
        self.dataset = self.dataset.materialize()

    # -- what it comes to

    def check(self) -> None:
        if len(self.rows) < 2000 and self.chance.random() < 0.5:
            size = self.chance.choice([1, 7, 1000])
            tables = self.dataset.iter_batches(batch_size=size, batch_format="pyarrow")
            batches = [table.to_pylist() for table in tables]
            assert all(len(batch) == size for batch in batches[:-1])
            found = [row for batch in batches for row in batch]
        else:
            found = self.dataset.take_all()
        assert len(found) == len(self.rows)
        if not self.ordered:
            found, self.rows = sorted(found, key=repr), sorted(self.rows, key=repr)
        assert found == self.rows
        assert self.dataset.count() == len(found)

    def check_groups(self) -> None:
        groups: dict[int, list[float]] = {}
        for row in self.rows:
            groups.setdefault(row["k"], []).append(row["v"])
        wanted = [
            {
                "k": k,
                "count()": len(v),
                "sum(v)": pytest.approx(sum(v), abs=1e-9),
                "min(v)": min(v),
                "mean(v)": pytest.approx(statistics.fmean(v), abs=1e-9),
                "std(v)": pytest.approx(statistics.stdev(v) if len(v) > 1 else math.nan, nan_ok=True),
            }
            for k, v in sorted(groups.items())
        ]
        asked = (aggregate.Count(), *(make("v") for make in (aggregate.Sum, aggregate.Min, aggregate.Mean)))
        found = self.dataset.groupby("k").aggregate(*asked, aggregate.Std("v")).take_all()
        assert sorted(found, key=lambda row: row["k"]) == wanted


@pytest.mark.parametrize("where", ["in this process", "on the cluster"])
def test_random_pipelines(
    ray_cluster: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "on the cluster":
        monkeypatch.setattr("rayjup.data.execution.run.runs_here", lambda *_, **__: False)
    for seed in range(PIPELINES):
        chance = random.Random(f"{where} {seed}")
        folder = tmp_path / str(seed)
        folder.mkdir()
        pipeline = Pipeline(chance, folder)
        for _ in range(chance.randint(0, 5)):
            pipeline.go()
        try:
            pipeline.check_groups() if chance.random() < 0.3 else pipeline.check()
        except BaseException as error:
            error.add_note(f"pipeline {seed} {where}: {', '.join(pipeline.done)}")
            raise
