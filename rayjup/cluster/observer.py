"""Requests to a running cluster by a process that is no part of it."""

from __future__ import annotations

import itertools
import os
import pickle
import threading
from typing import Any

from rayjup.cluster.descriptors import Descriptor
from rayjup.engine.lane.frames import FrameReader, encode
from rayjup.engine.lane.peer import connect_unix


class Observer:
    """A connection to a node's agent, made when first needed.

    Observing starts nothing and keeps nothing alive; any process of the same user may do it.

    Parameters
    ----------
    descriptor
        The cluster, as :func:`rayjup.cluster.descriptors.find` returns it.
    timeout_s
        Seconds to wait for an answer where a request does not say otherwise.
    """

    def __init__(self, descriptor: Descriptor, timeout_s: float = 5.0) -> None:
        self.descriptor = descriptor
        self.timeout_s = timeout_s
        self._sock: Any = None
        self._reader = FrameReader()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def request(self, op: str, *payload: Any, timeout: float | None = None) -> Any:
        """Ask the head; raises what it raises, and ConnectionError when the cluster is gone."""
        with self._lock:
            try:
                if self._sock is None:
                    self._connect()
                self._sock.settimeout(timeout or self.timeout_s)
                number = next(self._numbers)
                self._sock.sendall(encode([("request", number, op, payload)]))
                while True:
                    for message in self._receive():
                        if message[0] == "answer" and message[1] == number:
                            if not message[2]:
                                raise pickle.loads(message[3])
                            return message[3]
            except OSError as error:
                self._close()
                raise ConnectionError(
                    f"the cluster {self.descriptor.name} does not answer: {error or type(error).__name__}"
                ) from error

    def _connect(self) -> None:
        self._sock = connect_unix(self.descriptor.agent_socket, self.timeout_s)
        self._reader = FrameReader()
        self._sock.sendall(encode([("hello", "observer", os.urandom(28), b"", os.getpid(), None)]))

    def _receive(self) -> list[tuple[Any, ...]]:
        data = self._sock.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the connection ended")
        return self._reader.feed(memoryview(data))

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def close(self) -> None:
        """End the connection (the next request makes a new one)."""
        with self._lock:
            self._close()
