"""Compiled graphs as pictures and words."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from rayjup.dag._plan import DRIVER, CompiledTask, actor_of, call_of
from rayjup.dag.class_node import ClassMethodNode
from rayjup.dag.dag_node import DAGNode
from rayjup.dag.input_node import InputAttributeNode, InputNode
from rayjup.dag.output_node import MultiOutputNode
from rayjup.dag.vis_utils import render

if TYPE_CHECKING:
    from rayjup.dag.compiled_dag_node import CompiledDAG

_COLORS = ("#8dd3c7", "#ffffb3", "#bebada", "#fb8072", "#80b1d3", "#fdb462", "#b3de69", "#fccde5")


def channel_details(graph: CompiledDAG, channel: Any, downstream_actor_id: str) -> str:
    """What a channel of the graph is, and how the given reader gets its data."""
    for number, known in graph._channels.items():
        if known is not channel:
            continue
        plan = graph.plan
        readers = [DRIVER if who == DRIVER else who.hex() for who in plan.readers[number]]
        if downstream_actor_id not in readers:
            raise ValueError(
                f"the actor {downstream_actor_id!r} does not read this channel; its readers are "
                f"{', '.join(readers)}"
            )
        layout = known.layout
        return (
            f"shared memory, {layout.slots} slots of {layout.slot_bytes} bytes, {layout.readers} reader(s), "
            f"this one number {readers.index(downstream_actor_id)}"
        )
    raise ValueError(f"{channel!r} is not a channel of this compiled graph")


def label_of(task: CompiledTask) -> str:
    """A node in a picture."""
    node = task.dag_node
    if isinstance(node, InputNode):
        return "InputNode"
    if isinstance(node, InputAttributeNode):
        return f"InputAttributeNode[{node.key}]"
    if isinstance(node, MultiOutputNode):
        return "MultiOutputNode"
    if isinstance(node, ClassMethodNode):
        handle = node._get_actor_handle()
        assert handle is not None
        if node.is_class_method_output:
            return f"ClassMethodOutputNode[{node.output_idx}]"
        return f"Actor: {handle._meta['class_name']} {handle._id.hex()[:6]} Method: {node.get_method_name()}"
    return type(node).__name__


def _edges(graph: CompiledDAG) -> list[tuple[int, int, DAGNode]]:
    found = []
    for index, task in graph.plan.tasks.items():
        parents = list(task.dag_node.get_args())
        if isinstance(task.dag_node, InputAttributeNode):
            parents = [graph.plan.input]
        for arg in parents:
            if isinstance(arg, DAGNode):
                found.append((graph.plan.index[arg.get_stable_uuid()], index, arg))
    return found


def visualize(graph: CompiledDAG, filename: str, format: str, view: bool, details: bool) -> str:
    """Text, or DOT language and a picture in a file; see ``CompiledDAG.visualize``."""
    if format == "ascii":
        if details:
            raise ValueError("Parameters 'channel_details' are not compatible with 'ascii' format.")
        return _ascii(graph)
    dot = _dot(graph, details)
    if format != "dot":
        path = f"{filename}.{format}"
        render(dot, path, format)
        if view:
            subprocess.Popen(["xdg-open", os.path.abspath(path)])
    return dot


def _ascii(graph: CompiledDAG) -> str:
    tasks = graph.plan.tasks
    lines = ["Nodes Information:"]
    lines += [f'{index} [label="{label_of(task)}"]' for index, task in tasks.items()]
    lines += ["", "Edges Information:"]
    lines += [f"{start} ---> {end}" for start, end, _ in _edges(graph)]
    lines += ["", "Executions:"]
    for id, specs in graph.plan.specs.items():
        calls = " -> ".join(f"{spec.name} ({spec.index})" for spec in specs)
        lines.append(f"{graph.plan.actors[id]!r}: {calls}")
    return "\n".join(lines) + "\n"


def _dot(graph: CompiledDAG, details: bool) -> str:
    plan = graph.plan
    colors = {id: _COLORS[i % len(_COLORS)] for i, id in enumerate(plan.actors)}
    lines = ["digraph compiled_graph {", "  node [style=filled, fillcolor=white, shape=box];"]
    for index, task in plan.tasks.items():
        node = task.dag_node
        color = colors[actor_of(node)] if isinstance(node, ClassMethodNode) else "white"
        lines.append(f'  {index} [label="{label_of(task)}", fillcolor="{color}"];')
    for start, end, source in _edges(graph):
        extra = ""
        if details:
            call = call_of(source)
            number = 0 if call is None else plan._channel_of.get(call.get_stable_uuid())
            layout = graph._channels[number].layout if number is not None else None
            kind = f"shared memory, {layout.slots} x {layout.slot_bytes} B" if layout else "in the actor"
            extra = f' [label="{kind}"]'
        lines.append(f"  {start} -> {end}{extra};")
    return "\n".join([*lines, "}"]) + "\n"
