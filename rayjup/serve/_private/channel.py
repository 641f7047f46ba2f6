"""A request that is answered in another process: messages of ASGI over the lane.

A request travels as one call, and so does a complete answer. Where an answer comes in pieces, the
call returns the first ones and a number, and the caller fetches what comes (``pull``); in the same
way the rest of a long request body, or what a client says on a websocket, is sent on (``push``).
Each ``pull`` brings all that has gathered, so a fast stream costs few calls.
"""

from __future__ import annotations

import asyncio
import marshal
from collections import deque
from collections.abc import Callable
from typing import Any

from rayjup.serve._private.wire import asked, fields_of, plain, said, scope_of, start

BODY_AT_ONCE = 256 * 1024  # of a request: what is longer is sent on in pieces
_AHEAD = 1024 * 1024  # an application may be that many bytes ahead of its client
_ABANDONED_S = 120.0  # nobody fetches: the caller must have died


def pack_request(scope: dict[str, Any], body: bytes, more: bool, request_id: str, prefix: str) -> bytes:
    """A request as bytes."""
    return marshal.dumps(fields_of(scope, body, more, request_id, prefix), 4)


def unpack_request(data: bytes) -> tuple[dict[str, Any], bytes, bool, str, str]:
    """What :func:`pack_request` packed: scope, beginning of the body, whether more comes, id, prefix."""
    *request, body, more, id, prefix = marshal.loads(data)
    return scope_of(request), body, more, id, prefix


class Exchange:
    """The side of the application: what it receives and sends."""

    def __init__(self, kind: str, body: bytes, more: bool) -> None:
        self.incoming: deque[dict[str, Any]] = deque()
        if kind == "http":
            self.incoming.append(asked((body, more)))
        else:
            self.incoming.append({"type": "websocket.connect"})
        self.kind = kind
        self.outgoing: list[Any] = []
        self.more = more and kind == "http"
        self.complete = False
        self.task: asyncio.Task[Any] | None = None
        self._ahead = 0
        self._changed = asyncio.Event()  # something to fetch, or the end
        self._arrived = asyncio.Event()
        self._fetched = asyncio.Event()
        self.expiry: asyncio.TimerHandle | None = None

    async def receive(self) -> dict[str, Any]:
        """What the application asks for next."""
        while not self.incoming:
            self._arrived.clear()
            await self._arrived.wait()
        return self.incoming.popleft()

    async def send(self, message: dict[str, Any]) -> None:
        """What the application says."""
        kind = message["type"]
        if kind == "http.response.start":
            self.outgoing.append(start(message))
            return
        if kind == "http.response.body":
            body = message.get("body", b"")
            more = bool(message.get("more_body", False))
            self.outgoing.append((bytes(body), more))
            self._ahead += len(body)
            self.complete = self.complete or not more
        else:
            self.outgoing.append(plain(message))
            self._ahead += len(message.get("bytes") or message.get("text") or "")
        self._changed.set()
        while self._ahead > _AHEAD:
            self._fetched.clear()
            await self._fetched.wait()

    def push(self, messages: list[Any]) -> None:
        """More of what the client says."""
        for message in messages:
            self.incoming.append(asked(message) if isinstance(message, tuple) else message)
        self._arrived.set()

    async def pull(self) -> list[Any]:
        """What the application has said since; waits for something. Empty at the end."""
        while not self.outgoing and not self.over():
            self._changed.clear()
            await self._changed.wait()
        found, self.outgoing = self.outgoing, []
        self.fetched()
        return found

    def fetched(self) -> None:
        """What was there is on its way to the client."""
        self._ahead = 0
        self._fetched.set()

    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.task is not None and self.task.done()

    def ended(self, _: Any = None) -> None:
        """The application has returned."""
        self._changed.set()


class Exchanges:
    """All requests that came over the lane and are not answered in full."""

    def __init__(self) -> None:
        self.open: dict[int, Exchange] = {}
        self._next = 0

    async def begin(self, exchange: Exchange, run: Callable[[Exchange], Any]) -> bytes:
        """Run the application; its answer, or the beginning of it, packed."""
        loop = asyncio.get_running_loop()
        task = exchange.task = loop.create_task(run(exchange))
        task.add_done_callback(exchange.ended)
        try:
            while not exchange.more and len(exchange.outgoing) < 2 and not exchange.over():
                exchange._changed.clear()
                await exchange._changed.wait()
                if exchange.kind != "http":
                    break
            if not exchange.more and not exchange.complete:
                await asyncio.sleep(0)  # the end often comes right after the only piece
        except asyncio.CancelledError:
            task.cancel()
            raise
        if exchange.complete:
            status, headers, _ = exchange.outgoing[0]
            body = b"".join(piece[0] for piece in exchange.outgoing[1:])
            return marshal.dumps((0, (status, headers, body)), 4)
        if exchange.over() and not exchange.outgoing:
            error = task.exception() if not task.cancelled() else None
            if error is not None:
                raise error
            return marshal.dumps((0, (500, [], b"Internal Server Error")), 4)
        self._next += 1
        number = self._next
        self.open[number] = exchange
        self._expect(number, exchange)
        first, exchange.outgoing = exchange.outgoing, []
        exchange.fetched()
        return marshal.dumps((number, first), 4)

    async def pull(self, number: int) -> bytes:
        """See :meth:`Exchange.pull`; ``[messages, whether that is all]``."""
        exchange = self.open.get(number)
        if exchange is None:
            return marshal.dumps(([], True), 4)
        if exchange.expiry is not None:
            exchange.expiry.cancel()
        messages = await exchange.pull()
        over = exchange.over() and not exchange.outgoing
        if over:
            self.open.pop(number, None)
        else:
            self._expect(number, exchange)
        return marshal.dumps((messages, over), 4)

    def push(self, number: int, data: bytes) -> bool:
        """More of what the client says; False when nobody listens any more."""
        exchange = self.open.get(number)
        if exchange is None:
            return False
        exchange.push(marshal.loads(data))
        return True

    def drop(self, number: int) -> None:
        """The client is gone."""
        exchange = self.open.pop(number, None)
        if exchange is None:
            return
        if exchange.expiry is not None:
            exchange.expiry.cancel()
        gone: dict[str, Any] = (
            {"type": "http.disconnect"}
            if exchange.kind == "http"
            else {"type": "websocket.disconnect", "code": 1006}
        )
        exchange.push([gone])
        if exchange.task is not None and exchange.kind == "http":
            asyncio.get_running_loop().call_soon(exchange.task.cancel)

    def _expect(self, number: int, exchange: Exchange) -> None:
        exchange.expiry = asyncio.get_running_loop().call_later(_ABANDONED_S, self.drop, number)


async def read_body(receive: Any, most: int) -> tuple[bytes, bool]:
    """The beginning of a request's body, and whether there is more of it."""
    message = await receive()
    body = message.get("body", b"")
    more = message.get("more_body", False)
    if not more:
        return body, False
    pieces = [body]
    size = len(body)
    while more and size < most:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        more = message.get("more_body", False)
    return b"".join(pieces), more


async def carry(
    actor: Any, reply: bytes, scope: dict[str, Any], receive: Any, send: Any, wait: Any, more: bool
) -> int:
    """The side of the client: answer with what came back from :meth:`Exchanges.begin`; the status.

    Parameters
    ----------
    wait
        Gives an awaitable for a ref.
    more
        The request's body was longer than what was sent with the call.
    """
    number, content = marshal.loads(reply)
    http = scope["type"] == "http"
    if not number:
        status, headers, body = content
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return int(status)
    upward: asyncio.Task[None] | None = None
    finished = False
    status = 101
    try:
        if more or not http:
            upward = asyncio.get_running_loop().create_task(_send_on(actor, number, receive, wait, http))
        messages, over = content, False
        while True:
            for message in messages:
                if http and len(message) == 3:
                    status = message[0]
                await send(said(message) if http else message)
            if over:
                break
            messages, over = marshal.loads(await wait(actor.pull.remote(number)))
        finished = True
        return int(status)
    finally:
        if upward is not None:
            upward.cancel()
        if not finished or not http:
            actor.drop.remote(number)


async def _send_on(actor: Any, number: int, receive: Any, wait: Any, http: bool) -> None:
    if not http:
        await receive()  # the handshake, which has been answered
    more = True
    while more:
        message = await receive()
        if http and message["type"] == "http.request":
            more = message.get("more_body", False)
            data: list[Any] = [(message.get("body", b""), more)]
        else:
            more = message["type"] not in ("http.disconnect", "websocket.disconnect")
            data = [plain(message)]
        if not await wait(actor.push.remote(number, marshal.dumps(data, 4))):
            return
