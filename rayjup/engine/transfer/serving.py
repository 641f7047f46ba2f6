"""The source's side: threads that send parts of objects to other nodes.

A thread per connection, which mostly sleeps in the kernel: ``os.sendfile`` from the object's file where the
cluster is not encrypted, a TLS stream where it is. What this node is still getting is sent as it comes.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import secure
from rayjup.engine.transfer import wire
from rayjup.engine.transfer._state import Sends

if TYPE_CHECKING:
    from rayjup.engine.lane.secure import Gate
    from rayjup.engine.transfer.fetching import Job

_MOST_CONNECTIONS = 128
_IDLE_S = 30.0  # a connection without requests is kept so long
_PIECE = 1 << 20  # of what is encrypted at a time


class Server:
    """Serves the objects of one node.

    Parameters
    ----------
    gate
        Gives the cluster's way to connect; the token may come after the first connection.
    file_of
        The path of an object that is complete here; None where it is not.
    job_of
        The pull of an object that is on its way here, if it is.
    """

    def __init__(
        self,
        gate: Callable[[], Gate],
        file_of: Callable[[str], str | None],
        job_of: Callable[[str], Job | None],
    ) -> None:
        self._gate = gate
        self._file_of = file_of
        self._job_of = job_of
        self.sends = Sends()
        self.lock = threading.Lock()
        self.sent_bytes = 0
        self._connections: set[socket.socket] = set()
        self.closed = False

    def take(self, sock: socket.socket) -> None:
        """Serve a connection, in a thread of its own."""
        with self.lock:
            if self.closed or len(self._connections) >= _MOST_CONNECTIONS:
                sock.close()
                return
            self._connections.add(sock)
        threading.Thread(target=self._serve, args=(sock,), name="rayjup-send", daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        with self.lock:
            self.closed = True
            for sock in self._connections:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it has ended

    def _serve(self, plain: socket.socket) -> None:
        sock: Any = plain
        try:
            gate = self._gate()
            secure.tune(plain, gate.timeout_s)
            context = gate.context(server=True)
            if context is None:
                secure.limit_waits(plain, gate.timeout_s)
            else:
                plain.settimeout(gate.timeout_s)
                sock = context.wrap_socket(plain, server_side=True)
                with self.lock:
                    self._connections.discard(plain)
                    self._connections.add(sock)
            if gate.admits(secure.receive_exactly(sock, secure.TOKEN)):
                secure.limit_waits(sock, _IDLE_S)
                with _Stream(self, sock, gate.encrypted) as stream:
                    while stream.answer():
                        pass
        except (OSError, ValueError):
            pass  # it is gone, silent, or none of ours
        finally:
            with self.lock:
                self._connections.discard(sock)
                self._connections.discard(plain)
            sock.close()


class _Stream:
    """One connection: which object it is at, and the open file of that."""

    def __init__(self, server: Server, sock: Any, encrypted: bool) -> None:
        self.server = server
        self.sock = sock
        self.encrypted = encrypted
        self.at: tuple[str, str] | None = None  # object and node that were admitted
        self.fd = -1
        self.job: Job | None = None

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self.at is not None:
            with self.server.lock:
                self.server.sends.ended(*self.at)
            self.at = None
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.job = -1, None

    def answer(self) -> bool:
        """Answer one request; False when the connection has ended."""
        asked = wire.read_request(self.sock)
        if asked is None:
            return False
        name, node, offset, length = asked
        if self.at is not None and (not length or self.at != (name, node)):
            self._leave()
        if not length:
            return True  # whoever asked is done with the object
        if self.at is None:
            refused = self._enter(name, node)
            if refused is not None:
                self.sock.sendall(wire.refusal(*refused))
                return True
        if self.job is not None and not self.job.wait_for(offset, length):
            how = wire.GONE if self.job.given_up else wire.LATER
            self._leave()
            self.sock.sendall(wire.refusal(how, []))
            return True
        if offset + length > os.fstat(self.fd).st_size:
            raise ValueError("the object is not so long")
        self.sock.sendall(wire.answer(wire.HERE, length))
        self._send(offset, length)
        return True

    def _enter(self, name: str, node: str) -> tuple[int, list[str]] | None:
        """Open an object; how the request is refused where that is not possible."""
        server = self.server
        with server.lock:
            job = server._job_of(name)
            path = job.path if job is not None else server._file_of(name)
            if path is None:
                return wire.GONE, []
            if not server.sends.admit(name, node):
                return wire.BUSY, server.sends.others(name, node)
            self.at = (name, node)
            try:
                self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self.fd = -1
        if self.fd < 0:  # it came or went in this moment
            self._leave()
            return (wire.LATER if job is not None else wire.GONE), []
        self.job = job
        return None

    def _send(self, offset: int, length: int) -> None:
        end = offset + length
        if not self.encrypted:
            out = self.sock.fileno()
            while offset < end:
                sent = os.sendfile(out, self.fd, offset, end - offset)
                if not sent:
                    raise ConnectionError("the object became shorter")
                offset += sent
        else:
            first = offset & -mmap.ALLOCATIONGRANULARITY
            with (
                mmap.mmap(self.fd, end - first, prot=mmap.PROT_READ, offset=first) as mapped,
                memoryview(mapped) as view,
            ):
                for start in range(offset - first, end - first, _PIECE):
                    with view[start : min(start + _PIECE, end - first)] as piece:
                        self.sock.sendall(piece)
        self.server.sent_bytes += length
