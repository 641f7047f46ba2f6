"""The end of a graph with several results."""

from __future__ import annotations

from typing import Any

from rayjup.dag.dag_node import DAGNode


class MultiOutputNode(DAGNode):
    """Gives the results of several nodes, in a list.

    Parameters
    ----------
    args
        A list or tuple of nodes.
    """

    def __init__(self, args: Any, other_args_to_resolve: dict[str, Any] | None = None) -> None:
        if not isinstance(args, (list, tuple)):
            raise ValueError(f"Invalid input type for `args`, {type(args)}: give a list or tuple of nodes.")
        super().__init__(list(args), {}, {}, other_args_to_resolve)

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> MultiOutputNode:
        return MultiOutputNode(args, other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return self._bound_args

    def _label(self) -> str:
        return "__MultiOutputNode__"
