"""Hands batches to the processes of a pool: one batch at a time to each, whichever is free.

All state belongs to one thread, which sleeps until there is a batch, an answer, or the end.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rayjup as ray
from rayjup import exceptions
from rayjup.util.multiprocessing.worker import PoolTaskError

logger = logging.getLogger(__name__)

_LOOK_S = 1.0  # how often it is looked whether the cluster has been left meanwhile


@dataclass
class Batch:
    """Calls of one function that run one after the other in one process."""

    func: Any
    items: Sequence[tuple[Any, Any]]
    sink: Any  # has set_chunk(index, results), has_callback, call_back()
    index: int

    def fail(self, error: BaseException) -> list[Any]:
        """Results for a batch that ended with ``error`` as a whole."""
        return [PoolTaskError(error) for _ in self.items]


@dataclass(eq=False)
class _Worker:
    actor: Any
    batch: Batch | None = None
    ref: Any = None
    started: int = 0  # batches


class Dispatcher:
    """The thread behind a pool.

    Parameters
    ----------
    make_actor
        Makes a new PoolActor.
    processes
        How many there are to be.
    per_process
        After how many batches a process is replaced; None: never.
    """

    def __init__(self, make_actor: Callable[[], Any], processes: int, per_process: int | None) -> None:
        self._make_actor = make_actor
        self._per_process = per_process
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._callbacks: queue.SimpleQueue[Any] | None = None
        self._workers = [_Worker(make_actor()) for _ in range(processes)]
        self._waiting: deque[Batch] = deque()
        self._closed = False
        self._terminated = False
        try:
            ray.get([worker.actor.ping.remote() for worker in self._workers])
        except BaseException:
            self._end_actors()
            raise
        self.thread = threading.Thread(target=self._run, name="rayjup-pool", daemon=True)
        self.thread.start()

    @property
    def actors(self) -> list[Any]:
        """The actors behind the pool, as they are now."""
        return [worker.actor for worker in self._workers]

    def submit(self, batch: Batch) -> None:
        """Run a batch when there is a free process."""
        self._events.put(("batch", batch))

    def close(self) -> None:
        """End when everything submitted so far is done."""
        self._events.put(("close", None))

    def terminate(self) -> None:
        """End at once."""
        self._events.put(("terminate", None))

    def finished(self, sink: Any) -> None:
        """All of ``sink`` is there: its callback is run, in a thread for callbacks."""
        if not sink.has_callback:
            return
        if self._callbacks is None:
            self._callbacks = queue.SimpleQueue()
            threading.Thread(
                target=_run_callbacks, args=(self._callbacks,), name="rayjup-pool-callbacks", daemon=True
            ).start()
        self._callbacks.put(sink)

    # -- the thread

    def _run(self) -> None:
        try:
            while not self._terminated and not (self._closed and not self._waiting and not self._busy()):
                try:
                    event, what = self._events.get(timeout=_LOOK_S if self._busy() else None)
                except queue.Empty:
                    self._terminated = not ray.is_initialized()
                    continue
                if event == "batch":
                    self._waiting.append(what)
                    self._start_batches()
                elif event == "done":
                    self._on_done(*what)
                elif event == "close":
                    self._closed = True
                else:
                    self._terminated = True
        except exceptions.RaySystemError as error:
            logger.warning("a pool ends: %s", error)
        finally:
            self._fail_rest()
            self._end_actors()
            if self._callbacks is not None:
                self._callbacks.put(None)

    def _busy(self) -> bool:
        return any(worker.batch is not None for worker in self._workers)

    def _start_batches(self) -> None:
        for worker in self._workers:
            if not self._waiting:
                return
            if worker.batch is None:
                if self._per_process is not None and worker.started >= self._per_process:
                    ray.kill(worker.actor)
                    worker.actor, worker.started = self._make_actor(), 0
                self._start(worker, self._waiting.popleft())

    def _start(self, worker: _Worker, batch: Batch) -> None:
        try:
            ref = worker.actor.run_batch.remote(batch.func, batch.items)
        except TypeError as error:  # the arguments can't be pickled
            self._give(batch, batch.fail(error))
            return
        worker.batch, worker.ref = batch, ref
        worker.started += 1

        def done(ref: Any) -> None:
            self._events.put(("done", (worker, ref)))

        if not ref.add_waiter(done):
            done(ref)

    def _on_done(self, worker: _Worker, ref: Any) -> None:
        batch = worker.batch
        if batch is None or worker.ref is not ref:
            return
        worker.batch = worker.ref = None
        self._start_batches()  # before unpacking the answer, so that the process has something to do
        try:
            results = ray.get(ref)
        except exceptions.RayActorError as error:
            results = batch.fail(error)
            self._replace(worker)
        except Exception as error:  # noqa: BLE001 - of the whole batch: say, a result that can't be pickled
            results = batch.fail(error)
        self._give(batch, results)

    def _replace(self, worker: _Worker) -> None:
        """A process has died: another takes its place, and what it was given since is given again."""
        if worker.batch is not None:
            self._waiting.appendleft(worker.batch)
            worker.batch = worker.ref = None
        worker.actor, worker.started = self._make_actor(), 0
        self._start_batches()

    def _give(self, batch: Batch, results: list[Any]) -> None:
        if batch.sink.set_chunk(batch.index, results):
            self.finished(batch.sink)

    def _fail_rest(self) -> None:
        while True:  # what was submitted and not yet looked at
            try:
                event, what = self._events.get_nowait()
            except queue.Empty:
                break
            if event == "batch":
                self._waiting.append(what)
        running = [worker.batch for worker in self._workers if worker.batch is not None]
        for batch in [*running, *self._waiting]:
            self._give(batch, batch.fail(RuntimeError("the pool was terminated before this was done")))
        self._waiting.clear()

    def _end_actors(self) -> None:
        if ray.is_initialized():
            for worker in self._workers:
                ray.kill(worker.actor)


def _run_callbacks(sinks: queue.SimpleQueue[Any]) -> None:
    while True:
        sink = sinks.get()
        if sink is None:
            return
        try:
            sink.call_back()
        except Exception:  # a user's callback must not end the callbacks of others
            logger.exception("a callback of a pool raised")
