"""Who waits in vain is told so after a while, once: most obstacles are gone before that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

WARN_AFTER_S = 10.0
AGAIN_AFTER_S = 60.0

Key = str | bytes  # of a request, or of a placement group


class Late:
    """What cannot be served as the cluster is, and since when.

    Parameters
    ----------
    now
        The clock, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since: dict[Key, tuple[float, str]] = {}
        self._said: dict[tuple[str, str], float] = {}

    def note(self, key: Key, client: str) -> None:
        """``client`` waits for something that cannot be; noting it again changes nothing."""
        self._since.setdefault(key, (self._now(), client))

    def drop(self, key: Key) -> None:
        """It does not wait any more."""
        self._since.pop(key, None)

    def drop_client(self, client: str) -> None:
        """A client is gone."""
        for key in [key for key, (_, waiting) in self._since.items() if waiting == client]:
            del self._since[key]

    def is_news(self, client: str, text: str) -> bool:
        """Whether ``client`` was not told the same a short while ago: many may wait for the same."""
        now = self._now()
        self._said = {said: at for said, at in self._said.items() if now - at < AGAIN_AFTER_S}
        if (client, text) in self._said:
            return False
        self._said[(client, text)] = now
        return True

    def due(self) -> Iterator[tuple[Key, str]]:
        """Key and client of what has waited for long by now; each once."""
        before = self._now() - WARN_AFTER_S
        for key, (since, client) in list(self._since.items()):
            if since <= before:
                del self._since[key]
                yield key, client
