"""Groups of rows: aggregated, or given to a function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.data.logical.base import Op
from rayjup.data.logical.maps import MapLike


@dataclass(frozen=True, eq=False)
class Aggregate(Op):
    """One row per group (one in all without keys)."""

    keys: tuple[str, ...]
    aggs: tuple[Any, ...]
    num_partitions: int | None = None

    @property
    def name(self) -> str:
        return f"Aggregate[{', '.join(self.keys)}: {', '.join(str(a.name) for a in self.aggs)}]"


@dataclass(frozen=True, eq=False)
class MapGroups(MapLike):
    """A function called once per group."""

    keys: tuple[str, ...] = ()
    batch_format: str | None = "default"
    num_partitions: int | None = None


@dataclass(frozen=True, eq=False)
class GroupWindow(Op):
    """A column computed within each group."""

    keys: tuple[str, ...]
    column: str
    expr: Any
