"""Collective operations among the actors of a compiled graph.

``allreduce.bind(nodes)`` and the others take one node per actor and give one node per actor: what
that actor gets. The tensors (torch's on the CPU, or numpy arrays) travel through shared memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

__all__ = ["allgather", "allreduce", "reducescatter"]


class _Collective:
    """A collective operation that can be bound."""

    def __init__(self, kind: str, what: str) -> None:
        self._kind = kind
        self.__doc__ = what

    def bind(self, input_nodes: Sequence[Any], op: Any = "SUM", transport: Any = None) -> list[Any]:
        """Note the operation down in a graph.

        Parameters
        ----------
        input_nodes
            One method call of each actor, whose results are the tensors.
        op
            SUM, PRODUCT, MIN, MAX or AVG (names, or members of ``ReduceOp``); for reductions.
        transport
            None, ``"auto"`` or ``"shm"``: shared memory.

        Returns
        -------
        list of CollectiveOutputNode
            What each actor gets, in the same order.
        """
        if transport not in (None, "auto", "shm"):
            raise ValueError(
                f"transport={transport!r} is not there: rayjup has no transport between GPUs, tensors travel "
                "through shared memory. Leave the transport out."
            )
        # Graphs are above this package, which they use for their channels.
        graphs = importlib.import_module("rayjup.dag.collective_node")
        return list(graphs.bind_collective(input_nodes, self._kind, op))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{self._kind} is for graphs: use {self._kind}.bind(nodes). Between actors and tasks use "
            "rayjup.util.collective."
        )


allreduce = _Collective("allreduce", "Each actor gets the reduction of all tensors.")
allgather = _Collective("allgather", "Each actor gets all tensors, joined along the first dimension.")
reducescatter = _Collective("reducescatter", "Each actor gets its share of the rows of the reduction.")
