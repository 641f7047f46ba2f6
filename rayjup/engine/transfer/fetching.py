"""The receiver's side: the threads that bring the chunks of an object, and the connections they use."""

from __future__ import annotations

import mmap
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import secure
from rayjup.engine.objects.mapping import allocated
from rayjup.engine.transfer import _state, wire

if TYPE_CHECKING:
    from rayjup.engine.lane.addresses import Endpoint
    from rayjup.engine.lane.secure import Gate

_KEEP_S = 10.0  # an unused connection
_CHUNK_WAIT_S = 2.0  # of those who pull from us what we are still getting
_HOW = {wire.BUSY: _state.BUSY, wire.GONE: _state.GONE, wire.LATER: _state.LATER}


class Job:
    """An object on its way to this node; made in a thread, since allocating its file takes time.

    Parameters
    ----------
    name
        Of its file, the same on all nodes.
    origin
        The path in the descriptor with which it was first asked for.
    path
        Of the file that is being filled, and that gets its name when it is complete.
    reserved
        Bytes of room that were taken for it.
    """

    def __init__(self, name: str, origin: str, path: str, pull: _state.Pull, reserved: int) -> None:
        self.name = name
        self.origin = origin
        self.path = path
        self.pull = pull
        self.reserved = reserved
        self.waiters: list[tuple[Any, str]] = []  # connections of processes, and the paths they asked for
        self.changed = threading.Condition()  # also guards the pull
        self.given_up = False
        self.timer: Any = None
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self.mapped: mmap.mmap | None = allocated(fd, max(1, pull.size))
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def wait_for(self, offset: int, length: int) -> bool:
        """Wait a while until a part is there (in a thread that serves others)."""
        with self.changed:
            return self.changed.wait_for(
                lambda: self.given_up or self.pull.has(offset, length), _CHUNK_WAIT_S
            ) and self.pull.has(offset, length)

    def give_up(self) -> None:
        """End: streams stop at their next chunk, who waits for parts is told."""
        with self.changed:
            self.given_up = True
            self.changed.notify_all()

    def close(self) -> None:
        """Unmap; the file stays."""
        self.mapped = None


class Connections:
    """Connections to other nodes, kept for a while for the next object."""

    def __init__(self, gate: Callable[[], Gate]) -> None:
        self._gate = gate
        self._lock = threading.Lock()
        self._idle: dict[Endpoint, list[tuple[float, Any]]] = {}
        self._context: Any = None
        self._context_of: Gate | None = None

    def get(self, place: Endpoint) -> tuple[Any, bool]:
        """A connection, and whether it was used before (it may have ended since)."""
        limit = time.monotonic() - _KEEP_S
        with self._lock:
            idle = self._idle.get(place, [])
            while idle:
                since, sock = idle.pop()
                if since > limit:
                    return sock, True
                sock.close()
        return self.connect(place), False

    def connect(self, place: Endpoint) -> Any:
        """A new connection, let in by the other side."""
        gate = self._gate()
        sock: Any = socket.create_connection(place, gate.timeout_s)
        try:
            secure.tune(sock, gate.timeout_s)
            sock.sendall(secure.preamble(secure.PULL))
            if gate.encrypted:
                if self._context_of is not gate:  # the first, or its certificates were exchanged
                    self._context, self._context_of = gate.context(server=False), gate
                sock = self._context.wrap_socket(sock)
            secure.limit_waits(sock, gate.timeout_s)
            sock.sendall(gate.token)
        except OSError:
            sock.close()
            raise
        return sock

    def put(self, place: Endpoint, sock: Any) -> None:
        """A connection on which nothing is under way."""
        with self._lock:
            self._idle.setdefault(place, []).append((time.monotonic(), sock))

    def trim(self, older_than_s: float = _KEEP_S) -> None:
        """Close what was not used for a while."""
        limit = time.monotonic() - older_than_s
        with self._lock:
            for place, idle in list(self._idle.items()):
                for since, sock in idle:
                    if since <= limit:
                        sock.close()
                self._idle[place] = [entry for entry in idle if entry[0] > limit]
                if not self._idle[place]:
                    del self._idle[place]


class Outcome:
    """How a stream has ended."""

    __slots__ = ("how", "index", "others", "problem")

    def __init__(
        self, how: str, index: int | None = None, others: list[str] | None = None, problem: str = ""
    ) -> None:
        self.how = how
        self.index = index
        self.others = others or []
        self.problem = problem


def stream(job: Job, node: str, me: str, place: Endpoint, connections: Connections) -> Outcome:
    """Bring chunks of ``job`` from ``node`` until there is none left to take, or the source refuses.

    Runs in a thread. ``me`` is this node.
    """
    pull = job.pull
    index: int | None = None
    sock, used = None, False
    try:
        sock, used = connections.get(place)
        while True:
            with job.changed:
                index = None if job.given_up else pull.take(node)
            if index is None:
                sock.sendall(wire.request(job.name, me, 0, 0))
                connections.put(place, sock)
                return Outcome(_state.FINISHED)
            offset, length = pull.span(index)
            mapped = job.mapped
            if mapped is None:
                raise ConnectionError("given up")
            try:
                sock.sendall(wire.request(job.name, me, offset, length))
                how, others = wire.read_answer(sock, length)
            except OSError:
                if not used:
                    raise
                sock.close()  # it had ended while it was idle
                sock, used = connections.connect(place), False
                sock.sendall(wire.request(job.name, me, offset, length))
                how, others = wire.read_answer(sock, length)
            used = False
            if how != wire.HERE:
                connections.put(place, sock)
                return Outcome(_HOW[how], index, others)
            _receive(sock, mapped, offset, length)
            with job.changed:
                pull.received(index, time.monotonic())
                index = None
                job.changed.notify_all()
    except (OSError, ValueError) as error:
        if sock is not None:
            sock.close()
        return Outcome(_state.FAILED, index, problem=f"{type(error).__name__}: {error}")


def _receive(sock: Any, mapped: mmap.mmap, offset: int, length: int) -> None:
    with memoryview(mapped) as whole, whole[offset : offset + length] as view:
        filled = 0
        flag = socket.MSG_WAITALL if type(sock) is socket.socket else 0
        while filled < length:
            with view[filled:] as rest:
                count = sock.recv_into(rest, length - filled, flag)
            if not count:
                raise ConnectionError("the connection ended in the middle of a chunk")
            filled += count
