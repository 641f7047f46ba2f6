"""What a submitting process knows of a remote function."""

from __future__ import annotations

import hashlib
from typing import Any

_PIPELINE_US = 4000.0  # keep an executor busy for about this long
_MAX_DEPTH = 512


class Function:
    """A function as it is sent to executors, with the statistics that steer its calls.

    ``depth`` is how many calls one executor may be given at once: 1 until the length of a call is
    known, then as many as fill a few milliseconds. ``max_calls`` is how often one process may run
    it before it ends (0: as often as it likes).
    """

    __slots__ = (
        "_mean_us",
        "_most",
        "blob",
        "depth",
        "failed",
        "finished",
        "id",
        "max_calls",
        "name",
        "submitted",
    )

    def __init__(self, name: str, blob: bytes, max_calls: int = 0) -> None:
        self.name = name
        self.blob = blob
        self.max_calls = max_calls
        salt = max_calls.to_bytes(8, "little")
        self.id = hashlib.blake2b(blob, digest_size=12, salt=salt, person=b"rayjup-function"[:16]).digest()
        self._most = min(max_calls or _MAX_DEPTH, _MAX_DEPTH)
        self.depth = 1
        self.submitted = 0
        self.finished = 0
        self.failed = 0
        self._mean_us = -1.0

    def observe(self, micros: int) -> None:
        """Take into account that a call of this function took ``micros``."""
        mean = self._mean_us
        if mean < 0:
            mean = float(micros)
        elif micros > mean:
            mean += (micros - mean) * 0.5  # be quick to notice that calls are longer
        else:
            mean += (micros - mean) * 0.1
        self._mean_us = mean
        depth = int(_PIPELINE_US / (mean + 1.0))
        self.depth = 1 if depth < 1 else min(depth, self._most)


def describe(callable_: Any) -> str:
    """The name under which a function or class is shown."""
    return getattr(callable_, "__qualname__", None) or getattr(callable_, "__name__", None) or repr(callable_)
