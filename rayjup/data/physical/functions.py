"""Steps that call functions and classes of the user."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from rayjup.data.block import convert
from rayjup.data.block.accessor import take
from rayjup.data.kernels import grouping
from rayjup.data.logical.groups import MapGroups
from rayjup.data.logical.maps import Filter, FlatMap, Function, Map, MapBatches, MapLike
from rayjup.data.physical.batching import batches
from rayjup.data.physical.steps import Blocks, Step

_ROWS = 4096
_ASYNC_AT_ONCE = 8


def step_for(op: MapLike) -> FunctionStep:
    """The step that does what the operator says."""
    if isinstance(op, MapBatches):
        return BatchesStep(op.function, op.name, op.batch_size, op.batch_format, op.zero_copy)
    if isinstance(op, MapGroups):
        return GroupsStep(op.function, op.name, op.keys, op.batch_format)
    kinds: dict[type, type[FunctionStep]] = {Map: MapStep, FlatMap: FlatMapStep, Filter: FilterStep}
    return kinds[type(op)](op.function, op.name)


@dataclass
class FunctionStep(Step):
    """Calls a function, or an instance of a class that is made when the step is prepared."""

    function: Function
    name: str = "Map"
    has_function = True

    def __post_init__(self) -> None:
        self._call: Callable[..., Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_call": None}

    def prepare(self) -> None:
        if self._call is not None:
            return
        spec = self.function
        fn = spec.fn
        if spec.is_class:
            fn = fn(*spec.constructor_args, **dict(spec.constructor_kwargs))
            if not callable(fn):
                raise TypeError(f"{self.name}: the class has no __call__ method to be called with the data.")
        if spec.args or spec.kwargs:
            args, kwargs, inner = spec.args, dict(spec.kwargs), fn

            def bound(value: Any) -> Any:
                return inner(value, *args, **kwargs)

            self._call = bound
        else:
            self._call = fn
        target = fn if inspect.isroutine(fn) else getattr(fn, "__call__", fn)  # noqa: B004
        target = getattr(target, "func", target)
        self._asynchronous = inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target)

    @property
    def call(self) -> Callable[..., Any]:
        """The function with its further arguments."""
        if self._call is None:
            self.prepare()
        assert self._call is not None
        return self._call

    @property
    def asynchronous(self) -> bool:
        """True if calls give coroutines or async generators."""
        if self._call is None:
            self.prepare()
        return self._asynchronous

    def results(self, values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """(value, what the function made of it), in order; coroutines run several at a time."""
        call = self.call
        if not self.asynchronous:
            for value in values:
                yield value, call(value)
            return
        yield from _run_async(call, values)


def _run_async(call: Callable[..., Any], values: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Run coroutine functions (or async generators, whose items become a list) on a loop of their own."""
    loop = _loop()

    async def collect(value: Any) -> Any:
        result = call(value)
        if hasattr(result, "__aiter__"):
            return [item async for item in result]
        return await result

    waiting: deque[tuple[Any, asyncio.Task[Any]]] = deque()
    source = iter(values)
    try:
        while True:
            for value in itertools.islice(source, _ASYNC_AT_ONCE - len(waiting)):
                waiting.append((value, loop.create_task(collect(value))))
            if not waiting:
                return
            value, task = waiting.popleft()
            yield value, loop.run_until_complete(task)
    finally:
        for _, task in waiting:
            task.cancel()
        if waiting:
            loop.run_until_complete(asyncio.gather(*(t for _, t in waiting), return_exceptions=True))


_loops: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """The loop of this process on which functions of users run."""
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0]


class MapStep(FunctionStep):
    """Row to row."""

    def rows(self, rows: Iterator[Any]) -> Iterator[Any]:
        """The rows that come out."""
        if self.asynchronous:
            return (result for _, result in self.results(rows))
        return map(self.call, rows)

    def run(self, blocks: Blocks) -> Blocks:
        yield from _tables(self.rows(_rows(blocks)), self.name)


class FlatMapStep(FunctionStep):
    """Row to rows."""

    def rows(self, rows: Iterator[Any]) -> Iterator[Any]:
        """The rows that come out."""
        for _, result in self.results(rows):
            if isinstance(result, Mapping):
                yield result
                continue
            if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
                raise ValueError(
                    f"{self.name}: flat_map takes functions that return a list of dicts (rows), not "
                    f"{type(result).__name__}."
                )
            yield from result

    def run(self, blocks: Blocks) -> Blocks:
        yield from _tables(self.rows(_rows(blocks)), self.name)


class FilterStep(FunctionStep):
    """The rows for which the function is true."""

    def rows(self, rows: Iterator[Any]) -> Iterator[Any]:
        """The rows that come out."""
        if self.asynchronous:
            return (row for row, keep in self.results(rows) if keep)
        return filter(self.call, rows)

    def run(self, blocks: Blocks) -> Blocks:
        for block in blocks:
            if not block.num_rows:
                yield block
                continue
            keep = []
            for position, (_, result) in enumerate(self.results(convert.iter_rows(block))):
                if not isinstance(result, (bool, np.bool_, int)):
                    raise ValueError(
                        f"{self.name}: the function of filter must return True or False; for row "
                        f"{position} of "
                        f"a block it returned {type(result).__name__}."
                    )
                if result:
                    keep.append(position)
            yield block if len(keep) == block.num_rows else take(block, keep)


def _rows(blocks: Blocks) -> Iterator[dict[str, Any]]:
    for block in blocks:
        yield from convert.iter_rows(block)


def _tables(rows: Iterator[Any], name: str) -> Blocks:
    """Rows as blocks."""
    while chunk := list(itertools.islice(rows, _ROWS)):
        if set(map(type, chunk)) != {dict}:
            for row in chunk:
                if not isinstance(row, Mapping):
                    raise _bad_row(name, row)
        yield convert.rows_to_table(chunk)


@dataclass
class RowChain(Step):
    """Several functions of rows: rows go from one to the next without becoming a block in between."""

    parts: list[Any]
    name: str = "Rows"
    has_function = True

    def prepare(self) -> None:
        for part in self.parts:
            part.prepare()

    def run(self, blocks: Blocks) -> Blocks:
        rows: Iterator[Any] = _rows(blocks)
        for part in self.parts:
            rows = part.rows(rows)
        yield from _tables(rows, self.name)


def joined(steps: list[Step]) -> list[Step]:
    """The same steps, with functions of rows that follow each other made one."""
    out: list[Step] = []
    for step in steps:
        if isinstance(step, (MapStep, FlatMapStep, FilterStep)) and out:
            before = out[-1]
            if isinstance(before, RowChain):
                before.parts.append(step)
                before.name += f"->{step.name}"
                continue
            if isinstance(before, (MapStep, FlatMapStep)):
                out[-1] = RowChain([before, step], f"{before.name}->{step.name}")
                continue
        out.append(step)
    return out


def _bad_row(name: str, row: Any) -> ValueError:
    return ValueError(
        f"{name}: rows must be dicts of column name and value; the function returned {type(row).__name__} "
        f"({str(row)[:60]!r}). Return {{'column': value}}."
    )


@dataclass
class BatchesStep(FunctionStep):
    """Batch to batch, or batches."""

    batch_size: int | None = None
    batch_format: str | None = "default"
    zero_copy: bool = True

    @property
    def by_row(self) -> bool:
        return self.batch_size is not None

    def _inputs(self, blocks: Blocks) -> Iterator[Any]:
        for table in batches(blocks, self.batch_size):
            batch = convert.to_batch(table, self.batch_format)
            if not self.zero_copy and isinstance(batch, dict):
                batch = {k: convert.writable(v) if isinstance(v, np.ndarray) else v for k, v in batch.items()}
            yield batch

    def run(self, blocks: Blocks) -> Blocks:
        for _, result in self.results(self._inputs(blocks)):
            yield from tables_of(result, self.name)


def tables_of(result: Any, name: str) -> Blocks:
    """The blocks that a function's result stands for."""
    if isinstance(result, (Mapping, pa.Table)) or not (
        isinstance(result, list) or hasattr(result, "__next__")
    ):
        yield _table_of(result, name)
        return
    for item in result:
        yield _table_of(item, name)


def _table_of(batch: Any, name: str) -> pa.Table:
    if isinstance(batch, Mapping):
        for column, values in batch.items():
            if not isinstance(values, (list, np.ndarray, pa.Array, pa.ChunkedArray)) and not (
                hasattr(values, "__array__")
                or hasattr(values, "__arrow_array__")
                or hasattr(values, "__len__")
            ):
                raise ValueError(
                    f"{name}: a batch must be a dict of arrays or lists, but its column {column!r} is a "
                    f"{type(values).__name__}."
                )
    try:
        return convert.to_table(batch)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


@dataclass
class GroupsStep(FunctionStep):
    """Calls the function with the rows of each group."""

    keys: tuple[str, ...] = ()
    batch_format: str | None = "default"

    @property
    def by_row(self) -> bool:
        return False

    def run(self, blocks: Blocks) -> Blocks:
        from rayjup.data.block.unify import concat

        table = concat(list(blocks))
        if not table.num_rows:
            return
        groups = grouping.groups(table, self.keys) if self.keys else iter([table])
        inputs = (convert.to_batch(group, self.batch_format) for group in groups)
        waiting: list[pa.Table] = []
        rows = 0
        for _, result in self.results(inputs):
            for part in tables_of(result, self.name):
                waiting.append(part)
                rows += part.num_rows
            if rows > 100_000:
                yield concat(waiting)
                waiting, rows = [], 0
        if waiting:
            yield concat(waiting)
