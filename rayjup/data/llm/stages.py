"""The interface of stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

COLUMN = "__data"


def to_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a block of Python objects."""
    return table.column(COLUMN).to_pylist()


def to_block(rows: list[dict[str, Any]]) -> pa.Table:
    """A block of Python objects."""
    from rayjup.data.extensions import ArrowPythonObjectArray

    return pa.table({COLUMN: ArrowPythonObjectArray.from_objects(rows)})


class Work:
    """What the workers of a stage do; subclasses define ``process``, which adds columns to rows."""

    needed: tuple[str, ...] = ()

    def process(self, rows: list[dict[str, Any]]) -> None:
        """Work on some rows, in place."""
        raise NotImplementedError(f"{type(self).__name__} must define process(rows)")

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = to_rows(table)
        for row in rows:
            missing = [name for name in self.needed if name not in row]
            if missing:
                raise ValueError(
                    f"The stage {type(self).__name__} needs {missing[0]!r} in each row; this one has "
                    f"{', '.join(row)}. Let preprocess add it."
                )
        self.process(rows)
        return to_block(rows)


@dataclass
class Stage:
    """A step of a processor: a class of workers, its arguments, and what each worker needs."""

    name: str
    work: type[Work]
    arguments: dict[str, Any]
    map_kwargs: dict[str, Any] = field(default_factory=dict)

    def get_required_input_keys(self) -> dict[str, str]:
        """The columns that it needs."""
        return dict.fromkeys(self.work.needed, f"needed by {self.name}")
