"""Plans run in this process: as streams of tables, one operator after the other.

Functions of the user start here, too. If they turn out to be slow, what is left of their input goes to
tasks of the cluster.
"""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block.bundle import Bundle
from rayjup.data.block.unify import concat
from rayjup.data.context import DataContext
from rayjup.data.datasource.datasource import ReadTask
from rayjup.data.exceptions import user_error
from rayjup.data.execution import lazy
from rayjup.data.execution.nodes import Counts
from rayjup.data.kernels import grouping, joining, shuffling, sorting
from rayjup.data.logical.base import Op
from rayjup.data.logical.combine import Join, Mix, MixStoppingCondition, Union, Zip
from rayjup.data.logical.groups import Aggregate, GroupWindow, MapGroups
from rayjup.data.logical.maps import MapLike
from rayjup.data.logical.rearrange import Limit, RandomizeBlocks, RandomShuffle, Repartition, Sort
from rayjup.data.logical.sources import InputBlocks, Read
from rayjup.data.logical.write import Write
from rayjup.data.physical.functions import step_for
from rayjup.data.physical.running import task_index
from rayjup.data.physical.sizes import read_parallelism
from rayjup.data.physical.stages import Chain, chain_of, is_step
from rayjup.data.physical.steps import SizeStep, Step, run_steps
from rayjup.data.physical.works import read_inputs

Tables = Iterator[pa.Table]
_TRY_S = 0.1


class LocalRun:
    """One run of a plan in this process.

    Parameters
    ----------
    context
        Settings.
    cpus
        CPUs of the cluster, or of this machine.
    hand_over
        ``(inputs, chain) -> tables``: has the cluster do the rest of a chain.
    rest_s
        A chain is handed over when the rest would take longer than this.
    merge
        Put the small tables of one input together.
    """

    def __init__(
        self,
        context: DataContext,
        cpus: int,
        hand_over: Callable[[list[Any], Chain], Tables],
        rest_s: float,
        merge: bool = False,
    ) -> None:
        self.context, self.cpus, self.hand_over, self.rest_s, self.merge = (
            context,
            cpus,
            hand_over,
            rest_s,
            merge,
        )
        self.counts: dict[str, Counts] = {}

    # ------------------------------------------------------------------------------------------ operators

    def tables(self, op: Op) -> Tables:
        """The rows of an operator."""
        if is_step(op) or isinstance(op, (Read, InputBlocks)):
            chain = chain_of(op)
            if isinstance(op, Write):
                return self._counted(op.name, self._write(op))
            return self._counted(chain.name, self._chain(chain))
        if isinstance(op, (Aggregate, Sort, Join)):
            return self._counted(op.name, self._relational(op))
        return self._counted(op.name, _FORMS[type(op)](self, op))

    def whole(self, op: Op) -> pa.Table:
        """All rows of an operator in one table."""
        return concat(list(self.tables(op)))

    def _counted(self, name: str, tables: Tables) -> Tables:
        counts = Counts()
        key, number = name, 1
        while key in self.counts:
            key, number = f"{name} ({number})", number + 1
        self.counts[key] = counts
        spent = 0.0
        while True:
            began = time.perf_counter()
            counts.began = counts.began or time.monotonic()
            table = next(tables, None)
            took = time.perf_counter() - began
            spent += took
            counts.ended = time.monotonic()
            if table is None:
                counts.started = counts.finished = max(1, counts.blocks)
                return
            counts.blocks += 1
            counts.rows += table.num_rows
            counts.bytes += table.nbytes
            counts.wall_s.append(took)
            yield table

    def _relational(self, op: Op) -> Tables:
        frame = lazy.query(op)
        if frame is not None:
            yield lazy.collect(frame)
            return
        if isinstance(op, Aggregate):
            yield self._aggregate(op)
        elif isinstance(op, Sort):
            yield sorting.sort_table(self.whole(op.inputs[0]), op.key)
        else:
            assert isinstance(op, Join)
            yield joining.join(
                self.whole(op.inputs[0]),
                self.whole(op.inputs[1]),
                op.how,
                op.left_on,
                op.right_on,
                op.left_suffix,
                op.right_suffix,
            )

    def _aggregate(self, op: Aggregate) -> pa.Table:
        """Blocks are folded as they come, once there is much of them."""
        waiting: list[pa.Table] = []
        parts: list[pa.Table] = []
        size = 0
        for table in self.tables(op.inputs[0]):
            waiting.append(table)
            size += table.nbytes
            if size > 256 << 20:
                parts.append(grouping.partial(concat(waiting), op.keys, op.aggs))
                waiting, size = [], 0
        if not parts:
            return grouping.aggregate(concat(waiting), op.keys, op.aggs)
        if waiting:
            parts.append(grouping.partial(concat(waiting), op.keys, op.aggs))
        return grouping.combine(parts, op.keys, op.aggs)

    def _limit(self, op: Op) -> Tables:
        assert isinstance(op, Limit)
        left = op.n
        first = True
        for table in self.tables(op.inputs[0]):
            part = table.slice(0, left)
            left -= part.num_rows
            if part.num_rows or first:
                yield part
                first = False
            if left <= 0:
                return

    def _union(self, op: Op) -> Tables:
        for child in op.inputs:
            yield from self.tables(child)

    def _zip(self, op: Op) -> Tables:
        from rayjup.data.block.accessor import BlockAccessor

        sides = [self.whole(child) for child in op.inputs]
        rows = [s.num_rows for s in sides]
        if len(set(rows)) > 1:
            raise ValueError(f"zip: the datasets must have the same number of rows; they have {rows}.")
        out = sides[0]
        for other in sides[1:]:
            out = BlockAccessor.for_block(out).zip(other)
        yield out

    def _shuffle(self, op: Op) -> Tables:
        assert isinstance(op, RandomShuffle)
        frame = lazy.query(op.inputs[0])
        if frame is not None:
            table = shuffling.shuffle_frame(frame.collect(), op.seed)
        else:
            table = shuffling.shuffle(self.whole(op.inputs[0]), op.seed)
        yield from shuffling.split_evenly(table, op.num_blocks) if op.num_blocks else [table]

    def _randomize(self, op: Op) -> Tables:
        assert isinstance(op, RandomizeBlocks)
        tables = list(self.tables(op.inputs[0]))
        for position in np.random.default_rng(op.seed).permutation(len(tables)):
            yield tables[position]

    def _repartition(self, op: Op) -> Tables:
        assert isinstance(op, Repartition)
        table = self.whole(op.inputs[0])
        if op.keys:
            yield from self._by_keys(table, op)
            return
        if op.shuffle:
            table = shuffling.shuffle(table, None)
        if op.num_blocks is None:
            assert op.target_rows is not None
            for start in range(0, max(table.num_rows, 1), op.target_rows):
                yield table.slice(start, op.target_rows)
            return
        yield from shuffling.split_evenly(table, op.num_blocks)

    @staticmethod
    def _by_keys(table: pa.Table, op: Repartition) -> Tables:
        assert op.keys is not None
        for part in shuffling.hash_parts(table, op.keys, op.num_blocks or 1):
            yield sorting.sort_table(part, sorting.SortKey.of(op.keys)) if op.sort else part

    def _mix(self, op: Op) -> Tables:
        assert isinstance(op, Mix)
        sources = [self.tables(child) for child in op.inputs]
        given = [0.0] * len(sources)
        alive = list(range(len(sources)))
        while alive:
            position = min(alive, key=lambda i: given[i] / op.weights[i])
            table = next(sources[position], None)
            if table is None:
                if op.stop is MixStoppingCondition.STOP_ON_SHORTEST:
                    return
                alive.remove(position)
                if op.stop is MixStoppingCondition.STOP_ON_LONGEST_REPEAT and alive:
                    sources[position] = self.tables(op.inputs[position])
                    alive.append(position)
                    self._repeats = getattr(self, "_repeats", set()) | {position}
                    if len(self._repeats) == len(sources):
                        return
                continue
            given[position] += table.num_rows
            yield table

    def _window(self, op: Op) -> Tables:
        from rayjup.data.physical.windows import window

        assert isinstance(op, GroupWindow)
        yield window(self.whole(op.inputs[0]), op.keys, op.column, op.expr)

    def _map_groups(self, op: Op) -> Tables:
        assert isinstance(op, MapGroups)
        table = self.whole(op.inputs[0])
        grouping.check_keys(table.column_names, op.keys)
        if not op.keys or table.num_rows < 2:
            yield from self._steps([_copied(step_for(op))], iter([table]), op.name)
            return
        ordered, edges = grouping.ordered_groups(table, op.keys)
        count = max(1, min(len(edges) - 1, 2 * self.cpus))
        cuts = [edges[i] for i in np.linspace(0, len(edges) - 1, count + 1).astype(int)]
        inputs = [ordered.slice(a, b - a) for a, b in itertools.pairwise(cuts) if b > a]
        chain = Chain(
            InputBlocks(tuple(Bundle(t) for t in inputs)), [op], op.function.compute, op.function.remote
        )
        yield from self._inputs(inputs, chain, [_copied(step_for(op))])

    # ------------------------------------------------------------------------------------------ chains

    def _chain(self, chain: Chain) -> Tables:
        steps = [_copied(s) for s in chain.steps()]
        functions = any(isinstance(op, MapLike) for op in chain.ops)
        base = chain.base
        if isinstance(base, Read):
            native = getattr(base.source, "native", False)
            count = base.num_blocks or read_parallelism(
                base, self.cpus, functions or not native, self.context
            )
            inputs: Iterator[Any] = iter(base.tasks(count))
            movable = functions or not native
        elif isinstance(base, InputBlocks):
            tables = [b.table() for b in base.bundles]
            inputs, movable = iter(self._spread(tables) if functions else tables), functions
        else:
            inputs, movable = self.tables(base), functions
        if not steps and not isinstance(base, Read):
            yield from inputs
            return
        if movable:
            yield from self._inputs(inputs, chain, steps)
            return
        for index, item in enumerate(inputs):
            task_index.set(index)
            yield from self._steps(
                self._sized(steps, isinstance(base, Read)), read_inputs([item]), chain.name
            )

    def _spread(self, tables: list[pa.Table]) -> list[pa.Table]:
        """At least a block per CPU, where there are rows for that."""
        rows = sum(t.num_rows for t in tables)
        if len(tables) >= self.cpus or rows <= len(tables):
            return tables
        parts = -(-self.cpus // len(tables))
        return [p for t in tables for p in shuffling.split_evenly(t, max(1, min(parts, t.num_rows)))]

    def _sized(self, steps: list[Step], reads: bool) -> list[Step]:
        size = self.context.target_max_block_size
        return [*steps, SizeStep(size)] if self.merge else steps

    def _steps(self, steps: list[Step], tables: Tables, name: str) -> Tables:
        try:
            yield from run_steps(steps, tables)
        except Exception as error:
            if hasattr(error, "add_note"):
                error.add_note(f"(operator {name})")
            raise user_error(error, name) from error

    def _inputs(self, inputs: Any, chain: Chain, steps: list[Step]) -> Tables:
        """Run a chain input by input; hand over the rest when it is slow."""
        clock = _Clock()
        rest: list[Any] = []
        splittable = all(s.by_row for s in steps)
        source = iter(inputs)
        index = -1
        while (item := next(source, None)) is not None:
            index += 1
            task_index.set(index)
            pieces = _Pieces(item, splittable, lambda done, left: self._slow(clock, done, left))
            yield from clock.timed(self._steps(self._sized(steps, True), pieces.tables(), chain.name))
            if pieces.left is not None:
                rest = [pieces.left]
                break
            if clock.spent > _TRY_S:
                upcoming = list(source)
                if upcoming and clock.spent / (index + 1) * len(upcoming) > self.rest_s:
                    rest = upcoming
                    break
                source = iter(upcoming)
        if rest:
            rest += list(source)
            yield from self.hand_over(rest, chain)

    def _slow(self, clock: _Clock, rows_done: int, rows_left: int) -> bool:
        return clock.now() > _TRY_S and rows_left * clock.now() / max(1, rows_done) > self.rest_s

    def _write(self, op: Write) -> Tables:
        from rayjup.data.physical.stages import step_of

        child = op.inputs[0]
        tables: Any = self.tables(child)
        keep = isinstance(child, (InputBlocks, Repartition)) or (isinstance(child, Read) and child.num_blocks)
        least_rows, least_bytes = op.sink.min_rows_per_write, op.sink.min_bytes_per_write
        if least_rows or least_bytes:
            tables = _gathered(tables, least_rows or 0, least_bytes or 0)
        elif not keep:
            tables = SizeStep(self.context.target_max_block_size).run(tables)
        for index, table in enumerate(tables):
            task_index.set(index)
            if table.num_rows or index == 0:
                yield from self._steps([step_of(op)], iter([table]), op.name)


def _gathered(tables: Tables, rows: int, size: int) -> Tables:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(t.num_rows for t in waiting) >= rows and sum(t.nbytes for t in waiting) >= size:
            yield concat(waiting)
            waiting = []
    if waiting:
        yield concat(waiting)


def _copied(step: Step) -> Step:
    """A step with a copy of the user's function, as a task would have it: what it changes stays its own."""
    if not hasattr(step, "has_function"):
        return step
    import cloudpickle

    try:
        data = cloudpickle.dumps(step)
    except Exception as error:
        raise TypeError(
            f"{step.name}: the function cannot be sent to other processes, because something that it "
            "uses cannot be "
            f"pickled: {error}. Make that (a lock, a connection, a model) in the constructor of a class "
            "instead."
        ) from error
    return pickle.loads(data)


class _Clock:
    """Time spent in a generator, without that of who iterates over it."""

    def __init__(self) -> None:
        self.spent = 0.0
        self._resumed: float | None = None

    def now(self) -> float:
        """Seconds until now."""
        return self.spent + (time.perf_counter() - self._resumed if self._resumed is not None else 0.0)

    def timed(self, tables: Tables) -> Tables:
        """The same tables; the time that making them takes is counted."""
        while True:
            self._resumed = time.perf_counter()
            table = next(tables, None)
            self.spent += time.perf_counter() - self._resumed
            self._resumed = None
            if table is None:
                return
            yield table


class _Pieces:
    """An input in pieces that grow; stops when the rest should be done elsewhere."""

    def __init__(self, item: Any, splittable: bool, slow: Callable[[int, int], bool]) -> None:
        self._item, self._splittable, self._slow = item, splittable, slow
        self.done = 0
        self.left: Any = None

    def tables(self) -> Tables:
        for table in read_inputs([self._item]):
            rows = table.num_rows
            if isinstance(self._item, ReadTask) or not self._splittable or rows < 2:
                self.done += rows
                yield table
                continue
            start, size = 0, 1
            while start < rows:
                if start and self._slow(self.done + start, rows - start):
                    self.left = table.slice(start)
                    return
                yield table.slice(start, size)
                start += size
                size = min(size * 4, 16384)
            self.done += rows


_FORMS: dict[type[Op], Callable[[LocalRun, Op], Tables]] = {
    Limit: LocalRun._limit,
    Union: LocalRun._union,
    Zip: LocalRun._zip,
    RandomShuffle: LocalRun._shuffle,
    RandomizeBlocks: LocalRun._randomize,
    Repartition: LocalRun._repartition,
    Mix: LocalRun._mix,
    GroupWindow: LocalRun._window,
    MapGroups: LocalRun._map_groups,
}
