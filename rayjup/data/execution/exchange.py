"""Nodes that move rows between blocks: by hash, at random, by range, by position. No I/O."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from rayjup.data.block.bundle import Bundle
from rayjup.data.block.unify import unify_schemas
from rayjup.data.execution.nodes import BarrierNode, Node, Task
from rayjup.data.kernels import sorting
from rayjup.data.logical.base import Remote
from rayjup.data.physical.works import (
    JoinReduce,
    Partition,
    RangePartition,
    Reduce,
    SampleKeys,
    SliceWork,
    SortReduce,
    Work,
    ZipWork,
)

_PARTITION, _REDUCE, _SAMPLE = "partition", "reduce", "sample"


class ExchangeNode(BarrierNode):
    """Each block is cut into parts as it comes; when all are cut, each part becomes one table.

    Parameters
    ----------
    partitions
        How the blocks of each input are cut; of one part: not at all.
    reduce
        What is done with a part: given the bundles per input, the work.
    """

    def __init__(
        self,
        name: str,
        inputs: list[Node],
        partitions: list[Partition],
        reduce: Work,
        remote: Remote | None = None,
    ) -> None:
        super().__init__(name, inputs, remote)
        self.partitions = partitions
        self.reduce = reduce
        self.n = partitions[0].parts
        self.parts: list[list[list[Bundle]]] = [[[] for _ in range(self.n)] for _ in inputs]
        self._cut: dict[tuple[int, int], list[Bundle]] = {}
        self._started = [0] * len(inputs)
        self._reducing = False
        self._schemas: list[list[Any]] = [[] for _ in inputs]

    def feed(self, port: int, bundle: Bundle) -> None:
        if bundle.schema is not None:
            self._schemas[port].append(bundle.schema)
        index = self._started[port]
        self._started[port] += 1
        if self.n == 1:
            self._cut[port, index] = [bundle]
            return
        self.ask(self.partitions[port], index, [bundle], (_PARTITION, port, index))

    @property
    def buffered(self) -> int:
        return super().buffered

    def on_item(self, task: Task, bundle: Bundle) -> None:
        task.items.append(bundle)
        if task.tag[0] == _REDUCE:
            self.release_in_order()

    def on_done(self, task: Task) -> None:
        task.done = True
        task.inputs = []
        if task.tag[0] == _REDUCE:
            self.release_in_order()
            return
        _, port, index = task.tag
        self._cut[port, index] = list(task.items)
        self.running.remove(task)
        self._maybe_reduce()

    def on_closed(self) -> None:
        self._maybe_reduce()

    def _maybe_reduce(self) -> None:
        if self._reducing or self.open or self.queue or self.running or self.stopped:
            return
        self._reducing = True
        for port, index in sorted(self._cut):
            for part, bundle in enumerate(self._cut[port, index]):
                self.parts[port][part].append(bundle)
        self._cut.clear()
        self.start_reduce()

    def start_reduce(self) -> None:
        """Ask for one task per part."""
        for part in range(self.n):
            chosen: list[Bundle] = []
            for port in range(len(self.inputs)):
                filled = [b for b in self.parts[port][part] if b.num_rows]
                if not filled and len(self.inputs) == 1:
                    filled = self.parts[port][part][:1]
                if isinstance(self.reduce, JoinReduce) and port == 0:
                    self.reduce.left_counts[part] = len(filled)
                chosen += filled
            if chosen or isinstance(self.reduce, JoinReduce):
                self.ask(self.reduce, part, list(chosen), (_REDUCE, part))
        if isinstance(self.reduce, JoinReduce):
            self.reduce.schemas[:] = [unify_schemas(s) for s in self._schemas]
        self.parts = [[] for _ in self.inputs]

    @property
    def finished(self) -> bool:
        return super().finished and (self._reducing or self.stopped)


class SortNode(ExchangeNode):
    """Blocks cut by ranges of a key that are found from samples; sorted within each range.

    Parameters
    ----------
    key
        What to sort by.
    parts
        From rows and bytes in all: how many ranges.
    cuts
        The ranges, where they are given.
    """

    def __init__(
        self,
        name: str,
        node: Node,
        key: sorting.SortKey,
        parts: Callable[[int], int],
        max_bytes: int | None,
        cuts: list[Any] | None = None,
    ) -> None:
        reduce: Reduce = SortReduce(key, max_bytes)
        super().__init__(name, [node], [RangePartition(key, [], 1)], reduce)
        self.key, self._count, self._given = key, parts, cuts
        self._samples: list[Any] = []
        self._phase = _SAMPLE

    def feed(self, port: int, bundle: Bundle) -> None:
        self.held[0].append(bundle)
        if self._given is None:
            self.ask(SampleKeys(self.key), len(self.held[0]), [bundle], (_SAMPLE, 0, 0))

    def on_done(self, task: Task) -> None:
        if task.tag[0] != _SAMPLE:
            super().on_done(task)
            return
        task.done = True
        task.inputs = []
        self._samples += list(task.items)
        self.running.remove(task)
        self._maybe_cut()

    def on_closed(self) -> None:
        self._maybe_cut()

    def _maybe_cut(self) -> None:
        if self._phase != _SAMPLE or self.open or self.queue or self.running:
            return
        self._phase = _PARTITION
        if self._given is not None:
            cuts = [c if isinstance(c, tuple) else (c,) for c in self._given]
        else:
            total = sum(b.nbytes for b in self.held[0])
            count = self._count(total)
            cuts = (
                sorting.boundaries([s.table() for s in self._samples], self.key, count) if count > 1 else []
            )
        self._samples = []
        self.n = len(cuts) + 1
        self.parts = [[[] for _ in range(self.n)]]
        partition = RangePartition(self.key, cuts, self.n)
        held, self.held[0] = self.held[0], []
        for index, bundle in enumerate(held):
            if self.n == 1:
                self._cut[0, index] = [bundle]
            else:
                self.ask(partition, index, [bundle], (_PARTITION, 0, index))
        self._maybe_reduce()

    def _maybe_reduce(self) -> None:
        if self._phase == _PARTITION:
            super()._maybe_reduce()


class RepartitionNode(BarrierNode):
    """Another number of blocks, rows in their order."""

    def __init__(self, node: Node, num_blocks: int, target_rows: int | None = None) -> None:
        super().__init__(f"Repartition[{num_blocks or target_rows}]", [node])
        self.num_blocks, self.target_rows = num_blocks, target_rows

    def on_closed(self) -> None:
        held, self.held[0] = self.held[0], []
        total = sum(b.num_rows or 0 for b in held)
        if self.target_rows:
            edges = [*range(0, total, self.target_rows), total]
        else:
            edges = np.linspace(0, total, self.num_blocks + 1).astype(int).tolist()
        pieces = cut(held, edges)
        work = SliceWork({i: [(a, b) for _, a, b in piece] for i, piece in enumerate(pieces)}, self.name)
        for index, piece in enumerate(pieces):
            whole = len(piece) == 1 and piece[0][1:] == (0, piece[0][0].num_rows)
            if whole and not self.queue:
                self.emit(piece[0][0])  # right as it is
            elif piece:
                self.ask(work, index, [bundle for bundle, _, _ in piece])
            elif held:
                work.ranges[index] = [(0, 0)]
                self.ask(work, index, held[:1])

    def emit(self, bundle: Bundle) -> None:
        self.out.append(bundle)  # empty blocks count here
        self.counts.blocks += 1
        self.counts.rows += bundle.num_rows or 0
        self.counts.bytes += bundle.nbytes


def cut(bundles: list[Bundle], edges: list[int]) -> list[list[tuple[Bundle, int, int]]]:
    """For each range of rows: which rows of which blocks make it up."""
    out: list[list[tuple[Bundle, int, int]]] = []
    starts = np.cumsum([0, *(b.num_rows or 0 for b in bundles)]).tolist()
    position = 0
    for low, high in itertools.pairwise(edges):
        piece = []
        while position < len(bundles) and starts[position + 1] <= low:
            position += 1
        at = position
        while at < len(bundles) and starts[at] < high:
            a, b = max(low, starts[at]) - starts[at], min(high, starts[at + 1]) - starts[at]
            if b > a:
                piece.append((bundles[at], a, b))
            at += 1
        out.append(piece)
    return out


class ZipNode(BarrierNode):
    """Columns of several inputs side by side; blocks as the first input's."""

    def __init__(self, inputs: list[Node]) -> None:
        super().__init__("Zip", inputs)

    def on_closed(self) -> None:
        rows = [sum(b.num_rows or 0 for b in held) for held in self.held]
        if len(set(rows)) > 1:
            raise ValueError(f"zip: the datasets must have the same number of rows; they have {rows}.")
        first = self.held[0]
        edges = np.cumsum([0, *(b.num_rows or 0 for b in first)]).tolist()
        sides = [cut(held, edges) for held in self.held]
        work = ZipWork({})
        for index in range(len(first)):
            pieces = [side[index] for side in sides]
            if not pieces[0]:
                pieces = [[(held[0], 0, 0)] for held in self.held if held]
            work.ranges[index] = [[(a, b) for _, a, b in piece] for piece in pieces]
            self.ask(work, index, [bundle for piece in pieces for bundle, _, _ in piece])
        self.held = [[] for _ in self.inputs]


class RandomizeNode(BarrierNode):
    """Blocks in random order."""

    def __init__(self, node: Node, seed: int | None) -> None:
        super().__init__("RandomizeBlockOrder", [node])
        self.seed = seed

    def on_closed(self) -> None:
        held, self.held[0] = self.held[0], []
        for index in np.random.default_rng(self.seed).permutation(len(held)):
            self.emit(held[index])
