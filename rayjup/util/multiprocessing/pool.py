"""The pool (mirrors ``ray.util.multiprocessing.pool``)."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from multiprocessing import TimeoutError
from typing import Any, NoReturn

import rayjup as ray
from rayjup.util.multiprocessing.dispatcher import Batch, Dispatcher
from rayjup.util.multiprocessing.results import (
    AsyncResult,
    IMapIterator,
    OrderedIMapIterator,
    ResultThread,
    UnorderedIMapIterator,
)
from rayjup.util.multiprocessing.worker import PoolActor, PoolTaskError

__all__ = [
    "AsyncResult",
    "IMapIterator",
    "OrderedIMapIterator",
    "Pool",
    "PoolActor",
    "PoolTaskError",
    "ResultThread",
    "TimeoutError",
    "UnorderedIMapIterator",
    "div_round_up",
    "ray_get_if_needed",
    "ray_put_if_needed",
]

logger = logging.getLogger(__name__)

_CHUNKS_PER_PROCESS = 4
_SHARED_MIN = 100 * 1024  # arguments this large are stored once instead of sent with each call


class Pool:
    """A pool of processes on the cluster, used as ``multiprocessing.Pool``.

    Parameters
    ----------
    processes
        How many; all CPUs of the cluster where None.
    initializer, initargs
        Called in each process first.
    maxtasksperchild
        After how many batches a process is replaced.
    context
        Taken for compatibility; has no effect.
    ray_address
        The cluster to connect to, when this process isn't connected; else the environment variable
        RAY_ADDRESS; else a new cluster is started.
    ray_remote_args
        Options of the processes' actors, such as ``{"num_cpus": 1}``.

    Raises
    ------
    ValueError
        ``processes`` is not positive or more than the cluster has CPUs.

    Examples
    --------
    >>> from rayjup.util.multiprocessing import Pool
    >>> with Pool(2) as pool:
    ...     pool.map(abs, [-1, -2, 3])
    [1, 2, 3]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if processes is not None and processes <= 0:
            raise ValueError("Processes in the pool must be >0.")
        if maxtasksperchild is not None and maxtasksperchild < 1:
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if context is not None:
            logger.warning("Pool(context=…) has no effect here: processes are made by the cluster.")
        self._processes = _connected(processes, ray_address)
        actor_class = ray.remote(PoolActor).options(**{"num_cpus": 0, **(ray_remote_args or {})})
        initargs = tuple(initargs or ())
        self._closed = False
        self._lock = threading.Lock()
        self._dispatcher = Dispatcher(
            lambda: actor_class.remote(initializer, initargs), self._processes, maxtasksperchild
        )
        # A pool that nobody refers to any more finishes its work and ends.
        self._finalizer = weakref.finalize(self, self._dispatcher.close)
        self._finalizer.atexit = False

    # -- one call

    def apply(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """``func(*args, **kwargs)`` in a process of the pool."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
    ) -> AsyncResult:
        """:meth:`apply` without waiting; a callback gets the result, or the error."""
        self._check_running()
        result = AsyncResult(1, callback, error_callback, single_result=True)
        self.submit(func, [(tuple(args or ()), dict(kwargs or {}))], result, 0)
        return result

    # -- many calls

    def map(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Results of ``func`` for all items, in order."""
        return self.map_async(func, iterable, chunksize).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
    ) -> AsyncResult:
        """:meth:`map` without waiting; a callback gets the list of results, or the error."""
        items = [((item,), None) for item in iterable]
        return self._map(func, items, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Results of ``func(*item)`` for all items, in order."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        callback: Callable[[list[Any]], None] | None = None,
        error_callback: Callable[[BaseException], None] | None = None,
        chunksize: int | None = None,
    ) -> AsyncResult:
        """:meth:`starmap` without waiting; a callback gets the list of results, or the error."""
        items = [(tuple(item), None) for item in iterable]
        return self._map(func, items, chunksize, callback, error_callback)

    def imap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> OrderedIMapIterator:
        """Iterator of the results, in order; items are taken from ``iterable`` as it goes on."""
        self._check_running()
        return OrderedIMapIterator(self, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> UnorderedIMapIterator:
        """Iterator of the results as they become ready."""
        self._check_running()
        return UnorderedIMapIterator(self, func, iterable, chunksize)

    # -- the end

    def close(self) -> None:
        """Take no more work; the processes end when all is done."""
        with self._lock:
            self._closed = True
            self._dispatcher.close()

    def terminate(self) -> None:
        """End the processes at once; results that are not there become errors."""
        with self._lock:
            self._closed = True
            self._dispatcher.terminate()

    def join(self) -> None:
        """Wait until the processes have ended; ValueError before ``close`` or ``terminate``."""
        if not self._closed:
            raise ValueError("Pool is still running")
        self._dispatcher.thread.join()

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.terminate()
        self.join()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Pool objects cannot be passed between processes or pickled: make a pool where it is used."
        )

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running"
        return f"<rayjup Pool of {self._processes} processes, {state}>"

    # -- for iterators and joblib

    @property
    def depth(self) -> int:
        """How many batches an iterator keeps submitted."""
        return self._processes * 2

    def prepared(self, func: Callable[..., Any]) -> Any:
        """``func`` in the form in which it is submitted many times: serialized once."""
        return ray.put(func)

    def submit(self, func: Any, items: list[tuple[Any, Any]], sink: Any, index: int) -> None:
        """Run ``items`` as one batch; ``sink.set_chunk(index, results)`` gets the results."""
        with self._lock:
            self._check_running()
            self._dispatcher.submit(Batch(func, items, sink, index))

    # -- inside

    def _map(
        self,
        func: Callable[..., Any],
        items: list[tuple[Any, Any]],
        chunksize: int | None,
        callback: Callable[[list[Any]], None] | None,
        error_callback: Callable[[BaseException], None] | None,
    ) -> AsyncResult:
        self._check_running()
        if chunksize is None:
            chunksize = max(1, div_round_up(len(items), self._processes * _CHUNKS_PER_PROCESS))
        elif chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize}")
        chunks = list(_chunks(items, chunksize))
        result = AsyncResult(len(chunks), callback, error_callback)
        if not chunks:
            self._dispatcher.finished(result)
            return result
        sent = self.prepared(func)
        for index, chunk in enumerate(chunks):
            self.submit(sent, chunk, result, index)
        return result

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")


def _connected(processes: int | None, ray_address: str | None) -> int:
    """Connect if need be; how many processes the pool has."""
    if not ray.is_initialized():
        if ray_address is not None or os.environ.get("RAY_ADDRESS") or os.environ.get("RAYJUP_ADDRESS"):
            ray.init(address=ray_address)
        else:
            ray.init(num_cpus=processes)
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if processes is None:
        return max(1, cpus)
    if cpus < processes:
        raise ValueError(
            f"Tried to start a pool with {processes} processes on an existing ray cluster, "
            f"but there are only {cpus} CPUs in the ray cluster."
        )
    return processes


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    it = iter(items)
    while chunk := list(itertools.islice(it, size)):
        yield chunk


def div_round_up(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def ray_put_if_needed(
    obj: Any,
    registry: list[tuple[Any, Any]] | None = None,
    registry_hashable: dict[Hashable, Any] | None = None,
) -> Any:
    """A ref to ``obj`` where it is large, else ``obj`` itself.

    Parameters
    ----------
    registry
        Pairs of objects and refs, searched first and added to: an object is stored once.
    registry_hashable
        The same by object, for those that are hashable.
    """
    if isinstance(obj, ray.ObjectRef) or _size(obj) < _SHARED_MIN:
        return obj
    for known, ref in registry or ():
        if known is obj:
            return ref
    hashable = registry_hashable is not None and isinstance(obj, Hashable)
    if hashable and registry_hashable is not None and obj in registry_hashable:
        return registry_hashable[obj]
    ref = ray.put(obj)
    if hashable and registry_hashable is not None:
        registry_hashable[obj] = ref
    elif registry is not None:
        registry.append((obj, ref))
    return ref


def ray_get_if_needed(obj: Any) -> Any:
    """The value of a ref; anything else is given back."""
    return ray.get(obj) if isinstance(obj, ray.ObjectRef) else obj


def _size(obj: Any) -> int:
    """About how many bytes ``obj`` takes; 0 for what can't be told cheaply."""
    if isinstance(obj, (bytes, bytearray, str)):
        return len(obj)
    nbytes = getattr(obj, "nbytes", None)
    if isinstance(nbytes, int):
        return nbytes
    usage = getattr(obj, "memory_usage", None)
    if callable(usage) and not isinstance(obj, type):
        return int(getattr(usage(), "sum", lambda: 0)())
    return 0


def __getattr__(name: str) -> Any:
    if name == "RayBatchedCalls":  # None without joblib, as in Ray
        try:
            from rayjup.util.joblib.ray_backend import RayBatchedCalls
        except ImportError:
            return None
        return RayBatchedCalls
    raise AttributeError(f"module 'rayjup.util.multiprocessing.pool' has no attribute {name!r}")
