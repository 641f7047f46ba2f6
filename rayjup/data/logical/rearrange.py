"""Order, number and blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.data.logical.base import Op


@dataclass(frozen=True, eq=False)
class Limit(Op):
    """The first rows."""

    n: int

    @property
    def name(self) -> str:
        return f"Limit[{self.n}]"


@dataclass(frozen=True, eq=False)
class Sample(Op):
    """Each row with some probability."""

    fraction: float
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Sort(Op):
    """Rows in order of a key."""

    key: Any  # kernels.sorting.SortKey
    boundaries: tuple[Any, ...] | None = None

    @property
    def name(self) -> str:
        return f"Sort[{', '.join(self.key.columns)}]"


@dataclass(frozen=True, eq=False)
class RandomShuffle(Op):
    """Rows in random order."""

    seed: int | None = None
    num_blocks: int | None = None


@dataclass(frozen=True, eq=False)
class RandomizeBlocks(Op):
    """Blocks in random order."""

    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Repartition(Op):
    """Another number of blocks, by position, at random or by keys."""

    num_blocks: int | None = None
    target_rows: int | None = None
    shuffle: bool = False
    keys: tuple[str, ...] | None = None
    sort: bool = False
    strict: bool = False

    @property
    def name(self) -> str:
        return f"Repartition[{self.num_blocks or f'{self.target_rows} rows'}]"
