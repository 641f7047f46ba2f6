"""What an actor does for a compiled graph: a thread reads inputs, runs methods and writes results.

The actor's own loop goes on taking ordinary calls meanwhile; as in Ray, these may run at the same
time as the graph's methods.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.base.exceptions import RayChannelError, RayTaskError
from rayjup.core import session as sessions
from rayjup.experimental.channel import Layout, Reader, Writer
from rayjup.experimental.channel.torch_tensor_type import place

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where an argument comes from: a channel of the actor, or a task of the same actor.

    ``keys`` say which part of the value is meant; an empty tuple: all of it.
    """

    channel: int | None
    task: int | None
    keys: tuple[Any, ...]
    device: str = "default"


@dataclass(frozen=True)
class TaskSpec:
    """One method call of an actor in each execution."""

    index: int
    name: str
    function: Callable[..., Any] | None  # instead of a method of the actor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: tuple[tuple[int, Source], ...]  # position among the arguments, where from
    num_returns: int
    output: int | None  # channel


@dataclass(frozen=True)
class ActorSpec:
    """An actor's part of a graph."""

    graph: str
    host: str
    readers: dict[int, tuple[Layout, int]]  # by number of the channel
    writers: dict[int, Layout]
    tasks: tuple[TaskSpec, ...]
    profile: bool = False


class Inbox:
    """What the current execution got from a channel; read once, whoever asks first."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.round = -1
        self.value: Any = None
        self.failed = False

    def get(self, round: int) -> tuple[Any, bool]:
        """The value of this execution and whether it is an error."""
        if self.round != round:
            try:
                self.value, self.failed = self.reader.read()
            except RayChannelError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever unpickling raises is the result
                self.value, self.failed = RayTaskError.from_exception(error, "reading an argument"), True
            self.round = round
        return self.value, self.failed


@dataclass
class Result:
    """What a task made in the current execution, for tasks of the same actor."""

    value: Any = None
    failed: bool = False

    def get(self, round: int) -> tuple[Any, bool]:
        """The value and whether it is an error."""
        return self.value, self.failed


def pick(value: Any, keys: tuple[Any, ...]) -> Any:
    """The part of ``value`` that ``keys`` lead to."""
    for key in keys:
        value = value[key]
    return value


@dataclass
class Work:
    """A task with its ends of channels, in the actor."""

    spec: TaskSpec
    method: Callable[..., Any]
    inputs: list[tuple[int, Any, tuple[Any, ...], str]]
    result: Result
    writer: Writer | None
    actor: dict[str, Any]
    loop: asyncio.AbstractEventLoop | None
    title: str
    args: list[Any] = field(default_factory=list)
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def read(self, round: int) -> None:
        """Get the arguments; an error among them becomes the result."""
        result = self.result
        result.value = None
        result.failed = False
        args = list(self.spec.args)
        for position, source, keys, device in self.inputs:
            value, failed = source.get(round)
            if failed:
                if not result.failed:
                    result.value, result.failed = value, True
                continue
            try:
                if keys:
                    value = pick(value, keys)
                if device != "default":
                    value = place(value, device)
            except Exception as error:  # noqa: BLE001 - an argument that is not there is the call's error
                self.fail(error)
            args[position] = value
        self.args = args

    def compute(self) -> None:
        """Call the method, unless an argument is an error."""
        result = self.result
        if result.failed:
            return
        try:
            value = self.method(*self.args, **self.spec.kwargs)
            if self.loop is not None and inspect.isawaitable(value):
                value = asyncio.run_coroutine_threadsafe(_await(value), self.loop).result()
            if self.spec.num_returns > 1:
                value = tuple(value)
                if len(value) != self.spec.num_returns:
                    raise ValueError(
                        f"{self.title}() was bound with num_returns={self.spec.num_returns} but returned "
                        f"{len(value)} values. Return as many values as num_returns says, in a tuple or list."
                    )
            result.value = value
        except BaseException as error:  # noqa: BLE001 - everything a method raises is its result
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Make the error the result."""
        result = self.result
        result.value = RayTaskError.from_exception(error, self.title, **self.actor)
        result.failed = True

    def write(self) -> None:
        """Send the result on, where it goes to other processes."""
        self.args = []
        if self.writer is None:
            return
        result = self.result
        try:
            self.writer.write(result.value, result.failed)
        except RayChannelError:
            raise
        except Exception as error:  # noqa: BLE001 - a result that can't be pickled is the call's error
            self.fail(error)
            self.writer.write(result.value, True)


async def _await(value: Any) -> Any:
    return await value


class ActorLoop:
    """The thread of a graph in an actor."""

    def __init__(self, instance: Any, spec: ActorSpec) -> None:
        self.spec = spec
        self.readers: dict[int, Reader] = {}
        self.writers: dict[int, Writer] = {}
        try:
            for number, (layout, index) in spec.readers.items():
                self.readers[number] = Reader(layout, index)
            for number, layout in spec.writers.items():
                self.writers[number] = Writer(layout)
        except BaseException:
            self.close()
            raise
        self.work = self._bind(instance)
        self.thread = threading.Thread(target=self._run, name="rayjup-graph", daemon=True)

    def _bind(self, instance: Any) -> list[Work]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        class_name = type(instance).__name__
        context = {"actor_repr": f"{class_name} pid={os.getpid()}", "actor_id": current_actor()}
        inboxes = {number: Inbox(reader) for number, reader in self.readers.items()}
        results: dict[int, Result] = {}
        work = []
        for task in self.spec.tasks:
            result = results[task.index] = Result()
            inputs: list[tuple[int, Any, tuple[Any, ...], str]] = []
            for position, source in task.inputs:
                origin: Any
                if source.channel is not None:
                    origin = inboxes[source.channel]
                else:
                    assert source.task is not None
                    origin = results[source.task]
                inputs.append((position, origin, source.keys, source.device))
            writer = self.writers[task.output] if task.output is not None else None
            method = task.function or getattr(instance, task.name)
            title = f"{class_name}.{task.name}"
            work.append(Work(task, method, inputs, result, writer, context, loop, title))
        return work

    def _run(self) -> None:
        try:
            if self.spec.profile:
                run_measured(self.work)
            else:
                run(self.work)
        except RayChannelError as error:
            logger.debug("the compiled graph %s ends here: %s", self.spec.graph, error)
        finally:
            self.close()
            self.work = []
            _loops.pop(self.spec.graph, None)

    def abort(self) -> None:
        """End after the method that runs now."""
        for end in (*self.readers.values(), *self.writers.values()):
            end.abort()

    def close(self) -> None:
        """Let go of the channels: those who wait for this actor's results notice."""
        for writer in self.writers.values():
            writer.close()
        for reader in self.readers.values():
            reader.close()


def run(work: list[Work]) -> None:
    """Execute until a channel ends, which raises RayChannelError."""
    round = 0
    while True:
        for task in work:
            task.read(round)
            task.compute()
            task.write()
        round += 1


def run_measured(work: list[Work]) -> None:
    """Like :func:`run`; logs how long the steps of each method took when the graph ends."""
    round = 0
    clock = time.perf_counter
    try:
        while True:
            for task in work:
                times = [clock()]
                for step in (lambda: task.read(round), task.compute, task.write):  # noqa: B023
                    step()
                    times.append(clock())
                for step_number in range(3):
                    task.seconds[step_number] += times[step_number + 1] - times[step_number]
            round += 1
    finally:
        for task in work:
            reading, computing, writing = task.seconds
            logger.info(
                "%s: %d executions, %.6f s reading, %.6f s computing, %.6f s writing",
                *(task.title, round, reading, computing, writing),
            )


_loops: dict[str, ActorLoop] = {}


def current_actor() -> str:
    """Hexadecimal id of the actor in which this runs; empty elsewhere."""
    from rayjup.core.runtime_context import get_runtime_context

    return get_runtime_context().get_actor_id() or ""


def start(instance: Any, spec: ActorSpec) -> None:
    """Begin in the actor; called through ``__ray_call__``."""
    host = sessions.require().runtime.store.host
    if host != spec.host:
        raise ValueError(
            f"the actor {type(instance).__name__} runs on another machine than the process that "
            "compiles the graph: "
            "the channels of compiled graphs are shared memory. Use execute() of the graph without "
            "compiling it, "
            "or place the actors on this machine."
        )
    loop = _loops[spec.graph] = ActorLoop(instance, spec)
    loop.thread.start()


def stop(instance: Any, graph: str) -> Any:
    """End in the actor and wait for it; called through ``__ray_call__``."""
    loop = _loops.get(graph)
    if loop is None:
        return None
    loop.abort()
    try:
        events = asyncio.get_running_loop()
    except RuntimeError:
        loop.thread.join()
        return None
    return events.run_in_executor(None, loop.thread.join)
