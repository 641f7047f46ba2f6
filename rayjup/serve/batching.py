"""Calls gathered into batches (mirrors ``ray.serve.batching``)."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from rayjup.serve._private.batches import BatchQueue, Waiting

__all__ = ["batch"]


def batch(
    _func: Callable[..., Any] | None = None,
    /,
    max_batch_size: int = 10,
    batch_wait_timeout_s: float = 0.01,
    max_concurrent_batches: int = 1,
    batch_size_fn: Callable[[list[Any]], int] | None = None,
) -> Callable[..., Any]:
    """Have a coroutine function called with lists of what it was called with one by one.

    Parameters
    ----------
    max_batch_size
        Calls in one batch at most.
    batch_wait_timeout_s
        So long the first call of a batch waits for more.
    max_concurrent_batches
        Batches that run at once.
    batch_size_fn
        The size of a list of first arguments, where calls do not count one each.

    The function returns a list with one value per call (or is an asynchronous generator of such
    lists). Its ``set_max_batch_size``, ``set_batch_wait_timeout_s``, ``get_max_batch_size`` and
    ``get_batch_wait_timeout_s`` change and tell the settings of the running function.

    Examples
    --------
    >>> from rayjup import serve
    >>> @serve.deployment
    ... class Model:
    ...     @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.01)
    ...     async def predict(self, inputs):
    ...         return [2 * x for x in inputs]
    ...     async def __call__(self, x):
    ...         return await self.predict(x)
    """
    if _func is not None:
        if not callable(_func):
            raise TypeError("@serve.batch can only be used to decorate functions or methods.")
        if not _is_coroutine(_func):
            raise TypeError("Functions decorated with @serve.batch must be 'async def'")
    _check_size(max_batch_size)
    _check_wait(batch_wait_timeout_s)
    if not isinstance(max_concurrent_batches, int) or max_concurrent_batches < 1:
        raise ValueError(f"max_concurrent_batches must be an integer >= 1, got {max_concurrent_batches}")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not _is_coroutine(function):
            raise TypeError("Functions decorated with @serve.batch must be 'async def'")
        return _batched(
            function, (max_batch_size, batch_wait_timeout_s, max_concurrent_batches, batch_size_fn)
        )

    return decorate if _func is None else decorate(_func)


def _is_coroutine(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _check_size(value: Any) -> None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("max_batch_size must be integer >= 1")
    if value < 1:
        raise ValueError("max_batch_size must be an integer >= 1")


def _check_wait(value: Any) -> None:
    if not isinstance(value, (float, int)) or isinstance(value, bool):
        raise TypeError("batch_wait_timeout_s must be a float >= 0")
    if value < 0:
        raise ValueError("batch_wait_timeout_s must be a float >= 0")


class _Queues:
    """The queues of one decorated function: one per instance, made where they are used."""

    def __init__(self, function: Callable[..., Any], settings: tuple[Any, ...]) -> None:
        self.function = function
        self.settings = settings
        self.by_owner: weakref.WeakKeyDictionary[Any, BatchQueue] = weakref.WeakKeyDictionary()
        self.alone: BatchQueue | None = None

    def of(self, owner: Any) -> BatchQueue:
        queue = self.alone if owner is None else self.by_owner.get(owner)
        if queue is None:
            function = self.function if owner is None else functools.partial(self.function, owner)
            size, wait, batches, measure = self.settings
            streams = inspect.isasyncgenfunction(self.function)
            queue = BatchQueue(function, size, wait, batches, measure, streams)
            if owner is None:
                self.alone = queue
            else:
                self.by_owner[owner] = queue
        return queue

    def __reduce__(self) -> Any:
        return _Queues, (self.function, self.settings)

    def set(self, **changes: Any) -> None:
        size, wait, batches, measure = self.settings
        size, wait = changes.get("size", size), changes.get("wait", wait)
        self.settings = (size, wait, batches, measure)
        for queue in [*self.by_owner.values(), *([self.alone] if self.alone else [])]:
            queue.max_size, queue.wait_s = size, wait


def _batched(function: Callable[..., Any], settings: tuple[Any, ...]) -> Callable[..., Any]:
    queues = _Queues(function, settings)
    first = next(iter(inspect.signature(function).parameters), None)
    method = first == "self"
    names = list(inspect.signature(function).parameters)[1 if method else 0 :]

    def put(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Waiting:
        owner = None
        if method:
            owner, *rest = args
            args = tuple(rest)
        if kwargs:
            bound = inspect.signature(function).bind(*((owner,) if method else ()), *args, **kwargs)
            args = tuple(bound.arguments[n] for n in names if n in bound.arguments)
        return queues.of(owner).put(args)

    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def streaming(*args: Any, **kwargs: Any) -> Any:
            waiting = put(args, kwargs)
            while True:
                kind, value = await waiting.next()
                if kind == "end":
                    return
                if kind == "error":
                    raise value
                yield value

        wrapper: Any = streaming
    else:

        @functools.wraps(function)
        async def single(*args: Any, **kwargs: Any) -> Any:
            return await put(args, kwargs).future

        wrapper = single
    wrapper._queues = queues
    wrapper.set_max_batch_size = functools.partial(_set_size, queues)
    wrapper.set_batch_wait_timeout_s = functools.partial(_set_wait, queues)
    wrapper.get_max_batch_size = functools.partial(_get_setting, queues, 0)
    wrapper.get_batch_wait_timeout_s = functools.partial(_get_setting, queues, 1)
    wrapper._get_max_batch_size = wrapper.get_max_batch_size
    wrapper._get_batch_wait_timeout_s = wrapper.get_batch_wait_timeout_s
    return wrapper  # type: ignore[no-any-return]


def _set_size(queues: _Queues, value: int) -> None:
    _check_size(value)
    queues.set(size=value)


def _set_wait(queues: _Queues, value: float) -> None:
    _check_wait(value)
    queues.set(wait=value)


def _get_setting(queues: _Queues, index: int) -> Any:
    return queues.settings[index]
