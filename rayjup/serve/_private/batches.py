"""The queue behind ``@serve.batch``: gathers calls, runs batches, hands values back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from rayjup.serve.context import _serve_request_context


class Waiting:
    """A call that waits to be part of a batch, and for its value."""

    __slots__ = ("args", "context", "future", "items")

    def __init__(self, args: tuple[Any, ...], streams: bool) -> None:
        self.args = args
        self.context = _serve_request_context.get()
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.items: asyncio.Queue[tuple[str, Any]] | None = asyncio.Queue() if streams else None

    async def next(self) -> tuple[str, Any]:
        """The next item of a stream: ``("item" | "end" | "error", value)``."""
        assert self.items is not None
        try:
            return await self.items.get()
        except asyncio.CancelledError:
            self.future.cancel()
            raise

    def gone(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.future.cancelled()


class BatchQueue:
    """Gathers calls of one function into batches.

    A batch begins when it is full, or when its first call has waited ``wait_s``. While batches run
    (as many as may at once) calls gather, and what has gathered begins as soon as one ends: under
    load nothing waits for the clock.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        max_size: int,
        wait_s: float,
        max_batches: int,
        measure: Callable[[list[Any]], int] | None,
        streams: bool,
    ) -> None:
        self.function = function
        self.max_size = max_size
        self.wait_s = wait_s
        self.max_batches = max_batches
        self.measure = measure
        self.streams = streams
        self.queue: deque[Waiting] = deque()
        self.running = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, args: tuple[Any, ...]) -> Waiting:
        """Add a call."""
        waiting = Waiting(args, self.streams)
        self.queue.append(waiting)
        if self.running < self.max_batches:
            if self._is_full():
                self._begin()
            elif self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self.wait_s, self._time_is_up)
        return waiting

    def _is_full(self) -> bool:
        if self.measure is None:
            return len(self.queue) >= self.max_size
        return self.measure([w.args[0] for w in self.queue]) >= self.max_size

    def _time_is_up(self) -> None:
        self._timer = None
        if self.queue and self.running < self.max_batches:
            self._begin()

    def _take(self) -> list[Waiting]:
        taken: list[Waiting] = []
        while self.queue and len(taken) < (self.max_size if self.measure is None else 1 << 30):
            waiting = self.queue[0]
            if waiting.gone():
                self.queue.popleft()
                continue
            measure = self.measure
            if measure and taken and measure([w.args[0] for w in (*taken, waiting)]) > self.max_size:
                break
            taken.append(self.queue.popleft())
        return taken

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken = self._take()
        if not taken:
            return
        self.running += 1
        task = asyncio.get_running_loop().create_task(self._run(taken))
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.running -= 1
        if self.queue and self.running < self.max_batches:
            if self._is_full() or self.wait_s == 0:
                self._begin()
            elif self._timer is None:
                # These have waited while the batch ran; give company that comes back at once a turn.
                self._timer = asyncio.get_running_loop().call_later(min(self.wait_s, 0.001), self._time_is_up)

    async def _run(self, batch: list[Waiting]) -> None:
        _serve_request_context.set(batch[0].context)
        columns = [list(column) for column in zip(*(w.args for w in batch), strict=False)] or [[]]
        try:
            if self.streams:
                await self._run_stream(batch, columns)
                return
            values = await self.function(*columns)
            self._check(values, batch)
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - the user's code; every caller of the batch gets it
            self._fail(batch, error)
        else:
            for waiting, value in zip(batch, values, strict=True):
                if not waiting.future.done():
                    if isinstance(value, Exception):
                        waiting.future.set_exception(value)
                    else:
                        waiting.future.set_result(value)

    async def _run_stream(self, batch: list[Waiting], columns: list[list[Any]]) -> None:
        over: set[int] = set()
        async for values in self.function(*columns):
            self._check(values, batch)
            for index, (waiting, value) in enumerate(zip(batch, values, strict=True)):
                if index in over or waiting.gone():
                    continue
                assert waiting.items is not None
                if value is StopIteration or value is StopAsyncIteration or isinstance(value, StopIteration):
                    over.add(index)  # this caller's stream ends before the others'
                    waiting.items.put_nowait(("end", None))
                else:
                    waiting.items.put_nowait(("item", value))
        for index, waiting in enumerate(batch):
            if index not in over and waiting.items is not None:
                waiting.items.put_nowait(("end", None))

    def _check(self, values: Any, batch: list[Waiting]) -> None:
        if not hasattr(values, "__len__") or len(values) != len(batch):
            count = len(values) if hasattr(values, "__len__") else type(values).__name__
            raise ValueError(
                "Batched function doesn't preserve batch size. The input list has length "
                f"{len(batch)} but the returned list has length {count}."
            )

    def _fail(self, batch: list[Waiting], error: Exception) -> None:
        for waiting in batch:
            if waiting.items is not None:
                waiting.items.put_nowait(("error", error))
            elif not waiting.future.done():
                waiting.future.set_exception(error)
