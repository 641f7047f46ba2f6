"""What a run did: per operator tasks, rows, bytes and time; and summaries of data."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rayjup.base import notebook
from rayjup.data.execution.nodes import Counts, Node

if TYPE_CHECKING:
    import pyarrow as pa

_summaries: list[dict[str, Any]] = []
_KEPT = 100


class RunStats:
    """Statistics of one run; filled while it runs."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.nodes: list[Node] = []
        self.local: dict[str, Counts] = {}
        self.callbacks: list[Any] = []
        self.total_s = 0.0
        self.began = time.time()
        self.rows_here = 0
        self.finished = False
        self._shown = 0.0

    def here(self, table: pa.Table) -> None:
        """A table has come out of a run in this process."""
        self.rows_here += table.num_rows

    def progress(self, nodes: Sequence[Node]) -> None:
        """A turn of a run on the cluster."""
        if notebook.on_data_progress is not None and time.monotonic() - self._shown > 0.25:
            self._shown = time.monotonic()
            notebook.on_data_progress(self)

    def finish(self) -> None:
        """The run has ended."""
        self.finished = True
        if notebook.on_data_progress is not None and self.nodes:
            notebook.on_data_progress(self)
        _summaries.append(self.as_dict())
        del _summaries[:-_KEPT]

    def operators(self) -> list[tuple[str, Counts, str]]:
        """Name, counts, and where it ran, of each operator, in order."""
        return [(name, c, "this process") for name, c in self.local.items()] + [
            (n.name, n.counts, "cluster") for n in self.nodes
        ]

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "dataset": self.name,
            "total_s": self.total_s,
            "operators": [
                {
                    "name": name,
                    "where": where,
                    "tasks": c.finished or c.started,
                    "blocks": c.blocks,
                    "rows": c.rows,
                    "bytes": c.bytes,
                    "task_s": sum(c.wall_s),
                    "cpu_s": c.cpu_s,
                }
                for name, c, where in self.operators()
            ],
        }

    def text(self) -> str:
        """As a readable report."""
        lines = []
        for number, (name, c, where) in enumerate(self.operators()):
            tasks = c.finished or c.started
            took = (c.ended - c.began) if c.began and c.ended else sum(c.wall_s)
            lines.append(
                f"Operator {number} {name}: {tasks} tasks executed, {c.blocks} blocks produced in {took:.2f}s"
            )
            lines.append(f"* Where: {where}" + (f", {len(c.workers)} processes" if c.workers else ""))
            if c.wall_s:
                lines.append(f"* Remote wall time: {_spread(c.wall_s)}")
            if c.cpu_s:
                lines.append(f"* Remote cpu time: {_seconds(c.cpu_s)} total")
            if c.blocks:
                lines.append(f"* Output num rows per block: {c.rows // c.blocks} mean, {c.rows} total")
                lines.append(f"* Output size bytes per block: {c.bytes // c.blocks} mean, {c.bytes} total")
            if c.peak_actors:
                lines.append(f"* Actors: at most {c.peak_actors}")
            lines.append("")
        lines.append(f"Dataset execution time: {_seconds(self.total_s)}")
        return "\n".join(lines) + "\n"


def _spread(values: Sequence[float]) -> str:
    return (
        f"{_seconds(min(values))} min, {_seconds(max(values))} max, "
        f"{_seconds(statistics.fmean(values))} mean, "
        f"{_seconds(sum(values))} total"
    )


def _seconds(value: float) -> str:
    if value < 1e-3:
        return f"{value * 1e6:.1f}us"
    return f"{value * 1e3:.2f}ms" if value < 1 else f"{value:.2f}s"


def list_stats_summaries() -> list[dict[str, Any]]:
    """What the last runs of this process did, oldest first."""
    return list(_summaries)


class DatasetSummary:
    """Statistics of the columns of a dataset.

    Parameters
    ----------
    _stats_matching_column_dtype, _stats_mismatching_column_dtype : pyarrow.Table
        One row per statistic (column ``statistic``), one column per column: values that have the type of
        the column, and others.
    dataset_schema : pyarrow.Schema
    columns : list of str
    """

    def __init__(
        self,
        _stats_matching_column_dtype: pa.Table,
        _stats_mismatching_column_dtype: pa.Table,
        dataset_schema: pa.Schema,
        columns: list[str],
    ) -> None:
        self._stats_matching_column_dtype = _stats_matching_column_dtype
        self._stats_mismatching_column_dtype = _stats_mismatching_column_dtype
        self.dataset_schema = dataset_schema
        self.columns = columns

    def to_pandas(self) -> Any:
        """All statistics: one row per statistic, one column per column."""
        import pandas

        parts = [
            t.to_pandas()
            for t in (self._stats_matching_column_dtype, self._stats_mismatching_column_dtype)
            if t.num_rows
        ]
        return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame()

    def get_column_stats(self, column: str) -> Any:
        """The statistics of one column: ``statistic`` and ``value``."""
        import pandas

        if column not in self.columns:
            raise ValueError(f"there is no column {column!r} in this summary; it has {self.columns}.")
        rows = []
        for table in (self._stats_matching_column_dtype, self._stats_mismatching_column_dtype):
            if column in table.column_names:
                names, values = table.column("statistic").to_pylist(), table.column(column).to_pylist()
                rows += [(n, v) for n, v in zip(names, values, strict=True) if v is not None]
        return pandas.DataFrame(rows, columns=["statistic", "value"])
