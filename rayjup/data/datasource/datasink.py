"""Where data goes: the interface of sinks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pyarrow as pa

from rayjup.data.block.accessor import BlockAccessor
from rayjup.data.datasource.datasource import undefined

WriteReturnType = TypeVar("WriteReturnType")


@dataclass
class TaskContext:
    """What a task that writes knows of itself.

    Parameters
    ----------
    task_idx : int
        Its number among the tasks of the operator.
    op_name : str
        The operator.
    kwargs : dict
        ``write_uuid``: the same for all tasks of one write; goes into file names.
    """

    task_idx: int = 0
    op_name: str = "Write"
    target_max_block_size_override: int | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class WriteResult(Generic[WriteReturnType]):
    """What a write came to: rows, bytes, and what each task's ``write`` returned."""

    num_rows: int
    size_bytes: int
    write_returns: list[WriteReturnType]

    @classmethod
    def combine(cls, *results: WriteResult[WriteReturnType]) -> WriteResult[WriteReturnType]:
        """The sum of several."""
        return cls(
            num_rows=sum(r.num_rows for r in results),
            size_bytes=sum(r.size_bytes for r in results),
            write_returns=[v for r in results for v in r.write_returns],
        )


class Datasink(Generic[WriteReturnType]):
    """Where data goes. Subclasses define ``write``; ``Dataset.write_datasink`` uses one.

    Order of calls: ``on_write_start`` (driver), ``write`` (once per task, anywhere), then
    ``on_write_complete`` or ``on_write_failed`` (driver).
    """

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Called once before anything is written."""

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> WriteReturnType:
        """Write some blocks; what it returns is given to ``on_write_complete``."""
        raise undefined(self, "write(blocks, ctx)")

    def on_write_complete(self, write_result: WriteResult[WriteReturnType]) -> None:
        """Called once after everything is written."""

    def on_write_failed(self, error: Exception) -> None:
        """Called once when something went wrong; must not raise."""

    def get_name(self) -> str:
        """The name shown in plans and statistics: the class without ``Datasink``."""
        return type(self).__name__.removesuffix("Datasink").lstrip("_") or type(self).__name__

    @property
    def supports_distributed_writes(self) -> bool:
        """True if tasks may write on any node; False: only where the driver is."""
        return True

    @property
    def min_rows_per_write(self) -> int | None:
        """How many rows each call of ``write`` should get at least; None: as they come."""
        return None

    @property
    def min_bytes_per_write(self) -> int | None:
        """How many bytes each call of ``write`` should get at least; None: as they come."""
        return None


class DummyOutputDatasink(Datasink[None]):
    """Counts what it is given and forgets it. For tests."""

    def __init__(self) -> None:
        self.num_ok = 0
        self.num_failed = 0
        self.rows_written = 0

    def write(self, blocks: Iterable[Any], ctx: TaskContext) -> None:
        """Look at each block."""
        for block in blocks:
            BlockAccessor.for_block(block).num_rows()

    def on_write_complete(self, write_result: WriteResult[None]) -> None:
        """Count."""
        self.num_ok += 1
        self.rows_written += write_result.num_rows

    def on_write_failed(self, error: Exception) -> None:
        """Count."""
        self.num_failed += 1
