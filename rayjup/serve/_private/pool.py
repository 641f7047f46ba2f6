"""Threads for user code that is not written for an event loop.

A plain ``def`` would hold up everything else its replica does. It runs on threads therefore, as many as
calls may run at once, and made only when all others are busy. ``RAY_SERVE_RUN_SYNC_IN_THREADPOOL=0`` in
the replica's environment runs it on the event loop instead, as Ray does with that variable.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import queue
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

SWITCH = "RAY_SERVE_RUN_SYNC_IN_THREADPOOL"
_AHEAD = 64  # items that a generator may be ahead of who reads them


def wanted() -> bool:
    """Whether plain functions are to run on threads in this process."""
    return os.environ.get(SWITCH, "1").strip().lower() not in ("0", "false")


def is_plain(function: Any) -> bool:
    """Whether calling ``function`` runs the user's code at once, rather than making a coroutine."""
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return False
    return not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))


class Pool:
    """Runs functions on threads for one event loop.

    Parameters
    ----------
    limit
        The most threads; what comes beyond waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self.loop = loop
        self.limit = limit
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = 0
        self._open = 0  # calls that are not back: as many threads as that are needed
        self._back: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._told = False

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Call ``function`` on a thread, in the context of who asks; only the loop's thread may ask."""
        future: asyncio.Future[Any] = self.loop.create_future()
        self._open += 1
        if self._open > self._threads and self._threads < self.limit:
            self._threads += 1
            threading.Thread(target=self._work, name="rayjup-serve-user", daemon=True).start()
        self._calls.put((future, contextvars.copy_context(), function, args, kwargs))
        return future

    async def items(self, iterator: Iterator[Any]) -> AsyncIterator[Any]:
        """What a plain iterator gives, made on a thread, a little ahead of who reads."""
        room = threading.Semaphore(_AHEAD)
        gathered: deque[Any] = deque()
        arrived = asyncio.Event()
        left = False

        def made(item: Any) -> None:
            gathered.append(item)
            if not arrived.is_set():
                self.loop.call_soon_threadsafe(arrived.set)

        def read() -> None:
            try:
                for item in iterator:
                    made(item)
                    room.acquire()
                    if left:
                        break
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()

        ended = self.run(read)
        ended.add_done_callback(lambda _: arrived.set())
        try:
            while True:
                arrived.clear()
                while gathered:
                    room.release()
                    yield gathered.popleft()
                if ended.done() and not gathered:
                    ended.result()  # raises what the generator raised
                    return
                await arrived.wait()
        finally:
            left = True
            room.release()

    def end(self) -> None:
        """Let idle threads go."""
        for _ in range(self._threads):
            self._calls.put(None)

    def _work(self) -> None:
        calls = self._calls
        while True:
            call = calls.get()
            if call is None:
                return
            future, context, function, args, kwargs = call
            del call
            value: Any = None
            problem: BaseException | None = None
            if not future.cancelled():
                try:
                    value = context.run(function, *args, **kwargs)
                except StopIteration as error:  # cannot be a future's exception
                    problem = RuntimeError(f"StopIteration: {error}")
                except BaseException as error:  # noqa: BLE001 - whoever awaits the future gets it
                    problem = error
            self._back.append((future, value, problem))
            del future, context, function, args, kwargs, value, problem
            if not self._told:  # one wake-up for all that is back by then
                self._told = True
                try:
                    self.loop.call_soon_threadsafe(self._settle)
                except RuntimeError:
                    return  # the loop is closed: the process ends

    def _settle(self) -> None:
        self._told = False
        back = self._back
        while back:
            future, value, problem = back.popleft()
            self._open -= 1
            if future.done():
                continue
            if problem is None:
                future.set_result(value)
            else:
                future.set_exception(problem)


current: Pool | None = None
"""The pool of this process, where it is a replica whose plain functions run on threads."""
