"""Columns that come from nowhere: random numbers, UUIDs, growing ids; and what lies behind URIs."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import (
        DownloadExpr,
        MonotonicallyIncreasingIdExpr,
        RandomExpr,
        UUIDExpr,
    )

logger = logging.getLogger(__name__)

_DOWNLOAD_THREADS = 16


class EvaluationContext:
    """What expressions need to know about the task that evaluates them.

    Parameters
    ----------
    task_index
        The number of the task within its stage.
    execution_index
        How often the dataset has been executed before.
    """

    def __init__(self, task_index: int = 0, execution_index: int = 0) -> None:
        self.task_index = task_index
        self.execution_index = execution_index
        self.rows_seen: dict[str, int] = defaultdict(int)
        self.generators: dict[str, np.random.Generator] = {}
        self.results: dict[int, Any] | None = None


def random_numbers(expr: RandomExpr, table: pa.Table, context: EvaluationContext) -> pa.Array:
    """Uniform numbers in [0, 1)."""
    generator = context.generators.get(expr._instance_id)
    if generator is None:
        if expr.seed is None:
            generator = np.random.default_rng()
        else:
            turn = context.execution_index if expr.reseed_after_execution else 0
            generator = np.random.default_rng([expr.seed, turn, context.task_index])
        context.generators[expr._instance_id] = generator
    return pa.array(generator.random(table.num_rows))


def increasing_ids(
    expr: MonotonicallyIncreasingIdExpr, table: pa.Table, context: EvaluationContext
) -> pa.Array:
    """The task's number in the upper bits, the row's within the task in the lower 33."""
    start = (context.task_index << 33) + context.rows_seen[expr._instance_id]
    context.rows_seen[expr._instance_id] += table.num_rows
    return pa.array(np.arange(start, start + table.num_rows, dtype=np.int64))


def uuids(expr: UUIDExpr, table: pa.Table, context: EvaluationContext) -> pa.Array:
    """Random UUIDs of version 4 as text, made all at once."""
    rows = table.num_rows
    raw = np.frombuffer(os.urandom(16 * rows), dtype=np.uint8).reshape(rows, 16).copy()
    raw[:, 6] = (raw[:, 6] & 0x0F) | 0x40
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    digits = np.frombuffer(raw.tobytes().hex().encode(), dtype=np.uint8).reshape(rows, 32)
    text = np.full((rows, 36), ord("-"), dtype=np.uint8)
    for source, target in ((slice(0, 8), 0), (slice(8, 12), 9), (slice(12, 16), 14), (slice(16, 20), 19)):
        text[:, target : target + source.stop - source.start] = digits[:, source]
    text[:, 24:] = digits[:, 20:]
    offsets = pa.py_buffer(np.arange(0, 36 * (rows + 1), 36, dtype=np.int64))
    large = pa.LargeStringArray.from_buffers(rows, offsets, pa.py_buffer(text.tobytes()))
    return large.cast(pa.string()) if 36 * rows < 2**31 else large


def downloads(expr: DownloadExpr, table: pa.Table, context: EvaluationContext) -> pa.Array:
    """The bytes behind the URIs, many at a time; null where one cannot be read."""
    if expr.uri_column_name not in table.column_names:
        known = ", ".join(map(repr, table.column_names)) or "none"
        raise KeyError(f"download() finds no column {expr.uri_column_name!r}; the columns are {known}.")
    uris = table.column(expr.uri_column_name).to_pylist()
    if not uris:
        return pa.array([], pa.binary())
    with ThreadPoolExecutor(min(_DOWNLOAD_THREADS, len(uris))) as pool:
        contents = list(pool.map(lambda uri: read_uri(uri, expr.filesystem), uris))
    return pa.array(contents, pa.binary())


def read_uri(uri: str | None, filesystem: Any = None) -> bytes | None:
    """The bytes behind one URI; ``None`` (and a warning in the log) where it cannot be read."""
    if uri is None:
        return None
    from rayjup.data.datasource.paths import resolve

    try:
        found, path = resolve(uri, filesystem)
        with found.open_input_stream(path) as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be downloaded, its row gets a null: %s", uri, error)
        return None
