"""The replica's end of links: requests that another process of this machine has taken from clients."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from rayjup.serve._private import link as links
from rayjup.serve._private.answering import respond
from rayjup.serve._private.answers import block_of, has_length
from rayjup.serve._private.link import (
    ANSWER,
    ASK,
    CUT,
    GONE,
    MORE,
    PIECES,
    SAY_USED,
    USED,
    Flow,
    Link,
    size_of,
)
from rayjup.serve._private.wire import asked, plain, scope_of, start

if TYPE_CHECKING:
    from rayjup.serve._private.replica import Replica

_LONGEST_PATH = 100  # of a unix socket, with some room


def path_of(directory: str, replica: str) -> str | None:
    """Where a replica's socket lies; None where paths are too long for one."""
    path = os.path.join(directory, f"{replica}.door")
    return path if len(os.fsencode(path)) <= _LONGEST_PATH else None


class Door:
    """Takes links, and answers what comes over them."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.links: set[Link] = set()
        self.path = ""
        self._server: Any = None

    async def start(self, directory: str) -> str:
        """Listen in a directory that only this user can read; the path, empty where that cannot be."""
        path = path_of(directory, self.replica.id.unique_id)
        if path is None:
            return ""
        os.makedirs(directory, mode=0o700, exist_ok=True)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Link(self._hear, self._lose), path, backlog=256)
        self.path = path
        return path

    def close(self) -> None:
        """Take no more links, and end those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
        for link in list(self.links):
            link.transport.close()

    def busy(self) -> bool:
        """Whether something is being answered, or on its way."""
        return any(link.exchanges or link.unsent() for link in self.links)

    def _hear(self, link: Link, message: tuple[Any, ...]) -> None:
        kind, number = message[0], message[1]
        if kind == ASK:
            self.links.add(link)
            served = link.exchanges[number] = Served(link, number, message)
            served.task = asyncio.get_running_loop().create_task(self._run(served))
            return
        open = link.exchanges.get(number)
        if open is None:
            return  # answered meanwhile
        if kind == MORE:
            open.push(message[2])
        elif kind == USED:
            open.flow.give(message[2])
        elif kind == GONE:
            open.drop()

    def _lose(self, link: Link) -> None:
        self.links.discard(link)
        for served in list(link.exchanges.values()):
            served.drop()

    async def _run(self, served: Served) -> None:
        replica = self.replica
        started = time.perf_counter()
        status = 500
        try:
            if replica.ongoing >= replica.limit:
                await replica._place()
            else:
                replica.ongoing += 1
            try:
                status = await respond(replica, served, served.prefix, served.request_id)
            finally:
                replica._leave()
            served.finish()
        except asyncio.CancelledError:
            served.finish()
        except Exception:  # noqa: BLE001 - told to who reads the log, and answered with 500
            served.finish()
        finally:
            replica.measures.add((time.perf_counter() - started) * 1000, status >= 500)


class Served:
    """A request that came over a link: what the application receives and sends."""

    in_one = None

    def __init__(self, link: Link, number: int, message: tuple[Any, ...]) -> None:
        body, more, self.request_id, self.prefix = message[14:]
        self.scope = scope_of(message[2:14])
        self.http = self.scope["type"] == "http"
        opening = asked((body, more)) if self.http else {"type": "websocket.connect"}
        self.incoming: deque[dict[str, Any]] = deque((opening,))
        self.link = link
        self.number = number
        self.task: asyncio.Task[None] | None = None
        self.flow = Flow()
        self.begun = False  # something of the answer was sent
        self.complete = False
        self.gone = False
        self._start: dict[str, Any] | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._used = 0

    # -- the application's side

    async def receive(self) -> dict[str, Any]:
        """What the application asks for next."""
        while not self.incoming:
            if self.gone or (self.complete and self.http):
                return self._gone()
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        message = self.incoming.popleft()
        self._used += len(message.get("body", b"")) if self.http else size_of(message)
        if self._used >= SAY_USED and self.link.open:
            self.link.say((USED, self.number, self._used))
            self._used = 0
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """What the application says.

        Raises
        ------
        RuntimeError
            A header that cannot be sent.
        """
        if self.gone or self.complete:
            return
        if not self.http:
            await self._pieces([plain(message)])
            return
        if message["type"] == "http.response.start":
            if has_length(message):  # what follows comes at once, and mostly in one piece
                self._start = message
            else:
                await self._pieces([start(message)])
            return
        body = bytes(message.get("body", b""))
        more = bool(message.get("more_body", False))
        if not self.begun and not more and self._start is not None:
            block, close = block_of(self._start, len(body), self.scope["method"])
            self.begun = True
            self._answer(int(self._start["status"]), block, body, close)
            return
        pieces: list[Any] = []
        if not self.begun and self._start is not None:
            pieces.append(start(self._start))
        self.complete = not more
        pieces.append((body, more))
        await self._pieces(pieces)

    def whole(self, head: bytes, body: bytes) -> None:
        """A complete answer with status 200; ``head`` are lines of headers, as they are sent."""
        if not self.gone:
            self.begun = True
            self._answer(200, head, body, False)

    def _answer(self, status: int, block: bytes, body: bytes, close: bool) -> None:
        self.complete = True
        self.link.exchanges.pop(self.number, None)
        if self.link.open:
            self.link.say((ANSWER, self.number, status, block, body, close))

    async def _pieces(self, messages: list[Any]) -> None:
        self.begun = True
        await self.flow.take(sum(map(size_of, messages)))
        if self.link.open and not self.gone:
            self.link.say((PIECES, self.number, messages, False))

    # -- the client's side

    def push(self, messages: list[Any]) -> None:
        """More of what the client says."""
        for message in messages:
            self.incoming.append(asked(message) if isinstance(message, tuple) else message)
        self._wake()

    def drop(self) -> None:
        """The client is gone."""
        if self.gone:
            return
        self.gone = True
        self.link.exchanges.pop(self.number, None)
        self.incoming.append(self._gone())
        self._wake()
        self.flow.give(links.AHEAD)
        if self.task is not None and self.http:
            # A turn later: whoever reads the request hears of the end first.
            asyncio.get_running_loop().call_soon(self.task.cancel)

    def finish(self) -> None:
        """The application has returned."""
        if self.link.exchanges.pop(self.number, None) is None or not self.link.open:
            return
        if self.http and not self.begun:
            block, _ = block_of({"status": 500, "headers": [_TEXT]}, 21, self.scope["method"])
            self.link.say((ANSWER, self.number, 500, block, b"Internal Server Error", True))
        elif self.http and not self.complete:
            self.link.say((CUT, self.number))
        else:
            self.link.say((PIECES, self.number, [], True))

    def _gone(self) -> dict[str, Any]:
        return {"type": "http.disconnect"} if self.http else {"type": "websocket.disconnect", "code": 1006}

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


_TEXT = (b"content-type", b"text/plain; charset=utf-8")
