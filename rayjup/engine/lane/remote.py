"""Connections of the lane to processes of other hosts: TCP, encrypted where the cluster is.

A node has one TCP port. Who connects says in twelve plain bytes which process it wants; the agent
hands the connection over to that process (:class:`HandOver`), which does the TLS handshake itself, so
calls then go straight from process to process. Connecting never blocks: what is posted meanwhile waits
in the outbox, and a host that does not answer is reported like a process that has died.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import secure
from rayjup.engine.lane.peer import Message, Peer

if TYPE_CHECKING:
    from rayjup.engine.lane.addresses import Endpoint
    from rayjup.engine.lane.reactor import Reactor
    from rayjup.engine.lane.secure import Gate

_RECORD = 16384  # longest plain text of one TLS record
_CONNECTING, _SHAKING, _TOKEN, _OPEN = range(4)


class Secured:
    """A non-blocking TLS socket with the ways of a plain one; threads may read and write at once."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        import ssl

        self._later = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._ended = ssl.SSLZeroReturnError

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def setblocking(self, flag: bool) -> None:
        self._sock.setblocking(flag)

    def shake(self) -> bool | None:
        """Go on with the handshake: True done, False it has to read, None it has to write first."""
        import ssl

        with self._lock:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                return False
            except ssl.SSLWantWriteError:
                return None
        return True

    def send(self, data: Any) -> int:
        with self._lock:
            try:
                return int(self._sock.send(data))
            except self._later:
                raise BlockingIOError from None

    def recv_into(self, buffer: memoryview) -> int:
        """All that is there: what OpenSSL keeps decrypted would wake nobody."""
        filled = 0
        with self._lock:
            while filled + _RECORD <= len(buffer):
                try:
                    count = self._sock.recv_into(buffer[filled:])
                except self._later:
                    break
                except self._ended:
                    return filled
                except OSError:
                    if filled:
                        return filled
                    raise
                if not count:
                    return filled
                filled += count
        if not filled:
            raise BlockingIOError
        return filled

    def recv(self, count: int) -> bytes:
        with self._lock:
            try:
                return bytes(self._sock.recv(count))
            except self._later:
                raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def close(self) -> None:
        self._sock.close()


class RemotePeer(Peer):
    """A :class:`Peer` of another host.

    Parameters
    ----------
    gate
        How hosts of this cluster connect.
    endpoint, worker
        Where to connect to, and to which process there; None for a connection that was accepted.
    """

    __slots__ = ("_deadline", "_gate", "_hello", "_received", "_server", "_step")

    def __init__(
        self,
        reactor: Reactor,
        sock: Any,
        gate: Gate,
        on_messages: Callable[[Peer, list[Message]], None],
        on_close: Callable[[Peer], None],
        hello: bytes = b"",
    ) -> None:
        super().__init__(reactor, sock, on_messages, on_close)
        secure.tune(sock, gate.timeout_s)
        self._gate = gate
        self._server = not hello
        self._hello = hello  # plain bytes that are still to be sent
        self._received = b""  # of the token
        self._step = _SHAKING if self._server else _CONNECTING
        self._deadline = time.monotonic() + gate.timeout_s

    def start(self) -> None:
        """Begin to shake hands; called once the reactor watches this."""
        if self._server:
            if not self._gate.encrypted:
                self._step = _TOKEN
            else:
                self._secure()
            self._advance()
        else:
            self.reactor.watch_writes(self, True)

    @property
    def reached(self) -> bool:
        return self._step == _OPEN

    def expired(self, now: float) -> bool:
        """Whether it is not connected although it had time enough."""
        return self._step != _OPEN and now > self._deadline

    def flush(self) -> None:
        if self._step == _OPEN:
            super().flush()

    def on_writable(self) -> None:
        if self._step == _OPEN:
            super().on_writable()
        else:
            self._advance()

    def on_readable(self) -> None:
        if self._step == _OPEN:
            super().on_readable()
        else:
            self._advance()

    def _secure(self) -> None:
        context = self._gate.context(self._server)
        assert context is not None
        self.sock = Secured(  # type: ignore[assignment]  # it has the methods that are used
            context.wrap_socket(self.sock, server_side=self._server, do_handshake_on_connect=False)
        )

    def _advance(self) -> None:
        try:
            self._shake_hands()
        except BlockingIOError:
            return
        except (OSError, ValueError):  # refused, cut, no TLS, a wrong certificate or token
            self.close()

    def _shake_hands(self) -> None:
        if self._step == _CONNECTING:
            error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            self.sock.getpeername()  # raises where an event came too early
            self._send_hello()
            self._step = _TOKEN
            if self._gate.encrypted:
                self._secure()
                self._step = _SHAKING
        if self._step == _SHAKING:
            done = self.sock.shake()  # type: ignore[attr-defined]
            self.reactor.watch_writes(self, done is None)
            if not done:
                return
            self._step = _TOKEN
        if self._step == _TOKEN:
            self._exchange_token()

    def _send_hello(self) -> None:
        # A fresh connection has room for twelve bytes.
        if self.sock.send(self._hello) != len(self._hello):
            raise OSError("the connection takes nothing")

    def _exchange_token(self) -> None:
        if self._server:
            while len(self._received) < secure.TOKEN:
                part = self.sock.recv(secure.TOKEN - len(self._received))
                if not part:
                    raise ConnectionError("the connection ended")
                self._received += part
            if not self._gate.admits(self._received):
                raise ConnectionError("a wrong token")
        elif self.sock.send(self._gate.token) != secure.TOKEN:
            raise OSError("the connection takes nothing")
        self.reactor.watch_writes(self, False)
        self._step = _OPEN
        super().flush()
        if self._server and self._gate.encrypted:
            super().on_readable()  # OpenSSL may have read on


def connect(
    reactor: Reactor,
    gate: Gate,
    endpoint: Endpoint,
    worker: bytes,
    on_messages: Callable[[Peer, list[Message]], None],
    on_close: Callable[[Peer], None],
) -> RemotePeer:
    """A connection that is being made to a process of another host."""
    sock = socket.socket(socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            sock.connect(endpoint)
        except BlockingIOError:
            pass  # it is on its way
        return RemotePeer(reactor, sock, gate, on_messages, on_close, secure.preamble(secure.LANE, worker))
    except OSError:
        sock.close()
        raise


class HandOver:
    """Takes the connections that the node's agent has accepted for this process.

    Parameters
    ----------
    path
        Of a unix datagram socket beside the process's own.
    on_socket
        Called with each connection.
    """

    def __init__(self, reactor: Reactor, path: str, on_socket: Callable[[socket.socket], None]) -> None:
        self.path = path
        self._on_socket = on_socket
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self.sock.bind(path)
            os.chmod(path, 0o600)
        except OSError:
            self.sock.close()
            raise
        self.sock.setblocking(False)
        reactor.add(self)

    def fileno(self) -> int:
        return self.sock.fileno()

    def on_readable(self) -> None:
        while True:
            try:
                _, fds, _, _ = socket.recv_fds(self.sock, 1, 4)
            except BlockingIOError:
                return
            for fd in fds:
                self._on_socket(socket.socket(fileno=fd))

    def on_writable(self) -> None:
        """Never called: it is only read from."""

    def close(self) -> None:
        self.sock.close()
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def hand_over_path(address: str) -> str:
    """Where the process with the unix socket ``address`` takes connections."""
    return address.removesuffix(".sock") + ".fd"


class Pending:
    """Connections that are not open yet, so that those that never will be are given up."""

    def __init__(self) -> None:
        self._peers: deque[RemotePeer] = deque()

    def add(self, peer: RemotePeer) -> None:
        """Watch over a connection."""
        self._peers.append(peer)

    def __len__(self) -> int:
        return len(self._peers)

    def renew(self, gate: Gate) -> None:
        """The cluster has other secrets from now on."""
        for peer in self._peers:
            peer._gate = gate

    def tick(self, now: float) -> None:
        """Close what had time enough."""
        for _ in range(len(self._peers)):
            peer = self._peers.popleft()
            if peer.closed or peer.reached:
                continue
            if peer.expired(now):
                peer.close()
            else:
                self._peers.append(peer)
