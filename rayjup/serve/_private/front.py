"""Which application a request over HTTP is for, and its way there.

Every process that takes requests has a front. Where the application is served by the process itself,
the request goes straight to it; otherwise over the lane to the least busy replica.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import rayjup
from rayjup.exceptions import RayError, RayTaskError, TaskCancelledError
from rayjup.serve._private import link as links
from rayjup.serve._private import tracing
from rayjup.serve._private.access import AccessLog
from rayjup.serve._private.answers import send_text, to_json
from rayjup.serve._private.awaiting import future_of, when_assigned
from rayjup.serve._private.channel import BODY_AT_ONCE, carry, pack_request, read_body
from rayjup.serve._private.common import DeploymentID
from rayjup.serve._private.router import GONE, Call, Router, Slot, router_of
from rayjup.serve._private.table import Table
from rayjup.serve._private.wire import fields_of, said
from rayjup.serve.exceptions import BackPressureError, DeploymentUnavailableError
from rayjup.serve.handle import new_request_id

_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
_TRIES = 3
_KNOWN_PATHS = 4096
MODEL_HEADER = b"serve_multiplexed_model_id"
SESSION_HEADER = b"serve_session_id"


class Cut(ConnectionError):
    """A replica has ended in the middle of an answer."""


class Front:
    """An application of ASGI that hands requests on.

    Parameters
    ----------
    table
        Says which routes there are.
    local
        ``(application's name, function)``: requests for this application are answered by
        ``await function(scope, receive, send, request_id, prefix, path)`` which gives the status.
    """

    def __init__(
        self,
        table: Table,
        log: AccessLog,
        local: tuple[str, Callable[..., Any]] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.table = table
        self.log = log
        self.local_app = local[0] if local else ""
        self.local: Callable[..., Any] | None = local[1] if local else None
        self.timeout_s = timeout_s
        self.node = rayjup.get_runtime_context().get_node_id() if rayjup.is_initialized() else ""
        self.ongoing = 0
        self.version = 0
        self._prefixes: list[tuple[str, str]] = []
        self._paths: dict[str, tuple[str, str] | None] = {}
        self._routers: dict[str, Router] = {}
        table.listen(self)
        self.id = DeploymentID("", "")
        self.on_table()

    def waiting(self) -> int:
        """Requests that wait here: none, they do so at the routers."""
        return 0

    def on_table(self) -> None:
        """Routes have changed."""
        found = [
            (a["prefix"].rstrip("/"), name) for name, a in self.table.apps.items() if a["prefix"] is not None
        ]
        self.version += 1
        self._prefixes = sorted(found, key=lambda item: -len(item[0]))
        self._paths = {}
        self._routers = {}
        self.timeout_s = self.table.http.get("request_timeout_s") or None

    def match(self, path: str) -> tuple[str, str] | None:
        """``(prefix, application)`` for a path."""
        try:
            return self._paths[path]
        except KeyError:
            pass
        found = None
        for prefix, app in self._prefixes:
            if not prefix or path == prefix or path.startswith(prefix + "/"):
                found = (prefix, app)
                break
        if len(self._paths) >= _KNOWN_PATHS:
            self._paths.clear()
        self._paths[path] = found
        return found

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        path: str = scope["path"]
        if path.startswith("/-/"):
            await self._own(path, scope, receive, send)
            return
        match = self._paths.get(path) or self.match(path)
        started = time.perf_counter()
        if match is None:
            text = (
                f"Path '{path}' not found. Ping http://.../-/routes for available routes."
                if scope["type"] == "http"
                else ""
            )
            status = await _refuse(scope, send, 404, text)
            self._note(scope, "", path, status, started, "", "")
            return
        prefix, app = match
        request_id = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value.decode("latin-1")
                break
        if not request_id:
            request_id = new_request_id()
        if tracing.tracer is not None and not (app == self.local_app and self.local is not None):
            await self._traced(scope, receive, send, (app, prefix, request_id, path, started))
        else:
            await self._run(scope, receive, send, (app, prefix, request_id, path, started))

    async def _traced(self, scope: dict[str, Any], receive: Any, send: Any, what: tuple[Any, ...]) -> None:
        """:meth:`_run` in a span; the replica's is inside of it."""
        app, prefix, request_id, *_ = what
        names = (b"traceparent", b"tracestate")
        came = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in names}
        method = scope.get("method", "WS")
        told = {"request_id": request_id, "route": prefix or "/", "app": app, "http.method": method}
        with tracing.span(f"proxy_http_request {method} {prefix or '/'}", came, **told) as carrier:
            headers = [pair for pair in scope["headers"] if pair[0] not in names]
            headers += [(k.encode(), v.encode("latin-1")) for k, v in carrier.items()]
            status = await self._run({**scope, "headers": headers}, receive, send, what)
            if status >= 500:
                tracing.fail(f"answered with {status}")

    async def _run(self, scope: dict[str, Any], receive: Any, send: Any, what: tuple[Any, ...]) -> int:
        app, prefix, request_id, path, started = what
        self.ongoing += 1
        status = 499  # the client's going away, should nothing else come
        try:
            if self.timeout_s is None or scope["type"] != "http":
                status = await self._answer(scope, receive, send, app, prefix, request_id)
            else:
                status = await self._in_time(scope, receive, send, app, prefix, request_id)
        except asyncio.CancelledError:
            pass  # nobody is there to be told
        finally:
            self.ongoing -= 1
            self._note(scope, prefix or "/", path, status, started, request_id, app)
        return status

    async def _answer(
        self, scope: dict[str, Any], receive: Any, send: Any, app: str, prefix: str, request_id: str
    ) -> int:
        if app == self.local_app and self.local is not None:
            return await self.local(scope, receive, send, request_id, prefix)  # type: ignore[no-any-return]
        return await self.forward(scope, receive, send, app, prefix, request_id)

    async def _in_time(
        self, scope: dict[str, Any], receive: Any, send: Any, app: str, prefix: str, request_id: str
    ) -> int:
        begun = False

        async def watched(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        answer = asyncio.ensure_future(self._answer(scope, receive, watched, app, prefix, request_id))
        try:
            return await asyncio.wait_for(answer, self.timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            if begun:
                raise asyncio.CancelledError from None
            return await send_text(
                send,
                408,
                f"Request {request_id} timed out after {self.timeout_s}s.",
                [_id_header(request_id)],
            )

    async def forward(
        self, scope: dict[str, Any], receive: Any, send: Any, app: str, prefix: str, request_id: str
    ) -> int:
        """Have a replica answer, over the lane."""
        http = scope["type"] == "http"
        body, more = await read_body(receive, BODY_AT_ONCE) if http else (b"", False)
        model, session = _wishes(scope)
        router = self.router(app)
        again = _TRIES if not more and http and scope["method"] in _SAFE else 1
        while True:
            again -= 1
            call = Call(router, _take_place, True, request_id, model, session)
            try:
                router.submit(call)
                if not call.assigned:
                    await when_assigned(call)
                if call.error is not None:
                    raise call.error
                slot = call.slot
                assert slot is not None
                link = await self.link_of(slot)
                if link is not None:
                    request = fields_of(scope, body, more, request_id, prefix)
                    return await self._over_link(link, request, scope, receive, send, more)
                packed = pack_request(scope, body, more, request_id, prefix)
                actor = _actor_of(slot)
                reply = await future_of(actor.http.remote(packed))
                try:
                    return await carry(actor, reply, scope, receive, send, future_of, more)
                except GONE as error:
                    raise Cut(str(error)) from error
            except asyncio.CancelledError:
                call.cancelled = True
                if not router.withdraw(call):
                    call.when_assigned(call.answered)
                raise
            except BackPressureError as error:
                retry = error.retry_after_s
                headers = [_id_header(request_id)]
                if retry is not None:
                    headers.append((b"retry-after", b"%d" % max(0, round(retry))))
                return await _refuse(scope, send, error.status_code, error.message, headers)
            except DeploymentUnavailableError as error:
                return await _refuse(scope, send, 503, error.message, [_id_header(request_id)])
            except Cut:
                raise  # in the middle of an answer: the connection ends with it
            except (*GONE, ConnectionError) as error:
                if call.slot is not None and not isinstance(error, RayTaskError):
                    router.lost(call.slot)
                if again > 0 and not isinstance(error, RayTaskError):
                    continue
                return await _refuse(scope, send, 500, "Internal Server Error", [_id_header(request_id)])
            except TaskCancelledError:
                raise asyncio.CancelledError from None
            except RayError:
                return await _refuse(scope, send, 500, "Internal Server Error", [_id_header(request_id)])
            finally:
                call.answered()

    def router(self, app: str) -> Router:
        """Chooses among the replicas that answer an application's requests."""
        router = self._routers.get(app)
        if router is None:
            router = self._routers[app] = router_of(DeploymentID(self.table.apps[app]["ingress"], app))
        return router

    async def link_of(self, slot: Slot) -> links.Link | None:
        """A link to a replica; None where it is on another machine.

        Raises
        ------
        ConnectionError
            The replica is gone.
        """
        link: links.Link | None = slot.link
        if link is not None and link.open:
            return link
        path = slot.entry.get("door")
        if not path or slot.entry.get("node") != self.node:
            return None
        try:
            slot.link = await links.connect(path)
        except OSError as error:
            raise ConnectionResetError(f"replica {slot.id} does not answer at {path}") from error
        return slot.link  # type: ignore[no-any-return]

    async def _over_link(
        self, link: links.Link, request: tuple[Any, ...], scope: Any, receive: Any, send: Any, more: bool
    ) -> int:
        loop = asyncio.get_running_loop()
        first: asyncio.Future[None] = loop.create_future()

        def told(_: links.Asked) -> None:
            if not first.done():
                first.set_result(None)

        asked = links.Asked(link, told, request)
        http = scope["type"] == "http"
        upward = loop.create_task(_send_on(asked, receive, http)) if more or not http else None
        try:
            await first
            if asked.answer is not None:
                _, _, status, block, body, close = asked.answer
                await send_whole(send, status, block, body, close)
                return int(status)
            if asked.lost and not asked.pieces:
                raise ConnectionResetError("the replica is gone")
            return await relay(asked, http, send)
        finally:
            if upward is not None:
                upward.cancel()
            asked.drop()

    async def _own(self, path: str, scope: Any, receive: Any, send: Any) -> None:
        if path == "/-/routes":
            routes = {a["prefix"]: name for name, a in self.table.apps.items() if a["prefix"] is not None}
            body = to_json(routes)
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"application/json"),
                        (b"content-length", b"%d" % len(body)),
                    ],
                }
            )
            await send({"type": "http.response.body", "body": body})
        elif path == "/-/healthz":
            await send_text(send, 200, "success")
        else:
            await _refuse(scope, send, 404, f"Path '{path}' not found.")

    def _note(
        self, scope: Any, route: str, path: str, status: int, started: float, request_id: str, app: str
    ) -> None:
        method = scope.get("method", "WS")
        self.log.add((started, time.perf_counter(), app, route, method, path, status, request_id))


def _actor_of(slot: Slot) -> Any:
    try:
        return slot.connect()
    except ValueError as error:
        raise ConnectionResetError(f"replica {slot.id} is gone") from error


class _Place:
    """Stands for the answer of a call that only takes a place."""


_PLACE = _Place()


def _take_place(_: Slot) -> _Place:
    return _PLACE


async def relay(asked: links.Asked, http: bool, send: Any) -> int:
    """Send on an answer that comes in pieces; its status.

    Raises
    ------
    Cut
        The replica was gone before its end.
    """
    status = 101
    while True:
        try:
            message = await asked.next()
        except ConnectionResetError as error:
            raise Cut(str(error)) from error
        if message is None:
            return status
        if http and len(message) == 3:
            status = message[0]
        await send(said(message) if http else message)


async def _send_on(asked: links.Asked, receive: Any, http: bool) -> None:
    if not http:
        await receive()  # the handshake, which has been answered
    more = True
    while more:
        message = await receive()
        if http and message["type"] == "http.request":
            more = message.get("more_body", False)
            await asked.more((message.get("body", b""), more))
        else:
            more = message["type"] not in ("http.disconnect", "websocket.disconnect")
            await asked.more({k: v for k, v in message.items() if v is not None})


async def send_whole(send: Any, status: int, block: bytes, body: bytes, close: bool = False) -> None:
    """Send a complete answer whose headers are lines."""
    headers = [tuple(line.split(b": ", 1)) for line in block.split(b"\r\n") if line]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _id_header(request_id: str) -> tuple[bytes, bytes]:
    return (b"x-request-id", request_id.encode("latin-1"))


def _wishes(scope: dict[str, Any]) -> tuple[str, str]:
    model = session = ""
    for name, value in scope["headers"]:
        if name == MODEL_HEADER:
            model = value.decode("latin-1")
        elif name == SESSION_HEADER:
            session = value.decode("latin-1")
    return model, session


async def _refuse(
    scope: dict[str, Any], send: Any, status: int, text: str, headers: list[tuple[bytes, bytes]] | None = None
) -> int:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1013 if status == 503 else 1008})
        return status
    return await send_text(send, status, text, headers)
