"""The access log: a line per request, written in batches, so that a request costs an append."""

from __future__ import annotations

import json
import os
import time
from collections import deque
from typing import Any

_MOST = 50_000  # lines kept until the next flush: beyond that the oldest are dropped
_ROTATE_BYTES = 64 * 1024 * 1024


class AccessLog:
    """Lines of one process.

    Parameters
    ----------
    name
        What answers: a replica's name, or a proxy's.
    path
        The file; None: lines are not kept.
    """

    def __init__(self, name: str, path: str | None, encoding: str = "TEXT") -> None:
        self.name = name
        self.path = path
        self.json = encoding == "JSON"
        self.on = path is not None
        self.lines: deque[tuple[Any, ...]] = deque(maxlen=_MOST)

    def flush(self) -> None:
        """Write what has gathered."""
        if not self.lines or self.path is None:
            return
        lines, self.lines = self.lines, deque(maxlen=_MOST)
        text = "".join(map(self._line, lines))
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(text)
            size = file.tell()
        if size > _ROTATE_BYTES:
            os.replace(self.path, self.path + ".1")

    def _line(self, entry: tuple[Any, ...]) -> str:
        moment, request_id, app, route, method, path, status, ms = entry
        if self.json:
            fields = {
                "asctime": _text(moment),
                "component": self.name,
                "application": app,
                "request_id": request_id,
                "route": route,
                "method": method,
                "path": path,
                "status": status,
                "latency_ms": round(ms, 3),
            }
            return json.dumps(fields) + "\n"
        return f"INFO {_text(moment)} {self.name} {request_id} -- {method} {path} {status} {ms:.1f}ms\n"


_second = -1
_text_of_second = ""


def _text(moment: float) -> str:
    global _second, _text_of_second
    second = int(moment)
    if second != _second:
        _second = second
        _text_of_second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
    return f"{_text_of_second},{int((moment - second) * 1000):03d}"
