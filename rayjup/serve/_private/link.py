"""Requests over HTTP between two processes of one machine: frames on a unix socket of the replica's.

One connection carries any number of exchanges. A request whose body is short is one frame, and so is an
answer that is complete. What is longer follows in pieces, as soon as they are there; of each exchange at
most ``AHEAD`` bytes are under way in either direction before the other side says that it has used some.
The loop writes what one of its turns has to say in one go.
"""

from __future__ import annotations

import asyncio
import marshal
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

AHEAD = 1024 * 1024
SAY_USED = AHEAD // 4
_LENGTH = struct.Struct("<I")
_FORMAT = 2  # of marshal: without a table of what occurs twice, which takes longer than it saves

# What who asks says.
ASK = 0  # number, what is asked, beginning of the body, whether more comes
MORE = 1  # number, messages: the body goes on, or what a client says on a websocket
GONE = 2  # number: the client is
# What who answers says.
ANSWER = 0  # number, status, block of headers, body, whether to part from the client
PIECES = 1  # number, messages, whether that is all
CUT = 2  # number: there will be no end of what was begun
# Both.
USED = 3  # number, bytes: the other side may send as many more


class Link(asyncio.Protocol):
    """One end of a connection.

    Parameters
    ----------
    hear
        Called with the link and each message.
    lost
        Called with the link when the other end is gone.
    """

    def __init__(self, hear: Callable[[Link, Any], None], lost: Callable[[Link], None]) -> None:
        self.hear = hear
        self.lost = lost
        self.exchanges: dict[int, Any] = {}
        self.transport: Any = None
        self.count = 0
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 4

    @property
    def open(self) -> bool:
        """Whether the other end is there."""
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: Any) -> None:
        """Part of a protocol of asyncio."""
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """Part of a protocol of asyncio."""
        self.lost(self)

    def data_received(self, data: bytes) -> None:
        """Part of a protocol of asyncio."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts.clear()
        at, end = 0, len(data)
        while end - at >= 4:
            size = _LENGTH.unpack_from(data, at)[0]
            stop = at + 4 + size
            if stop > end:
                break
            message = marshal.loads(memoryview(data)[at + 4 : stop])
            at = stop
            self.hear(self, message)
        if at < end:
            rest = data[at:] if at else data
            self._parts.append(rest)
            self._have = len(rest)
            self._need = 4 + _LENGTH.unpack_from(rest)[0] if len(rest) >= 4 else 4

    def say(self, message: tuple[Any, ...]) -> None:
        """Send a message, with what else this turn of the loop has to say."""
        data = marshal.dumps(message, _FORMAT)
        self.transport.write(_LENGTH.pack(len(data)) + data)

    def unsent(self) -> int:
        """Bytes that the other end has not taken yet."""
        return int(self.transport.get_write_buffer_size()) if self.transport is not None else 0


class Flow:
    """How many bytes one side of an exchange may still send."""

    __slots__ = ("left", "turn")

    def __init__(self) -> None:
        self.left = AHEAD
        self.turn: asyncio.Future[None] | None = None

    async def take(self, size: int) -> None:
        """Wait until something may be sent; what is sent then counts."""
        while self.left <= 0:
            if self.turn is None:
                self.turn = asyncio.get_running_loop().create_future()
            await asyncio.shield(self.turn)
        self.left -= size

    def give(self, size: int) -> None:
        """The other side has used that much."""
        self.left += size
        if self.turn is not None and self.left > 0:
            turn, self.turn = self.turn, None
            turn.set_result(None)


def size_of(message: Any) -> int:
    """The bytes of a message that count."""
    if isinstance(message, tuple):
        return len(message[0]) if isinstance(message[0], bytes) else 0
    return len(message.get("bytes") or message.get("text") or "")


class Asked:
    """An exchange, as who asks sees it.

    ``first`` is called once: when there is an ``answer``, or the beginning of one in ``pieces``, or the
    other end is ``lost``.
    """

    __slots__ = ("answer", "first", "flow", "link", "lost", "number", "over", "pieces", "turn", "used")

    def __init__(self, link: Link, first: Callable[[Asked], None], request: tuple[Any, ...]) -> None:
        self.link = link
        self.first: Callable[[Asked], None] | None = first
        self.answer: tuple[Any, ...] | None = None
        self.pieces: deque[Any] = deque()
        self.over = False
        self.lost = False
        self.flow = Flow()
        self.turn: asyncio.Future[None] | None = None
        self.used = 0
        link.count += 1
        self.number = link.count
        link.exchanges[self.number] = self
        link.say((ASK, self.number, *request))

    def _tell(self) -> None:
        if self.first is not None:
            first, self.first = self.first, None
            first(self)
        elif self.turn is not None and not self.turn.done():
            self.turn.set_result(None)

    def take(self, messages: list[Any], over: bool) -> None:
        """More of the answer."""
        self.pieces.extend(messages)
        self.over = over
        self._tell()

    def end(self) -> None:
        """The other end is gone."""
        self.lost = True
        self._tell()

    async def next(self) -> Any:
        """The next message of the answer; None at its end.

        Raises
        ------
        ConnectionResetError
            The other end is gone, and with it the rest of the answer.
        """
        while not self.pieces:
            if self.over:
                return None
            if self.lost:
                raise ConnectionResetError("the replica is gone, in the middle of its answer")
            self.turn = asyncio.get_running_loop().create_future()
            await self.turn
        message = self.pieces.popleft()
        size = size_of(message)
        self.used += size
        if self.used >= SAY_USED and not self.over and not self.lost:
            self.link.say((USED, self.number, self.used))
            self.used = 0
        return message

    async def more(self, message: Any) -> None:
        """Send more of what the client says."""
        await self.flow.take(size_of(message))
        if self.link.open:
            self.link.say((MORE, self.number, [message]))

    def drop(self) -> None:
        """Nobody wants the answer any more."""
        if self.link.exchanges.pop(self.number, None) is not None and self.link.open:
            self.link.say((GONE, self.number))


def hear_answers(link: Link, message: tuple[Any, ...]) -> None:
    """What an asking end does with a message."""
    kind, number = message[0], message[1]
    asked: Asked | None = link.exchanges.get(number)
    if asked is None:
        return  # given up meanwhile
    if kind == ANSWER:
        del link.exchanges[number]
        asked.answer = message
        asked._tell()
    elif kind == PIECES:
        if message[3]:
            del link.exchanges[number]
        asked.take(message[2], message[3])
    elif kind == CUT:
        del link.exchanges[number]
        asked.end()
    else:
        asked.flow.give(message[2])


def lose_answers(link: Link) -> None:
    """What an asking end does when the other one is gone."""
    exchanges, link.exchanges = link.exchanges, {}
    for asked in exchanges.values():
        asked.end()


async def connect(path: str) -> Link:
    """A link to who answers at ``path``.

    Raises
    ------
    OSError
        Nobody does.
    """
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(lambda: Link(hear_answers, lose_answers), path)
    return link
