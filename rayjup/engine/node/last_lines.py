"""A driver that ends, or a cell of a notebook, wants to show first what its calls have printed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable

from rayjup.engine.node.connection import Connection

_LONGEST_S = 0.5  # a process that says nothing is not waited for any longer


class LastLines:
    """Has executors send the lines they keep, and tells when all have."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[set[Connection], Callable[[], None]]] = {}

    def collect(
        self, executors: Iterable[Connection], then: Callable[[], None], longest_s: float = _LONGEST_S
    ) -> None:
        """Call ``then`` once all ``executors`` have sent their lines, or have taken too long."""
        number = next(self._numbers)
        missing = set(executors)
        self._waiting[number] = (missing, then)
        for connection in missing:
            connection.post(("send_lines", number))
        if missing:
            asyncio.get_running_loop().call_later(longest_s, self._end, number)
        else:
            self._end(number)

    def sent(self, connection: Connection, number: int) -> None:
        """An executor has sent its lines."""
        if number in self._waiting:
            self._waiting[number][0].discard(connection)
            if not self._waiting[number][0]:
                self._end(number)

    def left(self, connection: Connection) -> None:
        """An executor has ended."""
        for number in list(self._waiting):
            self.sent(connection, number)

    def _end(self, number: int) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            waiting[1]()
