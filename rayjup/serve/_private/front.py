"""Which application a request over HTTP is for, and its way there.

Every process that takes requests has a front. Where the application is served by the process itself,
the request goes straight to it; otherwise over the lane to the least busy replica.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from rayjup.exceptions import RayError, RayTaskError, TaskCancelledError
from rayjup.serve._private.access import AccessLog
from rayjup.serve._private.answers import send_text, to_json
from rayjup.serve._private.awaiting import future_of, when_assigned
from rayjup.serve._private.channel import BODY_AT_ONCE, carry, pack_request, read_body
from rayjup.serve._private.common import DeploymentID
from rayjup.serve._private.router import GONE, Call, Router, router_of
from rayjup.serve._private.table import Table
from rayjup.serve.exceptions import BackPressureError, DeploymentUnavailableError
from rayjup.serve.handle import new_request_id

_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))
_TRIES = 3
_KNOWN_PATHS = 4096
MODEL_HEADER = b"serve_multiplexed_model_id"
SESSION_HEADER = b"serve_session_id"


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
        packed = pack_request(scope, body, more, request_id, prefix)
        model, session = _wishes(scope)
        router = self._routers.get(app)
        if router is None:
            router = self._routers[app] = router_of(DeploymentID(self.table.apps[app]["ingress"], app))
        again = _TRIES if not more and http and scope["method"] in _SAFE else 1
        while True:
            again -= 1
            call = Call(
                router, lambda slot: slot.connect().http.remote(packed), False, request_id, model, session
            )
            try:
                router.submit(call)
                if not call.assigned:
                    await when_assigned(call)
                if call.error is not None:
                    raise call.error
                slot = call.slot
                actor = slot.actor if slot is not None else None
                reply = await future_of(call.ref)
            except asyncio.CancelledError:
                call.cancel()
                raise
            except BackPressureError as error:
                retry = error.retry_after_s
                headers = [_id_header(request_id)]
                if retry is not None:
                    headers.append((b"retry-after", b"%d" % max(0, round(retry))))
                return await _refuse(scope, send, error.status_code, error.message, headers)
            except DeploymentUnavailableError as error:
                return await _refuse(scope, send, 503, error.message, [_id_header(request_id)])
            except (*GONE, ValueError) as error:
                if again > 0 and not isinstance(error, RayTaskError):
                    continue
                return await _refuse(scope, send, 500, "Internal Server Error", [_id_header(request_id)])
            except TaskCancelledError:
                raise asyncio.CancelledError from None
            except RayError:
                return await _refuse(scope, send, 500, "Internal Server Error", [_id_header(request_id)])
            assert actor is not None
            return await carry(actor, reply, scope, receive, send, future_of, more)

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
