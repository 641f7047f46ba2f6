"""From a graph of nodes to what each actor does: the rules of compiled graphs are checked here."""

from __future__ import annotations

import heapq
from typing import Any

from rayjup.core.actor import ActorHandle
from rayjup.dag._loop import Source, TaskSpec
from rayjup.dag.class_node import ClassMethodNode, ClassNode
from rayjup.dag.collective_node import CollectiveOutputNode
from rayjup.dag.dag_node import DAGNode
from rayjup.dag.function_node import FunctionNode
from rayjup.dag.input_node import InputAttributeNode, InputNode
from rayjup.dag.output_node import MultiOutputNode

DRIVER = "driver"
INPUT = 0  # number of the channel of the graph's input


class CompiledTask:
    """A node of a compiled graph.

    Parameters
    ----------
    idx
        Its number in the graph.
    dag_node
        The node.
    """

    def __init__(self, idx: int, dag_node: DAGNode) -> None:
        self.idx = idx
        self.dag_node = dag_node
        self.downstream_task_idxs: dict[int, Any] = {}  # the actor that reads the result; None: the driver

    @property
    def args(self) -> tuple[Any, ...]:
        """What the node is bound to."""
        return tuple(self.dag_node.get_args())

    @property
    def kwargs(self) -> dict[str, Any]:
        """What the node is bound to by keyword."""
        return self.dag_node.get_kwargs()

    @property
    def num_readers(self) -> int:
        """How many other tasks take the result."""
        return len(self.downstream_task_idxs)

    @property
    def arg_type_hints(self) -> list[Any]:
        """How the results of other nodes among the arguments travel."""
        return [arg.type_hint for arg in self.args if isinstance(arg, DAGNode)]

    def __repr__(self) -> str:
        return f"CompiledTask({self.idx}, {self.dag_node!r}, {self.num_readers} readers)"


class Plan:
    """What a compiled graph consists of.

    Attributes
    ----------
    tasks
        All nodes by number.
    actors
        The actors, by id.
    specs
        What each actor does, by id.
    readers
        By number of a channel, who reads it: ids of actors, or ``DRIVER``.
    writers
        By number of a channel, the id of the actor that writes it, or ``DRIVER``.
    outputs
        By position in the result: number of the channel, and which part of what it brings.
    direct
        The input is one value, and the nodes take it as it is.
    positional, keywords
        Else: how many positional arguments the input has, and which keyword arguments.
    """

    def __init__(self, output: DAGNode) -> None:
        self.output = output
        self.returns_list = isinstance(output, MultiOutputNode)
        self.nodes: list[DAGNode] = []
        output.traverse_and_apply(self.nodes.append)
        self.actors: dict[bytes, ActorHandle] = {}
        self.calls: list[ClassMethodNode] = []
        self._check_nodes()
        self._read_input()
        self._check_leaves()
        self.calls = self._in_order()
        self.tasks = {i: CompiledTask(i, node) for i, node in enumerate([*self._others(), *self.calls])}
        self.index = {task.dag_node.get_stable_uuid(): i for i, task in self.tasks.items()}
        self.readers: dict[int, list[Any]] = {INPUT: []}
        self.writers: dict[int, Any] = {INPUT: DRIVER}
        self._channel_of: dict[str, int] = {}
        self._connect()
        self.specs = self._specs()
        self.outputs = [self._output(node) for node in self._output_nodes()]

    # -- the rules

    def _output_nodes(self) -> list[DAGNode]:
        return list(self.output.get_args()) if self.returns_list else [self.output]

    def _others(self) -> list[DAGNode]:
        calls = {node.get_stable_uuid() for node in self.calls}
        return [node for node in self.nodes if node.get_stable_uuid() not in calls]

    def _check_nodes(self) -> None:
        for node in self.nodes:
            if isinstance(node, FunctionNode):
                raise NotImplementedError(
                    f"a compiled graph runs in actors: only actor method nodes can be in it, not {node!r}; "
                    "make the function a method of an actor, or use execute() without compiling the graph."
                )
            known = (InputNode, InputAttributeNode, MultiOutputNode, ClassMethodNode)
            if isinstance(node, ClassNode) or (
                isinstance(node, ClassMethodNode) and node._get_actor_handle() is None
            ):
                raise ValueError(
                    "Compiled DAGs can only bind methods to an actor that is already created with "
                    "Actor.remote(), "
                    f"not {node!r}."
                )
            if not isinstance(node, known):
                raise ValueError(f"Found unsupported node of type {type(node)} in a compiled graph.")
            if node._type_hint is not None and node._type_hint.requires_accelerator():
                raise ValueError(
                    f"{node!r} asks for the accelerator transport: rayjup has no transport between GPUs. "
                    "Use with_tensor_transport('auto') or 'shm', with device='cuda' to get tensors on a GPU."
                )
            if isinstance(node, ClassMethodNode) and node.is_class_method_call:
                self._check_call(node)
        if isinstance(self.output, MultiOutputNode) and node_is_nested(self.output):
            raise ValueError(
                "A MultiOutputNode cannot be an argument of another node: it ends the compiled graph."
            )

    def _check_call(self, node: ClassMethodNode) -> None:
        if any(isinstance(value, DAGNode) for value in node.get_kwargs().values()):
            raise ValueError(
                "Compiled DAG currently does not support binding to other DAG nodes as kwargs: "
                f"give them to {node.get_method_name()}() as positional arguments."
            )
        if not isinstance(node.num_returns, int):
            raise ValueError(
                f"{node.get_method_name()}() is a generator: channels of compiled graphs take one value per "
                "execution. Return a list, or use execute() without compiling the graph."
            )
        if not any(isinstance(arg, DAGNode) for arg in node.get_args()):
            raise ValueError(
                "Compiled DAGs require each task to take a ray.dag.InputNode or at least one other "
                "DAGNode as an "
                f"input, which {node!r} does not."
            )
        handle = node._get_actor_handle()
        assert handle is not None
        self.actors.setdefault(handle._id, handle)
        self.calls.append(node)

    def _read_input(self) -> None:
        inputs = [node for node in self.nodes if isinstance(node, InputNode)]
        if len(inputs) != 1:
            raise NotImplementedError(
                f"Compiled DAGs currently require exactly one InputNode, and this one has {len(inputs)}."
            )
        self.input = inputs[0]
        keys = list(self.input.input_attribute_nodes)
        direct = any(arg is self.input for node in self.calls for arg in node.get_args())
        if direct and keys:
            raise ValueError(
                "All tasks must either use InputNode() directly, or they must index to specific args "
                "or kwargs."
            )
        unused = [k for k, n in self.input.input_attribute_nodes.items() if not n._downstream_nodes]
        if unused:
            raise ValueError(
                f"Compiled Graph expects input to be accessed using all of attributes {keys}, but "
                f"{unused} is unused. "
                "Ensure all input attributes are used and contribute to the computation of the output."
            )
        self.direct = direct
        positions = [key for key in keys if isinstance(key, int)]
        self.positional = 1 if direct else max(positions, default=-1) + 1
        self.keywords = [key for key in keys if isinstance(key, str)]

    def _check_leaves(self) -> None:
        outputs = self._output_nodes()
        for node in outputs:
            if not isinstance(node, ClassMethodNode):
                raise ValueError(
                    f"The output of a compiled graph must be a method of an actor, not {node!r}."
                )
        given = {node.get_stable_uuid() for node in outputs} | {self.output.get_stable_uuid()}
        leaves = []
        for node in self.nodes:
            used = node._downstream_nodes or node.get_stable_uuid() in given
            if isinstance(node, ClassMethodNode) and not used:
                leaves.append(node.get_method_name())
        if leaves:
            raise ValueError(
                "Compiled DAG doesn't support leaf nodes, i.e., nodes that don't have downstream "
                "nodes and are not "
                f"output nodes. There are {len(leaves)} leaf nodes in the DAG. Please add the outputs "
                f"of {leaves} "
                "to the MultiOutputNode."
            )

    # -- order and channels

    def _in_order(self) -> list[ClassMethodNode]:
        """The calls, each after those it depends on, else in the order in which they were bound."""
        by_id = {node.get_stable_uuid(): node for node in self.calls}
        waits = {
            key: {c.get_stable_uuid() for c in map(call_of, n.get_args()) if c} for key, n in by_id.items()
        }
        ready = [(node._get_bind_index() or 0, key) for key, node in by_id.items() if not waits[key]]
        heapq.heapify(ready)
        ordered = []
        while ready:
            _, key = heapq.heappop(ready)
            ordered.append(by_id[key])
            for other, needs in waits.items():
                if key in needs:
                    needs.discard(key)
                    if not needs:
                        heapq.heappush(ready, (by_id[other]._get_bind_index() or 0, other))
        return ordered

    def _connect(self) -> None:
        for node in self.calls:
            me = actor_of(node)
            index = self.index[node.get_stable_uuid()]
            for arg in node.get_args():
                if not isinstance(arg, DAGNode):
                    continue
                self.tasks[self.index[arg.get_stable_uuid()]].downstream_task_idxs[index] = me
                call = call_of(arg)
                if call is None:
                    self._add_reader(INPUT, me)
                elif actor_of(call) != me:
                    self._add_reader(self._channel(call), me)
        for output in self._output_nodes():
            call = call_of(output)
            assert call is not None
            self.tasks[self.index[call.get_stable_uuid()]].downstream_task_idxs[-1] = None
            self._add_reader(self._channel(call), DRIVER)

    def _channel(self, call: ClassMethodNode) -> int:
        key = call.get_stable_uuid()
        number = self._channel_of.setdefault(key, len(self._channel_of) + 1)
        self.writers[number] = actor_of(call)
        return number

    def _add_reader(self, channel: int, who: Any) -> None:
        readers = self.readers.setdefault(channel, [])
        if who not in readers:
            readers.append(who)

    # -- what the actors do

    def _specs(self) -> dict[bytes, list[TaskSpec]]:
        specs: dict[bytes, list[TaskSpec]] = {id: [] for id in self.actors}
        for node in self.calls:
            key = node.get_stable_uuid()
            inputs = []
            args = list(node.get_args())
            for position, arg in enumerate(args):
                if isinstance(arg, DAGNode):
                    args[position] = None
                    inputs.append((position, self._source(arg, actor_of(node))))
            function = None
            if isinstance(node, CollectiveOutputNode):
                operation = node.collective_op
                assert operation is not None
                ranks = [handle._id for handle in operation.actor_handles if handle is not None]
                function = operation.function_for(ranks.index(actor_of(node)))
            specs[actor_of(node)].append(
                TaskSpec(
                    index=self.index[key],
                    name=node.get_method_name(),
                    function=function,
                    args=tuple(args),
                    kwargs=node.get_kwargs(),
                    inputs=tuple(inputs),
                    num_returns=node.num_returns,
                    output=self._channel_of.get(key),
                )
            )
        return specs

    def _source(self, arg: DAGNode, me: bytes) -> Source:
        device = arg._type_hint.device if arg._type_hint is not None else "default"
        call = call_of(arg)
        if call is None:
            keys: tuple[Any, ...] = ()
            if isinstance(arg, InputAttributeNode) and not self.single:
                keys = (0 if isinstance(arg.key, int) else 1, arg.key)
            return Source(INPUT, None, keys, device)
        assert isinstance(arg, ClassMethodNode)
        keys = () if arg.output_idx is None else (arg.output_idx,)
        if device == "default" and call._type_hint is not None:
            device = call._type_hint.device
        if actor_of(call) == me:
            return Source(None, self.index[call.get_stable_uuid()], keys)
        return Source(self._channel_of[call.get_stable_uuid()], None, keys, device)

    @property
    def single(self) -> bool:
        """Whether the input channel brings the only argument as it is."""
        return self.direct or (self.positional == 1 and not self.keywords)

    def _output(self, node: DAGNode) -> tuple[int, tuple[Any, ...]]:
        call = call_of(node)
        assert call is not None and isinstance(node, ClassMethodNode)
        return self._channel_of[call.get_stable_uuid()], () if node.output_idx is None else (node.output_idx,)


def call_of(node: Any) -> ClassMethodNode | None:
    """The call that makes the value of ``node``; None for the input and for what is no node."""
    if not isinstance(node, ClassMethodNode):
        return None
    return node.class_method_call if node.is_class_method_output else node


def actor_of(node: ClassMethodNode) -> bytes:
    """Id of the actor whose method the node calls."""
    handle = node._get_actor_handle()
    assert handle is not None
    return handle._id


def node_is_nested(output: DAGNode) -> bool:
    """Whether other nodes take the output node as an argument."""
    return bool(output._downstream_nodes)
