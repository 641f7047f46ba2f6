"""Things said once (mirrors ``ray.util.debug``)."""

from __future__ import annotations

import threading
import time

_PERIOD_S = 60.0

_lock = threading.Lock()
_logged: set[str] = set()
_disabled = False
_periodic = False
_last_reset = 0.0


def log_once(key: str) -> bool:
    """True the first time this process asks with ``key``: ``if log_once("x"): logger.warning(…)``.

    After :func:`enable_periodic_logging` true once a minute.

    Examples
    --------
    >>> from rayjup.util import log_once
    >>> log_once("an example"), log_once("an example")
    (True, False)
    """
    global _last_reset
    with _lock:
        if _disabled:
            return False
        if key not in _logged:
            if not _logged:
                _last_reset = time.monotonic()
            _logged.add(key)
            return True
        if _periodic and time.monotonic() - _last_reset > _PERIOD_S:
            _last_reset = time.monotonic()
            _logged.clear()
            _logged.add(key)
            return True
        return False


def disable_log_once_globally() -> None:
    """Make :func:`log_once` say False in this process from now on."""
    global _disabled
    with _lock:
        _disabled = True


def enable_periodic_logging() -> None:
    """Make :func:`log_once` say True again after a minute."""
    global _disabled, _periodic
    with _lock:
        _disabled = False
        _periodic = True


def reset_log_once(key: str | None = None) -> None:
    """Forget that ``key`` (None: anything) was asked for."""
    with _lock:
        if key is None:
            _logged.clear()
        else:
            _logged.discard(key)
