"""Graphs of calls: build with ``bind``, run with ``execute``, or compile for speed.

``bind`` of a remote function, actor class or actor method notes a call down as a node instead of
making it. ``node.execute(...)`` makes the calls of the graph; ``node.experimental_compile()``
connects its actors by shared-memory channels, through which executions go without being scheduled.
"""

from __future__ import annotations

from typing import Any

from rayjup.dag.class_node import ClassMethodNode, ClassNode, bind_method
from rayjup.dag.constants import (
    BIND_INDEX_KEY,
    COLLECTIVE_OPERATION_KEY,
    DAGNODE_TYPE_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from rayjup.dag.context import DAGContext
from rayjup.dag.dag_node import DAGNode
from rayjup.dag.dag_operation_future import DAGOperationFuture, GPUFuture
from rayjup.dag.function_node import FunctionNode
from rayjup.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from rayjup.dag.output_node import MultiOutputNode
from rayjup.dag.vis_utils import plot

__all__ = [
    "BIND_INDEX_KEY",
    "COLLECTIVE_OPERATION_KEY",
    "DAGNODE_TYPE_KEY",
    "IS_CLASS_METHOD_OUTPUT_KEY",
    "PARENT_CLASS_NODE_KEY",
    "PREV_CLASS_METHOD_CALL_KEY",
    "ClassMethodNode",
    "ClassNode",
    "CollectiveOutputNode",
    "CompiledDAG",
    "DAGContext",
    "DAGInputData",
    "DAGNode",
    "DAGOperationFuture",
    "FunctionNode",
    "GPUFuture",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
    "bind_method",
    "plot",
]


def __getattr__(name: str) -> Any:
    if name == "CollectiveOutputNode":
        from rayjup.dag.collective_node import CollectiveOutputNode

        return CollectiveOutputNode
    if name == "CompiledDAG":
        from rayjup.dag.compiled_dag_node import CompiledDAG

        return CompiledDAG
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
