"""Functions and classes of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.data.compute import TASKS, ActorPoolStrategy, TaskPoolStrategy
from rayjup.data.logical.base import NOTHING, Op, Remote


@dataclass(frozen=True, eq=False)
class Function:
    """A function or class with its arguments, and where it is to run."""

    fn: Any
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    constructor_args: tuple[Any, ...] = ()
    constructor_kwargs: tuple[tuple[str, Any], ...] = ()
    compute: ActorPoolStrategy | TaskPoolStrategy = TASKS
    remote: Remote = NOTHING
    remote_fn: Any = None  # a function that gives further remote arguments at each start

    @property
    def is_class(self) -> bool:
        """True if it is a class: made once per actor."""
        return isinstance(self.fn, type)

    @property
    def name(self) -> str:
        """As shown in plans."""
        fn = getattr(self.fn, "func", self.fn)  # of a partial: the function
        name = getattr(fn, "__name__", None) or type(fn).__name__
        return str(name)

    @property
    def local(self) -> bool:
        """True if nothing speaks against running it in this process."""
        return (
            isinstance(self.compute, TaskPoolStrategy)
            and self.compute.size is None
            and self.remote.plain
            and self.remote_fn is None
        )


@dataclass(frozen=True, eq=False)
class MapLike(Op):
    """An operator with a function."""

    function: Function

    @property
    def name(self) -> str:
        return f"{type(self).__name__}({self.function.name})"


@dataclass(frozen=True, eq=False)
class Map(MapLike):
    """Row to row."""

    @property
    def keeps_rows(self) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class FlatMap(MapLike):
    """Row to rows."""


@dataclass(frozen=True, eq=False)
class Filter(MapLike):
    """The rows for which the function is true."""


@dataclass(frozen=True, eq=False)
class MapBatches(MapLike):
    """Batch to batch or batches."""

    batch_size: int | None = None
    batch_format: str | None = "default"
    zero_copy: bool = False
    same_rows: bool = False

    @property
    def keeps_rows(self) -> bool:
        return self.same_rows
