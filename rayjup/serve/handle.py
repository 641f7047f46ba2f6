"""Calling deployments from Python (mirrors ``ray.serve.handle``)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import rayjup
from rayjup.exceptions import GetTimeoutError, TaskCancelledError
from rayjup.serve._private import tracing
from rayjup.serve._private.awaiting import future_of, in_loop_thread, when_assigned
from rayjup.serve._private.common import UNSET, DeploymentID
from rayjup.serve._private.router import Call, Router, Slot, router_of
from rayjup.serve._private.serializing import Serializing
from rayjup.serve.context import _serve_request_context, current_replica
from rayjup.serve.exceptions import ReplicaUnavailableError, RequestCancelledError

__all__ = [
    "DeploymentBroadcastResponse",
    "DeploymentHandle",
    "DeploymentResponse",
    "DeploymentResponseGenerator",
]

_count = 0
_prefix = ""


def new_request_id() -> str:
    """An id that no other request has."""
    global _count, _prefix
    if not _prefix:
        import uuid

        _prefix = uuid.uuid4().hex[:20]
    _count += 1
    number = f"{_count:012x}"
    return f"{_prefix[:8]}-{_prefix[8:12]}-4{_prefix[12:15]}-a{_prefix[15:18]}-{number}"


class _Response:
    """What a call gives before its answer is there."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rejected: BaseException | None = None

    @property
    def request_id(self) -> str:
        """The id of the request that the call belongs to."""
        return self._call.request_id

    @property
    def by_reference(self) -> bool:
        """Whether large values travel through the object store: always."""
        return True

    def cancel(self) -> None:
        """Cancel the call: a coroutine is cancelled, what has not begun is not begun."""
        self._call.cancel()

    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._call.cancelled

    def _wait_assigned(self, deadline: float | None) -> None:
        call = self._call
        if call.assigned:
            return
        if in_loop_thread():
            call.router.force(call)  # this thread is the one that would hear of a free place
            if call.assigned:
                return
        event = threading.Event()
        call.when_assigned(event.set)
        if not event.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
            raise TimeoutError(f"request {call.request_id} was not sent to a replica in time: all are busy.")

    def _raise(self, error: BaseException) -> Any:
        if isinstance(error, TaskCancelledError) and not isinstance(error, RequestCancelledError):
            raise RequestCancelledError(self._call.request_id) from None
        raise error


class DeploymentResponse(_Response):
    """The answer of a call: ``await`` it in a coroutine, or ask for ``result()`` elsewhere.

    It may also be passed to another call without waiting for it: that call begins when the value
    is there, and the value goes straight from replica to replica.
    """

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Wait for the value.

        Raises
        ------
        TimeoutError
            It is not there after ``timeout_s`` seconds.
        RuntimeError
            Called where an event loop runs: ``await`` the response there.
        """
        if not _skip_asyncio_check:
            _refuse_loop()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._wait_assigned(deadline)
        call = self._call
        if call.error is not None:
            self._raise(call.error)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            value = rayjup.get(call.ref, timeout=left)
        except GetTimeoutError:
            raise TimeoutError(f"request {call.request_id} was not answered within {timeout_s} s.") from None
        except TaskCancelledError as error:
            self._raise(error)
        return Serializing.load(value)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._value().__await__()

    async def _value(self) -> Any:
        call = self._call
        try:
            if not call.assigned:
                await when_assigned(call)
            if call.error is not None:
                self._raise(call.error)
            return Serializing.load(await future_of(call.ref))
        except asyncio.CancelledError:
            call.cancel()
            raise
        except TaskCancelledError as error:
            self._raise(error)

    async def _to_object_ref(self, _record_telemetry: bool = True) -> Any:
        """The ref of the value, once it is known who makes it."""
        if not self._call.assigned:
            await when_assigned(self._call)
        if self._call.error is not None:
            raise self._call.error
        return self._call.ref

    def _to_object_ref_sync(
        self,
        _timeout_s: float | None = None,
        _record_telemetry: bool = True,
        _allow_running_in_asyncio_loop: bool = False,
    ) -> Any:
        """:meth:`_to_object_ref` outside of coroutines."""
        self._wait_assigned(None if _timeout_s is None else time.monotonic() + _timeout_s)
        if self._call.error is not None:
            raise self._call.error
        return self._call.ref

    def __reduce__(self) -> Any:
        raise RuntimeError(
            "A DeploymentResponse cannot be pickled: pass it to another handle's remote() as an argument of "
            "its "
            "own (not inside a list), or await it and pass the value."
        )


class DeploymentResponseGenerator(_Response):
    """The items of a call made with ``options(stream=True)``: iterate, with ``for`` or ``async for``."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        call = self._call
        try:
            if not call.assigned:
                await when_assigned(call)
            if call.error is not None:
                self._raise(call.error)
            return Serializing.load(await future_of(await call.ref.__anext__()))
        except (StopAsyncIteration, Exception) as error:
            call.answered()
            if isinstance(error, TaskCancelledError):
                self._raise(error)
            raise
        except asyncio.CancelledError:
            call.cancel()
            raise

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        _refuse_loop()
        self._wait_assigned(None)
        call = self._call
        if call.error is not None:
            self._raise(call.error)
        try:
            return Serializing.load(rayjup.get(next(call.ref)))
        except (StopIteration, Exception) as error:
            call.answered()
            if isinstance(error, TaskCancelledError):
                self._raise(error)
            raise

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Streams have no single result.

        Raises
        ------
        TypeError
            Always: iterate instead.
        """
        raise TypeError(
            "`result()` is not there for a DeploymentResponseGenerator: iterate over it, with `for` or "
            "`async for`."
        )

    def __del__(self) -> None:
        call = self._call
        if call.slot is not None:  # dropped before its end: nobody wants the rest
            call.cancel()


class DeploymentBroadcastResponse:
    """The answers of all replicas to :meth:`DeploymentHandle.broadcast`."""

    def __init__(self, refs: list[Any]) -> None:
        self._refs = refs

    def results(self, *, timeout_s: float | None = None, return_exceptions: bool = False) -> list[Any]:
        """Wait for all of them; exceptions in their place, or the first one raised."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        found = []
        for ref in self._refs:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                found.append(rayjup.get(ref, timeout=left))
            except GetTimeoutError:
                raise TimeoutError(f"a replica has not answered within {timeout_s} s.") from None
            except Exception as error:
                if not return_exceptions:
                    raise
                found.append(error)
        return found

    async def results_async(
        self, *, timeout_s: float | None = None, return_exceptions: bool = False
    ) -> list[Any]:
        """:meth:`results` for coroutines."""
        together = asyncio.gather(*map(future_of, self._refs), return_exceptions=return_exceptions)
        return list(await asyncio.wait_for(together, timeout_s))

    def __await__(self) -> Generator[Any, None, Any]:
        return self.results_async().__await__()


class ReplicaSelection:
    """A replica chosen by :meth:`DeploymentHandle.choose_replica`, with a place reserved on it."""

    def __init__(self, handle: DeploymentHandle, slot: Slot) -> None:
        self._handle = handle
        self._slot: Slot | None = slot
        self._used = False
        self.replica_id = slot.id
        self.node_id = slot.entry.get("node", "")
        self.method_name = handle._method


class DeploymentHandle:
    """Calls a deployment: ``handle.remote(…)``, or ``handle.method.remote(…)``.

    Got from :func:`rayjup.serve.run`, :func:`rayjup.serve.get_app_handle`, or as a constructor's
    argument where one deployment was bound to another. It can be pickled.

    Examples
    --------
    >>> from rayjup import serve
    >>> @serve.deployment
    ... def double(x):
    ...     return 2 * x
    >>> handle = serve.run(double.bind(), _local_testing_mode=True)
    >>> handle.remote(21).result()
    42
    """

    def __init__(
        self,
        deployment_name: str,
        app_name: str = "default",
        *,
        method: str = "__call__",
        model: str = "",
        session: str = "",
        stream: bool = False,
        serializing: tuple[str, str] | None = None,
    ) -> None:
        self.deployment_id = DeploymentID(deployment_name, app_name)
        self._method = method
        self._model = model
        self._session = session
        self._stream = stream
        self._serializing = serializing
        self._router: Router | None = None

    @property
    def deployment_name(self) -> str:
        """The deployment's name."""
        return self.deployment_id.name

    @property
    def app_name(self) -> str:
        """The application's name."""
        return self.deployment_id.app_name

    @property
    def is_initialized(self) -> bool:
        """Whether it has been used."""
        return self._router is not None

    def _init(self, **options: Any) -> None:
        self._connected()

    def _connected(self) -> Router:
        router = self._router
        if router is None:
            router = self._router = router_of(self.deployment_id)
        return router

    def running_replicas_populated(self) -> bool:
        """Whether it knows of replicas that run."""
        return bool(self._connected().open)

    def options(
        self,
        *,
        method_name: str | Any = UNSET,
        multiplexed_model_id: str | Any = UNSET,
        session_id: str | Any = UNSET,
        stream: bool | Any = UNSET,
        use_new_handle_api: bool | Any = UNSET,
        _prefer_local_routing: bool | Any = UNSET,
        _by_reference: bool | Any = UNSET,
        request_serialization: str | Any = UNSET,
        response_serialization: str | Any = UNSET,
    ) -> DeploymentHandle:
        """The same handle with other options.

        Parameters
        ----------
        method_name
            The method to call.
        multiplexed_model_id
            The model that calls ask for.
        session_id
            Calls of one session go to the same replica while it is there.
        stream
            The method is a generator whose items are wanted as they come.
        request_serialization, response_serialization
            ``"cloudpickle"`` (as it is), ``"pickle"``, ``"msgpack"`` or ``"orjson"``.
        """
        ways = self._serializing
        if request_serialization is not UNSET or response_serialization is not UNSET:
            old = ways or ("cloudpickle", "cloudpickle")
            ways = Serializing.checked(
                old[0] if request_serialization is UNSET else request_serialization,
                old[1] if response_serialization is UNSET else response_serialization,
            )
        changed = type(self)(
            self.deployment_name,
            self.app_name,
            method=self._method if method_name is UNSET else method_name,
            model=self._model if multiplexed_model_id is UNSET else multiplexed_model_id,
            session=self._session if session_id is UNSET else session_id,
            stream=self._stream if stream is UNSET else bool(stream),
            serializing=ways,
        )
        changed._router = self._router
        return changed

    def __getattr__(self, name: str) -> DeploymentHandle:
        if name.startswith("_"):
            raise AttributeError(name)
        found = self.options(method_name=name)
        self.__dict__[name] = found
        return found

    def remote(self, *args: Any, **kwargs: Any) -> DeploymentResponse | DeploymentResponseGenerator:
        """Call the deployment; returns at once.

        Raises
        ------
        TypeError
            Arguments that cannot be pickled.
        """
        return self._respond(*self._make_call(args, kwargs))

    def _respond(self, call: Call, waits_for: list[_Response]) -> Any:
        if waits_for:
            _submit_after(call, waits_for)
        else:
            call.router.submit(call)
        return DeploymentResponseGenerator(call) if call.stream else DeploymentResponse(call)

    def _make_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Call, list[_Response]]:
        router = self._router or self._connected()
        context = _serve_request_context.get()
        request_id = context.request_id or new_request_id()
        model = self._model
        method = self._method
        route = context.route
        ways = self._serializing
        if ways is not None:
            method = f"{method}\0{ways[0]}\0{ways[1]}"
            args, kwargs = Serializing.pack(args, kwargs, ways[0])
        waits_for: list[_Response] = []
        if any(isinstance(a, _Response) for a in (*args, *kwargs.values())):
            waits_for = [a for a in (*args, *kwargs.values()) if isinstance(a, _Response)]
            if any(isinstance(a, DeploymentResponseGenerator) for a in waits_for):
                raise RuntimeError(
                    "A DeploymentResponseGenerator cannot be passed to another call: iterate over it instead."
                )

        if tracing.tracer is not None and context.trace:
            # Beside the id, and only where somebody traces: calls of others travel as they always do.
            request_id = "\0".join((request_id, *(f"{k}={v}" for k, v in context.trace.items())))

        if not self._stream:

            def send(slot: Slot) -> Any:
                a, k = (args, kwargs) if not waits_for else _with_refs(args, kwargs)
                actor = slot.actor or slot.connect()
                return actor.call.remote(method, request_id, model, route, *a, **k)
        else:

            def send(slot: Slot) -> Any:
                a, k = (args, kwargs) if not waits_for else _with_refs(args, kwargs)
                actor = slot.actor or slot.connect()
                return actor.stream.remote(method, request_id, model, route, *a, **k)

        call = Call(router, send, self._stream, request_id, model, self._session, args, kwargs)
        if context.request_id:
            children = context.children
            if children is None:
                children = context.children = set()
            children.add(call)
            call.on_end = lambda: children.discard(call)
        return call, waits_for

    def broadcast(self, method_name: str, *args: Any, **kwargs: Any) -> DeploymentBroadcastResponse:
        """Call a method on all replicas at once, beside any limits."""
        router = self._connected()
        router.table.refresh(wait=not router.table.pushed)
        context = _serve_request_context.get()
        request_id = context.request_id or new_request_id()
        refs = []
        for slot in router.open:
            refs.append(
                slot.connect().call.remote(method_name, request_id, "", context.route, *args, **kwargs)
            )
        return DeploymentBroadcastResponse(refs)

    @asynccontextmanager
    async def choose_replica(self, *args: Any, **kwargs: Any) -> Any:
        """Choose a replica without calling it; a place on it is reserved while the block runs.

        Gives a selection for :meth:`dispatch`.
        """
        router = self._connected()
        taken: list[Slot] = []

        def take(slot: Slot) -> Any:
            taken.append(slot)
            return _NOTHING

        call = Call(router, take, True, new_request_id(), self._model, self._session, args, kwargs)
        router.submit(call)
        if not call.assigned:
            await when_assigned(call)
        if call.error is not None:
            raise call.error
        selection = ReplicaSelection(self, taken[0])
        try:
            yield selection
        finally:
            selection._slot = None
            call.answered()

    def dispatch(self, selection: ReplicaSelection, *args: Any, **kwargs: Any) -> Any:
        """Call the replica that :meth:`choose_replica` has chosen.

        Raises
        ------
        ValueError
            Another handle has chosen it.
        ReplicaUnavailableError
            It is gone, or the block has ended.
        """
        if selection._handle.deployment_id != self.deployment_id:
            raise ValueError(
                f"this replica of {selection._handle.deployment_id} cannot be called through a handle of "
                f"{self.deployment_id}: choose one with the same handle."
            )
        slot = selection._slot
        if slot is None or slot.dead or selection._used:
            raise ReplicaUnavailableError(selection.replica_id)
        selection._used = True
        call, waits_for = self.options(method_name=selection.method_name)._make_call(args, kwargs)
        with call.router.lock:
            slot.ongoing += 1
        if waits_for:
            _after(call, waits_for, lambda: call.go(slot))
        else:
            call.go(slot)
        return DeploymentResponseGenerator(call) if call.stream else DeploymentResponse(call)

    def shutdown(self) -> None:
        """Forget what is known of replicas; it is asked for again with the next call."""
        self._router = None

    async def shutdown_async(self) -> None:
        """:meth:`shutdown` for coroutines."""
        self.shutdown()

    def __reduce__(self) -> Any:
        fields = (self._method, self._model, self._session, self._stream, self._serializing)
        return _restore, (type(self), self.deployment_name, self.app_name, fields)

    def __repr__(self) -> str:
        return f"DeploymentHandle(deployment='{self.deployment_name}', app='{self.app_name}')"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from rayjup.serve._private.card import bundle  # only notebooks show it

        return bundle(self)


class _Nothing:
    """Stands for the answer of a call that only takes a place."""

    def add_waiter(self, waiter: Any) -> bool:
        return True


_NOTHING = _Nothing()


def _restore(kind: type, name: str, app: str, fields: tuple[Any, ...]) -> Any:
    method, model, session, stream, ways = fields
    return kind(name, app, method=method, model=model, session=session, stream=stream, serializing=ways)


def _with_refs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (
        tuple(a._call.ref if isinstance(a, _Response) else a for a in args),
        {k: a._call.ref if isinstance(a, _Response) else a for k, a in kwargs.items()},
    )


def _submit_after(call: Call, waits_for: list[_Response]) -> None:
    _after(call, waits_for, lambda: call.router.submit(call))


def _after(call: Call, waits_for: list[_Response], then: Any) -> None:
    """Do ``then`` once the calls whose answers are arguments are with a replica; or fail as they do.

    The value itself is waited for where the call goes to: by then it has a place in the queue.
    """
    left = len(waits_for)
    lock = threading.Lock()

    def one() -> None:
        nonlocal left
        with lock:
            left -= 1
            if left:
                return
        for response in waits_for:
            if response._call.error is not None:
                call.fail(response._call.error)
                return
        then()

    for response in waits_for:
        response._call.when_assigned(one)


def _refuse_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if current_replica() is None and not _in_ipython():
        raise RuntimeError(
            "Sync methods should not be called from within an `asyncio` event loop: use `await response` "
            "(or `async for`) there."
        )


def _in_ipython() -> bool:
    # A notebook's cells run inside of the kernel's loop, and may block it.
    import sys

    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
