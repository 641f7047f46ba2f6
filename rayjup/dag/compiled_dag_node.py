"""Compiled graphs: actors connected by channels, as the process that made them sees them."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from rayjup.base.exceptions import (
    GetTimeoutError,
    RayActorError,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
    RayError,
)
from rayjup.core import session as sessions
from rayjup.core.api import get, kill
from rayjup.dag import _loop
from rayjup.dag._plan import DRIVER, INPUT, CompiledTask, Plan
from rayjup.dag._results import Results
from rayjup.dag._tasks import (
    ExecutableTask,
    do_allocate_channel,
    do_cancel_executable_tasks,
    do_exec_tasks,
    do_profile_tasks,
)
from rayjup.dag.context import DAGContext
from rayjup.dag.dag_node import DAGNode
from rayjup.experimental.channel import Channel, Layout, Reader, Writer
from rayjup.experimental.compiled_dag_ref import CompiledDAGFuture, CompiledDAGRef

__all__ = [
    "CompiledDAG",
    "CompiledTask",
    "ExecutableTask",
    "build_compiled_dag_from_ray_dag",
    "do_allocate_channel",
    "do_cancel_executable_tasks",
    "do_exec_tasks",
    "do_profile_tasks",
]

_LONG_S = 60.0  # for actors that are still being made to begin


def _chosen(value: Any, default: Any) -> Any:
    return default if value is None else value


class CompiledDAG:
    """A graph of actor methods that runs through channels; see ``DAGNode.experimental_compile``.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.dag import InputNode
    >>> @ray.remote
    ... class Echo:
    ...     def echo(self, x):
    ...         return x
    >>> actor = Echo.remote()
    >>> with InputNode() as x:
    ...     graph = actor.echo.bind(x).experimental_compile()
    >>> ray.get(graph.execute("hello"))
    'hello'
    >>> graph.teardown()
    """

    def __init__(
        self,
        submit_timeout: float | None = None,
        buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        max_inflight_executions: int | None = None,
        max_buffered_results: int | None = None,
        overlap_gpu_communication: bool | None = None,
        default_communicator: Any = "create",
    ) -> None:
        context = DAGContext.get_current()
        self._id = uuid.uuid4().hex
        self._torn_down = True  # until it is compiled
        self._broken: RayError | None = None  # why it cannot go on
        self._submit_timeout = _chosen(submit_timeout, context.submit_timeout)
        self._get_timeout = context.get_timeout
        self._buffer_size_bytes = _chosen(buffer_size_bytes, context.buffer_size_bytes)
        self._enable_asyncio = enable_asyncio
        self._max_inflight_executions = _chosen(max_inflight_executions, context.max_inflight_executions)
        self._max_buffered = _chosen(max_buffered_results, context.max_buffered_results)
        for name in ("buffer_size_bytes", "max_inflight_executions"):
            value = getattr(self, f"_{name}")
            if not isinstance(value, int) or value <= 0:
                raise ValueError(f"`{name}` must be a positive integer, found {value!r}.")
        if default_communicator not in ("create", None):
            raise ValueError(
                f"default_communicator must be 'create' or None, got {default_communicator!r}: "
                "tensors travel through shared memory here."
            )
        self.plan: Plan
        self._writer: Writer | None = None
        self._readers: dict[int, Reader] = {}
        self._channels: dict[int, Channel] = {}
        self._results: Results
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._let_go: list[Callable[[], None]] = []  # return the room of the channels
        self._watching: asyncio.AbstractEventLoop | None = None

    # -- compiling

    def _compile(self, output: DAGNode) -> None:
        self.plan = plan = Plan(output)
        store = sessions.require().runtime.store
        host = store.host
        layouts: dict[int, Layout] = {}
        held: list[int] = []
        try:
            for number, readers in plan.readers.items():
                layouts[number] = Layout.make(
                    len(readers), self._max_inflight_executions + 1, self._buffer_size_bytes
                )
                self._let_go.append(partial(store.let_go, layouts[number].file_bytes))
                held += layouts[number].hold()
            self._channels = {number: Channel(layout) for number, layout in layouts.items()}
            started = []
            for id, handle in plan.actors.items():
                spec = _loop.ActorSpec(
                    graph=self._id,
                    host=host,
                    readers={n: (layouts[n], r.index(id)) for n, r in plan.readers.items() if id in r},
                    writers={n: layouts[n] for n, writer in plan.writers.items() if writer == id},
                    tasks=tuple(plan.specs[id]),
                    profile=os.environ.get("RAY_CGRAPH_ENABLE_PROFILING", "0") == "1",
                )
                started.append(handle.__ray_call__.remote(_loop.start, spec))
            self._torn_down = False
            get(started, timeout=_LONG_S)
            self._writer = Writer(layouts[INPUT])
            for number, readers in plan.readers.items():
                if DRIVER in readers:
                    self._readers[number] = Reader(layouts[number], readers.index(DRIVER))
            self._results = Results(
                self._readers, plan.outputs, self._max_buffered, self._get_timeout, self._reason
            )
        except BaseException:
            for channel in self._channels.values():
                channel.ensure_registered_as_reader().abort()
                channel.close()
            self._close()
            raise
        finally:
            for fd in held:
                os.close(fd)
            for layout in layouts.values():
                layout.unlink()

    @property
    def is_teardown(self) -> bool:
        """Whether :meth:`teardown` was called."""
        return self._torn_down

    def get_id(self) -> str:
        """An id of the graph."""
        return self._id

    @property
    def actors(self) -> list[Any]:
        """Handles of the graph's actors."""
        return list(self.plan.actors.values())

    # -- executing

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Give the graph an input.

        Returns
        -------
        CompiledDAGRef or list of them
            For :func:`rayjup.get`; a list where the graph ends in a ``MultiOutputNode``.

        Raises
        ------
        RayCgraphCapacityExceeded
            Too many executions are under way: get some of their results first.
        """
        if self._enable_asyncio:
            raise ValueError("Use execute_async if enable_asyncio=True")
        self._submit(args, kwargs)
        index = self._results.submitted
        if not self.plan.returns_list:
            return CompiledDAGRef(self, index, None)
        return [CompiledDAGRef(self, index, i) for i in range(len(self.plan.outputs))]

    async def execute_async(self, *args: Any, **kwargs: Any) -> Any:
        """Like :meth:`execute`, with results to ``await``, where the graph has ``enable_asyncio=True``."""
        if not self._enable_asyncio:
            raise ValueError("Use execute if enable_asyncio=False")
        loop = asyncio.get_running_loop()
        if self._watching is not loop:
            self._watch(loop)
        self._submit(args, kwargs)
        index = self._results.submitted
        future = self._futures[index] = loop.create_future()
        if not self.plan.returns_list:
            return CompiledDAGFuture(self, index, future)
        return [CompiledDAGFuture(self, index, future, i) for i in range(len(self.plan.outputs))]

    def _submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        writer = self._writer
        if self._torn_down or writer is None:
            raise RayChannelError("the compiled graph was torn down: compile the graph again to execute it.")
        if self._broken is not None:
            raise self._broken
        plan = self.plan
        if len(args) != plan.positional:
            raise ValueError(
                "dag.execute() or dag.execute_async() must be called with "
                f"{plan.positional} positional args, got {len(args)}"
            )
        for name in plan.keywords:
            if name not in kwargs:
                raise ValueError(f"dag.execute() or dag.execute_async() must be called with kwarg `{name}`")
        results = self._results
        if results.under_way >= self._max_inflight_executions:
            results.pass_over_dropped()
            if results.under_way >= self._max_inflight_executions:
                raise RayCgraphCapacityExceeded(
                    f"The compiled graph can't have more than {self._max_inflight_executions} in-flight "
                    f"executions, and you currently have {results.under_way}. Retrieve an output using "
                    "ray.get before submitting more requests, or increase `_max_inflight_executions`."
                )
        try:
            writer.write(args[0] if plan.single else (args, kwargs), timeout=self._submit_timeout)
        except RayChannelError as error:
            raise error if isinstance(error, RayChannelTimeoutError) else self._reason(error) from None
        results.submitted += 1

    # -- results, as refs and futures ask for them

    def _execute_until(self, index: int, timeout: float | None) -> None:
        self._results.until(index, timeout)

    def _take_result(self, index: int, output: int | None) -> Any:
        return self._results.take(index, output or 0)

    def _forget_result(self, index: int, output: int | None) -> None:
        if not self._torn_down:
            self._results.forget(index, output or 0)

    def _reason(self, error: RayError) -> RayError:
        """Why a channel ended: the death of an actor, where that is it. Nothing can be executed any more."""
        for handle in self.plan.actors.values():
            try:
                get(handle.__ray_ready__.remote(), timeout=5)
            except RayActorError as death:
                error = death
                break
            except GetTimeoutError:
                continue  # it is busy with a call, and alive
        self._broken = error
        return error

    # -- asyncio

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        self._unwatch()
        for reader in self._readers.values():
            loop.add_reader(reader.fileno(), self._on_bell, reader)
        self._watching = loop

    def _unwatch(self) -> None:
        loop, self._watching = self._watching, None
        if loop is not None and not loop.is_closed():
            for reader in self._readers.values():
                if not reader.closed:
                    loop.remove_reader(reader.fileno())

    def _on_bell(self, rung: Reader) -> None:
        try:
            if not rung.hear() and not rung.ready():
                raise RayChannelError("a process that writes to a channel of the graph has gone")
            while self._results.ready():
                self._results.read_next(None)
                future = self._futures.pop(self._results.finished, None)
                if future is not None and not future.done():
                    future.set_result(None)
        except RayChannelError as error:
            self._unwatch()
            reason = self._reason(error)
            for future in self._futures.values():
                if not future.done():
                    future.set_exception(reason)
            self._futures.clear()

    # -- the end

    def teardown(self, kill_actors: bool = False) -> None:
        """End the graph: methods under way are waited for, the actors live on.

        Parameters
        ----------
        kill_actors
            End the actors as well.
        """
        if self._torn_down:
            return
        self._close()
        if kill_actors:
            for handle in self.plan.actors.values():
                kill(handle)
            return
        stopping = [h.__ray_call__.remote(_loop.stop, self._id) for h in self.actors]
        deadline = time.monotonic() + DAGContext.get_current().teardown_timeout
        for ref in stopping:
            try:
                get(ref, timeout=max(0.0, deadline - time.monotonic()))
            except RayActorError:
                continue  # it died, and its part of the graph with it
            except GetTimeoutError as error:
                raise RayChannelTimeoutError(
                    "the compiled graph did not end in time: a method still runs. It ends with that method; "
                    "teardown(kill_actors=True) does not wait, RAY_CGRAPH_teardown_timeout says for "
                    "how long to."
                ) from error

    def _close(self) -> None:
        self._torn_down = True
        self._unwatch()
        for future in self._futures.values():
            if not future.done():
                future.cancel()
        self._futures.clear()
        if self._writer is not None:
            self._writer.abort()
            self._writer.close()
        for reader in self._readers.values():
            reader.abort()
            reader.close()
        while self._let_go:
            self._let_go.pop()()

    def __del__(self) -> None:
        if not self.__dict__.get("_torn_down", True):
            self._close()

    # -- looking at it

    def get_channel_details(self, channel: Any, downstream_actor_id: str) -> str:
        """What the channel is and how the reader gets its data, in words."""
        from rayjup.dag import _show

        return _show.channel_details(self, channel, downstream_actor_id)

    def visualize(
        self,
        filename: str = "compiled_graph",
        format: str = "png",
        view: bool = False,
        channel_details: bool = False,
    ) -> str:
        """Draw the graph, with one color per actor.

        Parameters
        ----------
        filename
            Without the ending.
        format
            ``"ascii"`` (text) and ``"dot"`` (graphviz's language) write no file; others need graphviz.
        view
            Open the picture.
        channel_details
            Say at each edge what the channel is.

        Returns the text, or the graph in graphviz's language.
        """
        from rayjup.dag import _show

        return _show.visualize(self, filename, format, view, channel_details)


def build_compiled_dag_from_ray_dag(
    dag: DAGNode,
    submit_timeout: float | None = None,
    buffer_size_bytes: int | None = None,
    enable_asyncio: bool = False,
    max_inflight_executions: int | None = None,
    max_buffered_results: int | None = None,
    overlap_gpu_communication: bool | None = None,
    default_communicator: Any = "create",
) -> CompiledDAG:
    """Compile the graph that ends in ``dag``; see ``DAGNode.experimental_compile``."""
    compiled = CompiledDAG(
        submit_timeout,
        buffer_size_bytes,
        enable_asyncio,
        max_inflight_executions,
        max_buffered_results,
        overlap_gpu_communication,
        default_communicator,
    )
    compiled._compile(dag)
    return compiled
