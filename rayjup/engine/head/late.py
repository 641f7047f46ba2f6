"""Who waits in vain is told so, once, after a while: most obstacles are gone before that."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator

WARN_AFTER_S = 10.0


class Late:
    """What cannot be served as the cluster is, since when, and why.

    Parameters
    ----------
    now
        The clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since: dict[Hashable, tuple[float, str, str]] = {}
        self._told: set[tuple[str, str]] = set()

    def note(self, key: Hashable, client: str, text: str) -> None:
        """``client`` waits for something that cannot be; a second note changes only the text."""
        since = self._since.get(key, (self._now(),))[0]
        self._since[key] = (since, client, text)

    def drop(self, key: Hashable) -> None:
        """It does not wait any more."""
        self._since.pop(key, None)

    def drop_client(self, client: str) -> None:
        """A client is gone."""
        self._since = {key: entry for key, entry in self._since.items() if entry[1] != client}
        self._told = {told for told in self._told if told[0] != client}

    def due(self) -> Iterator[tuple[Hashable, str, str]]:
        """Key, client and text of what waits for long; each text once per client."""
        before = self._now() - WARN_AFTER_S
        for key, (since, client, text) in list(self._since.items()):
            if since <= before:
                del self._since[key]
                if (client, text) not in self._told:
                    self._told.add((client, text))
                    yield key, client, text
