"""Works in tasks and actors of the cluster."""

from __future__ import annotations

import functools
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import rayjup
from rayjup.data.block.bundle import Bundle, compact
from rayjup.data.block.metadata import BlockExecStats, BlockMetadata
from rayjup.data.context import DataContext
from rayjup.data.execution.nodes import Task
from rayjup.data.physical.works import Work

_known: dict[str, Work] = {}
_KEPT = 64
_MOST_ROWS = 1000  # of the table of tasks; nobody has more of them waiting than that at once


def _work(key: str, holder: Sequence[Any]) -> Work:
    """The work, fetched and prepared once per process."""
    work = _known.get(key)
    if work is None:
        work, context = rayjup.get(holder[0])
        DataContext._set_current(context)
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = work
    work.prepare()
    return work


def _execute(key: str, holder: Sequence[Any], name: str, index: int, *inputs: Any) -> Iterator[Any]:
    """Run a work; yields block, what is known of it, block, ..."""
    yield from _yield_blocks(_work(key, holder), name, index, inputs)


def _yield_blocks(work: Work, name: str, index: int, inputs: Sequence[Any]) -> Iterator[Any]:
    wall, cpu, began = time.perf_counter(), time.process_time(), time.time()
    try:
        for block in work.run(index, inputs):
            block = compact(block)
            now_wall, now_cpu = time.perf_counter(), time.process_time()
            stats = BlockExecStats(
                task_idx=index,
                node_id=str(os.getpid()),
                start_time_s=began,
                end_time_s=time.time(),
                wall_time_s=now_wall - wall,
                cpu_time_s=now_cpu - cpu,
            )
            yield block
            yield (block.num_rows, block.nbytes, block.schema, stats)
            del block
            wall, cpu = time.perf_counter(), time.process_time()
        yield None  # the end, said aloud: a stream that stops without it was cut off
        yield ()
    except Exception as error:
        if hasattr(error, "add_note"):
            error.add_note(f"(operator {name}, task {index})")
        raise


class _Worker:
    """Keeps an instance of the user's class and runs works with it."""

    def __init__(self, holder: Sequence[Any]) -> None:
        self._work: Work
        self._work, context = rayjup.get(holder[0])
        DataContext._set_current(context)

    def prepare(self) -> None:
        """Make the instance now; what it raises, ``execute`` raises again."""
        self._work.prepare()

    def execute(self, name: str, index: int, *inputs: Any) -> Iterator[Any]:
        """Run the work; yields block, what is known of it, block, ..."""
        self._work.prepare()
        yield from _yield_blocks(self._work, name, index, inputs)


@functools.cache
def _task_function() -> Any:
    return rayjup.remote(num_returns="streaming", max_retries=3)(_execute)


@functools.cache
def _actor_class() -> Any:
    return rayjup.remote(_Worker)


class Call:
    """A running task: gives its blocks as they come."""

    def __init__(self, task: Task, generator: Any, skip: int = 0) -> None:
        self.task = task
        self.generator = generator
        self._block: Any = None
        self._skip = skip
        self.received = 0
        self.complete = False

    def poll(self) -> tuple[list[Bundle], bool]:
        """The blocks that have come since, and whether the task has ended; raises what it raised."""
        out: list[Bundle] = []
        while self.generator.next_ready():
            try:
                ref = next(self.generator)
            except StopIteration:
                if self._block is not None:
                    rayjup.get(self._block)  # an item without what is known of it: the exception
                return out, True
            if self._block is None:
                self._block = ref
                continue
            known = rayjup.get(ref)
            if not known:
                self.complete = True
                self._block = None
                continue
            self.received += 1
            if self.received <= self._skip:
                self._block = None
                continue
            rows, size, schema, stats = known
            meta = BlockMetadata(rows, size, stats)
            out.append(Bundle(ref=self._block, meta=meta, schema=schema))
            self._block = None
        return out, False

    def cancel(self) -> None:
        """End it, if it still runs."""
        self._block = None
        self.generator.close()


class Backend:
    """Starts tasks and actors, on behalf of one run."""

    def __init__(self, context: DataContext, helper_cpus: float | None = None) -> None:
        self.context = context
        self._refs: dict[int, tuple[str, Any, Work]] = {}
        self._options: dict[str, Any] = {}
        self.helper_cpus = helper_cpus

    def _holder(self, work: Work) -> tuple[str, list[Any]]:
        known = self._refs.get(id(work))
        if known is None:
            known = self._refs[id(work)] = (uuid.uuid4().hex, rayjup.put((work, self.context)), work)
        return known[0], [known[1]]

    def start(self, task: Task, skip: int = 0) -> Call:
        """Start a task of a node without actors; ``skip`` blocks of it are known already."""
        key, holder = self._holder(task.work)
        options = task.node.remote.options()
        make = options.pop("_fn", None)
        if make is not None:
            options.update(make())
        if self.helper_cpus is not None and "num_cpus" not in options:
            options["num_cpus"] = self.helper_cpus
        function = _task_function().options(name=task.node.name, **options)
        inputs = [_argument(i) for i in task.inputs]
        return Call(task, function.remote(key, holder, task.node.name, task.index, *inputs), skip)

    def make_actor(self, work: Work, options: dict[str, Any], threads: int) -> Any:
        """An actor for a work; it starts preparing at once."""
        _, holder = self._holder(work)
        if threads > 1:
            options = {**options, "max_concurrency": threads}
        actor = _actor_class().options(max_restarts=-1, max_task_retries=-1, **options).remote(holder)
        actor.prepare.remote()
        return actor

    def start_on(self, actor: Any, task: Task, skip: int = 0) -> Call:
        """Start a task on an actor."""
        inputs = [_argument(i) for i in task.inputs]
        method = actor.execute.options(num_returns="streaming")
        return Call(task, method.remote(task.node.name, task.index, *inputs), skip)

    @staticmethod
    def wait(calls: Sequence[Call], timeout_s: float | None) -> list[Call]:
        """Calls with something new, waiting for one at least."""
        by_generator = {id(c.generator): c for c in calls}
        ready, _ = rayjup.wait(
            [c.generator for c in calls], num_returns=1, timeout=timeout_s, fetch_local=False
        )
        ready += [c.generator for c in calls if c.generator.next_ready()]
        return [by_generator[i] for i in dict.fromkeys(id(g) for g in ready)]

    @staticmethod
    def without_place(calls: Sequence[Call]) -> list[Call]:
        """Those of the calls that wait for resources."""
        from rayjup.util import state

        rows = state.list_tasks(
            filters=[("state", "=", "PENDING_NODE_ASSIGNMENT")],
            limit=_MOST_ROWS,
            raise_on_missing_output=False,
        )
        waiting = {row.task_id for row in rows}
        return [call for call in calls if call.generator.task_id().hex() in waiting]

    @staticmethod
    def end_actor(actor: Any) -> None:
        """End an actor that is not needed any more."""
        rayjup.kill(actor)


def _argument(item: Any) -> Any:
    return item.argument() if isinstance(item, Bundle) else item
