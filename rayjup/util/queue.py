"""A queue between processes (mirrors ``ray.util.queue``)."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

import rayjup as ray


class Empty(queue.Empty):
    """There is nothing in the queue (and nothing came in time)."""


class Full(queue.Full):
    """There is no room in the queue (and none came in time)."""


class _QueueActor:
    """The process in which the items are."""

    def __init__(self, maxsize: int) -> None:
        self.maxsize = maxsize
        self.queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    async def qsize(self) -> int:
        return self.queue.qsize()

    async def empty(self) -> bool:
        return self.queue.empty()

    async def full(self) -> bool:
        return self.queue.full()

    async def put(self, item: Any, timeout: float | None = None) -> None:
        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full(f"the queue still has {self.maxsize} items after {timeout} s") from None

    async def get(self, timeout: float | None = None) -> Any:
        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty(f"the queue is still empty after {timeout} s") from None

    async def put_nowait(self, item: Any) -> None:
        try:
            self.queue.put_nowait(item)
        except asyncio.QueueFull:
            raise Full(f"the queue has {self.maxsize} items, its maxsize") from None

    async def put_nowait_batch(self, items: list[Any]) -> None:
        # All or none: without an await in between nobody else comes in.
        if self.maxsize > 0 and self.queue.qsize() + len(items) > self.maxsize:
            raise Full(
                f"Cannot add {len(items)} items to queue of size {self.queue.qsize()} "
                f"and maxsize {self.maxsize}."
            )
        for item in items:
            self.queue.put_nowait(item)

    async def get_nowait(self) -> Any:
        try:
            return self.queue.get_nowait()
        except asyncio.QueueEmpty:
            raise Empty("the queue is empty") from None

    async def get_nowait_batch(self, num_items: int) -> list[Any]:
        if num_items > self.queue.qsize():
            raise Empty(f"Cannot get {num_items} items from queue of size {self.queue.qsize()}.")
        return [self.queue.get_nowait() for _ in range(num_items)]


class Queue:
    """A first-in, first-out queue that tasks, actors and drivers share; pass it to them.

    Parameters
    ----------
    maxsize
        How many items it holds at most; 0: without limit.
    actor_options
        Options of the actor that holds the items, such as ``{"num_cpus": 1}``.

    Examples
    --------
    >>> from rayjup.util.queue import Queue
    >>> queue = Queue(maxsize=2)
    >>> queue.put("a")
    >>> queue.get()
    'a'
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        self.actor = (
            ray.remote(_QueueActor).options(**{"num_cpus": 0, **(actor_options or {})}).remote(maxsize)
        )

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items there are."""
        return int(ray.get(self.actor.qsize.remote()))

    def qsize(self) -> int:
        """How many items there are."""
        return self.size()

    def empty(self) -> bool:
        """Whether there is no item."""
        return bool(ray.get(self.actor.empty.remote()))

    def full(self) -> bool:
        """Whether there is no room."""
        return bool(ray.get(self.actor.full.remote()))

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item; with ``block`` wait for room, ``timeout`` seconds at most.

        Raises
        ------
        Full
            There is no room (in time).
        ValueError
            For a negative ``timeout``.
        """
        _check(timeout)
        if block:
            ray.get(self.actor.put.remote(item, timeout))
        else:
            ray.get(self.actor.put_nowait.remote(item))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """:meth:`put` to be awaited."""
        _check(timeout)
        if block:
            await self.actor.put.remote(item, timeout)
        else:
            await self.actor.put_nowait.remote(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the oldest item; with ``block`` wait for one, ``timeout`` seconds at most.

        Raises
        ------
        Empty
            There is no item (in time).
        ValueError
            For a negative ``timeout``.
        """
        _check(timeout)
        return ray.get(self.actor.get.remote(timeout) if block else self.actor.get_nowait.remote())

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """:meth:`get` to be awaited."""
        _check(timeout)
        return await (self.actor.get.remote(timeout) if block else self.actor.get_nowait.remote())

    def put_nowait(self, item: Any) -> None:
        """``put(item, block=False)``."""
        self.put(item, block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all items, or none when there is not enough room for them."""
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        ray.get(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait(self) -> Any:
        """``get(block=False)``."""
        return self.get(block=False)

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Take ``num_items`` items, or none when there are not so many."""
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        items: list[Any] = ray.get(self.actor.get_nowait_batch.remote(num_items))
        return items

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue and the actor behind it.

        Parameters
        ----------
        force
            Whether to end it at once, with calls to it unanswered.
        grace_period_s
            Without ``force``: how long calls made before get to be answered.
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ray.wait([actor.__ray_terminate__.remote()], num_returns=1, timeout=grace_period_s)
        ray.kill(actor, no_restart=True)


def _check(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
