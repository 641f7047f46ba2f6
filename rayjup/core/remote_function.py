"""``@remote`` on a function."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from rayjup.base.options import TaskOptions
from rayjup.base.serialization import pack
from rayjup.core import session as sessions
from rayjup.core.placement import shape_of
from rayjup.engine.runtime.functions import Function, describe


class RemoteFunction:
    """A function that runs elsewhere when its ``remote`` method is called.

    Made by :func:`rayjup.remote`. Mirrors Ray's ``RemoteFunction``.

    Examples
    --------
    >>> import rayjup as ray
    >>> @ray.remote
    ... def double(x):
    ...     return 2 * x
    >>> double.options(num_cpus=0.5).remote
    <bound method ...
    """

    def __init__(self, function: Callable[..., Any], options: TaskOptions) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._options = options
        self._name = options.name or describe(function)
        self._arity = _arity(function)
        self._session = -1
        self._prepared: tuple[Any, Any, Function, Any] | None = None
        count = options.num_returns
        if count is None:
            count = "streaming" if inspect.isgeneratorfunction(function) else 1
        self._num_returns = count
        self._per_call = {"name": options.name} if options.name else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{self._name}()', "
            f"try '{self._name}.remote()'."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function on the cluster.

        Returns
        -------
        ObjectRef
            Or a list of them with ``num_returns`` above 1, None with 0.

        Raises
        ------
        TypeError
            Arguments that the function does not take, or that cannot be serialized.
        """
        prepared = self._prepared
        if prepared is None or prepared[0] is not sessions._session or prepared[0].runtime.closed:
            prepared = self._prepare()
        arity = self._arity
        if arity is None or kwargs or not arity[0] <= len(args) <= arity[1]:
            inspect.signature(self._function).bind(*args, **kwargs)
        _, runtime, function, pool = prepared
        count = self._num_returns
        options = self._options
        refs = runtime.tasks.submit(
            function, pool, args, kwargs, count, options.max_retries, options.retry_exceptions, self._per_call
        )
        if count == 1:
            return refs[0]
        return refs if count else None

    def options(self, **changes: Any) -> RemoteFunction:
        """The same function with other options; see :func:`rayjup.remote` for their names."""
        changed = RemoteFunction(self._function, self._options.merged(**changes))
        changed._prepared = None
        return changed

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Note the call down as a node of a graph; see ``rayjup.dag``."""
        return dag_module().FunctionNode(self, args, kwargs, self._options.given())

    def _prepare(self) -> tuple[Any, Any, Function, Any]:
        session = sessions.require()
        if not isinstance(self._num_returns, int):
            raise ValueError(
                f"num_returns={self._num_returns!r} of {self._name}(): generator tasks are not supported yet; "
                "return a list, or give num_returns as a number."
            )
        try:
            packed = pack(self._function)
        except Exception as error:  # whatever the pickling of captured values raises
            raise TypeError(
                f"Could not serialize the function {self._name}: {error}. It refers to something that cannot "
                "travel to another process (an open file, a lock, a connection); "
                "rayjup.util.inspect_serializability(function) shows what."
            ) from error
        if packed.refs:
            session.extra.setdefault("captured", []).extend(packed.refs)
            blob = _with_refs(session.runtime, packed)
        else:
            blob = packed.data if not packed.buffers else _with_buffers(packed)
        function = Function(describe(self._function), blob)
        key, shape = shape_of(self._options.resource_request(), self._options, "task")
        pool = session.runtime.tasks.pool(key, shape)
        self._prepared = (session, session.runtime, function, pool)
        return self._prepared

    def __reduce__(self) -> Any:
        return RemoteFunction, (self._function, self._options)

    def __repr__(self) -> str:
        return f"<rayjup.RemoteFunction {self._name}>"


def dag_module() -> Any:
    """``rayjup.dag``, which is above this layer and loaded only when ``bind`` is used."""
    return importlib.import_module("rayjup.dag")


def _arity(function: Callable[..., Any]) -> tuple[int, float] | None:
    """How many positional arguments a call may have, where that alone decides; else None."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return (0, float("inf"))
    least, most = 0, 0.0
    for p in parameters:
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            most += 1
            least += p.default is p.empty
        elif p.kind is p.VAR_POSITIONAL:
            most = float("inf")
        elif p.kind is p.KEYWORD_ONLY and p.default is p.empty:
            return None
    return least, most


def _with_buffers(packed: Any) -> bytes:
    import pickle

    return pickle.dumps(_Late(packed.data, [bytes(b) for b in packed.buffers], []))


def _with_refs(runtime: Any, packed: Any) -> bytes:
    """A function that captured refs: they stay pinned for the session (rule 3 of ownership)."""
    import pickle

    return pickle.dumps(_Late(packed.data, [bytes(b) for b in packed.buffers], list(packed.refs)))


class _Late:
    """Pickles to the function itself, restored with its buffers and refs."""

    def __init__(self, data: bytes, buffers: list[bytes], refs: list[Any]) -> None:
        self.parts = (data, buffers, refs)

    def __reduce__(self) -> Any:
        from rayjup.base.serialization import unpack

        return unpack, self.parts
