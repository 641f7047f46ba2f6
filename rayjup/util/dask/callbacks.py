"""Hooks into the execution of Dask graphs (mirrors ``ray.util.dask.callbacks``)."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import rayjup as ray

CBS = (
    "ray_presubmit",
    "ray_postsubmit",
    "ray_pretask",
    "ray_posttask",
    "ray_postsubmit_all",
    "ray_finish",
)
CBS_DONT_DROP = {"ray_pretask", "ray_posttask"}

RayCallback: Any = namedtuple("RayCallback", CBS)  # type: ignore[misc]
"""The hooks of one callback; None where it has none."""

RayCallbacks: Any = namedtuple(  # type: ignore[misc]
    "RayCallbacks", [f"{name}_cbs" for name in CBS]
)
"""The hooks of several callbacks, in lists by kind."""


class RayDaskCallback:
    """Hooks called while a graph is executed; as arguments, or as methods ``_ray_…`` of a subclass.

    Use it as a context manager, or :meth:`register` it.

    Parameters
    ----------
    ray_presubmit
        ``f(task, key, deps)`` in the driver before a task is submitted. If it returns something else than
        None, that is the result and the task is not run.
    ray_postsubmit
        ``f(task, key, deps, object_ref)`` in the driver afterwards.
    ray_pretask
        ``f(key, object_refs)`` where the task runs, before it.
    ray_posttask
        ``f(key, result, pre_state)`` where the task runs, after it; ``pre_state`` is what
        ``ray_pretask`` gave.
    ray_postsubmit_all
        ``f(object_refs, dsk)`` in the driver when all are submitted.
    ray_finish
        ``f(result)`` in the driver at the end.

    Examples
    --------
    >>> import dask, rayjup as ray
    >>> from rayjup.util.dask import RayDaskCallback, ray_dask_get
    >>> keys = []
    >>> with RayDaskCallback(ray_postsubmit=lambda task, key, deps, ref: keys.append(key)):
    ...     dask.delayed(sum)([1, 2]).compute(scheduler=ray_dask_get)
    3
    >>> len(keys) >= 1
    True
    """

    ray_active: ClassVar[set[Any]] = set()

    def __init__(self, **kwargs: Callable[..., Any] | None) -> None:
        unknown = sorted(set(kwargs) - set(CBS))
        if unknown:
            raise TypeError(f"RayDaskCallback() got {', '.join(unknown)}: its keywords are {', '.join(CBS)}.")
        for name, hook in kwargs.items():
            if hook is not None:
                setattr(self, f"_{name}", hook)
        self._context: Any = None

    @property
    def _callback(self) -> Any:
        return RayCallback(*(getattr(self, f"_{name}", None) for name in CBS))

    def __enter__(self) -> RayDaskCallback:
        self._context = add_ray_callbacks(self)
        self._context.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._context.__exit__(*exc_info)

    def register(self) -> None:
        """Use the hooks for all graphs from now on."""
        type(self).ray_active.add(self._callback)

    def unregister(self) -> None:
        """Undo :meth:`register`."""
        type(self).ray_active.discard(self._callback)


def normalize_ray_callback(cb: Any) -> Any:
    """The hooks of a callback, given as a RayDaskCallback or as their tuple."""
    if isinstance(cb, RayDaskCallback):
        return cb._callback
    if isinstance(cb, tuple):
        return cb
    raise TypeError("Callbacks must be either 'RayDaskCallback' or 'RayCallback' namedtuple")


def unpack_ray_callbacks(cbs: Iterable[Any] | None) -> Any:
    """The hooks of several callbacks by kind; None for a kind that nobody has."""
    tuples = [normalize_ray_callback(cb) for cb in cbs or ()]
    if not tuples:
        return RayCallbacks(*[None] * len(CBS))
    lists = []
    for name, hooks in zip(CBS, zip(*tuples, strict=True), strict=True):
        # What runs beside a task keeps its places: each posttask gets what its own pretask gave.
        kept = list(hooks) if name in CBS_DONT_DROP else [hook for hook in hooks if hook is not None]
        lists.append(kept if any(hook is not None for hook in kept) else None)
    return RayCallbacks(*lists)


class add_ray_callbacks:
    """Context manager: use callbacks within it."""

    def __init__(self, *callbacks: Any) -> None:
        self.callbacks = [normalize_ray_callback(cb) for cb in callbacks]

    def __enter__(self) -> add_ray_callbacks:
        RayDaskCallback.ray_active.update(self.callbacks)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        RayDaskCallback.ray_active.difference_update(self.callbacks)


@contextlib.contextmanager
def local_ray_callbacks(callbacks: Any = None) -> Iterator[Any]:
    """Within it, only ``callbacks`` are in use, or the registered ones where None; they are given."""
    if callbacks is not None:
        yield list(callbacks) if isinstance(callbacks, (list, set)) else [callbacks]
        return
    # A graph computed inside of a task of this one shall not call them again.
    active, RayDaskCallback.ray_active = RayDaskCallback.ray_active, set()
    try:
        yield active
    finally:
        RayDaskCallback.ray_active = active


class ProgressBarCallback(RayDaskCallback):
    """Shows how many tasks of a graph are done, on standard error.

    Examples
    --------
    >>> from rayjup.util.dask import ProgressBarCallback
    >>> bar = ProgressBarCallback()
    >>> bar.register()
    >>> bar.unregister()
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread: threading.Thread | None = None
        self._total = 0
        self._done = 0

    def _ray_postsubmit_all(self, object_refs: list[Any], dsk: Any) -> None:
        refs = list(dict.fromkeys(object_refs))
        self._total, self._done = len(refs), 0
        self._thread = threading.Thread(target=self._watch, args=(refs,), name="rayjup-progress", daemon=True)
        self._thread.start()

    def _watch(self, refs: list[Any]) -> None:
        while refs and ray.is_initialized():
            self._show()
            ready, refs = ray.wait(refs, num_returns=len(refs), timeout=0.25)
            self._done += len(ready)
        self._show("\n")

    def _show(self, end: str = "") -> None:
        share = self._done / self._total if self._total else 1.0
        sys.stderr.write(f"\r[{'#' * int(30 * share):30}] {self._done}/{self._total} tasks{end}")
        sys.stderr.flush()

    def _ray_finish(self, result: Any) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
