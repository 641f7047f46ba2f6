"""A replica: an actor with the user's object, answering calls over the lane and requests over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.to_thread

import rayjup
from rayjup.serve import context as contexts
from rayjup.serve._private import grpc_calls, sockets, tracing
from rayjup.serve._private import pool as pools
from rayjup.serve._private import table as tables
from rayjup.serve._private.access import AccessLog
from rayjup.serve._private.answering import respond
from rayjup.serve._private.awaiting import set_serving_thread
from rayjup.serve._private.callables import UserObject
from rayjup.serve._private.channel import Exchange, Exchanges, unpack_request
from rayjup.serve._private.common import DeploymentID, ReplicaID
from rayjup.serve._private.direct import Direct
from rayjup.serve._private.door import Door
from rayjup.serve._private.front import Front, _refuse, send_whole
from rayjup.serve._private.listener import Listener, new_loop
from rayjup.serve._private.measures import Measures
from rayjup.serve._private.packing import loads
from rayjup.serve._private.reporting import Reporter
from rayjup.serve._private.router import Router, router_of
from rayjup.serve._private.serializing import Serializing
from rayjup.serve.context import RequestContext, _serve_request_context
from rayjup.serve.exceptions import BackPressureError
from rayjup.serve.gang import GangContext
from rayjup.serve.multiplex import model_ids


class Replica:
    """One replica of a deployment.

    Parameters
    ----------
    spec
        ``app``, ``deployment``, ``id``, ``config``, ``code_version``, ``rank``, ``gang`` and what
        else the controller knows when it starts the actor.
    """

    __rayjup_event_loop__ = staticmethod(new_loop)

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.config: dict[str, Any] = spec["config"]
        self.id = ReplicaID(spec["id"], DeploymentID(spec["deployment"], spec["app"]))
        self.app_name: str = spec["app"]
        self.limit: int = self.config["max_ongoing_requests"]
        self.max_queued: int = self.config.get("max_queued_requests", -1)
        self.ongoing = 0
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.measures = Measures()
        self.exchanges = Exchanges()
        self.door = Door(self)
        self.door_path = ""
        self.pool: pools.Pool | None = None
        self.user: UserObject | None = None
        self.front: Front | None = None
        self.listener: Listener | None = None
        self.sharing: sockets.Sharing | None = None
        self.ready = asyncio.get_event_loop().create_future()
        self.draining = False
        self.router: Router | None = None
        log = self.config.get("logging_config") or {}
        on = log.get("enable_access_log", True)
        directory = log.get("logs_dir") or spec.get("logs_dir")
        name = f"replica_{self.app_name}_{self.id.deployment_id.name}_{self.id.unique_id}"
        path = os.path.join(directory, f"{name}.log") if on and directory else None
        self.log = AccessLog(name, path, self.measures, log.get("encoding", "TEXT"))
        self.reporter = Reporter(self)
        set_serving_thread()
        tables.table().pushed = True

    # -- life

    async def start(self, packed: bytes, table: dict[str, Any]) -> dict[str, Any]:
        """Make the user's object; what others have to know of this replica.

        Parameters
        ----------
        packed
            ``(class or function, args, kwargs)``.
        """
        tables.table().take(table)
        for entry in self.spec.get("sys_path", ()):
            if entry not in sys.path:
                sys.path.append(entry)
        source, args, kwargs = loads(packed)
        tracing.set_up("replica")
        if pools.wanted():
            self.pool = pools.current = pools.Pool(asyncio.get_running_loop(), self.limit)
        self.user = UserObject(source, args, kwargs, self.pool)
        self._set_context()
        await self.user.start()
        self._set_threads()
        if self.spec.get("directory"):
            self.door_path = await self.door.start(self.spec["directory"])
        self._set_context()
        await self.user.reconfigure(self.config.get("user_config"))
        self.reporter.start()
        # What is there now stays: the collector of cycles need not walk over it with every request.
        gc.collect()
        gc.freeze()
        if not self.ready.done():
            self.ready.set_result(None)
        return self._info()

    def _set_context(self) -> None:
        spec = self.spec
        gang = spec.get("gang")
        contexts.set_replica(
            contexts.ReplicaContext(
                self.id,
                self.user.instance if self.user is not None else None,
                self.config,
                contexts.ReplicaRank(spec.get("rank", 0), 0, spec.get("rank", 0)),
                spec.get("world_size", 1),
                None,
                GangContext(**gang) if gang else None,
                spec.get("code_version"),
            )
        )

    def _set_threads(self) -> None:
        """As many threads for plain functions as requests may run at once; FastAPI's, too."""
        if self.pool is not None:
            self.pool.limit = self.limit
        if self.user is not None and self.user.app is not None:
            anyio.to_thread.current_default_thread_limiter().total_tokens = max(self.limit, 1)

    def _info(self) -> dict[str, Any]:
        runtime = rayjup.get_runtime_context()
        app = self.user.app if self.user is not None else None
        docs = getattr(app, "docs_url", None)
        return {
            "pid": os.getpid(),
            "node": runtime.get_node_id(),
            "actor_id": runtime.get_actor_id(),
            "worker_id": runtime.get_worker_id(),
            "host": socket.gethostname(),
            "log": self.log.path,
            "docs": docs,
            "door": self.door_path,
        }

    async def info(self) -> dict[str, Any] | None:
        """What :meth:`start` gave; None where it has not come to its end."""
        return self._info() if self.ready.done() else None

    async def reconfigure(self, config: dict[str, Any], rank: int, world_size: int) -> None:
        """Take over settings that change without a restart."""
        before = self.config.get("user_config")
        self.config = config
        self.limit = config["max_ongoing_requests"]
        self.max_queued = config.get("max_queued_requests", -1)
        self._set_threads()
        self.log.on = self.log.path is not None and (config.get("logging_config") or {}).get(
            "enable_access_log", True
        )
        self.spec["rank"], self.spec["world_size"] = rank, world_size
        self._set_context()
        assert self.user is not None
        if before != config.get("user_config"):
            await self.user.reconfigure(config.get("user_config"))
        self._next()

    async def check(self) -> None:
        """The user's health check; raises what is wrong."""
        if self.user is not None and self.ready.done():
            await self.user.check()

    async def load(self) -> int:
        """How many requests it has."""
        return self.ongoing + len(self.waiting)

    async def poll(self) -> dict[str, Any]:
        """How it is going, for the controller."""
        stats = await self.user.record("record_autoscaling_stats") if self.user is not None else None
        queued = {(r.id.app_name, r.id.name): r.waiting() for r in self.reporter.routers() if r.waiting()}
        return {
            "ongoing": self.ongoing,
            "waiting": len(self.waiting),
            "queued": list(queued.items()),
            "models": model_ids(),
            "stats": stats,
            "measures": self.measures.snapshot(),
            "connections": self.listener.busy() if self.listener is not None else 0,
        }

    async def drain(self, wait_loop_s: float, timeout_s: float) -> None:
        """Finish what runs; ends when nothing is left, or time is over."""
        self.draining = True
        if self.listener is not None:
            self.listener.drain()
        deadline = time.monotonic() + timeout_s
        quiet = time.monotonic() + wait_loop_s
        while time.monotonic() < deadline:
            busy = bool(self.ongoing or self.waiting or self.exchanges.open or self.door.busy())
            busy = busy or bool(self.front and self.front.ongoing)
            if busy:
                quiet = max(quiet, time.monotonic() + 0.1)
            elif time.monotonic() >= quiet:
                break
            await asyncio.sleep(0.02)
        if self.listener is not None:
            await self.listener.close()
        self.door.close()
        if self.sharing is not None:
            self.sharing.close()
        self.reporter.stop()
        if self.user is not None:
            await self.user.end()
        tracing.end()

    # -- where others are

    async def routes(self, table: dict[str, Any]) -> None:
        """The controller says where replicas are, and whether this one is to listen for HTTP."""
        tables.table().take(table)

    async def listen(self, directory: str, options: dict[str, Any]) -> bool:
        """Accept connections on the socket that others share; False when nobody has it any more."""
        if self.draining:
            return False
        if self.listener is None:
            shared = sockets.fetch(directory)
            if shared is None:
                return False
            shared.setblocking(False)
            self.front = Front(
                tables.table(), self.log, (self.app_name, self._answer), options.get("request_timeout_s")
            )
            self.listener = Listener(shared, self.front, options, runs=Direct(self, self.front))
            self.sharing = sockets.Sharing(shared, directory)
        self.listener.start()
        return True

    async def unlisten(self) -> None:
        """Accept no more connections; those that are there part with their next answer."""
        if self.listener is not None:
            self.listener.drain()
            self.listener.draining = False

    # -- places

    async def _place(self) -> None:
        """Wait until fewer than ``max_ongoing_requests`` run, in order."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            else:
                self.waiting.remove(turn)
            raise

    def _leave(self) -> None:
        self.ongoing -= 1
        if self.waiting:
            self._next()

    def _next(self) -> None:
        while self.waiting and self.ongoing < self.limit:
            turn = self.waiting.popleft()
            if not turn.done():
                self.ongoing += 1
                turn.set_result(None)

    # -- calls over the lane

    async def call(
        self, method: str, request_id: str, model: str, route: str, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a method of the user's object."""
        if self.ongoing >= self.limit:
            await self._place()
        else:
            self.ongoing += 1
        started = time.perf_counter()
        if "\0" in request_id and tracing.tracer is None:
            request_id = request_id.partition("\0")[0]
        context = RequestContext(request_id, route, self.app_name, model)
        _serve_request_context.set(context)
        user = self.user
        assert user is not None
        failed = True
        try:
            if tracing.tracer is not None:
                with self._span(context, method):
                    value = await self._packed_call(user, method, args, kwargs)
            elif "\0" in method:
                value = await self._packed_call(user, method, args, kwargs)
            else:
                function = user._methods.get(method) or user.method(method)
                value = function(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                if inspect.isgenerator(value) or inspect.isasyncgen(value):
                    raise TypeError(
                        f"Method '{method}' returned a generator. You must use `handle.options(stream=True)` "
                        "to call generators on a deployment."
                    )
            failed = False
            return value
        except asyncio.CancelledError:
            context.cancel_children()
            raise
        finally:
            self.measures.add((time.perf_counter() - started) * 1000, failed)
            self._leave()

    @contextmanager
    def _span(self, context: RequestContext, method: str) -> Iterator[None]:
        """A span around a call over the lane; behind the id in ``context`` is what its caller traces."""
        context.request_id, *trace = context.request_id.split("\0")
        parent = dict(one.split("=", 1) for one in trace)
        name = self.id.deployment_id.name
        told = {"deployment": name, "app": self.app_name, "replica_id": self.id.unique_id}
        shown = method.partition("\0")[0]
        with tracing.span(f"replica_handle_request {name} {shown}", parent, **told) as carrier:
            context.trace = carrier
            yield

    async def _packed_call(self, user: UserObject, method: str, args: Any, kwargs: Any) -> Any:
        if "\0" not in method:
            return await user.call(method, args, kwargs)
        name, request, answer = method.split("\0")
        if request == "grpc":
            return await grpc_calls.call(user.method(name), *args)
        args = tuple(map(Serializing.load, args))
        kwargs = {key: Serializing.load(value) for key, value in kwargs.items()}
        return Serializing.wrap(await user.call(name, args, kwargs), answer)

    async def stream(
        self, method: str, request_id: str, model: str, route: str, /, *args: Any, **kwargs: Any
    ) -> Any:
        """Call a method that is a generator."""
        if self.ongoing >= self.limit:
            await self._place()
        else:
            self.ongoing += 1
        started = time.perf_counter()
        if "\0" in request_id and tracing.tracer is None:
            request_id = request_id.partition("\0")[0]
        context = RequestContext(request_id, route, self.app_name, model)
        _serve_request_context.set(context)
        assert self.user is not None
        failed = True
        answer = "cloudpickle"
        traced: Any = contextlib.nullcontext()
        if tracing.tracer is not None:
            traced = self._span(context, method)
        items: Any = None
        if "\0" in method:
            method, request, answer = method.split("\0")
            if request == "grpc":
                items = grpc_calls.stream(self.user.method(method), *args)
            args = tuple(map(Serializing.load, args))
            kwargs = {key: Serializing.load(value) for key, value in kwargs.items()}
        try:
            with traced:
                async for item in items or self.user.stream(method, args, kwargs):
                    yield item if answer == "cloudpickle" else Serializing.wrap(item, answer)
            failed = False
        except asyncio.CancelledError:
            context.cancel_children()
            raise
        finally:
            self.measures.add((time.perf_counter() - started) * 1000, failed)
            self._leave()

    # -- requests that came to another process

    async def http(self, packed: bytes) -> bytes:
        """A request over HTTP that another process has taken."""
        scope, body, more, request_id, prefix = unpack_request(packed)
        exchange = Exchange(scope["type"], body, more)

        async def run(exchange: Exchange) -> None:
            started = time.perf_counter()
            status = 500
            try:
                status = await self._run(scope, exchange.receive, exchange.send, request_id, prefix)
            finally:
                self.measures.add((time.perf_counter() - started) * 1000, status >= 500)

        return await self.exchanges.begin(exchange, run)

    async def pull(self, number: int) -> bytes:
        """The next pieces of an answer."""
        return await self.exchanges.pull(number)

    async def push(self, number: int, data: bytes) -> bool:
        """The next pieces of a request."""
        return self.exchanges.push(number, data)

    async def drop(self, number: int) -> None:
        """The client is gone."""
        self.exchanges.drop(number)

    # -- requests over HTTP

    async def _answer(self, scope: Any, receive: Any, send: Any, request_id: str, prefix: str) -> int:
        """A request that came to this process."""
        if self.ongoing >= self.limit or self.draining:
            if self.front is not None and self._others():
                return await self.front.forward(scope, receive, send, self.app_name, prefix, request_id)
            if 0 <= self.max_queued <= len(self.waiting):
                error = BackPressureError(len(self.waiting), self.max_queued)
                back = self.config.get("backpressure_config") or {}
                headers = [(b"x-request-id", request_id.encode("latin-1"))]
                if back.get("retry_after_s") is not None:
                    headers.append((b"retry-after", b"%d" % round(back["retry_after_s"])))
                return await _refuse(scope, send, back.get("status_code", 503), error.message, headers)
        return await self._run(scope, receive, send, request_id, prefix)

    def _others(self) -> bool:
        """Whether another replica may have a place free."""
        if self.router is None:
            self.router = router_of(self.id.deployment_id)
        router = self.router
        mine = self.id.unique_id
        return any(slot.id != mine and slot.ongoing < slot.limit for slot in router.open)

    async def _run(self, scope: Any, receive: Any, send: Any, request_id: str, prefix: str) -> int:
        if self.ongoing >= self.limit:
            await self._place()
        else:
            self.ongoing += 1
        reply = _Messages(scope, receive, send)
        try:
            status = await respond(self, reply, prefix, request_id)
            if reply.kept is not None:
                await send_whole(send, 200, *reply.kept)
            return status
        finally:
            self._leave()


class _Messages:
    """An answer that is given as messages of ASGI."""

    in_one = None

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.receive = receive
        self._send = send
        self.begun = False
        self.kept: tuple[bytes, bytes] | None = None

    async def send(self, message: dict[str, Any]) -> None:
        """What the application says."""
        self.begun = True
        await self._send(message)

    def whole(self, head: bytes, body: bytes) -> None:
        """A complete answer, which is sent a little later."""
        self.begun = True
        self.kept = head, body
