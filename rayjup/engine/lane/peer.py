"""One connection of the lane: buffered, ordered, safe to send on from any thread."""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane.frames import FrameError, FrameReader, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rayjup.engine.lane.reactor import Reactor

Message = tuple[Any, ...]


class Peer:
    """A bidirectional message stream to another process.

    ``post`` queues a message, ``flush`` writes everything queued as one frame. Reading happens
    in the reactor: complete messages go to ``on_messages(peer, messages)``; the end of the
    connection to ``on_close(peer)``, once.
    """

    __slots__ = (
        "_reader",
        "_unsent",
        "_write_lock",
        "address",
        "closed",
        "defined",
        "on_close",
        "on_messages",
        "outbox",
        "prefix",
        "reactor",
        "sock",
        "state",
        "undelivered",
        "worker_id",
    )

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_messages: Callable[[Peer, list[Message]], None],
        on_close: Callable[[Peer], None],
    ) -> None:
        sock.setblocking(False)
        self.reactor = reactor
        self.sock = sock
        self.on_messages = on_messages
        self.on_close = on_close
        self.outbox: deque[Message] = deque()
        self.closed = False
        self.worker_id = b""
        self.prefix = b""
        self.address = ""
        self.defined: set[bytes] = set()
        self.state: Any = None
        self.undelivered: list[Message] = []  # what the other side certainly never got
        self._reader = FrameReader()
        self._unsent: memoryview | None = None
        self._write_lock = threading.Lock()

    def start(self) -> None:
        """Called once the reactor watches this; there is nothing to begin on a connected socket."""

    @property
    def reached(self) -> bool:
        """Whether there ever was a connection."""
        return True

    def fileno(self) -> int:
        return self.sock.fileno()

    def post(self, message: Message) -> None:
        """Queue ``message`` for the next flush."""
        self.outbox.append(message)

    def send(self, message: Message) -> None:
        """Queue ``message`` and write it now, with everything queued before it."""
        self.outbox.append(message)
        self.flush()

    @property
    def unsent(self) -> bool:
        """Whether something is still to be written."""
        return not self.closed and bool(self._unsent is not None or self.outbox)

    def flush(self) -> None:
        """Write what is queued. What the socket does not take now is sent by the reactor."""
        outbox = self.outbox
        if not outbox:
            return
        with self._write_lock:
            if self._unsent is not None or self.closed:
                return
            self._write(outbox)

    def _write(self, outbox: deque[Message]) -> None:
        messages = []
        try:
            while True:
                messages.append(outbox.popleft())
        except IndexError:
            pass
        if not messages:
            return
        data = encode(messages)
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.undelivered += messages
            return  # the reading side sees the end of the connection and reports it
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self.reactor.watch_writes(self, True)

    def on_writable(self) -> None:
        """Called by the reactor: go on with a write the socket did not take at once."""
        with self._write_lock:
            while self._unsent is not None:
                try:
                    sent = self.sock.send(self._unsent)
                except BlockingIOError:
                    return
                except OSError:
                    self._unsent = None
                    break
                self._unsent = self._unsent[sent:] if sent < len(self._unsent) else None
            self.reactor.watch_writes(self, False)
            if not self.closed:
                self._write(self.outbox)

    def on_readable(self) -> None:
        """Called by the reactor: read, cut into messages, hand them on."""
        buffer = self.reactor.buffer
        try:
            count = self.sock.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count == 0:
            self.close()
            return
        # Cut everything before handing on: a handler may read from this reactor again.
        try:
            messages = self._reader.feed(buffer[:count])
        except FrameError:  # no process of ours: it must not disturb whoever leads
            self.close()
            return
        if messages:
            self.on_messages(self, messages)

    def close(self) -> None:
        """Close the connection and report it; does nothing the second time."""
        with self._write_lock:
            if self.closed:
                return
            self.closed = True
        self.reactor.remove(self)
        self.sock.close()
        self.on_close(self)


class Listener:
    """Accepts connections on a unix socket; each becomes a :class:`Peer`."""

    def __init__(
        self,
        reactor: Reactor,
        path: str,
        on_peer: Callable[[socket.socket], None],
    ) -> None:
        self.path = path
        self.on_peer = on_peer
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(path)
        self.sock.listen(512)
        self.sock.setblocking(False)
        reactor.add(self)

    def fileno(self) -> int:
        return self.sock.fileno()

    def on_readable(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except BlockingIOError:
                return
            self.on_peer(sock)

    def on_writable(self) -> None:
        """Never called: a listener is only read from."""


def connect_unix(path: str, timeout_s: float = 10.0) -> socket.socket:
    """A connected unix stream socket with room for many small frames."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout_s)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return sock
