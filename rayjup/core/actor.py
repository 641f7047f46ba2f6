"""``@remote`` on a class: actor classes, handles and their methods."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from typing import Any

from rayjup.base import tensors
from rayjup.base.ids import ActorID
from rayjup.base.options import ActorOptions, MethodOptions
from rayjup.core import environments
from rayjup.core import session as sessions
from rayjup.core.arguments import accepted
from rayjup.core.captured import blob_of, packed_code, remember
from rayjup.core.errors import ActorClassInheritanceException
from rayjup.core.placement import actor_placement
from rayjup.core.remote_function import dag_module
from rayjup.core.returns import returns_of
from rayjup.engine.executor import executor as executing
from rayjup.engine.executor.actor_modes import ActorExit, is_async
from rayjup.engine.lane import reactor
from rayjup.engine.runtime.streams import DYNAMIC, STREAMING

_METHOD_OPTIONS = "__rayjup_method_options__"
_SPECIAL_METHODS = ("__ray_call__", "__ray_ready__", "__ray_terminate__")


def method(*args: Any, **kwargs: Any) -> Any:
    """Decorate an actor method with options, such as ``num_returns``.

    Parameters
    ----------
    num_returns
        How many refs a call gives; ``"streaming"`` or ``"dynamic"`` for generators.
    concurrency_group
        The group of the class (its option ``concurrency_groups``) in which the method runs.
    max_task_retries, retry_exceptions
        How often a call is made again when the actor dies in it, or raises one of these exceptions.
    enable_task_events
        False: calls of the method are not recorded.
    tensor_transport
        ``"NIXL"``, ``"GLOO"``, ``"NCCL"`` or ``"CUDA_IPC"``: tensors of torch in the result stay in the
        actor's process, on their device. A call of the same actor that is given the ref uses them as
        they are; other processes get a copy through shared memory, whichever name was given. They must not be
        changed while there are refs to them (:func:`rayjup.experimental.wait_tensor_freed`).

    Raises
    ------
    ValueError
        For an unknown option, or a value outside of its range.

    Examples
    --------
    >>> import rayjup as ray
    >>> @ray.remote
    ... class Pair:
    ...     @ray.method(num_returns=2)
    ...     def both(self):
    ...         return 1, 2
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return args[0]
    if args:
        raise ValueError(
            f"@ray.method was given {args[0]!r}: it takes options by keyword, such as "
            "@ray.method(num_returns=2), or nothing at all."
        )
    options = MethodOptions.parse(**kwargs)

    def decorate(function: Any) -> Any:
        setattr(function, _METHOD_OPTIONS, options)
        return function

    return decorate


class ActorClass:
    """A class whose instances live in processes of their own.

    Made by :func:`rayjup.remote`; ``remote()`` makes an actor and returns its handle.
    """

    def __init__(self, class_: type, options: ActorOptions) -> None:
        self._class = class_
        self._options = options
        self._blob: tuple[sessions.Session, bytes] | None = None
        self._described: dict[str, Any] | None = None
        self.__name__ = class_.__name__
        self.__qualname__ = class_.__qualname__
        self.__module__ = class_.__module__
        self.__doc__ = class_.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{self.__name__} is an actor class, which cannot be instantiated directly: write "
            f"{self.__name__}.remote(…), which returns a handle."
        )

    def __init_subclass__(cls) -> None:
        raise TypeError(
            "Inheriting from actor classes is not supported: derive from the plain class instead."
        )

    def __mro_entries__(self, bases: Any) -> Any:
        raise ActorClassInheritanceException(
            f"{self.__name__} is an actor class, which cannot be a base class: derive from the plain class, "
            "and put @ray.remote on the derived one."
        )

    def options(self, **changes: Any) -> ActorClass:
        """The same class with other options."""
        changed = ActorClass(self._class, self._options.merged(**changes))
        changed._blob = self._blob
        return changed

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Make an actor; its constructor gets the arguments.

        Raises
        ------
        ValueError
            The name is taken.
        TypeError
            Arguments that ``__init__`` does not take, or that cannot be serialized.
        """
        session = sessions.require()
        runtime = session.runtime
        options = self._options
        init = self._class.__init__  # type: ignore[misc]  # the class's own, as called by an instance
        if init is not object.__init__:
            try:
                inspect.signature(init).bind(None, *args, **kwargs)
            except ValueError:
                pass  # a constructor in C without a signature checks for itself
        elif args or kwargs:
            raise TypeError(f"{self.__name__}() takes no arguments")
        actor_id = os.urandom(12) + runtime.job_id
        meta = self._meta()
        self._check_order(meta)
        environment = environments.of(session).key(options.runtime_env)
        placement = actor_placement(runtime, options, self.__name__, environment)
        caller = runtime.tasks.log.caller()
        spec = {
            "class": self._pickled(session),
            "class_name": self.__name__,
            "meta": meta,
            "name": options.name,
            "namespace": options.namespace or session.namespace,
            "get_if_exists": options.get_if_exists,
            "detached": options.detached or (session.detached and options.lifetime is None),
            "max_restarts": options.max_restarts,
            "max_concurrency": options.max_concurrency,
            "groups": options.concurrency_groups,
            "shape": placement.shape,
            "holding": options.resource_request(),
            "group": placement.group,
            "parent": caller.hex() if caller else None,
            "task_events": options.enable_task_events,
        }
        if options.name:
            existing = runtime.link.request("actor_create_named", actor_id, spec)
            if existing is not None:
                return ActorHandle(existing["actor_id"], existing["meta"], None)
        scope = runtime.actors.create(actor_id, spec, args, kwargs)
        return ActorHandle(actor_id, meta, scope)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Note the actor down as a node of a graph, whose executions make it; see ``rayjup.dag``."""
        return dag_module().ClassNode(self, args, kwargs, self._options.given())

    def _pickled(self, session: sessions.Session) -> bytes:
        if self._blob is None or self._blob[0] is not session:
            packed = packed_code(self._class, f"the actor class {self.__name__}")
            remember(self, self._class)
            self._blob = (session, blob_of(packed, session, self._class))
        return self._blob[1]

    def forget_sent(self) -> None:
        """Have the class sent anew with the next actor: what it refers to has changed."""
        self._blob = None

    def _meta(self) -> dict[str, Any]:
        """What handles know of the class and its methods; the same for all actors of this class."""
        if self._described is not None:
            return self._described
        given = self._options
        groups = given.concurrency_groups
        methods: dict[str, dict[str, Any]] = {}
        transports: list[str] = []
        for name, member in inspect.getmembers(self._class, callable):
            if name.startswith("__") and name not in ("__call__", "__len__", "__getitem__", "__contains__"):
                continue
            options = getattr(member, _METHOD_OPTIONS, None)
            static = isinstance(inspect.getattr_static(self._class, name), staticmethod)
            entry: dict[str, Any] = {
                "arguments": accepted(member, static),
                "generator": inspect.isgeneratorfunction(member) or inspect.isasyncgenfunction(member),
            }
            if options is not None:
                _check_group(options.concurrency_group, groups, f"{self.__name__}.{name}")
                if tensors.transport_of(options.tensor_transport):
                    transports.append(name)
                entry |= options.given()
            methods[name] = entry
        out_of_order = given.allow_out_of_order_execution
        if out_of_order is None:
            out_of_order = (given.max_concurrency or 1) > 1 or is_async(self._class)
        if transports and given.enable_tensor_transport is False:
            raise ValueError(
                f"{self.__name__}.{transports[0]} has a tensor_transport, which "
                "enable_tensor_transport=False of its class forbids: leave out one of the two."
            )
        self._described = {
            "class_name": self.__name__,
            "methods": methods,
            "max_task_retries": given.max_task_retries,
            "max_pending_calls": given.max_pending_calls,
            "groups": tuple(groups or ()),
            "out_of_order": out_of_order,
            "task_events": given.enable_task_events,
            "keeps_tensors": bool(transports or given.enable_tensor_transport),
        }
        return self._described

    def _check_order(self, meta: dict[str, Any]) -> None:
        if not meta["out_of_order"] and is_async(self._class):
            raise ValueError(
                f"{self.__name__} has coroutine methods, which run side by side, so its calls cannot be kept "
                "in order: leave out allow_out_of_order_execution=False, or write its methods without async."
            )

    def __repr__(self) -> str:
        return f"ActorClass({self.__name__})"

    def __reduce__(self) -> Any:
        return ActorClass, (self._class, self._options)


class ActorHandle:
    """Refers to an actor; its methods have ``remote``. May be passed to tasks and other actors."""

    def __init__(self, actor_id: bytes, meta: dict[str, Any], scope: Any) -> None:
        self._id = actor_id
        self._meta = meta
        self._scope = scope  # the actor ends with the last copy of this ref

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._id)

    @property
    def _ray_actor_id(self) -> ActorID:
        return ActorID(self._id)

    def __getattr__(self, name: str) -> ActorMethod:
        if name.startswith("__") and name not in _SPECIAL_METHODS:
            raise AttributeError(name)
        methods = self.__dict__["_meta"]["methods"]
        if name not in methods and name not in _SPECIAL_METHODS:
            raise AttributeError(
                f"'{self._meta['class_name']}' object has no attribute '{name}': "
                f"the actor has the methods {', '.join(sorted(methods)) or '(none)'}"
            )
        found = ActorMethod(self, name, methods.get(name, {}))
        self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        return sorted(self._meta["methods"])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"Actor({self._meta['class_name']}, {self._id.hex()})"

    def __reduce__(self) -> Any:
        return ActorHandle, (self._id, self._meta, self._scope)


class ActorMethod:
    """A method of an actor; ``remote`` calls it."""

    def __init__(self, handle: ActorHandle, name: str, options: dict[str, Any]) -> None:
        # The handle keeps this object, so this object must not keep the handle: a handle that is
        # gone has to be collected at once, because its actor ends with it.
        self._id = handle._id
        self._scope = handle._scope
        self._meta = handle._meta
        self._name = name
        self._arguments = options.get("arguments")
        count = options.get("num_returns")
        self._num_returns = returns_of(count, options.get("generator", False))
        limit = options.get("_generator_backpressure_num_objects")
        per_call: dict[str, Any] = {"backpressure": limit} if limit else {}
        if options.get("tensor_transport"):
            self._keep_tensors(per_call, options["tensor_transport"])
        if not options.get("enable_task_events", self._meta.get("task_events", True)):
            per_call["events"] = False
        self._per_call = per_call or None
        retries = options.get("max_task_retries")
        self._retries = self._meta["max_task_retries"] if retries is None else retries
        self._retry_exceptions = options.get("retry_exceptions") or False

    def _keep_tensors(self, per_call: dict[str, Any], name: str) -> None:
        transport = tensors.transport_of(name)
        if transport is None:
            return
        what = f"{self._meta['class_name']}.{self._name}"
        if self._num_returns != 1:
            raise ValueError(
                f"{what} has the tensor transport {transport}, so it must have one return value."
            )
        if not self._meta.get("keeps_tensors"):
            raise ValueError(
                f"{what} cannot be given the tensor transport {transport}: declare the class with "
                "@ray.remote(enable_tensor_transport=True)."
            )
        per_call["transport"] = transport

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            f"{self._name} is a method of an actor, which cannot be called directly: write "
            f"actor.{self._name}.remote(…), which returns a ref."
        )

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; calls of one process run in the order in which they were made."""
        session = sessions._session
        if session is None or session.runtime.closed:
            session = sessions.require()
        meta = self._meta
        arguments = self._arguments
        if arguments is not None and (kwargs or not arguments.least <= len(args) <= arguments.most):
            arguments.check(f"{meta['class_name']}.{self._name}", args, kwargs)
        count = self._num_returns
        refs = session.runtime.actors.submit(
            self._id,
            meta,
            self._name,
            args,
            kwargs,
            count,
            self._retries,
            self._retry_exceptions,
            self._per_call,
        )
        if reactor.postponed:
            reactor.deliver()
        if count == 1 or count == DYNAMIC:
            return refs[0]
        if count == STREAMING:
            return session.runtime.tasks.generator(refs[0], self._per_call)
        return refs if count else None

    def options(self, **changes: Any) -> ActorMethod:
        """The same method with other options, such as ``num_returns`` or ``name``.

        Raises
        ------
        ValueError
            For an unknown option, a value outside of its range, or a group that the class has not got.
        """
        parsed = MethodOptions().merged(**changes)
        meta = self._meta
        _check_group(parsed.concurrency_group, meta["groups"], f"{meta['class_name']}.{self._name}")
        changed = ActorMethod.__new__(ActorMethod)
        changed.__dict__.update(self.__dict__)
        if parsed.num_returns is not None:
            changed._num_returns = returns_of(parsed.num_returns, False)
        per_call = dict(self._per_call or {})
        if parsed.name:
            per_call["name"] = parsed.name
        if parsed.concurrency_group:
            per_call["concurrency_group"] = parsed.concurrency_group
        if parsed.enable_task_events is not None:
            per_call["events"] = parsed.enable_task_events
        if parsed.tensor_transport:
            per_call.pop("transport", None)
            changed._keep_tensors(per_call, parsed.tensor_transport)
        if parsed._generator_backpressure_num_objects:
            per_call["backpressure"] = parsed._generator_backpressure_num_objects
        changed._per_call = per_call or None
        if parsed.max_task_retries is not None:
            changed._retries = parsed.max_task_retries
        if parsed.retry_exceptions is not None:
            changed._retry_exceptions = parsed.retry_exceptions
        return changed

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """Note the call down as a node of a graph (several for several values); see ``rayjup.dag``."""
        handle = ActorHandle(self._id, self._meta, self._scope)
        count = {STREAMING: "streaming", DYNAMIC: "dynamic"}.get(self._num_returns, self._num_returns)
        options = {"num_returns": count, "max_task_retries": self._retries}
        return dag_module().bind_method(handle, self._name, options, args, kwargs)

    def __repr__(self) -> str:
        return f"ActorMethod({self._meta['class_name']}.{self._name})"


def _check_group(name: str | None, groups: Iterable[str] | None, method: str) -> None:
    if name is not None and name not in (groups or ()):
        known = ", ".join(sorted(groups or ())) or "none"
        raise ValueError(
            f"{method} is to run in the concurrency group {name!r}, but its class has no such group "
            f"(it has: {known}). Declare it: @ray.remote(concurrency_groups={{{name!r}: 2}})."
        )


def exit_actor() -> None:
    """End the actor in whose method this is called, after the calls before it are answered.

    Raises
    ------
    TypeError
        When called outside of an actor.
    """
    running = executing.executor
    if running is None or running.actor_spec is None:
        raise TypeError(
            "exit_actor() was called outside of an actor: it ends the actor whose method calls it."
        )
    raise ActorExit(0)
