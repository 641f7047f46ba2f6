"""Turns the crank of a running plan: moves blocks, starts tasks, waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rayjup.data.block.bundle import Bundle
from rayjup.data.compute import ActorPoolStrategy
from rayjup.data.context import DataContext
from rayjup.data.exceptions import ExecutionTimeoutError
from rayjup.data.execution.nodes import Node, Task, TaskNode
from rayjup.data.execution.policy import Limits, choose
from rayjup.data.execution.pool import ActorPool

_log = logging.getLogger(__name__)
_STALLED_S = 2.0  # tasks that yield nothing for so long may have no place to run


class Runner:
    """Runs nodes; iterating gives the blocks of the last one.

    Parameters
    ----------
    root
        The node whose blocks are wanted.
    backend
        Starts tasks and actors (:class:`rayjup.data.execution.remote.Backend`).
    limits
        CPUs, and bytes of blocks on their way.
    on_progress
        Called after each turn.
    """

    def __init__(
        self,
        root: Node,
        backend: Any,
        limits: Limits,
        context: DataContext,
        actor_options: Callable[[TaskNode], dict[str, Any]] | None = None,
        on_progress: Callable[[Sequence[Node]], None] | None = None,
    ) -> None:
        self.root, self.backend, self.limits, self.context = root, backend, limits, context
        self.nodes = ordered(root)
        self._consumers = {
            id(n): [(c, p) for c in self.nodes for p, i in enumerate(c.inputs) if i is n] for n in self.nodes
        }
        self._closed: set[int] = set()
        self._calls: list[Any] = []
        self._pools: dict[int, ActorPool] = {}
        self._on_progress = on_progress
        self._errors_left = context.max_errored_blocks
        for node in self.nodes:
            if isinstance(node, TaskNode) and isinstance(node.compute, ActorPoolStrategy):
                options = actor_options(node) if actor_options else node.remote.options()
                self._pools[id(node)] = ActorPool(node, backend, limits.cpus, options, context)

    def __iter__(self) -> Iterator[Bundle]:
        try:
            while True:
                self._move()
                while self.root.out:
                    yield self.root.out.popleft()
                    self._poll()
                    self._move()
                    self._start()
                if self.root.finished:
                    return
                self._start()
                self._wait()
        finally:
            self.close()

    def _move(self) -> None:
        """Hand blocks on, and the news that no more will come."""
        moved = True
        while moved:
            moved = False
            for node in self.nodes:
                consumers = self._consumers[id(node)]
                if not consumers:
                    continue
                consumer, port = consumers[0]
                while node.out:
                    bundle = node.out.popleft()
                    if not consumer.stopped:
                        consumer.feed(port, bundle)
                        moved = True
                if consumer.stopped and not node.stopped:
                    self._stop(node)
                    moved = True
                if node.finished and not node.out and id(node) not in self._closed:
                    self._closed.add(id(node))
                    node.counts.ended = time.monotonic()
                    consumer.close(port)
                    moved = True

    def _stop(self, node: Node) -> None:
        """Nobody wants more of the node."""
        node.stopped = True
        for call in [c for c in self._calls if c.task.node is node]:
            call.cancel()
            self._calls.remove(call)
            self._ended(call.task)
        node.running.clear()

    def _start(self) -> None:
        while True:
            node = choose(self.nodes, self.limits, self._can_start)
            if node is None:
                return
            task = node.next_task()
            if task is None:
                return
            if node.counts.began is None:
                node.counts.began = time.monotonic()
            node.counts.started += 1
            pool = self._pools.get(id(node))
            if pool is not None:
                call = pool.start(task, pool.free())
            else:
                call = self.backend.start(task)
            self._calls.append(call)

    def _can_start(self, node: Node) -> bool:
        pool = self._pools.get(id(node))
        if pool is None:
            return True
        pool.adapt()
        return pool.free() is not None

    def _wait(self) -> None:
        if not self._calls:
            if not self.root.finished and not any(n.waiting() for n in self.nodes) and not self.root.out:
                self._move()
            return
        timeout_s = self.context.execution_no_progress_timeout_s
        ready = self.backend.wait(self._calls, min(_STALLED_S, timeout_s))
        if not ready:
            self._share_cpus()
            ready = self.backend.wait(self._calls, max(0.0, timeout_s - _STALLED_S))
        if not ready:
            raise ExecutionTimeoutError(
                "no task of the dataset has yielded anything for "
                f"{self.context.execution_no_progress_timeout_s} s; "
                f"running: {', '.join(sorted({c.task.node.name for c in self._calls}))}. If that is "
                "right, raise "
                "DataContext.execution_no_progress_timeout_s."
            )
        self._take(ready)

    def _share_cpus(self) -> None:
        """Where others hold all CPUs, and may do so until they have these blocks, tasks run without."""
        calls = self.backend.without_place(self._calls)
        if len(calls) < len(self._calls) or self.backend.helper_cpus == 0.0:
            return  # some run, so there are CPUs; or it is something else that is missing
        free = [call for call in calls if call.task.node.remote.num_cpus is None]
        if not free:
            return
        _log.warning(
            "all CPUs are held by others, such as the workers that wait for this dataset: its tasks share "
            "theirs. Leave a CPU free for the dataset to have it faster."
        )
        self.backend.helper_cpus = 0.0
        for call in free:
            call.cancel()
            self._calls[self._calls.index(call)] = self.backend.start(call.task)

    def _poll(self) -> None:
        """Take what has come, without waiting."""
        if self._calls:
            self._take([c for c in self._calls if c.generator.next_ready()])

    def _take(self, calls: list[Any]) -> None:
        for call in calls:
            task: Task = call.task
            try:
                bundles, ended = call.poll()
                failed = False
            except Exception:
                if self._errors_left == 0:
                    raise
                self._errors_left -= 1
                _log.warning(
                    "the blocks of a task of %s are left out: it failed", task.node.name, exc_info=True
                )
                bundles, ended, failed = [], True, True
            for bundle in bundles:
                self._count(task.node, bundle)
                task.node.on_item(task, bundle)
            if ended and not call.complete and not failed:
                self._again(call)
            elif ended:
                self._calls.remove(call)
                self._ended(task)
                task.node.counts.finished += 1
                task.node.on_done(task)
        if self._on_progress is not None:
            self._on_progress(self.nodes)

    def _again(self, call: Any) -> None:
        """A task was cut off (its process died): run it once more, for the blocks that are missing."""
        task = call.task
        self._calls.remove(call)
        pool = self._pools.get(id(task.node))
        if pool is None:
            self._calls.append(self.backend.start(task, call.received))
            return
        pool.ended(task)
        pool.adapt()
        actor = pool.free() or min(pool.calls, key=lambda a: pool.calls[a])
        self._calls.append(pool.start(task, actor, call.received))

    def _ended(self, task: Task) -> None:
        pool = self._pools.get(id(task.node))
        if pool is not None:
            pool.ended(task)
            pool.adapt()

    @staticmethod
    def _count(node: Node, bundle: Bundle) -> None:
        stats = bundle.meta.exec_stats
        if stats is not None:
            node.counts.wall_s.append(stats.wall_time_s or 0.0)
            node.counts.cpu_s += stats.cpu_time_s or 0.0
            node.counts.workers.add(stats.node_id)

    def close(self) -> None:
        """Cancel what still runs, and end the actors."""
        for call in self._calls:
            call.cancel()
        self._calls.clear()
        for pool in self._pools.values():
            pool.close()
        for node in self.nodes:
            node.counts.ended = node.counts.ended or time.monotonic()


def ordered(root: Node) -> list[Node]:
    """All nodes, inputs first."""
    out: list[Node] = []
    seen: set[int] = set()

    def visit(node: Node) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for child in node.inputs:
            visit(child)
        out.append(node)

    visit(root)
    return out
