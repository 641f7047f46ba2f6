"""Several datasets made one."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from rayjup.data.logical.base import Op


class MixStoppingCondition(str, enum.Enum):
    """When a mix of datasets ends."""

    STOP_ON_SHORTEST = "stop_on_shortest"
    STOP_ON_LONGEST_DROP = "stop_on_longest_drop"
    STOP_ON_LONGEST_REPEAT = "stop_on_longest_repeat"


@dataclass(frozen=True, eq=False)
class Union(Op):
    """Rows of the first, then of the second, ..."""


@dataclass(frozen=True, eq=False)
class Zip(Op):
    """Columns side by side, row by row."""


@dataclass(frozen=True, eq=False)
class Mix(Op):
    """Blocks of several datasets in turn, in given proportions."""

    weights: tuple[float, ...] = ()
    stop: MixStoppingCondition = MixStoppingCondition.STOP_ON_LONGEST_DROP


@dataclass(frozen=True, eq=False)
class Join(Op):
    """Rows of two datasets whose keys are equal."""

    how: str = "inner"
    left_on: tuple[str, ...] = ()
    right_on: tuple[str, ...] = ()
    left_suffix: str | None = None
    right_suffix: str | None = None
    num_partitions: int | None = None

    @property
    def name(self) -> str:
        return f"Join[{self.how}: {', '.join(self.left_on)}]"
