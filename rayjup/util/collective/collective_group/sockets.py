"""Connections between all members of a group, and numbers over them.

Unix sockets inside the session's private directory where all members are on one machine; TCP
otherwise. Either way a member proves that it knows the group's secret before anything is taken from
it, and nothing that arrives is ever unpickled.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

import numpy as np

_HEADER = struct.Struct("<BQ")  # operation, bytes
_RANK = struct.Struct("<I")
_INLINE = 32 * 1024  # bytes that a socket takes for sure while nobody reads
OPERATIONS = ("allreduce", "barrier", "reduce", "allgather", "broadcast", "reducescatter", "send")


class Mesh:
    """One member's connections to all others.

    Parameters
    ----------
    name, rank, world_size
        Of the group, for messages; which member this is, of how many.
    listener
        From :func:`listen`; closed once all others have come.
    """

    def __init__(self, name: str, rank: int, world_size: int, listener: socket.socket) -> None:
        self.name = name
        self.rank = rank
        self.world_size = world_size
        self._listener = listener
        self._to: dict[int, socket.socket] = {}
        self._from: dict[int, socket.socket] = {}
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="rayjup-collective")

    def connect(self, addresses: dict[int, str | tuple[str, int]], key: bytes, timeout_s: float) -> None:
        """Connect to all members and wait until they have connected to us."""
        problems: list[OSError] = []
        accepting = threading.Thread(target=self._accept, args=(key, timeout_s, problems), daemon=True)
        accepting.start()
        try:
            for rank, address in addresses.items():
                if rank != self.rank:
                    self._to[rank] = self._connect_to(address, key, timeout_s)
        finally:
            accepting.join()
            self._close_listener()
        if problems:
            self.close()
            missing = sorted(set(range(self.world_size)) - {self.rank} - set(self._from))
            raise TimeoutError(
                f"rank {self.rank} of the collective group {self.name!r} was not reached by rank "
                f"{', '.join(map(str, missing))} within {timeout_s:g} s: {problems[0]}"
            )

    def _connect_to(self, address: str | tuple[str, int], key: bytes, timeout_s: float) -> socket.socket:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.settimeout(timeout_s)
        sock.connect(address)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(None)
        _on_connection(sock, key, (answer_challenge, deliver_challenge))
        sock.sendall(_RANK.pack(self.rank))
        return sock

    def _accept(self, key: bytes, timeout_s: float, problems: list[OSError]) -> None:
        self._listener.settimeout(timeout_s)
        while len(self._from) < self.world_size - 1:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                problems.append(error)
                return
            sock.settimeout(None)
            try:
                _on_connection(sock, key, (deliver_challenge, answer_challenge))
                (rank,) = _RANK.unpack(sock.recv(_RANK.size, socket.MSG_WAITALL))
            except (AuthenticationError, OSError, EOFError, struct.error):
                sock.close()  # no member
                continue
            self._from[rank] = sock

    # -- numbers

    def send(self, rank: int, operation: str, array: np.ndarray) -> None:
        """Send a flat array to a member."""
        sock = self._to[rank]
        data = _bytes(array)
        header = _HEADER.pack(OPERATIONS.index(operation), data.nbytes)
        try:
            if data.nbytes <= _INLINE:
                sock.sendall(header + data)
            else:
                sock.sendall(header)
                sock.sendall(data)
        except OSError as error:
            raise self._lost(rank, operation) from error

    def receive(self, rank: int, operation: str, array: np.ndarray) -> None:
        """Fill a flat array with what a member sends for the same operation."""
        header = bytearray(_HEADER.size)
        self._fill(rank, operation, memoryview(header))
        code, nbytes = _HEADER.unpack(header)
        if OPERATIONS[code] != operation or nbytes != array.nbytes:
            raise RuntimeError(
                f"rank {self.rank} of the collective group {self.name!r} is in {operation} with "
                f"{array.nbytes} "
                f"bytes, but rank {rank} sent {nbytes} bytes for {OPERATIONS[code]}: all members must call "
                "the "
                "same operations in the same order, with tensors of the same size."
            )
        self._fill(rank, operation, _bytes(array))

    def exchange(self, to: int, out: np.ndarray, from_: int, into: np.ndarray, operation: str) -> None:
        """Send and receive at the same time, so that a ring of members cannot wait in a circle."""
        if out.nbytes <= _INLINE:
            self.send(to, operation, out)
            self.receive(from_, operation, into)
            return
        sending = self._sender.submit(self.send, to, operation, out)
        self.receive(from_, operation, into)
        sending.result()

    def _fill(self, rank: int, operation: str, view: memoryview) -> None:
        sock = self._from[rank]
        while view:
            try:
                count = sock.recv_into(view)
            except OSError as error:
                raise self._lost(rank, operation) from error
            if not count:
                raise self._lost(rank, operation)
            view = view[count:]

    def _lost(self, rank: int, operation: str) -> RuntimeError:
        return RuntimeError(
            f"rank {rank} of the collective group {self.name!r} is gone (rank {self.rank} was in "
            f"{operation}): its "
            "process ended or it left the group. Destroy the group and have all members join again."
        )

    # -- the end

    def close(self) -> None:
        """End all connections; members that wait for us are told by that."""
        self._close_listener()
        for sock in [*self._to.values(), *self._from.values()]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster
            sock.close()
        self._sender.shutdown(wait=False)

    def _close_listener(self) -> None:
        if self._listener.fileno() >= 0:
            address = self._listener.getsockname()
            self._listener.close()
            if isinstance(address, str):
                os.unlink(address)


def _bytes(array: np.ndarray) -> memoryview:
    numbers: Any = array.view(np.uint8)
    return memoryview(numbers)


def listen(directory: str | None, ip: str, backlog: int) -> tuple[socket.socket, str | tuple[str, int]]:
    """A listening socket and its address: in ``directory``, or where that is None on ``ip``."""
    if directory is None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((ip, 0))
    else:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"{directory}/c-{secrets.token_hex(6)}.sock")
    listener.listen(backlog)
    return listener, listener.getsockname()


def _on_connection(
    sock: socket.socket, key: bytes, steps: tuple[Callable[[Connection, bytes], None], ...]
) -> None:
    connection = Connection(os.dup(sock.fileno()))
    try:
        for step in steps:
            step(connection, key)
    finally:
        connection.close()
