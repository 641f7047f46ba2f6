"""Collective operations in compiled graphs.

Each participant gets the tensors of all the others through their channels and computes the result
itself, so a collective operation is a task like any other.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from rayjup.dag.class_node import ClassMethodNode
from rayjup.dag.constants import COLLECTIVE_OPERATION_KEY, IS_CLASS_METHOD_OUTPUT_KEY
from rayjup.dag.dag_node import DAGNode


class CollectiveOperation:
    """An operation among actors.

    Parameters
    ----------
    inputs
        One node per actor.
    kind
        ``"allreduce"``, ``"allgather"`` or ``"reducescatter"``.
    op
        How to reduce: a ``ReduceOp``, or the name of one.
    """

    def __init__(self, inputs: Sequence[DAGNode], kind: str, op: Any = "SUM") -> None:
        if kind not in _KINDS:
            raise ValueError(f"unknown collective operation {kind!r}: there are {', '.join(_KINDS)}")
        if not inputs:
            raise ValueError("Expected non-empty input list: give one node per actor.")
        if not all(isinstance(node, DAGNode) for node in inputs):
            raise ValueError(f"Expected all input nodes to be DAGNode, but got {list(inputs)}.")
        if len({node._stable_uuid for node in inputs}) != len(inputs):
            raise ValueError("Expected unique input nodes, but found duplicates: give one node per actor.")
        handles = [n._get_actor_handle() if isinstance(n, ClassMethodNode) else None for n in inputs]
        if any(handle is None for handle in handles):
            raise ValueError("Expected an actor handle from the input node: bind methods of existing actors.")
        if len(set(handles)) != len(handles):
            raise ValueError("Expected unique actor handles, but found duplicate actor handles.")
        name = op.name if isinstance(op, enum.Enum) else str(op)
        self.inputs = list(inputs)
        self.kind = kind
        self.op = {"AVERAGE": "AVG"}.get(name.upper(), name.upper())
        if self.op not in ("SUM", "PRODUCT", "MIN", "MAX", "AVG"):
            raise ValueError(f"unknown reduction {op!r}: there are SUM, PRODUCT, MIN, MAX and AVG")
        self.actor_handles = handles

    def function_for(self, rank: int) -> Callable[..., Any]:
        """What the actor of this rank computes from the tensors of all."""
        return _Compute(self.kind, self.op, rank)

    def __repr__(self) -> str:
        return f"CollectiveOperation({self.kind}, {self.op}, {len(self.inputs)} actors)"


class _Compute:
    """The computation of one participant; travels to its actor."""

    def __init__(self, kind: str, op: str, rank: int) -> None:
        self.kind = kind
        self.op = op
        self.rank = rank

    def __call__(self, *tensors: Any) -> Any:
        kinds = {type(t).__module__.partition(".")[0] for t in tensors}
        if not kinds <= {"torch", "numpy"} or len(kinds) != 1:
            raise ValueError("Expected a torch tensor for each input node (or a numpy array for each)")
        return _KINDS[self.kind](tensors, self.op, self.rank)


def _reduce(tensors: Sequence[Any], op: str) -> Any:
    first = tensors[0]
    if any(tuple(t.shape) != tuple(first.shape) for t in tensors):
        raise ValueError(f"the tensors differ in shape: {[tuple(t.shape) for t in tensors]}")
    if type(first).__module__.startswith("torch"):
        import torch

        minimum, maximum = torch.minimum, torch.maximum
        result = first.clone()
    else:
        import numpy

        minimum, maximum = numpy.minimum, numpy.maximum
        result = first.copy()
    for other in tensors[1:]:
        if op in ("SUM", "AVG"):
            result = result + other
        elif op == "PRODUCT":
            result = result * other
        else:
            result = (minimum if op == "MIN" else maximum)(result, other)
    return result / len(tensors) if op == "AVG" else result


def _allreduce(tensors: Sequence[Any], op: str, rank: int) -> Any:
    return _reduce(tensors, op)


def _allgather(tensors: Sequence[Any], op: str, rank: int) -> Any:
    if type(tensors[0]).__module__.startswith("torch"):
        import torch

        return torch.cat(list(tensors))
    import numpy

    return numpy.concatenate(tensors)


def _reducescatter(tensors: Sequence[Any], op: str, rank: int) -> Any:
    rows, count = tensors[0].shape[0], len(tensors)
    if rows % count:
        raise ValueError(
            f"the first dimension of the input tensor ({rows}) must be divisible by the number of "
            f"actors ({count})"
        )
    share = rows // count
    return _reduce([t[rank * share : (rank + 1) * share] for t in tensors], op)


_KINDS: dict[str, Callable[[Sequence[Any], str, int], Any]] = {
    "allreduce": _allreduce,
    "allgather": _allgather,
    "reducescatter": _reducescatter,
}


class CollectiveOutputNode(ClassMethodNode):
    """What one actor gets from a collective operation; exists in compiled graphs only."""

    def __init__(
        self,
        method_name: str,
        method_args: Any,
        method_kwargs: dict[str, Any],
        method_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any],
    ) -> None:
        self._collective_op: CollectiveOperation | None = other_args_to_resolve.get(COLLECTIVE_OPERATION_KEY)
        if self._collective_op is None and not other_args_to_resolve.get(IS_CLASS_METHOD_OUTPUT_KEY):
            raise ValueError(
                "Expected a collective operation: use rayjup.experimental.collective to bind one."
            )
        super().__init__(method_name, method_args, method_kwargs, method_options, other_args_to_resolve)

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> CollectiveOutputNode:
        return CollectiveOutputNode(self._method_name, args, kwargs, options, other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "CollectiveOutputNode is only supported with dag.experimental_compile(): the actors exchange "
            "their tensors through the channels of a compiled graph."
        )

    @property
    def num_returns(self) -> int:
        """One: what the actor gets."""
        return 1

    @property
    def collective_op(self) -> CollectiveOperation | None:
        """The operation."""
        return self._collective_op


def bind_collective(inputs: Sequence[DAGNode], kind: str, op: Any = "SUM") -> list[CollectiveOutputNode]:
    """Nodes for what each actor gets from the operation on the results of ``inputs``."""
    from rayjup.dag.class_node import _bind_indexes
    from rayjup.dag.constants import BIND_INDEX_KEY, PARENT_CLASS_NODE_KEY

    operation = CollectiveOperation(inputs, kind, op)
    return [
        CollectiveOutputNode(
            f"{kind}.{operation.op}",
            tuple(inputs),
            {},
            {},
            {
                PARENT_CLASS_NODE_KEY: handle,
                BIND_INDEX_KEY: next(_bind_indexes),
                COLLECTIVE_OPERATION_KEY: operation,
            },
        )
        for handle in operation.actor_handles
    ]
