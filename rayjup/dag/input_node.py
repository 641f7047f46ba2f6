"""What stands for the input in a graph."""

from __future__ import annotations

from typing import Any

from rayjup.dag.dag_node import DAGNode

IN_CONTEXT_MANAGER = "__in_context_manager__"
_RESULT_TYPE = "result_type_string"


class InputNode(DAGNode):
    """Stands for what ``execute`` will be called with; use it in a ``with`` statement.

    ``node[0]`` is the first positional argument (or item of a single one), ``node.x`` the keyword
    argument ``x`` (or the attribute of a single one), ``node["x"]`` likewise by key.

    Parameters
    ----------
    input_type
        The type of the input, or a mapping from index or key to type; for display.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.dag import InputNode
    >>> @ray.remote
    ... def add(a, b):
    ...     return a + b
    >>> with InputNode() as x:
    ...     graph = add.bind(x[0], x.more)
    >>> ray.get(graph.execute(1, more=2))
    3
    """

    def __init__(
        self,
        *args: Any,
        input_type: Any = None,
        _other_args_to_resolve: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if args or kwargs:
            raise ValueError(
                "InputNode should not take any args or kwargs: the input is given to execute() of the graph."
            )
        self.input_attribute_nodes: dict[Any, InputAttributeNode] = {}
        self.input_type = input_type
        other = dict(_other_args_to_resolve or {})
        if isinstance(input_type, type):
            other[_RESULT_TYPE] = input_type.__name__
        super().__init__([], {}, {}, other)

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> InputNode:
        return InputNode(_other_args_to_resolve=other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if not self._bound_other_args_to_resolve.get(IN_CONTEXT_MANAGER):
            raise AssertionError(
                "InputNode is a singleton instance that should be only used in context manager for "
                "dag building "
                "and execution: build the graph inside `with InputNode() as x:`."
            )
        if len(args) == 1 and not kwargs:
            return args[0]
        return DAGInputData(*args, **kwargs)

    def set_context(self, key: str, val: Any) -> None:
        """Keep ``val`` under ``key`` with the node, through copies and pickles."""
        self._bound_other_args_to_resolve[key] = val

    def get_result_type(self) -> str | None:
        """Name of the input's type, where it was given."""
        return self._bound_other_args_to_resolve.get(_RESULT_TYPE)

    def __enter__(self) -> InputNode:
        self.set_context(IN_CONTEXT_MANAGER, True)
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def __getattr__(self, key: str) -> Any:
        hidden = key.startswith(("__", "_repr_", "_ipython_"))  # asked for by Python and by notebooks
        if hidden or key in ("bind", "remote") or "input_attribute_nodes" not in self.__dict__:
            return super().__getattr__(key)
        return self._part(key, "__getattr__")

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        if not isinstance(key, (int, str)):
            raise AssertionError(
                "Please only use int index or str as first-level key to access fields of dag input, "
                f"not {key!r}."
            )
        return self._part(key, "__getitem__")

    def __iter__(self) -> Any:
        raise TypeError("an InputNode cannot be iterated: its length is not known before execute()")

    def _part(self, key: int | str, accessor: str) -> InputAttributeNode:
        node = self.input_attribute_nodes.get(key)
        if node is None:
            kind = self.input_type.get(key) if isinstance(self.input_type, dict) else None
            name = getattr(kind, "__name__", None)
            node = self.input_attribute_nodes[key] = InputAttributeNode(self, key, accessor, name)
        return node

    def _label(self) -> str:
        return "__InputNode__"


class InputAttributeNode(DAGNode):
    """A part of the input: an argument of ``execute``, or an item or attribute of its only argument."""

    def __init__(
        self, dag_input_node: Any, key: int | str, accessor_method: str, input_type: str | None = None
    ) -> None:
        self._dag_input_node = dag_input_node
        self._key = key
        self._accessor_method = accessor_method
        other = {
            "dag_input_node": dag_input_node,
            "key": key,
            "accessor_method": accessor_method,
            _RESULT_TYPE: input_type,
        }
        super().__init__([], {}, {}, other)

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> InputAttributeNode:
        return InputAttributeNode(
            other["dag_input_node"], other["key"], other["accessor_method"], other[_RESULT_TYPE]
        )

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        return part_of(self._dag_input_node, self._key, self._accessor_method)

    def get_result_type(self) -> str | None:
        """Name of the part's type, where it was given."""
        return self._bound_other_args_to_resolve.get(_RESULT_TYPE)

    @property
    def key(self) -> int | str:
        """Index, attribute or key of the part."""
        return self._key

    def _label(self) -> str:
        return f"[{self._key!r}]"


class DAGInputData:
    """The input of an execution with several arguments: by index or by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args = list(args)
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return self._args[key]
        if isinstance(key, str):
            return self._kwargs[key]
        raise ValueError(
            f"Please only use int index or str as first-level key to access fields of dag input, not {key!r}."
        )


def part_of(data: Any, key: int | str, accessor: str) -> Any:
    """The part of the input that an :class:`InputAttributeNode` stands for."""
    if isinstance(data, DAGInputData) or accessor == "__getitem__":
        return data[key]
    return getattr(data, str(key))
