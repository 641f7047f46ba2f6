"""Blocks cut and put together to batches of a given number of rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from rayjup.data.block.convert import column_to_numpy
from rayjup.data.block.unify import concat
from rayjup.data.kernels.shuffling import gather

_AT_ONCE = 1 << 16


def batches(blocks: Iterator[pa.Table], size: int | None, drop_last: bool = False) -> Iterator[pa.Table]:
    """Tables of ``size`` rows each, the last perhaps fewer; without a size, the blocks.

    Tables of one block are views of it; only where a batch crosses blocks are rows copied.
    """
    if size is None:
        for block in blocks:
            if block.num_rows:
                yield block
        return
    waiting: deque[pa.Table] = deque()
    rows = 0
    for block in blocks:
        if not block.num_rows:
            continue
        if waiting:
            need = size - rows
            waiting.append(block.slice(0, need))
            rows += min(need, block.num_rows)
            if rows < size:
                continue
            yield merged(waiting)
            waiting.clear()
            rows, start = 0, need
        else:
            start = 0
        total = block.num_rows
        while total - start >= size:
            yield block.slice(start, size)
            start += size
        if start < total:
            rest = block.slice(start)
            waiting.append(rest)
            rows = rest.num_rows
    if waiting and not drop_last:
        yield merged(waiting)


def numpy_batches(
    blocks: Iterator[pa.Table], size: int | None, drop_last: bool = False
) -> Iterator[dict[str, np.ndarray]]:
    """The same as dicts of arrays: columns are converted for many batches at once, and batches are views
    of them."""
    if size is None:
        for block in blocks:
            if block.num_rows:
                yield arrays(block)
        return
    step = max(size, _AT_ONCE // size * size)
    waiting: deque[pa.Table] = deque()
    rows = 0
    for block in blocks:
        if not block.num_rows:
            continue
        start = 0
        if waiting:
            start = size - rows
            waiting.append(block.slice(0, start))
            rows += min(start, block.num_rows)
            if rows < size:
                continue
            yield arrays(merged(waiting))
            waiting.clear()
            rows = 0
        end = start + (block.num_rows - start) // size * size
        for low in range(start, end, step):
            count = min(step, end - low)
            part = arrays(block.slice(low, count))
            for at in range(0, count, size):
                yield {name: array[at : at + size] for name, array in part.items()}
        if end < block.num_rows:
            rest = block.slice(end)
            waiting.append(rest)
            rows = rest.num_rows
    if waiting and not drop_last:
        yield arrays(merged(waiting))


def arrays(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns as arrays."""
    return {name: column_to_numpy(table.column(i)) for i, name in enumerate(table.column_names)}


def merged(parts: deque[pa.Table]) -> pa.Table:
    """One table, its columns in one piece."""
    if len(parts) == 1:
        return parts[0]
    return concat(list(parts))


def shuffled(
    blocks: Iterator[pa.Table], size: int | None, least: int, seed: int | None, drop_last: bool = False
) -> Iterator[pa.Table]:
    """Batches of rows drawn at random from a buffer of at least ``least`` rows."""
    rng = np.random.default_rng(seed)
    buffer: list[pa.Table] = []
    rows = 0
    size = size or least
    for block in blocks:
        if not block.num_rows:
            continue
        buffer.append(block)
        rows += block.num_rows
        if rows < 2 * least + size:
            continue
        table = concat(buffer)
        table = gather(table, rng.permutation(rows))
        start = 0
        while rows - start >= least + size:
            yield table.slice(start, size)
            start += size
        buffer, rows = [table.slice(start)], rows - start
    if buffer:
        table = concat(buffer)
        table = gather(table, rng.permutation(rows))
        yield from batches(iter([table]), size, drop_last)
