"""Works: what one task does with its input blocks. Pickled once per run, called many times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block import convert
from rayjup.data.block.unify import concat
from rayjup.data.datasource.datasource import ReadTask
from rayjup.data.kernels import grouping, joining, shuffling, sorting
from rayjup.data.physical.running import task_index
from rayjup.data.physical.steps import Blocks, Step, run_steps


class Work:
    """Blocks in, blocks out.

    ``run`` gets the number of the task among those of its stage, and its inputs.
    """

    name: str

    def prepare(self) -> None:
        """Make what is needed before the first ``run`` in this process."""

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        """The blocks that come out."""
        raise NotImplementedError


@dataclass
class StageWork(Work):
    """A chain of steps on the blocks of a task, or on what its read tasks read."""

    steps: Sequence[Step]
    name: str = "Stage"

    def prepare(self) -> None:
        for step in self.steps:
            step.prepare()

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        task_index.set(index)
        return run_steps(self.steps, read_inputs(inputs))


def read_inputs(inputs: Iterable[Any]) -> Blocks:
    """The blocks that inputs stand for: blocks themselves, or what read tasks read."""
    for item in inputs:
        if isinstance(item, ReadTask) or callable(item):
            for block in item():
                yield convert.to_table(block)
        else:
            yield convert.to_table(item)


@dataclass
class SliceWork(Work):
    """Parts of the inputs put together: row ranges per task, in order."""

    ranges: dict[int, list[tuple[int, int]]]
    name: str = "Slice"

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        parts = [
            convert.to_table(block).slice(start, end - start)
            for block, (start, end) in zip(inputs, self.ranges[index], strict=True)
        ]
        yield concat(parts)


@dataclass
class ZipWork(Work):
    """Columns side by side: ``ranges`` per task and side; ``counts`` says how many inputs each side has."""

    ranges: dict[int, list[list[tuple[int, int]]]]
    name: str = "Zip"

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        from rayjup.data.block.accessor import BlockAccessor

        position = 0
        sides = []
        for ranges in self.ranges[index]:
            parts = []
            for start, end in ranges:
                parts.append(convert.to_table(inputs[position]).slice(start, end - start))
                position += 1
            sides.append(concat(parts))
        out = sides[0]
        for other in sides[1:]:
            out = BlockAccessor.for_block(out).zip(other)
        yield out


class Partition(Work):
    """The input cut into ``parts`` blocks, of which some may be empty."""

    parts: int

    def split(self, index: int, table: pa.Table) -> list[pa.Table]:
        """The parts, in order."""
        raise NotImplementedError

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        yield from self.split(index, concat([convert.to_table(b) for b in inputs]))


@dataclass
class HashPartition(Partition):
    """By the hash of keys."""

    keys: Sequence[str]
    parts: int
    name: str = "HashPartition"

    def split(self, index: int, table: pa.Table) -> list[pa.Table]:
        return shuffling.hash_parts(table, self.keys, self.parts)


@dataclass
class RandomPartition(Partition):
    """At random."""

    seed: int
    parts: int
    name: str = "RandomPartition"

    def split(self, index: int, table: pa.Table) -> list[pa.Table]:
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        return shuffling.random_parts(table, self.parts, seed)


@dataclass
class RangePartition(Partition):
    """By ranges of a key."""

    key: sorting.SortKey
    cuts: Sequence[Any]
    parts: int
    name: str = "RangePartition"

    def split(self, index: int, table: pa.Table) -> list[pa.Table]:
        out = sorting.range_partition(table, self.key, self.cuts)
        return out + [table.slice(0, 0)] * (self.parts - len(out))


@dataclass
class SampleKeys(Work):
    """Some keys, from which the ranges of a sort are found."""

    key: sorting.SortKey
    rows: int = 64
    name: str = "SampleKeys"

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        for block in inputs:
            yield sorting.sample_keys(convert.to_table(block), self.key, self.rows, index)


class Reduce(Work):
    """All blocks of one part made one table, then cut to size."""

    max_bytes: int | None

    def merge(self, index: int, tables: list[pa.Table]) -> Blocks:
        """What comes out of a part."""
        raise NotImplementedError

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        for table in self.merge(index, [convert.to_table(b) for b in inputs]):
            yield from shuffling.split_to_size(table, self.max_bytes)


@dataclass
class SortReduce(Reduce):
    """Sorted."""

    key: sorting.SortKey
    max_bytes: int | None = None
    name: str = "SortReduce"

    def merge(self, index: int, tables: list[pa.Table]) -> Iterator[pa.Table]:
        yield sorting.sort_table(concat(tables), self.key)


@dataclass
class ShuffleReduce(Reduce):
    """In random order."""

    seed: int
    max_bytes: int | None = None
    name: str = "ShuffleReduce"

    def merge(self, index: int, tables: list[pa.Table]) -> Iterator[pa.Table]:
        seed = int(np.random.SeedSequence([self.seed, 1_000_003, index]).generate_state(1)[0])
        yield shuffling.shuffle(concat(tables), seed)


@dataclass
class CombineReduce(Reduce):
    """Partial results of groups combined."""

    keys: Sequence[str]
    aggs: Sequence[Any]
    max_bytes: int | None = None
    name: str = "Combine"

    def merge(self, index: int, tables: list[pa.Table]) -> Iterator[pa.Table]:
        yield grouping.combine(tables, self.keys, self.aggs)


@dataclass
class AggregateReduce(Reduce):
    """Whole groups aggregated."""

    keys: Sequence[str]
    aggs: Sequence[Any]
    max_bytes: int | None = None
    name: str = "AggregateReduce"

    def merge(self, index: int, tables: list[pa.Table]) -> Iterator[pa.Table]:
        yield grouping.aggregate(concat(tables), self.keys, self.aggs)


@dataclass
class StepsReduce(Reduce):
    """All blocks of a part given to steps as one block."""

    steps: Sequence[Step]
    max_bytes: int | None = None
    name: str = "Reduce"

    def prepare(self) -> None:
        for step in self.steps:
            step.prepare()

    def merge(self, index: int, tables: list[pa.Table]) -> Iterator[pa.Table]:
        task_index.set(index)
        yield from run_steps(self.steps, iter([concat(tables)]))


@dataclass
class JoinReduce(Work):
    """Two sides joined; ``left_counts`` says how many of a part's inputs are of the left side."""

    how: str
    left_on: Sequence[str]
    right_on: Sequence[str]
    left_suffix: str | None
    right_suffix: str | None
    schemas: list[pa.Schema]
    left_counts: dict[int, int] = field(default_factory=dict)
    max_bytes: int | None = None
    name: str = "Join"

    def run(self, index: int, inputs: Sequence[Any]) -> Blocks:
        tables = [convert.to_table(b) for b in inputs]
        count = self.left_counts[index]
        left = concat(tables[:count]) if count else self.schemas[0].empty_table()
        right = concat(tables[count:]) if len(tables) > count else self.schemas[1].empty_table()
        out = joining.join(
            left, right, self.how, self.left_on, self.right_on, self.left_suffix, self.right_suffix
        )
        yield from shuffling.split_to_size(out, self.max_bytes)
