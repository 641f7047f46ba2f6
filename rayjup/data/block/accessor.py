"""Work on one block."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.block import convert
from rayjup.data.block.columns import BlockColumnAccessor
from rayjup.data.block.metadata import (
    BlockExecStats,
    BlockMetadata,
    BlockMetadataWithSchema,
    TaskExecWorkerStats,
)


class BlockType(enum.Enum):
    """How a block is held. rayjup's own are Arrow tables."""

    ARROW = "arrow"
    PANDAS = "pandas"


class BlockAccessor:
    """Gives what a block holds in other forms, and new blocks made of it.

    Examples
    --------
    >>> from rayjup.data.block import BlockAccessor
    >>> block = BlockAccessor.batch_to_block({"x": [1, 2, 3]})
    >>> BlockAccessor.for_block(block).sum("x", ignore_nulls=True)
    6
    """

    def __init__(self, block: pa.Table) -> None:
        self._table = block

    @staticmethod
    def for_block(block: Any) -> BlockAccessor:
        """An accessor for an Arrow table, a DataFrame, or a block as bytes of an Arrow stream."""
        if isinstance(block, (bytes, pa.Buffer)):
            block = pa.ipc.open_stream(block).read_all()
        return BlockAccessor(convert.to_table(block))

    @classmethod
    def batch_to_block(cls, batch: Any, block_type: BlockType | None = None) -> Any:
        """The block with the content of a batch."""
        if block_type is BlockType.PANDAS:
            return cls.batch_to_pandas_block(batch)
        return convert.to_table(batch)

    @classmethod
    def batch_to_arrow_block(cls, batch: Any) -> pa.Table:
        """The Arrow table with the content of a batch."""
        return convert.to_table(batch)

    @classmethod
    def batch_to_pandas_block(cls, batch: Any) -> Any:
        """The DataFrame with the content of a batch."""
        return convert.to_pandas(convert.to_table(batch))

    @staticmethod
    def builder() -> Any:
        """A builder that takes rows and blocks."""
        from rayjup.data.block.builder import BlockBuilder

        return BlockBuilder()

    # ------------------------------------------------------------------------------------- what it is
    def num_rows(self) -> int:
        """How many rows."""
        return self._table.num_rows

    def size_bytes(self) -> int:
        """Bytes in memory."""
        return self._table.nbytes

    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._table.schema

    def block_type(self) -> BlockType:
        """How the block is held."""
        return BlockType.ARROW

    def column_names(self) -> list[str]:
        """The names of the columns."""
        return self._table.column_names

    def get_metadata(
        self,
        input_files: Sequence[str] | None = None,
        block_exec_stats: BlockExecStats | None = None,
        task_exec_stats: TaskExecWorkerStats | None = None,
    ) -> BlockMetadata:
        """Rows, bytes and what is given."""
        return BlockMetadata(
            num_rows=self.num_rows(),
            size_bytes=self.size_bytes(),
            exec_stats=block_exec_stats,
            task_exec_stats=task_exec_stats,
            input_files=tuple(input_files or ()),
        )

    # ------------------------------------------------------------------------------------- other forms
    def to_arrow(self) -> pa.Table:
        """An Arrow table."""
        return self._table

    def to_block(self) -> pa.Table:
        """The block itself."""
        return self._table

    def to_default(self) -> pa.Table:
        """The block itself."""
        return self._table

    def to_pandas(self) -> Any:
        """A DataFrame."""
        return convert.to_pandas(self._table)

    def to_numpy(self, columns: str | list[str] | None = None) -> Any:
        """One array for one column, a dict of arrays for several."""
        if isinstance(columns, str):
            self._check(columns)
            return convert.column_to_numpy(self._table.column(columns))
        names = self._table.column_names if columns is None else columns
        for name in names:
            self._check(name)
        return {name: convert.column_to_numpy(self._table.column(name)) for name in names}

    def to_batch_format(self, batch_format: str | None) -> Any:
        """A batch (``"default"``, ``"numpy"``, ``"pandas"``, ``"pyarrow"``, ``"polars"``, ``"torch"``)."""
        convert.check_format(batch_format)
        return convert.to_batch(self._table, batch_format)

    to_batch = to_batch_format

    def iter_rows(self, public_row_format: bool = True) -> Iterator[Any]:
        """The rows as dicts."""
        return iter(convert.iter_rows(self._table))

    # ------------------------------------------------------------------------------------- new blocks
    def _check(self, name: str | None) -> None:
        if name not in self._table.column_names:
            raise ValueError(f"there is no column {name!r}; the columns are {self._table.column_names}.")

    def slice(self, start: int, end: int, copy: bool = False) -> pa.Table:
        """Rows ``start`` to ``end``; with ``copy`` in memory of their own."""
        part = self._table.slice(start, max(0, end - start))
        return part.take(np.arange(part.num_rows)) if copy else part

    def take(self, indices: Sequence[int]) -> pa.Table:
        """The rows with the given numbers."""
        return take(self._table, indices)

    def select(self, columns: Sequence[str | None]) -> pa.Table:
        """Some columns, in that order."""
        for name in columns:
            self._check(name)
        return self._table.select(list(columns))

    def drop(self, columns: Sequence[str]) -> pa.Table:
        """Without some columns."""
        for name in columns:
            self._check(name)
        return self._table.drop_columns(list(columns))

    def rename_columns(self, columns_rename: Mapping[str, str]) -> pa.Table:
        """With other names."""
        return self._table.rename_columns([columns_rename.get(n, n) for n in self._table.column_names])

    def upsert_column(self, column_name: str, column_data: Any) -> pa.Table:
        """With a column added, or replaced."""
        column = convert.to_column(column_data, column_name)
        if column_name in self._table.column_names:
            return self._table.set_column(self._table.column_names.index(column_name), column_name, column)
        return self._table.append_column(column_name, column)

    def random_shuffle(self, random_seed: int | None) -> pa.Table:
        """The rows in random order."""
        return take(self._table, np.random.default_rng(random_seed).permutation(self._table.num_rows))

    def zip(self, other: Any) -> pa.Table:
        """The columns of both; a name that is taken gets a number."""
        right = convert.to_table(other)
        if right.num_rows != self._table.num_rows:
            raise ValueError(
                f"blocks to zip must have the same number of rows; they have {self._table.num_rows} "
                f"and {right.num_rows}."
            )
        out, names = self._table, set(self._table.column_names)
        for name, column in zip(right.column_names, right.columns, strict=True):
            fresh, number = name, 1
            while fresh in names:
                fresh, number = f"{name}_{number}", number + 1
            names.add(fresh)
            out = out.append_column(fresh, column)
        return out

    # ------------------------------------------------------------------------------------- sorting
    def sample(self, n_samples: int, sort_key: Any) -> pa.Table:
        """Some rows, the columns of the key only."""
        from rayjup.data.kernels.sorting import SortKey

        keys = self._table.select(SortKey.of(sort_key).columns)
        n = min(n_samples, keys.num_rows)
        return keys.take(np.sort(np.random.default_rng(0).choice(keys.num_rows, n, replace=False)))

    def sort(self, sort_key: Any) -> pa.Table:
        """The rows in order of a key."""
        from rayjup.data.kernels.sorting import SortKey, sort_table

        return sort_table(self._table, SortKey.of(sort_key))

    def sort_and_partition(self, boundaries: list[Any], sort_key: Any) -> list[pa.Table]:
        """Sorted, and cut at the boundaries."""
        from rayjup.data.kernels.sorting import SortKey, range_partition, sort_table

        key = SortKey.of(sort_key)
        return [sort_table(part, key) for part in range_partition(self._table, key, boundaries)]

    @staticmethod
    def merge_sorted_blocks(blocks: list[Any], sort_key: Any) -> tuple[pa.Table, BlockMetadataWithSchema]:
        """One sorted block out of several."""
        from rayjup.data.block.unify import concat
        from rayjup.data.kernels.sorting import SortKey, sort_table

        stats = BlockExecStats.builder()
        out = sort_table(concat([convert.to_table(b) for b in blocks]), SortKey.of(sort_key))
        return out, BlockMetadataWithSchema.from_block(out, block_exec_stats=stats.build())

    # ------------------------------------------------------------------------------------- statistics
    def _column(self, on: str) -> BlockColumnAccessor:
        self._check(on)
        return BlockColumnAccessor(self._table.column(on))

    def count(self, on: str, ignore_nulls: bool = False) -> int | None:
        """How many values a column has."""
        return self._column(on).count(ignore_nulls=ignore_nulls)

    def sum(self, on: str, ignore_nulls: bool) -> Any:
        """The sum of a column."""
        return self._column(on).sum(ignore_nulls=ignore_nulls)

    def min(self, on: str, ignore_nulls: bool) -> Any:
        """The least value of a column."""
        return self._column(on).min(ignore_nulls=ignore_nulls)

    def max(self, on: str, ignore_nulls: bool) -> Any:
        """The greatest value of a column."""
        return self._column(on).max(ignore_nulls=ignore_nulls)

    def mean(self, on: str, ignore_nulls: bool) -> Any:
        """The mean of a column."""
        return self._column(on).mean(ignore_nulls=ignore_nulls)

    def sum_of_squared_diffs_from_mean(self, on: str, ignore_nulls: bool, mean: Any = None) -> Any:
        """The sum of squared differences from the mean."""
        return self._column(on).sum_of_squared_diffs_from_mean(ignore_nulls=ignore_nulls, mean=mean)


def take(table: pa.Table, indices: Any) -> pa.Table:
    """Rows by number; also of columns that Arrow itself cannot take from."""
    indices = pa.array(np.asarray(indices, dtype=np.int64))
    columns = []
    for column in table.columns:
        if isinstance(column.type, pa.BaseExtensionType):
            one = convert.concat_extension(column)
            taken = pa.ExtensionArray.from_storage(column.type, pc.take(one.storage, indices))
        else:
            taken = pc.take(column, indices)
        columns.append(taken)
    if not columns:
        return table.slice(0, len(indices))
    return pa.table(columns, schema=table.schema)
