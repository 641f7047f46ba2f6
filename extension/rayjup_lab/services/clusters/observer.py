"""One cluster as the server watches it: a view, used by one thread at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from rayjup.cluster.descriptors import Descriptor
from rayjup.observe import ClusterView
from rayjup.util.state.exception import RayStateApiException

T = TypeVar("T")
_LINES, _TAIL = 20, 8192
"""Of a cluster's log, lines and bytes that are shown when it does not answer."""


class ClusterObserver:
    """Asks one cluster and remembers its latest snapshot.

    All methods block and are safe to call from any thread. A view talks over one socket, so a
    second reader waits for the first; after ``busy_timeout_s`` it gives up instead of piling up
    threads behind a cluster that hangs.
    """

    def __init__(self, descriptor: Descriptor, busy_timeout_s: float = 2.0) -> None:
        self.descriptor = descriptor
        self.latest: dict[str, Any] | None = None
        self.read_at = 0.0
        self.error: str | None = None
        self.log = ""
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.Lock()
        self._view: ClusterView | None = None
        self._closed = False

    def read(self) -> dict[str, Any]:
        """A fresh snapshot.

        Raises
        ------
        ConnectionError
            When the cluster is gone, hangs, or this observer was closed.
        """
        snapshot = self.ask(ClusterView.snapshot)
        self.latest, self.read_at = snapshot, time.monotonic()
        return snapshot

    def ask(self, question: Callable[[ClusterView], T]) -> T:
        """What a function of the cluster's view returns.

        Raises
        ------
        ConnectionError
            When the cluster is gone, hangs, or this observer was closed.
        """
        if not self._lock.acquire(timeout=self._busy_timeout_s):
            raise self._failed(f"cluster {self.descriptor.name!r} has not answered the previous question yet")
        try:
            if self._closed:
                raise ConnectionError(f"no longer watching cluster {self.descriptor.name!r}")
            try:
                if self._view is None:
                    self._view = ClusterView(self.descriptor)
                answer = question(self._view)
            except (OSError, RayStateApiException) as error:
                # The next read opens a new connection: the cluster may only have been restarting.
                self._drop_view()
                raise self._failed(str(error) or type(error).__name__) from error
            self.error = None
            return answer
        finally:
            self._lock.release()

    def age_s(self) -> float:
        """Seconds since the last successful read (infinite before the first)."""
        return time.monotonic() - self.read_at if self.latest is not None else float("inf")

    def close(self) -> None:
        """End the connection for good."""
        with self._lock:
            self._closed = True
            self._drop_view()

    def _drop_view(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            view.close()

    def _failed(self, reason: str) -> ConnectionError:
        self.error = reason
        self.log = _last_lines(Path(self.descriptor.session_dir, "logs", "cluster.log"))
        return ConnectionError(reason)


def _last_lines(path: Path) -> str:
    """The end of a log, as far as it can be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-_LINES:])
