"""Bound actors and bound calls of their methods."""

from __future__ import annotations

import itertools
from typing import Any

from rayjup.core.actor import ActorClass, ActorHandle
from rayjup.core.api import remote
from rayjup.dag.constants import (
    BIND_INDEX_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from rayjup.dag.dag_node import DAGNode

_bind_indexes = itertools.count()


class ClassNode(DAGNode):
    """An actor that each execution of the graph makes; ``node.method.bind(...)`` calls its methods."""

    def __init__(
        self,
        cls: Any,
        cls_args: Any,
        cls_kwargs: dict[str, Any],
        cls_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        from rayjup.dag.input_node import InputAttributeNode, InputNode

        self._remote = cls if isinstance(cls, ActorClass) else None
        self._body = cls._class if self._remote is not None else cls
        self._last_call: ClassMethodNode | None = None
        super().__init__(cls_args, cls_kwargs, cls_options, other_args_to_resolve)
        if any(isinstance(node, (InputNode, InputAttributeNode)) for node in self._upstream_nodes):
            raise ValueError(
                "InputNode cannot be used as args, kwargs, or other_args_to_resolve of a ClassNode: "
                "the input is "
                "not there when the actor is made. Give it to one of the actor's methods."
            )

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> ClassNode:
        return ClassNode(self._remote or self._body, args, kwargs, options, other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        class_ = self._remote
        if class_ is None:
            class_ = remote(self._body)
            if self._bound_options:
                class_ = class_.options(**self._bound_options)
        return class_.remote(*self._bound_args, **self._bound_kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_body" not in self.__dict__:
            raise AttributeError(name)
        if name in ("bind", "remote") and not hasattr(self._body, name):
            return super().__getattr__(name)
        getattr(self._body, name)  # raises for a method the class has not got
        return _UnboundClassMethodNode(self, name, {})

    def _label(self) -> str:
        return getattr(self._body, "__qualname__", repr(self._body))


class _UnboundClassMethodNode:
    """A method of a bound actor, before its arguments are bound."""

    def __init__(self, actor: ClassNode, method_name: str, options: dict[str, Any]) -> None:
        self._actor = actor
        self._method_name = method_name
        self._options = options

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """Note down a call of the method; calls of one actor keep the order of their binding."""
        other = {
            PARENT_CLASS_NODE_KEY: self._actor,
            PREV_CLASS_METHOD_CALL_KEY: self._actor._last_call,
        }
        node = ClassMethodNode(self._method_name, args, kwargs, self._options, other)
        self._actor._last_call = node
        return node

    def options(self, **options: Any) -> _UnboundClassMethodNode:
        """The same method with options."""
        return _UnboundClassMethodNode(self._actor, self._method_name, options)

    def __getattr__(self, name: str) -> Any:
        if name == "remote":
            raise AttributeError(
                ".remote() cannot be used on a method of a ClassNode: use .bind() to note down the call, "
                "and .execute() on the last node to make it."
            )
        raise AttributeError(name)


class ClassMethodNode(DAGNode):
    """A call of an actor's method, made by ``method.bind(...)``; or one of several values it returns."""

    def __init__(
        self,
        method_name: str,
        method_args: Any,
        method_kwargs: dict[str, Any],
        method_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any],
    ) -> None:
        self._method_name = method_name
        self._parent_class_node: Any = other_args_to_resolve.get(PARENT_CLASS_NODE_KEY)
        self._bind_index: int | None = other_args_to_resolve.get(BIND_INDEX_KEY)
        self._is_class_method_output = bool(other_args_to_resolve.get(IS_CLASS_METHOD_OUTPUT_KEY))
        super().__init__(method_args, method_kwargs, method_options, other_args_to_resolve)

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> ClassMethodNode:
        return ClassMethodNode(self._method_name, args, kwargs, options, other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self._is_class_method_output:
            return self._bound_args[0][self._bound_args[1]]
        method = getattr(self._parent_class_node, self._method_name)
        if self._bound_options:
            method = method.options(**self._bound_options)
        return method.remote(*self._bound_args, **self._bound_kwargs)

    def get_method_name(self) -> str:
        """The method's name."""
        return self._method_name

    def _get_bind_index(self) -> int | None:
        return self._bind_index

    def _get_actor_handle(self) -> ActorHandle | None:
        parent = self._parent_class_node
        return parent if isinstance(parent, ActorHandle) else None

    @property
    def num_returns(self) -> Any:
        """How many values the method returns; ``"streaming"`` or ``"dynamic"`` for generators."""
        if self._is_class_method_output:
            return self._bound_args[0].num_returns
        count = self._bound_options.get("num_returns")
        return 1 if count is None else count

    @property
    def is_class_method_call(self) -> bool:
        """Whether the node is a call, not one of the values of a call."""
        return not self._is_class_method_output

    @property
    def is_class_method_output(self) -> bool:
        """Whether the node is one of several values of a call."""
        return self._is_class_method_output

    @property
    def class_method_call(self) -> ClassMethodNode | None:
        """For one of several values: the call that returns them."""
        return self._bound_args[0] if self._is_class_method_output else None

    @property
    def output_idx(self) -> int | None:
        """For one of several values: which one it is."""
        return self._bound_args[1] if self._is_class_method_output else None

    def _label(self) -> str:
        return f"{self._method_name}()"


def bind_method(handle: ActorHandle, name: str, options: dict[str, Any], args: Any, kwargs: Any) -> Any:
    """What ``handle.name.bind(...)`` gives: a node, or a tuple of one for each value."""
    other = {PARENT_CLASS_NODE_KEY: handle, BIND_INDEX_KEY: next(_bind_indexes)}
    node = ClassMethodNode(name, args, kwargs, options, other)
    count = options["num_returns"]
    if not isinstance(count, int) or count <= 1:
        return node
    output = {**other, IS_CLASS_METHOD_OUTPUT_KEY: True}
    return tuple(ClassMethodNode(f"return_idx_{i}", (node, i), {}, {}, output) for i in range(count))
