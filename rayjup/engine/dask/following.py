"""Dask's TLS with certificates that may be exchanged while processes run."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any

from distributed.security import Security


class FollowingContext(ssl.SSLContext):
    """A context for new connections that is made anew when the file behind it has changed.

    Connections that are there keep what they were made with.
    """

    _make: Callable[[], ssl.SSLContext]
    _path: str
    _stamp: tuple[int, int] | None
    _now: ssl.SSLContext

    def __new__(cls, server: bool, make: Callable[[], ssl.SSLContext], path: str) -> FollowingContext:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_REQUIRED  # Tornado looks at it
        made._make, made._path = make, path
        made._stamp, made._now = _stamp(path), make()
        return made

    def __init__(self, server: bool, make: Callable[[], ssl.SSLContext], path: str) -> None:
        """Made already."""

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            try:
                self._now, self._stamp = self._make(), stamp
            except (OSError, ValueError):
                pass  # what is no certificate is not followed
        return self._now.wrap_socket(*args, **kwargs)


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


class FollowingSecurity(Security):
    """As Dask's, where certificates lie in files; these may be replaced at any time."""

    def get_connection_args(self, role: str) -> dict[str, Any]:
        return self._following(False, super().get_connection_args, role)

    def get_listen_args(self, role: str) -> dict[str, Any]:
        return self._following(True, super().get_listen_args, role)

    def _following(self, server: bool, given: Callable[[str], dict[str, Any]], role: str) -> dict[str, Any]:
        found = given(role)
        path = getattr(self, f"tls_{role}_cert")
        if found["ssl_context"] is not None and "\n" not in path:
            found["ssl_context"] = FollowingContext(server, lambda: given(role)["ssl_context"], path)
        return found
