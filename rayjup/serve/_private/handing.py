"""The proxy's shortest way: a request goes to a replica, and its answer to the client, without a task.

Complete requests for replicas of this machine that have a place free. All others go through
:class:`~.front.Front`, which can wait, try again, and stream.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from rayjup.serve._private import link as links
from rayjup.serve._private.front import _SAFE, MODEL_HEADER, SESSION_HEADER, Front, relay
from rayjup.serve.handle import new_request_id

if TYPE_CHECKING:
    from rayjup.serve._private.listener import Connection
    from rayjup.serve._private.router import Router, Slot

_FAILED = b"content-length: 21\r\ncontent-type: text/plain; charset=utf-8\r\nx-request-id: %b\r\n"


class Hand:
    """Hands requests from connections to replicas."""

    def __init__(self, front: Front) -> None:
        self.front = front

    def take(self, connection: Connection, cycle: Any) -> bool:
        """Take a request; False where it is not that simple."""
        front = self.front
        scope = cycle.scope
        path: str = scope["path"]
        if front.timeout_s is not None or cycle.flow.write_paused or path.startswith("/-/"):
            return False
        match = front._paths.get(path) or front.match(path)
        if match is None:
            return False
        prefix, app = match
        request_id = model = session = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                request_id = value.decode("latin-1")
            elif name == MODEL_HEADER:
                model = value.decode("latin-1")
            elif name == SESSION_HEADER:
                session = value.decode("latin-1")
        router = front._routers.get(app) or front.router(app)
        slot = router.take(model, session)
        if slot is None:
            return False
        link = slot.link
        if link is None or not link.open:
            router.release(slot)
            return False
        Handed(front, connection, cycle, router, slot, request_id or new_request_id(), prefix, app)
        return True


class Handed:
    """One request on its way."""

    __slots__ = (
        "app",
        "asked",
        "connection",
        "cycle",
        "front",
        "prefix",
        "request_id",
        "router",
        "slot",
        "started",
    )

    def __init__(
        self,
        front: Front,
        connection: Connection,
        cycle: Any,
        router: Router,
        slot: Slot,
        request_id: str,
        prefix: str,
        app: str,
    ) -> None:
        self.started = time.perf_counter()
        self.front = front
        self.connection = connection
        self.cycle = cycle
        self.router = router
        self.slot = slot
        self.request_id = request_id
        self.prefix = prefix
        self.app = app
        scope = cycle.scope
        request = (
            "http",
            scope["method"],
            scope["path"],
            scope["raw_path"],
            scope["query_string"],
            scope["headers"],
            scope["client"],
            scope["server"],
            scope["scheme"],
            scope["http_version"],
            (),
            scope["root_path"],
            bytes(cycle.body),
            False,
            request_id,
            prefix,
        )
        front.ongoing += 1
        connection.handed = self.give_up
        self.asked = links.Asked(slot.link, self._first, request)

    def _first(self, asked: links.Asked) -> None:
        connection, cycle = self.connection, self.cycle
        if asked.answer is not None:
            _, _, status, head, body, close = asked.answer
            self._end(status)
            connection.answer(cycle, status, head, body, close)
        elif asked.lost and not asked.pieces:
            self._lost()
        else:
            work = self._relay()
            connection.task = asyncio.get_running_loop().create_task(work)

    def _lost(self) -> None:
        connection, cycle = self.connection, self.cycle
        self.router.lost(self.slot)
        if cycle.scope["method"] in _SAFE and not cycle.disconnected:
            self._end(None)
            cycle.message_event.set()  # the front reads the body anew
            connection._run(cycle)
        else:
            self._end(500)
            head = _FAILED % self.request_id.encode("latin-1", "replace")
            connection.answer(cycle, 500, head, b"Internal Server Error")

    async def _relay(self) -> None:
        """An answer in pieces."""
        asked, cycle = self.asked, self.cycle
        self.connection.handed = None
        status = 499

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal status
            try:
                status = await relay(asked, True, send)
            except asyncio.CancelledError:
                return  # nobody is there to be told

        try:
            await cycle.run_asgi(app)
        finally:
            asked.drop()
            self._end(status)

    def give_up(self) -> None:
        """The client is gone."""
        self.asked.first = None
        self.asked.drop()
        self._end(499)

    def _end(self, status: int | None) -> None:
        """It is over; ``None``: another way is tried."""
        front = self.front
        self.connection.handed = None
        front.ongoing -= 1
        self.router.release(self.slot)
        if status is not None:
            scope = self.cycle.scope
            prefix = self.prefix or "/"
            front._note(scope, prefix, scope["path"], status, self.started, self.request_id, self.app)
