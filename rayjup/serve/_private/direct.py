"""The shortest way of a request through a replica that takes it itself.

What can wait is left to :class:`~.front.Front`: paths of other applications, replicas that are full or
leave, time limits. A request that needs none of that is answered here in one task.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from rayjup.serve._private.answering import respond
from rayjup.serve._private.answers import block_of
from rayjup.serve._private.front import Front
from rayjup.serve.context import _serve_request_context

if TYPE_CHECKING:
    from rayjup.serve._private.listener import Connection
    from rayjup.serve._private.replica import Replica

_MOST_PATHS = 4096


class OwnReply:
    """The answer to a request on one of our own connections."""

    __slots__ = ("connection", "cycle", "receive", "scope", "send")

    def __init__(self, connection: Connection, cycle: Any) -> None:
        self.connection = connection
        self.cycle = cycle
        self.scope = cycle.scope
        self.receive = cycle.receive
        self.send = cycle.send

    @property
    def begun(self) -> bool:
        """Whether something of it was sent."""
        return bool(self.cycle.response_started)

    def whole(self, head: bytes, body: bytes) -> None:
        """Answer with status 200, these lines of headers, and this body."""
        self.connection.answer(self.cycle, 200, head, body)

    def in_one(self, start: dict[str, Any], body: bytes) -> None:
        """Answer with what an application of ASGI has begun, and its only piece."""
        head, close = block_of(start, len(body), self.scope["method"])
        self.connection.answer(self.cycle, int(start["status"]), head, body, close)


class Direct:
    """Runs requests on a replica's own connections."""

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

    async def run(self, connection: Connection, cycle: Any) -> None:
        """Answer one request."""
        replica = self.replica
        scope = cycle.scope
        path: str = scope["path"]
        prefix = self.mine.get(path) if self.version == self.front.version else None
        if prefix is None:
            prefix = self._prefix(path)
        if prefix is None or replica.ongoing >= replica.limit or replica.draining:
            await cycle.run_asgi(self.front)
            return
        started = time.perf_counter()
        replica.ongoing += 1
        status = 499  # the client's going away, should nothing else come
        try:
            if cycle.flow.write_paused:
                await cycle.flow.drain()
            if replica.user.app is None:  # type: ignore[union-attr]
                status = await respond(replica, OwnReply(connection, cycle), prefix)
                if not cycle.response_complete and not cycle.disconnected:
                    connection.transport.close()  # a response of the user's own that did not end
            else:
                reply = OwnReply(connection, cycle)

                async def app(scope: Any, receive: Any, send: Any) -> None:
                    nonlocal status
                    status = 500
                    try:
                        status = await respond(replica, reply, prefix)
                    except asyncio.CancelledError:
                        status = 499  # nobody is there to be told

                await cycle.run_asgi(app)
        except asyncio.CancelledError:
            status = 499
        except Exception:  # noqa: BLE001 - in the middle of an answer: told already, and the client sees its end
            status = 500
            connection.transport.close()
        finally:
            replica._leave()
            replica.log.add(
                (
                    started,
                    time.perf_counter(),
                    replica.app_name,
                    prefix or "/",
                    scope["method"],
                    path,
                    status,
                    _serve_request_context.get().request_id,
                )
            )
