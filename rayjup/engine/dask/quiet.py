"""A Dask scheduler and worker that open no HTTP servers.

Dask's own dashboard has no authentication; a rayjup cluster shows its state through its own.
"""

from __future__ import annotations

from typing import Any

from distributed import Scheduler, Worker


class QuietScheduler(Scheduler):
    """A scheduler without an HTTP server.

    Parameters
    ----------
    also
        A further address to listen on, such as ``tls://10.0.0.1:6379``.
    """

    def __init__(self, *args: Any, also: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if also is not None:
            self._start_address: list[str] = [*self._start_address, also]

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Start none."""


class QuietWorker(Worker):
    """A worker without an HTTP server."""

    def start_http_server(self, *args: Any, **kwargs: Any) -> None:
        """Start none."""
