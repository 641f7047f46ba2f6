"""A request over HTTP, answered by the user's code: the same for those that come on a replica's own
connections and those that another process hands over."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from rayjup.serve._private import tracing
from rayjup.serve._private.answers import has_length, is_stream, send_answer, send_text, to_json
from rayjup.serve.context import RequestContext, _serve_request_context
from rayjup.serve.exceptions import BackPressureError
from rayjup.serve.handle import new_request_id

if TYPE_CHECKING:
    from rayjup.serve._private.replica import Replica

_log = logging.getLogger("rayjup.serve")
OWN_HEADERS = frozenset(
    (b"x-request-id", b"serve_multiplexed_model_id", b"serve_session_id", b"traceparent", b"tracestate")
)
_WITH_ID = b"x-request-id"
_TEXT = b"content-length: %d\r\ncontent-type: text/plain; charset=utf-8\r\nx-request-id: %b\r\n"
_JSON = b"content-length: %d\r\ncontent-type: application/json\r\nx-request-id: %b\r\n"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


class Reply(Protocol):
    """Where an answer goes to."""

    @property
    def scope(self) -> dict[str, Any]:
        """As ASGI says."""

    @property
    def receive(self) -> Any:
        """As ASGI says."""

    @property
    def send(self) -> Any:
        """As ASGI says."""

    @property
    def begun(self) -> bool:
        """Whether something of it was sent."""

    @property
    def in_one(self) -> Callable[[dict[str, Any], bytes], None] | None:
        """Answers with what an application of ASGI began, and its only piece; None: ``send`` does."""

    def whole(self, head: bytes, body: bytes) -> None:
        """Answer with status 200, these lines of headers, and this body."""


def context_of(scope: dict[str, Any], app: str, route: str) -> RequestContext:
    """What the code that answers a request may know of it, from its headers."""
    context = RequestContext("", route, app)
    for name, value in scope["headers"]:
        if name in OWN_HEADERS:
            text = value.decode("latin-1")
            if name == _WITH_ID:
                context.request_id = _UNSAFE.sub("", text)
            elif name == b"serve_multiplexed_model_id":
                context.multiplexed_model_id = text
            elif name == b"serve_session_id":
                context.session_id = text
            else:
                context.trace = {**(context.trace or {}), name.decode(): text}
    return context


async def respond(replica: Replica, reply: Reply, prefix: str, request_id: str = "") -> int:
    """Answer a request, which has its place in the replica; the status.

    Raises
    ------
    Exception
        What an application of ASGI has raised; errors of functions are answered.
    """
    context = context_of(reply.scope, replica.app_name, prefix or "/")
    if tracing.tracer is None:
        return await _respond(replica, reply, prefix, request_id, context)
    name = replica.id.deployment_id.name
    told = {"deployment": name, "app": replica.app_name, "replica_id": replica.id.unique_id}
    with tracing.span(f"replica_handle_request {name} __call__", context.trace, **told) as trace:
        context.trace = trace
        return await _respond(replica, reply, prefix, request_id, context)


async def _respond(
    replica: Replica, reply: Reply, prefix: str, request_id: str, context: RequestContext
) -> int:
    scope = reply.scope
    request_id = context.request_id = request_id or context.request_id or new_request_id()
    _serve_request_context.set(context)
    user = replica.user
    assert user is not None
    id = request_id.encode("latin-1", "replace")
    try:
        if user.app is not None:
            return await run_app(user, reply, prefix, (_WITH_ID, id))
        if scope["type"] != "http":
            await reply.send({"type": "websocket.close", "code": 1000})
            return 400
        entry = user._methods.get("__call__") or user.method("__call__")
        value = entry(Request(scope, reply.receive, reply.send)) if user.takes_request else entry()
        if inspect.isawaitable(value):
            value = await value
        if type(value) is str:
            body = value.encode()
            head = _TEXT % (len(body), id)
        elif value is None or isinstance(value, (Response, bytes)) or is_stream(value):
            return await send_answer(value, scope, reply.receive, reply.send, [(_WITH_ID, id)])
        else:
            body = to_json(value)
            head = _JSON % (len(body), id)
        reply.whole(head, body)
        return 200
    except asyncio.CancelledError:
        context.cancel_children()
        raise
    except Exception as error:
        tell(request_id, error)
        if tracing.tracer is not None:
            tracing.fail(error)
        if reply.begun or user.app is not None:
            raise
        if isinstance(error, BackPressureError):
            return await send_text(reply.send, error.status_code, error.message, [(_WITH_ID, id)])
        return await send_text(reply.send, 500, "Internal Server Error", [(_WITH_ID, id)])


async def run_app(user: Any, reply: Reply, prefix: str, with_id: tuple[bytes, bytes]) -> int:
    """Run the user's application; the status it answers with."""
    scope, send = reply.scope, reply.send
    if prefix:
        scope["root_path"] = scope["root_path"] + prefix
    if user.lifespan is not None and user.lifespan.state:
        scope["state"] = {**scope.get("state", {}), **user.lifespan.state}
    status = 101 if scope["type"] == "websocket" else 200
    in_one = reply.in_one
    held: Any = None  # the beginning of an answer that is probably sent in one

    async def sending(message: Any) -> None:
        nonlocal status, held
        if message["type"] == "http.response.start":
            status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), with_id]}
            if in_one is not None and has_length(message):
                held = message
                return
        elif held is not None:
            start, held = held, None
            if in_one is not None and not message.get("more_body", False):
                in_one(start, message.get("body", b""))
                return
            await send(start)
        await send(message)

    await user.app(scope, reply.receive, sending)
    if held is not None:
        await send(held)
    return status


def tell(request_id: str, error: BaseException) -> None:
    """Print what the user's code raised."""
    text = "".join(traceback.format_exception(error))
    _log.error("Request %s failed:\n%s", request_id, text)
    sys.stderr.write(f"Request {request_id} failed:\n{text}")
