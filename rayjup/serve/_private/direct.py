"""The shortest way of a request through a replica that takes it itself.

What can wait is left to :class:`~.front.Front`: paths of other applications, replicas that are full or
leave, time limits. A request that needs none of that is answered here in one coroutine.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from rayjup.serve._private.answers import is_stream, send_answer, send_text, to_json
from rayjup.serve._private.front import Front
from rayjup.serve.context import RequestContext, _serve_request_context
from rayjup.serve.exceptions import BackPressureError
from rayjup.serve.handle import new_request_id

if TYPE_CHECKING:
    from rayjup.serve._private.replica import Replica

_log = logging.getLogger("rayjup.serve")
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_JSON = (b"content-type", b"application/json")
OWN_HEADERS = frozenset(
    (b"x-request-id", b"serve_multiplexed_model_id", b"serve_session_id", b"traceparent", b"tracestate")
)
_WITH_ID = b"x-request-id"
_MOST_PATHS = 4096


def context_of(scope: dict[str, Any], app: str, route: str) -> RequestContext:
    """What the code that answers a request may know of it, from its headers."""
    context = RequestContext("", route, app)
    for name, value in scope["headers"]:
        if name in OWN_HEADERS:
            text = value.decode("latin-1")
            if name == _WITH_ID:
                context.request_id = text
            elif name == b"serve_multiplexed_model_id":
                context.multiplexed_model_id = text
            elif name == b"serve_session_id":
                context.session_id = text
            else:
                context.trace = {**(context.trace or {}), name.decode(): text}
    return context


class Direct:
    """The application of ASGI on a replica's own connections."""

    def __init__(self, replica: Replica, front: Front) -> None:
        self.replica = replica
        self.front = front
        self.version = -1
        self.mine: dict[str, str] = {}  # paths of this application, and the prefix of each

    def _prefix(self, path: str) -> str | None:
        """The route prefix if ``path`` is this application's; None when it is for the front to see."""
        front = self.front
        if self.version != front.version or len(self.mine) > _MOST_PATHS:
            self.version, self.mine = front.version, {}
        if front.timeout_s is not None or path.startswith("/-/"):
            return None
        found = front.match(path)
        if found is None or found[1] != self.replica.app_name:
            return None
        self.mine[path] = found[0]
        return found[0]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        replica = self.replica
        path: str = scope["path"]
        prefix = self.mine.get(path) if self.version == self.front.version else None
        if prefix is None:
            prefix = self._prefix(path)
        if prefix is None or replica.ongoing >= replica.limit or replica.draining or scope["type"] != "http":
            await self.front(scope, receive, send)
            return
        started = time.perf_counter()
        replica.ongoing += 1
        context = context_of(scope, replica.app_name, prefix or "/")
        if not context.request_id:
            context.request_id = new_request_id()
        _serve_request_context.set(context)
        status = 499  # the client's going away, should nothing else come
        user = replica.user
        assert user is not None
        with_id = (_WITH_ID, context.request_id.encode("latin-1"))
        try:
            if user.app is not None:
                status = await run_app(user, scope, receive, send, prefix, with_id)
                return
            entry = user._methods.get("__call__") or user.method("__call__")
            value = entry(Request(scope, receive, send)) if user.takes_request else entry()
            if inspect.isawaitable(value):
                value = await value
            if type(value) is str:
                body, kind = value.encode(), _TEXT
            elif value is None or isinstance(value, (Response, bytes)) or is_stream(value):
                status = await send_answer(value, scope, receive, send, [with_id])
                return
            else:
                body, kind = to_json(value), _JSON
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", b"%d" % len(body)), kind, with_id],
                }
            )
            status = 200
            await send({"type": "http.response.body", "body": body})
        except asyncio.CancelledError:
            context.cancel_children()
        except Exception as error:
            status = 500
            tell(context.request_id, error)
            if user.app is not None:
                raise
            if isinstance(error, BackPressureError):
                status = await send_text(send, error.status_code, error.message, [with_id])
            else:
                await send_text(send, 500, "Internal Server Error", [with_id])
        finally:
            replica._leave()
            replica.log.add(
                (
                    started,
                    time.perf_counter(),
                    context.app_name,
                    context.route,
                    scope["method"],
                    path,
                    status,
                    context.request_id,
                )
            )


async def run_app(
    user: Any, scope: Any, receive: Any, send: Any, prefix: str, with_id: tuple[bytes, bytes]
) -> int:
    """Run the user's application; the status it answers with."""
    if prefix:
        scope["root_path"] = scope["root_path"] + prefix
    if user.lifespan is not None and user.lifespan.state:
        scope["state"] = {**scope.get("state", {}), **user.lifespan.state}
    status = 101 if scope["type"] == "websocket" else 200

    async def sending(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), with_id]}
        await send(message)

    await user.app(scope, receive, sending)
    return status


def tell(request_id: str, error: BaseException) -> None:
    """Print what the user's code raised."""
    text = "".join(traceback.format_exception(error))
    _log.error("Request %s failed:\n%s", request_id, text)
    sys.stderr.write(f"Request {request_id} failed:\n{text}")
