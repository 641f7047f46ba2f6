"""A bound call of a remote function."""

from __future__ import annotations

from typing import Any

from rayjup.core.api import remote
from rayjup.core.remote_function import RemoteFunction
from rayjup.dag.dag_node import DAGNode


class FunctionNode(DAGNode):
    """A call of a remote function, made by ``function.bind(...)``."""

    def __init__(
        self,
        func_body: Any,
        func_args: Any,
        func_kwargs: dict[str, Any],
        func_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        # A RemoteFunction as it is keeps what it prepared for calls: options and the pickled body.
        self._remote = func_body if isinstance(func_body, RemoteFunction) else None
        self._body = func_body._function if self._remote is not None else func_body
        super().__init__(func_args, func_kwargs, func_options, other_args_to_resolve)

    def _copy_impl(self, args: Any, kwargs: Any, options: Any, other: Any) -> FunctionNode:
        return FunctionNode(self._remote or self._body, args, kwargs, options, other)

    def _execute_impl(self, *args: Any, **kwargs: Any) -> Any:
        function = self._remote
        if function is None:
            function = remote(self._body)
            if self._bound_options:
                function = function.options(**self._bound_options)
        return function.remote(*self._bound_args, **self._bound_kwargs)

    def _label(self) -> str:
        return getattr(self._body, "__qualname__", repr(self._body))
