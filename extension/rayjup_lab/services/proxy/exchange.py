"""One request to a server of a cluster and its answer, passed through in pieces.

Whoever is slower sets the pace, both ways: neither the request nor the answer is ever here as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from tornado import gen
from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError
from tornado.tcpclient import TCPClient

LARGEST = 1 << 40
"""Bytes of a request or an answer, which is not kept."""
_CONNECT_S = 10.0

Head = Callable[[ResponseStartLine, HTTPHeaders], None]
Piece = Callable[[bytes], Awaitable[None]]


class Exchange(HTTPMessageDelegate):
    """A request that has been begun.

    Parameters
    ----------
    connection
        To the server; the head of the request has been written.
    head, piece
        Take the head of the answer, and one piece of its body after the other.
    """

    def __init__(self, connection: HTTP1Connection, head: Head, piece: Piece) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the whole answer has been handed on; an OSError where that cannot be."""
        self._connection = connection
        self._head, self._piece = head, piece
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def begin(cls, method: str, url: str, headers: HTTPHeaders, head: Head, piece: Piece) -> Exchange:
        """Connect, and send the head of a request.

        Raises
        ------
        OSError
            The server cannot be reached.
        """
        there = urlsplit(url)
        assert there.hostname is not None
        try:
            stream = await TCPClient().connect(there.hostname, there.port or 80, timeout=_CONNECT_S)
        except gen.TimeoutError as error:  # tornado's own, which is no OSError
            raise OSError(f"no connection to {there.netloc} within {_CONNECT_S:g} s") from error
        stream.set_nodelay(True)
        connection = HTTP1Connection(
            stream, True, HTTP1ConnectionParameters(no_keep_alive=True, max_body_size=LARGEST)
        )
        headers["Host"] = there.netloc
        headers["Connection"] = "close"
        target = (there.path or "/") + (f"?{there.query}" if there.query else "")
        connection.write_headers(RequestStartLine(method, target, "HTTP/1.1"), headers)
        return cls(connection, head, piece)

    async def write(self, piece: bytes) -> None:
        """Send a piece of the request's body; nothing happens where the server has heard enough."""
        if not self.ended.done():
            # The connection forgets who waits for it when it is closed.
            await asyncio.wait(
                [self._connection.write(piece), self.ended], return_when=asyncio.FIRST_COMPLETED
            )

    def finish_request(self) -> None:
        """The request is complete."""
        if not self.ended.done():
            self._connection.finish()

    def close(self) -> None:
        """Give it up, or be done with it."""
        self._fail()
        self._connection.close()
        self._reading.cancel()

    async def _read(self) -> None:
        try:
            await self._connection.read_response(self)
        except StreamClosedError:
            pass  # in the middle of the answer
        finally:
            self._fail()

    def _fail(self) -> None:
        if not self.ended.done():
            self.ended.set_exception(StreamClosedError())
            self.ended.exception()  # whoever has gone does not ask for it

    # ------------------------------------------------------------ called by the connection

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        assert isinstance(start_line, ResponseStartLine)
        if start_line.code >= 200:
            self._head(start_line, headers)

    async def data_received(self, chunk: bytes) -> None:
        try:
            await self._piece(chunk)
        except StreamClosedError:  # who has asked has gone
            self.close()

    def finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def on_connection_close(self) -> None:
        self._fail()
