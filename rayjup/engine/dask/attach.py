"""The lasting connection between a node's agent and the head, over one Dask comm.

Dask's worker stream gathers messages for milliseconds; a lease must not wait that long. Messages
of one turn of the event loop travel together; order is kept in both directions.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable
from typing import Any

from distributed.comm.core import Comm, CommClosedError

logger = logging.getLogger(__name__)

OP = "rayjup_attach"
PROTOCOL = 1
Message = tuple[Any, ...]


class Stream:
    """Messages both ways over a comm, until it ends.

    ``before_write`` is called before messages leave: what they tell of is then written down.
    """

    def __init__(
        self,
        comm: Comm,
        on_message: Callable[[Message], None],
        before_write: Callable[[], None] = lambda: None,
    ) -> None:
        self.comm = comm
        self.on_message = on_message
        self.before_write = before_write
        self._outbox: list[Message] = []
        self._wake = asyncio.Event()

    def send(self, message: Message) -> None:
        """Queue a message."""
        self._outbox.append(message)
        self._wake.set()

    async def run(self) -> None:
        """Read and write until the comm ends."""
        writer = asyncio.ensure_future(self._write_for_ever())
        try:
            while True:
                try:
                    messages = pickle.loads(await self.comm.read())
                except CommClosedError:
                    return
                for message in messages:
                    try:
                        self.on_message(message)
                    except Exception:  # one bad message must not cut off a node
                        logger.exception("could not handle %r", message[0])
        finally:
            writer.cancel()
            self.comm.abort()

    async def _write_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            messages, self._outbox = self._outbox, []
            if messages:
                self.before_write()
                try:
                    await self.comm.write(pickle.dumps(messages, 5))
                except CommClosedError:
                    return
