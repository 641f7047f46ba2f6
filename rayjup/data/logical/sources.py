"""Where rows come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rayjup.data.logical.base import NOTHING, Op, Remote

if TYPE_CHECKING:
    from rayjup.data.block.bundle import Bundle


@dataclass(frozen=True, eq=False)
class Read(Op):
    """Rows of a source.

    Parameters
    ----------
    source : Datasource
    num_blocks : int or None
        In how many parts to read (None: as many as the size suggests).
    limit : int or None
        No part is read further than this.
    size : int or None
        At most so many tasks at a time.
    """

    source: Any
    num_blocks: int | None = None
    limit: int | None = None
    remote: Remote = NOTHING
    size: int | None = None
    inputs: tuple[Op, ...] = field(default=(), kw_only=True)
    # What the source said, per number of parts: the estimate, the schema, the tasks.
    known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return f"Read{self.source.get_name()}"

    def estimated_bytes(self) -> int | None:
        """Bytes in memory, as the source estimates them."""
        if "bytes" not in self.known:
            self.known["bytes"] = self.source.estimate_inmemory_data_size()
        return self.known["bytes"]

    def tasks(self, parallelism: int) -> list[Any]:
        """The read tasks; asked of the source once per number."""
        key = ("tasks", parallelism)
        if key not in self.known:
            self.known[key] = read_tasks(self.source, parallelism, self.limit)
        return self.known[key]


def read_tasks(source: Any, parallelism: int, limit: int | None) -> list[Any]:
    """Ask a source for its tasks, in the way that it knows: with or without a limit."""
    import inspect

    accepted = inspect.signature(source.get_read_tasks).parameters
    if "per_task_row_limit" in accepted:
        return list(source.get_read_tasks(parallelism, per_task_row_limit=limit))
    return list(source.get_read_tasks(parallelism))


@dataclass(frozen=True, eq=False)
class InputBlocks(Op):
    """Blocks that exist."""

    bundles: tuple[Bundle, ...]
    inputs: tuple[Op, ...] = field(default=(), kw_only=True)
    label: str = "InputData"

    @property
    def name(self) -> str:
        return self.label
