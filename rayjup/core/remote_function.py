"""``@remote`` on a function."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from rayjup.base.options import TaskOptions
from rayjup.core import environments
from rayjup.core import session as sessions
from rayjup.core.captured import blob_of, packed_code, remember
from rayjup.core.placement import task_placement
from rayjup.core.returns import returns_of
from rayjup.engine.lane import reactor
from rayjup.engine.runtime.functions import Function, describe
from rayjup.engine.runtime.pools import Pool
from rayjup.engine.runtime.runtime import Runtime
from rayjup.engine.runtime.streams import DYNAMIC, STREAMING

Prepared = tuple[sessions.Session, Runtime, Function, Pool, "tuple[bytes, bool] | None"]
"""What calls need; the last is the placement group of the caller, which may capture what it calls."""


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
        self._prepared: Prepared | None = None
        self._packed: tuple[sessions.Session, Function] | None = None
        generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        if isinstance(options.num_returns, str) and inspect.isfunction(function) and not generates:
            raise ValueError(
                f"num_returns={options.num_returns!r} can only be used with generator functions (functions "
                f"that use 'yield'). {describe(function)} is not one: yield items, or leave out num_returns."
            )
        self._num_returns = returns_of(options.num_returns, inspect.isgeneratorfunction(function))
        per_call: dict[str, Any] = {"name": options.name} if options.name else {}
        if options._generator_backpressure_num_objects:
            per_call["backpressure"] = options._generator_backpressure_num_objects
        if not options.enable_task_events:
            per_call["events"] = False
        self._per_call = per_call or None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{self._name} is a remote function, which cannot be called directly: write "
            f"{self._name}.remote(…), which returns a ref, and ray.get(ref) for the value."
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
        if (
            prepared is None
            or prepared[0] is not sessions._session
            or prepared[1].closed
            or prepared[1].group != prepared[4]
        ):
            prepared = self._prepare()
        arity = self._arity
        if arity is None or kwargs or not arity[0] <= len(args) <= arity[1]:
            inspect.signature(self._function).bind(*args, **kwargs)
        _, runtime, function, pool, _ = prepared
        count = self._num_returns
        options = self._options
        refs = runtime.tasks.submit(
            function, pool, args, kwargs, count, options.max_retries, options.retry_exceptions, self._per_call
        )
        if reactor.postponed:
            reactor.deliver()
        if count == 1 or count == DYNAMIC:
            return refs[0]
        if count == STREAMING:
            return runtime.tasks.generator(refs[0], self._per_call)
        return refs if count else None

    def options(self, **changes: Any) -> RemoteFunction:
        """The same function with other options; see :func:`rayjup.remote` for their names."""
        return RemoteFunction(self._function, self._options.merged(**changes))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Note the call down as a node of a graph; see ``rayjup.dag``."""
        return dag_module().FunctionNode(self, args, kwargs, self._options.given())

    def _prepare(self) -> Prepared:
        session = sessions.require()
        runtime = session.runtime
        if self._packed is None or self._packed[0] is not session:
            self._packed = (session, self._pack(session))
        environment = environments.of(session).key(self._options.runtime_env)
        placement = task_placement(runtime, self._options, self._name, environment)
        pool = runtime.tasks.pool(placement.key, placement.shape)
        per_call = dict(self._per_call or {})
        per_call.pop("group", None)
        if placement.group is not None:
            per_call["group"] = placement.group
        self._per_call = per_call or None
        self._prepared = (session, runtime, self._packed[1], pool, runtime.group)
        return self._prepared

    def _pack(self, session: sessions.Session) -> Function:
        packed = packed_code(self._function, f"the function {self._name}")
        remember(self, self._function)
        limit = self._options.calls_per_process
        return Function(describe(self._function), blob_of(packed, session, self._function), limit)

    def forget_sent(self) -> None:
        """Have the function sent anew with the next call: what it refers to has changed."""
        self._packed = self._prepared = None

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
