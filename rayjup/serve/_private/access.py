"""The access log: a line per request, written in batches, so that a request costs an append."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from rayjup.serve._private.measures import Measures

CHUNK = 256
_ROTATE_BYTES = 64 * 1024 * 1024


class AccessLog:
    """Requests over HTTP that one process has answered: counted, and written to a file.

    A request costs an append; counting and writing are done for some hundred at a time.

    Parameters
    ----------
    name
        What answers: a replica's name, or a proxy's.
    path
        The file; None: lines are not kept.
    measures
        Counts them.
    """

    def __init__(self, name: str, path: str | None, measures: Measures, encoding: str = "TEXT") -> None:
        self.name = name
        self.path = path
        self.measures = measures
        self.json = encoding == "JSON"
        self.on = path is not None
        # (start and end by perf_counter, application, route, method, path, status, request id)
        self.done: list[tuple[Any, ...]] = []
        self._file: Any = None
        self._offset = time.time() - time.perf_counter()

    def add(self, entry: tuple[Any, ...]) -> None:
        """A request was answered."""
        self.done.append(entry)
        if len(self.done) >= CHUNK:
            self.settle()

    def settle(self) -> None:
        """Count and write what has gathered."""
        if not self.done:
            return
        done, self.done = self.done, []
        count = self.measures.add_http
        for began, ended, _, route, method, _, status, _ in done:
            count(route, method, status, (ended - began) * 1000)
        if self.on and self.path is not None:
            self._write("".join(map(self._line, done)))

    def _write(self, text: str) -> None:
        if self._file is None:
            assert self.path is not None
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - kept open until rotated
        self._file.write(text.encode("utf-8", "backslashreplace"))
        if self._file.tell() > _ROTATE_BYTES:
            self._file.close()
            self._file = None
            os.replace(str(self.path), f"{self.path}.1")

    def _line(self, entry: tuple[Any, ...]) -> str:
        began, ended, app, route, method, path, status, request_id = entry
        moment = ended + self._offset
        ms = (ended - began) * 1000
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
