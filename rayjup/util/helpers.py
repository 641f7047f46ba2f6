"""Results as they become ready (mirrors ``ray.util.helpers``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import rayjup as ray
from rayjup import ObjectRef


def as_completed(
    refs: Sequence[ObjectRef], *, chunk_size: int = 10, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """The values of refs as they become ready.

    Parameters
    ----------
    refs
        What to wait for.
    chunk_size
        How many values are fetched together; with 1 every value comes as soon as it can.
    yield_obj_refs
        Whether to give the refs instead of their values.
    **kwargs
        ``timeout`` and ``fetch_local`` of :func:`rayjup.wait`, for each chunk.

    Raises
    ------
    ValueError
        For a ``chunk_size`` below 1.
    GetTimeoutError
        Nothing became ready within ``timeout``.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util import as_completed
    >>> sorted(as_completed([ray.put(n) for n in range(3)]))
    [0, 1, 2]
    """
    _check_chunk_size(chunk_size)
    if "num_returns" in kwargs:
        raise ValueError(
            "Use the `chunk_size` argument to control how many results are waited for at a time."
        )
    waiting = list(refs)
    return _in_chunks(waiting, chunk_size, yield_obj_refs, kwargs)


def _in_chunks(
    waiting: list[ObjectRef], chunk_size: int, yield_obj_refs: bool, wait_kwargs: dict[str, Any]
) -> Iterator[Any]:
    while waiting:
        ready, waiting = _wait(waiting, chunk_size, wait_kwargs)
        yield from ready if yield_obj_refs else ray.get(ready)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Apply a remote function to items; the results as they become ready.

    Parameters
    ----------
    fn
        A remote function of one argument.
    items
        What to apply it to; taken from an iterator only as calls are made.
    backpressure_size
        How many calls are unfinished at a time at most; None: without limit.
    chunk_size, yield_obj_refs, **kwargs
        As in :func:`as_completed`.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util import map_unordered
    >>> @ray.remote
    ... def square(x):
    ...     return x * x
    >>> sorted(map_unordered(square, range(4)))
    [0, 1, 4, 9]
    """
    _check_chunk_size(chunk_size)
    if not hasattr(fn, "remote"):
        raise TypeError(f"map_unordered() needs a remote function, got {fn!r}: decorate it with @ray.remote.")
    if "num_returns" in kwargs:
        raise ValueError(
            "Use the `chunk_size` argument to control how many results are waited for at a time."
        )
    if backpressure_size is None:
        backpressure = float("inf")
    elif backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    else:
        backpressure = max(backpressure_size, chunk_size)
        if chunk_size > backpressure_size:
            warnings.warn(
                f"chunk_size ({chunk_size}) is above backpressure_size ({backpressure_size}), "
                "which is raised to it.",
                stacklevel=2,
            )
    return _mapped(fn, iter(items), backpressure, chunk_size, yield_obj_refs, kwargs)


def _mapped(
    fn: Any,
    items: Iterator[Any],
    backpressure: float,
    chunk_size: int,
    yield_obj_refs: bool,
    wait_kwargs: dict[str, Any],
) -> Iterator[Any]:
    waiting: list[ObjectRef] = []
    more = True
    while more or waiting:
        while more and len(waiting) < backpressure:
            try:
                item = next(items)
            except StopIteration:
                more = False
                break
            waiting.append(fn.remote(item))
        if waiting:
            ready, waiting = _wait(waiting, chunk_size, wait_kwargs)
            yield from ready if yield_obj_refs else ray.get(ready)


def _wait(
    waiting: list[ObjectRef], chunk_size: int, wait_kwargs: dict[str, Any]
) -> tuple[list[ObjectRef], list[ObjectRef]]:
    ready, others = ray.wait(waiting, num_returns=min(chunk_size, len(waiting)), **wait_kwargs)
    if not ready:
        raise ray.exceptions.GetTimeoutError(
            f"none of {len(waiting)} results was ready within timeout={wait_kwargs.get('timeout')} s."
        )
    return ready, others


def _check_chunk_size(chunk_size: int) -> None:
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` must be >= 1, got {chunk_size}.")
