"""Where a plan runs: in this process or on the cluster. A pure decision."""

from __future__ import annotations

import types
from typing import Any

from rayjup.data.context import DataContext
from rayjup.data.logical.base import Op, Remote, walk
from rayjup.data.logical.columns import WithColumns
from rayjup.data.logical.combine import Join, Zip
from rayjup.data.logical.estimate import source_bytes
from rayjup.data.logical.groups import Aggregate, GroupWindow
from rayjup.data.logical.maps import Function, MapLike
from rayjup.data.logical.rearrange import RandomizeBlocks, RandomShuffle, Repartition, Sort
from rayjup.data.logical.sources import Read
from rayjup.data.logical.write import Write

WHOLE = (Aggregate, GroupWindow, Join, Zip, Sort, RandomShuffle, RandomizeBlocks, Repartition)
"""Operators that look at all rows before the first comes out."""
# Functions that use these names end processes, or want to know in which one they are.
_OF_PROCESSES = {"kill", "_exit", "abort", "getpid", "getppid", "get_runtime_context", "raise_signal"}


def runs_here(op: Op, context: DataContext, store_bytes: float | None = None) -> bool:
    """True if the (optimized) plan should run in this process.

    Parameters
    ----------
    store_bytes
        The capacity of the object store of the cluster one is connected to.
    """
    nodes = list(walk(op))
    functions = [n for n in nodes if isinstance(n, MapLike)]
    for function in (n.function for n in functions):
        if function.is_class or not function.local or _of_processes(function):
            return False
    for node in nodes:
        remote = getattr(node, "remote", None)
        if isinstance(remote, Remote) and not remote.plain:
            return False
        if isinstance(node, WithColumns) and (node.compute is not None or expression_classes(node)):
            return False
    size = source_bytes(op)
    if context.max_errored_blocks and functions:
        return False  # tasks are what may fail one by one
    if functions:
        return size is not None and size <= context.local_udf_max_bytes
    most = float(context.local_max_bytes)
    if store_bytes is not None:
        most = min(most, store_bytes / 2)
    if any(isinstance(n, WHOLE) for n in nodes):
        return size is not None and size <= most
    if any(isinstance(n, Write) for n in nodes):
        return size is None or size <= most
    return (
        size is None
        or all(getattr(n.source, "native", False) for n in nodes if isinstance(n, Read))
        or (size <= most)
    )


def expression_classes(op: WithColumns) -> list[Any]:
    """Classes of the user within expressions."""
    out: list[Any] = []
    for _, expr in op.exprs:
        find = getattr(expr, "callable_classes", None)
        if find is not None:
            out += find()
    return out


def _of_processes(function: Function) -> bool:
    return any(_OF_PROCESSES & set(code.co_names) for code in _codes(function.fn))


def _codes(fn: Any, depth: int = 3) -> list[types.CodeType]:
    """The code of a function, of those defined in it, and of those it calls by global name or closure."""
    fn = getattr(fn, "func", fn)
    fn = getattr(fn, "__func__", fn)
    code = getattr(fn, "__code__", None)
    if code is None:
        return []
    out = [code]
    out += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    if depth:
        values = [getattr(fn, "__globals__", {}).get(name) for name in code.co_names]
        for cell in getattr(fn, "__closure__", None) or ():
            try:
                values.append(cell.cell_contents)
            except ValueError:  # not filled yet
                continue
        for value in values:
            if isinstance(value, types.FunctionType) and value is not fn:
                out += _codes(value, depth - 1)
    return out
