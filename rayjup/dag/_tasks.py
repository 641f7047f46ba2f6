"""Single steps of compiled graphs, for those who drive an actor's part by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rayjup.dag import _loop
from rayjup.dag._plan import CompiledTask
from rayjup.dag.context import DAGContext
from rayjup.dag.dag_node_operation import DAGNodeOperation, DAGNodeOperationType
from rayjup.dag.dag_operation_future import DAGOperationFuture, GPUFuture, ResolvedFuture
from rayjup.experimental.channel import Channel, Layout, Reader


class ExecutableTask:
    """A method call that an actor makes in each execution of a graph.

    Parameters
    ----------
    task
        The node.
    resolved_args
        The arguments; a :class:`Channel` among them stands for what it brings.
    resolved_kwargs
        The keyword arguments.
    """

    def __init__(self, task: CompiledTask, resolved_args: list[Any], resolved_kwargs: dict[str, Any]) -> None:
        node = task.dag_node
        self.task_idx = task.idx
        self.method_name: str = getattr(node, "_method_name", "")
        self.args = list(resolved_args)
        self.kwargs = dict(resolved_kwargs)
        self.output: Channel | None = None
        self._work: _loop.Work | None = None
        self._round = 0
        self._future: DAGOperationFuture[Any] | None = None

    def prepare(self, overlap_gpu_communication: bool = False) -> None:
        """Open the channels."""
        for arg in self.args:
            if isinstance(arg, Channel):
                arg.ensure_registered_as_reader()
        if self.output is not None:
            self.output.ensure_registered_as_writer()

    def cancel(self) -> None:
        """Close the channels: an execution under way ends with a ``RayChannelError``."""
        for channel in (*self.args, self.output):
            if isinstance(channel, Channel):
                channel.close()

    def destroy_cuda_event(self) -> None:
        """Let go of what a GPU may still be computing for this task."""
        GPUFuture.remove_gpu_future(self.task_idx)

    def exec_operation(
        self, class_handle: Any, op_type: DAGNodeOperationType, overlap_gpu_communication: bool = False
    ) -> bool:
        """Do one step; False when the channels have ended."""
        if self._work is None:
            self._work = self._bind(class_handle)
        try:
            if op_type is DAGNodeOperationType.READ:
                self._work.read(self._round)
                self._round += 1
            elif op_type is DAGNodeOperationType.COMPUTE:
                self._work.compute()
                self.wrap_and_set_intermediate_future(self._work.result.value, False)
            else:
                self._work.write()
        except _loop.RayChannelError:
            return False
        return True

    def _bind(self, instance: Any) -> _loop.Work:
        inputs: list[tuple[int, Any, tuple[Any, ...], str]] = []
        opened: dict[int, _loop.Inbox] = {}
        for position, arg in enumerate(self.args):
            if isinstance(arg, Channel):
                reader: Reader = arg.ensure_registered_as_reader()
                inputs.append((position, opened.setdefault(id(arg), _loop.Inbox(reader)), (), "default"))
        writer = self.output.ensure_registered_as_writer() if self.output is not None else None
        constants = tuple(None if isinstance(arg, Channel) else arg for arg in self.args)
        spec = _loop.TaskSpec(self.task_idx, self.method_name, None, constants, self.kwargs, (), 1, None)
        title = f"{type(instance).__name__}.{self.method_name}"
        method = getattr(instance, self.method_name)
        return _loop.Work(spec, method, inputs, _loop.Result(), writer, {}, None, title)

    def wrap_and_set_intermediate_future(self, val: Any, wrap_in_gpu_future: bool) -> None:
        """Keep a result between two steps; on a GPU, together with the moment when it is there."""
        self._future = GPUFuture(val, self.task_idx) if wrap_in_gpu_future else ResolvedFuture(val)

    def reset_and_wait_intermediate_future(self) -> Any:
        """The result that was kept, once it is there; it is kept no longer."""
        future, self._future = self._future, None
        if future is None:
            raise ValueError(f"the task {self.method_name} has no result between two steps to wait for")
        return future.wait()


def do_allocate_channel(
    self: Any, reader_and_node_list: Sequence[tuple[Any, str]], typ: Any, driver_actor_id: str | None = None
) -> Channel:
    """Make a channel with as many readers as the list has, in the memory of this process's node."""
    context = DAGContext.get_current()
    return Channel(
        Layout.make(len(reader_and_node_list), context.max_inflight_executions + 1, context.buffer_size_bytes)
    )


def do_exec_tasks(
    self: Any,
    tasks: list[ExecutableTask],
    schedule: Sequence[DAGNodeOperation],
    overlap_gpu_communication: bool = False,
) -> None:
    """Do the steps of the schedule over and over, until a channel ends."""
    for task in tasks:
        task.prepare(overlap_gpu_communication)
    while all(
        tasks[op.exec_task_idx].exec_operation(self, op.type, overlap_gpu_communication) for op in schedule
    ):
        pass


def do_profile_tasks(
    self: Any,
    tasks: list[ExecutableTask],
    schedule: Sequence[DAGNodeOperation],
    overlap_gpu_communication: bool = False,
) -> None:
    """Like :func:`do_exec_tasks`; logs how long the steps took, when the graph ends."""
    import logging
    import time

    seconds: dict[tuple[str, str], float] = {}
    for task in tasks:
        task.prepare(overlap_gpu_communication)
    going = True
    while going:
        for op in schedule:
            task = tasks[op.exec_task_idx]
            started = time.perf_counter()
            going = task.exec_operation(self, op.type, overlap_gpu_communication)
            key = (task.method_name, op.type.value)
            seconds[key] = seconds.get(key, 0.0) + time.perf_counter() - started
            if not going:
                break
    for (method, step), taken in seconds.items():
        logging.getLogger(__name__).info("%s: %s took %.6f s", method, step, taken)


def do_cancel_executable_tasks(self: Any, tasks: list[ExecutableTask]) -> None:
    """Close the channels of the tasks."""
    for task in tasks:
        task.cancel()
