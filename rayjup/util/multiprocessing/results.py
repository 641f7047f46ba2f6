"""What the methods of a pool give back: results that come later."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import TimeoutError
from typing import TYPE_CHECKING, Any

import rayjup as ray
from rayjup.util.multiprocessing.worker import PoolTaskError

if TYPE_CHECKING:
    from rayjup.util.multiprocessing.pool import Pool

Items = list[tuple[Any, Any]]
"""Arguments of calls: ``(args, kwargs)`` each."""


class AsyncResult:
    """The result of ``apply_async``, ``map_async`` or ``starmap_async``."""

    def __init__(
        self,
        batches: int,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Any], Any] | None = None,
        single_result: bool = False,
    ) -> None:
        self._chunks: list[list[Any] | None] = [None] * batches
        self._left = batches
        self._callback = callback
        self._error_callback = error_callback
        self._single = single_result
        self._done = threading.Event()
        self._error: BaseException | None = None
        if not batches:
            self._done.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, ``timeout`` seconds at most."""
        self._done.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result; raises what the function raised.

        Raises
        ------
        multiprocessing.TimeoutError
            It was not there in time.
        """
        self.wait(timeout)
        if not self._done.is_set():
            raise TimeoutError(f"the result was not there after {timeout} s")
        if self._error is not None:
            raise self._error
        return self._value()

    def ready(self) -> bool:
        """Whether the result is there."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether the function returned; ValueError before the result is there."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    # -- for the pool

    def set_chunk(self, index: int, results: list[Any]) -> bool:
        """The results of a batch came; True when it is the last one."""
        self._chunks[index] = results
        if self._error is None:
            self._error = next((r.raised() for r in results if isinstance(r, PoolTaskError)), None)
        self._left -= 1
        if not self._left:
            self._done.set()
        return not self._left

    def call_back(self) -> None:
        """Run the callback that is due."""
        if self._error is not None:
            if self._error_callback is not None:
                self._error_callback(self._error)
        elif self._callback is not None:
            self._callback(self._value())

    @property
    def has_callback(self) -> bool:
        """Whether there is a callback to run at the end."""
        return self._callback is not None or self._error_callback is not None

    def _value(self) -> Any:
        values = [value for chunk in self._chunks for value in chunk or ()]
        return values[0] if self._single else values


class IMapIterator:
    """Iterator of results; takes items from ``iterable`` only a little ahead of what is consumed.

    Parameters
    ----------
    pool, func, iterable, chunksize
        As of :meth:`Pool.imap`.
    """

    def __init__(
        self, pool: Pool, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> None:
        self._pool = pool
        self._func = pool.prepared(func)
        self._items = iter(iterable)
        self._chunksize = chunksize or 1
        if self._chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        self._changed = threading.Condition()
        self._taken_all = False
        self._submitted = 0  # batches
        self._given = 0  # batches of which all results were handed out
        self._ready: deque[Any] = deque()
        for _ in range(pool.depth):
            self._submit()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises
        ------
        StopIteration
            There are no more.
        multiprocessing.TimeoutError
            It was not there after ``timeout`` seconds.
        """
        if not self._ready:
            chunk = self._next_chunk(timeout)
            self._given += 1
            self._submit()
            self._ready.extend(chunk)
        result = self._ready.popleft()
        if isinstance(result, PoolTaskError):
            raise result.raised()
        return result

    def set_chunk(self, index: int, results: list[Any]) -> bool:
        """The results of a batch came (for the pool)."""
        raise TypeError("use OrderedIMapIterator or UnorderedIMapIterator")

    has_callback = False

    def _next_chunk(self, timeout: float | None) -> list[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                if self._given >= self._submitted:
                    raise StopIteration
                chunk = self._take()
                if chunk is not None:
                    return chunk
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(f"the result was not there after {timeout} s")
                self._changed.wait(left)

    def _take(self) -> list[Any] | None:
        raise TypeError("use OrderedIMapIterator or UnorderedIMapIterator")

    def _submit(self) -> None:
        batch: Items = []
        while not self._taken_all and len(batch) < self._chunksize:
            try:
                batch.append(((next(self._items),), None))
            except StopIteration:
                self._taken_all = True
        if batch:
            self._pool.submit(self._func, batch, self, self._submitted)
            self._submitted += 1


class OrderedIMapIterator(IMapIterator):
    """Results in the order of the items."""

    def __init__(
        self, pool: Pool, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> None:
        self._chunks: dict[int, list[Any]] = {}
        super().__init__(pool, func, iterable, chunksize)

    def set_chunk(self, index: int, results: list[Any]) -> bool:
        """The results of a batch came (for the pool)."""
        with self._changed:
            self._chunks[index] = results
            self._changed.notify_all()
        return False

    def _take(self) -> list[Any] | None:
        return self._chunks.pop(self._given, None)


class UnorderedIMapIterator(IMapIterator):
    """Results as they become ready."""

    def __init__(
        self, pool: Pool, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> None:
        self._arrived: deque[list[Any]] = deque()
        super().__init__(pool, func, iterable, chunksize)

    def set_chunk(self, index: int, results: list[Any]) -> bool:
        """The results of a batch came (for the pool)."""
        with self._changed:
            self._arrived.append(results)
            self._changed.notify_all()
        return False

    def _take(self) -> list[Any] | None:
        return self._arrived.popleft() if self._arrived else None


class ResultThread(threading.Thread):
    """Collects the values of refs as they come; for programs that drive a pool's calls themselves.

    Parameters
    ----------
    object_refs
        Refs of batches: each value is a list.
    single_result
        Whether there is one batch with one value, which the callback gets without a list.
    callback, error_callback
        Called with all values in the order of their refs, or with the first error.
    total_object_refs
        How many refs there will be, where some come later by :meth:`add_object_ref`.
    """

    def __init__(
        self,
        object_refs: list[Any],
        single_result: bool = False,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[Any], Any] | None = None,
        total_object_refs: int | None = None,
    ) -> None:
        super().__init__(name="rayjup-pool-results", daemon=True)
        self._total = total_object_refs or len(object_refs)
        self._single = single_result
        self._callback = callback
        self._error_callback = error_callback
        self._new: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._values: list[Any] = [None] * self._total
        self._error: BaseException | None = None
        for ref in object_refs:
            self.add_object_ref(ref)

    def add_object_ref(self, object_ref: Any) -> None:
        """One more ref whose value is to be collected."""
        self._new.put(object_ref)

    def run(self) -> None:
        """Collect until all values are there."""
        waiting: dict[Any, int] = {}
        known = done = 0
        while done < self._total:
            while known < self._total and (not waiting or not self._new.empty()):
                waiting[self._new.get()] = known
                known += 1
            for ref in ray.wait(list(waiting), timeout=0.1)[0]:
                self._collect(ref, waiting.pop(ref))
                done += 1
        if self._error is not None:
            if self._error_callback is not None:
                self._error_callback(self._error)
        elif self._callback is not None:
            values = [value for batch in self._values for value in batch]
            self._callback(values[0] if self._single else values)

    def _collect(self, ref: Any, position: int) -> None:
        try:
            self._values[position] = ray.get(ref)
        except Exception as error:  # noqa: BLE001 - whatever the call raised is its result
            self._values[position] = [PoolTaskError(error)]
            self._error = self._error or error
        self._ready.put(position)

    def got_error(self) -> bool:
        """Whether a call has raised."""
        return self._error is not None

    def result(self, index: int) -> Any:
        """The value of the ref number ``index``."""
        return self._values[index]

    def results(self) -> list[Any]:
        """All values, in the order of their refs."""
        return self._values

    def next_ready_index(self, timeout: float | None = None) -> int:
        """The number of a ref whose value has come since this was asked last.

        Raises
        ------
        multiprocessing.TimeoutError
            None has come in time.
        """
        try:
            return self._ready.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no further result was there after {timeout} s") from None
