"""Columns computed within groups; the rows keep their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.accessor import take
from rayjup.data.block.unify import concat
from rayjup.data.kernels import grouping
from rayjup.data.physical.steps import Blocks, Step, with_columns


def window(table: pa.Table, keys: Sequence[str], column: str, expr: Any) -> pa.Table:
    """The table with a column that the expression gives for each group on its own."""
    if not table.num_rows:
        return with_columns(table, [(column, expr)])
    grouping.check_keys(table.column_names, keys)
    place = "__row__"
    marked = table.append_column(place, pa.array(np.arange(table.num_rows)))
    parts = [with_columns(group, [(column, expr)]) for group in grouping.groups(marked, keys)]
    joined = concat(parts)
    back = np.argsort(joined.column(place).to_numpy())
    return take(joined.drop_columns([place]), back)


@dataclass
class WindowStep(Step):
    """:func:`window` as a step on whole groups."""

    keys: tuple[str, ...]
    column: str
    expr: Any
    name: str = "Window"

    def run(self, blocks: Blocks) -> Blocks:
        for block in blocks:
            yield window(block, self.keys, self.column, self.expr)
