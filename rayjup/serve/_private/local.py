"""Local testing mode: an application in the process of the test, without cluster and HTTP."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from rayjup.serve import context as contexts
from rayjup.serve._private.build import build
from rayjup.serve._private.callables import UserObject
from rayjup.serve._private.common import UNSET, DeploymentID, ReplicaID, random_id
from rayjup.serve._private.options import for_controller
from rayjup.serve.context import RequestContext, _serve_request_context
from rayjup.serve.deployment import Application
from rayjup.serve.exceptions import RequestCancelledError
from rayjup.serve.handle import (
    DeploymentHandle,
    DeploymentResponse,
    DeploymentResponseGenerator,
    _refuse_loop,
    new_request_id,
)

_loop: asyncio.AbstractEventLoop | None = None
_lock = threading.Lock()
_places: dict[DeploymentID, LocalReplica] = {}
_END = object()


def _the_loop() -> asyncio.AbstractEventLoop:
    """The loop on which all applications of this process run, in a thread of its own."""
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="rayjup-serve-local", daemon=True).start()
    return _loop


class LocalReplica:
    """The one replica of a deployment."""

    def __init__(self, id: DeploymentID, user: UserObject, config: dict[str, Any]) -> None:
        self.user = user
        self.config = config
        self.context = contexts.ReplicaContext(ReplicaID(random_id(), id), None, config)
        self.places = asyncio.Semaphore(config["max_ongoing_requests"])

    async def start(self) -> None:
        """Make the user's object."""
        contexts._local_replica.set(self.context)
        await self.user.start()
        self.context.servable_object = self.user.instance
        await self.user.reconfigure(self.config.get("user_config"))


class LocalResponse(DeploymentResponse):
    """The answer of a call in this process."""

    def __init__(self, future: concurrent.futures.Future[Any], request_id: str) -> None:
        self._future = future
        self._id = request_id

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._id

    def result(self, *, timeout_s: float | None = None, _skip_asyncio_check: bool = False) -> Any:
        """Wait for the value."""
        if not _skip_asyncio_check:
            _refuse_loop()
        try:
            return self._future.result(timeout_s)
        except concurrent.futures.CancelledError:
            raise RequestCancelledError(self._id) from None
        except concurrent.futures.TimeoutError:
            if self._future.done():
                raise
            raise TimeoutError(f"request {self._id} was not answered within {timeout_s} s.") from None

    async def _value(self) -> Any:
        try:
            return await asyncio.wrap_future(self._future)
        except asyncio.CancelledError:
            if self._future.cancelled():
                raise RequestCancelledError(self._id) from None
            raise

    def cancel(self) -> None:
        """Cancel the call."""
        self._future.cancel()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._future.cancelled()


class LocalGenerator(DeploymentResponseGenerator):
    """The items of a call in this process."""

    def __init__(
        self, items: asyncio.Queue[Any], task: concurrent.futures.Future[Any], request_id: str
    ) -> None:
        self._items = items
        self._task = task
        self._id = request_id

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self._id

    async def __anext__(self) -> Any:
        got = asyncio.run_coroutine_threadsafe(self._items.get(), _the_loop())
        kind, value = await asyncio.wrap_future(got)
        if kind == "end":
            raise StopAsyncIteration
        if kind == "error":
            raise value
        return value

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        _refuse_loop()
        kind, value = asyncio.run_coroutine_threadsafe(self._items.get(), _the_loop()).result()
        if kind == "end":
            raise StopIteration
        if kind == "error":
            raise value
        return value

    def cancel(self) -> None:
        """Cancel the call."""
        self._task.cancel()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._task.cancelled()

    def __del__(self) -> None:
        self._task.cancel()


class LocalHandle(DeploymentHandle):
    """Calls a deployment of this process."""

    def options(self, **changes: Any) -> DeploymentHandle:
        """The same handle with other options."""
        return super().options(**{k: v for k, v in changes.items() if v is not UNSET})

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the deployment."""
        replica = _places[self.deployment_id]
        outer = _serve_request_context.get()
        request_id = outer.request_id or new_request_id()
        context = RequestContext(request_id, outer.route, self.app_name, self._model)
        loop = _the_loop()
        space = contextvars.copy_context()
        if self._stream:
            items: asyncio.Queue[Any] = asyncio.Queue()
            work: Any = _stream(replica, context, self._method, args, kwargs, items)
        else:
            work = _call(replica, context, self._method, args, kwargs)
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def begin() -> None:
            task = space.run(loop.create_task, work)
            future.set_running_or_notify_cancel() if not future.cancelled() else task.cancel()
            task.add_done_callback(lambda done: _pass_on(done, future))
            future._task = task  # type: ignore[attr-defined]

        cancelling = _Cancellable(future, loop)
        loop.call_soon_threadsafe(begin)
        if self._stream:
            return LocalGenerator(items, cancelling, request_id)  # type: ignore[arg-type]
        return LocalResponse(cancelling, request_id)  # type: ignore[arg-type]

    def broadcast(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the one replica there is."""
        from rayjup.serve.handle import DeploymentBroadcastResponse

        response: Any = self.options(method_name=method_name).remote(*args, **kwargs)

        class Local(DeploymentBroadcastResponse):
            def results(
                self, *, timeout_s: float | None = None, return_exceptions: bool = False
            ) -> list[Any]:
                try:
                    return [response.result(timeout_s=timeout_s)]
                except Exception as error:
                    if return_exceptions:
                        return [error]
                    raise

            async def results_async(
                self, *, timeout_s: float | None = None, return_exceptions: bool = False
            ) -> list[Any]:
                return list(await asyncio.gather(response, return_exceptions=return_exceptions))

        return Local([])


class _Cancellable(concurrent.futures.Future[Any]):
    """A future whose cancellation cancels the task behind it."""

    def __init__(self, inner: concurrent.futures.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._the_loop = loop
        inner.add_done_callback(lambda done: _copy(done, self))

    def cancel(self) -> bool:
        task = getattr(self._inner, "_task", None)
        if task is not None:
            self._the_loop.call_soon_threadsafe(task.cancel)
        return super().cancel()


def _copy(done: concurrent.futures.Future[Any], target: concurrent.futures.Future[Any]) -> None:
    if target.cancelled():
        return
    if done.cancelled():
        target.cancel()
    elif done.exception() is not None:
        target.set_exception(done.exception())
    else:
        target.set_result(done.result())


def _pass_on(task: asyncio.Task[Any], future: concurrent.futures.Future[Any]) -> None:
    if task.cancelled():
        future.set_exception(concurrent.futures.CancelledError())
    elif task.exception() is not None:
        future.set_exception(task.exception())
    else:
        future.set_result(task.result())


async def _arguments(args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    async def one(value: Any) -> Any:
        return await value if isinstance(value, DeploymentResponse) else value

    return tuple([await one(a) for a in args]), {k: await one(v) for k, v in kwargs.items()}


async def _call(replica: LocalReplica, context: RequestContext, method: str, args: Any, kwargs: Any) -> Any:
    args, kwargs = await _arguments(args, kwargs)
    contexts._local_replica.set(replica.context)
    _serve_request_context.set(context)
    async with replica.places:
        found = replica.user.method(method)
        if inspect.iscoroutinefunction(found) or inspect.isasyncgenfunction(found):
            return await replica.user.call(method, args, kwargs)
        # In a thread: it may itself wait for other deployments, which run on this loop.
        value = await asyncio.to_thread(found, *args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
        if inspect.isgenerator(value) or inspect.isasyncgen(value):
            raise TypeError(
                f"Method '{method}' returned a generator. You must use `handle.options(stream=True)` to call "
                "generators on a deployment."
            )
        return value


async def _stream(
    replica: LocalReplica,
    context: RequestContext,
    method: str,
    args: Any,
    kwargs: Any,
    items: asyncio.Queue[Any],
) -> None:
    contexts._local_replica.set(replica.context)
    _serve_request_context.set(context)
    try:
        args, kwargs = await _arguments(args, kwargs)
        async with replica.places:
            async for item in replica.user.stream(method, args, kwargs):
                items.put_nowait(("item", item))
    except Exception as error:  # noqa: BLE001 - whoever iterates gets it
        items.put_nowait(("error", error))
    else:
        items.put_nowait(("end", None))


def run_locally(app: Application, name: str) -> DeploymentHandle:
    """Make all objects of an application in this process; a handle to the outermost.

    Raises
    ------
    Exception
        What a constructor raises.
    """
    built = build(app, name, LocalHandle)
    loop = _the_loop()
    for deployment, chosen in built.deployments:  # those that others are bound to come first
        config = for_controller(deployment._options, deployment._source)
        user = UserObject(deployment._source, deployment._init_args, deployment._init_kwargs)
        id = DeploymentID(chosen, name)
        replica = LocalReplica(id, user, config)
        asyncio.run_coroutine_threadsafe(replica.start(), loop).result()
        _places[id] = replica
    return LocalHandle(built.ingress, name)
