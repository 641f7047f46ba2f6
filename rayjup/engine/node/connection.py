"""A local process as the agent sees it: messages over the agent's unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane.frames import FrameError, FrameReader, encode

if TYPE_CHECKING:
    from rayjup.engine.node.executors import ExecutorProcess

Message = tuple[Any, ...]


class Connection(asyncio.Protocol):
    """One driver, executor or observer.

    Messages posted during one turn of the event loop go out in one frame.
    """

    def __init__(
        self,
        on_message: Callable[[Connection, Message], None],
        on_close: Callable[[Connection], None],
    ) -> None:
        self._on_message = on_message
        self._on_close = on_close
        self._reader = FrameReader()
        self._outbox: list[Message] = []
        self.transport: asyncio.Transport
        self.kind = ""
        self.client = ""  # hex of the first 8 bytes of its worker id
        self.job_id = b""
        self.pid = 0
        self.worker_id = b""
        self.since = 0.0
        self.blocked = False  # its main thread waits, and lends its CPUs out
        self.job: dict[str, Any] | None = None  # of a driver that is not welcomed yet
        self.executor: ExecutorProcess | None = None
        self.stats: tuple[dict[str, list[int]], dict[bytes, int]] = ({}, {})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(memoryview(data))
        except FrameError:
            self.transport.abort()
            return
        for message in messages:
            self._on_message(self, message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_close(self)

    def post(self, message: Message) -> None:
        """Send ``message`` at the end of this turn of the loop."""
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append(message)

    def _flush(self) -> None:
        messages, self._outbox = self._outbox, []
        if not self.transport.is_closing():
            self.transport.write(encode(messages))

    def close(self) -> None:
        """Send what is queued and end the connection."""
        if self._outbox:
            self._flush()
        self.transport.close()
