"""What tasks and actors print: to the executor's log file and, by line, to the driver."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rayjup.base.logging_config import LoggingConfig
from rayjup.engine.executor.log_file import LogFile

if TYPE_CHECKING:
    from rayjup.engine.executor.executor import Executor
    from rayjup.engine.runtime.runtime import Runtime

_MAX_LINE = 16 * 1024
_PAUSE_S = 0.01  # between two sendings while a call prints: each takes the interpreter from it
_MAX_WAITING = 50_000  # lines that wait to be sent; a process that prints faster loses what is beyond

Chunk = tuple[str, str, int | None, list[str], int]
"""Stream, title, cell, lines, and how many were left out before them."""


class LineBuffer:
    """Lines on their way to the driver: gathered by origin, counted where there are too many.

    Parameters
    ----------
    per_second
        Lines that may go to the driver per second on the average, with as much ahead as comes in
        two seconds; None: all. What is left out is in the log file.
    clock
        Gives seconds.
    """

    def __init__(self, per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []
        self._waiting = 0
        self._dropped = 0
        self._origin: tuple[str, str, int | None] = ("stdout", "", None)  # of what was left out last
        self._tokens = (per_second or 0.0) * 2
        self._filled = clock()
        self._next = 0.0  # when lines may be sent again while calls run

    def add(self, stream: str, title: str, cell: int | None, lines: list[str]) -> None:
        """Take lines that a call has printed."""
        with self._lock:
            allowed = self._allowed(len(lines))
            if allowed:
                kept = [line[:_MAX_LINE] for line in lines[:allowed]]
                last = self._chunks[-1] if self._chunks else None
                if last is not None and not self._dropped and last[:3] == (stream, title, cell):
                    last[3].extend(kept)
                else:
                    self._chunks.append((stream, title, cell, kept, self._dropped))
                    self._dropped = 0
                self._waiting += allowed
            left_out = len(lines) - allowed
            if left_out:
                self._dropped += left_out
                self._origin = (stream, title, cell)

    def _allowed(self, count: int) -> int:
        count = min(count, max(0, _MAX_WAITING - self._waiting))
        if self._per_second is None:
            return count
        now = self._clock()
        self._tokens = min(self._per_second * 2, self._tokens + (now - self._filled) * self._per_second)
        self._filled = now
        count = min(count, int(self._tokens))
        self._tokens -= count
        return count

    def waits(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._chunks or self._dropped)

    def due(self) -> bool:
        """Whether there is something to be sent, and the last sending is long enough ago."""
        return self.waits() and self._clock() >= self._next

    def take(self) -> list[Chunk]:
        """All that waits; the count of lines left out at the end comes as a chunk without lines."""
        if not self.waits():
            return []
        with self._lock:
            chunks, self._chunks = self._chunks, []
            if self._dropped:
                chunks.append((*self._origin, [], self._dropped))
                self._dropped = 0
            self._waiting = 0
            self._next = self._clock() + _PAUSE_S
        return chunks


class LineStream(io.TextIOBase):
    """A text stream that also forwards complete lines to the driver through the agent."""

    def __init__(self, executor: Executor, stream: str, fd: int, lines: LineBuffer) -> None:
        self.executor = executor
        self.stream = stream
        self._file = LogFile(fd)
        self._lines = lines
        self._rest = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    def fileno(self) -> int:
        """The log file's descriptor."""
        return self._file.fd

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Write to the log file and forward the lines that are complete."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        data = text.encode("utf-8", "replace")
        end = self._file.write(data)
        self.executor.events.printed(self.stream, end - len(data), end)
        if self._file.turn(end):
            self.executor.events.put_aside(self.stream)
        if "\n" in text:
            *lines, self._rest = (self._rest + text).split("\n")
            self._forward(lines)
        else:
            self._rest += text
            if len(self._rest) > _MAX_LINE:
                self._forward([self._rest])
                self._rest = ""
        return len(text)

    def flush(self) -> None:
        """Everything is in the log file already; lines go to the driver when complete."""

    def _forward(self, lines: list[str]) -> None:
        if self.executor.runtime.closed:
            return  # a child forked by a task: its lines are in the log file
        first = not self._lines.waits()
        self._lines.add(self.stream, self.executor.title(), self.executor.cell(), lines)
        if first:
            self.executor.runtime.wake()


def install(executor: Executor) -> None:
    """Replace ``sys.stdout`` and ``sys.stderr``; set up logging where the job says how."""
    executor.lines = LineBuffer(executor.job.get("log_lines_per_s"))
    executor.runtime.has_lines = executor.lines.waits
    sys.stdout = LineStream(executor, "stdout", 1, executor.lines)
    sys.stderr = LineStream(executor, "stderr", 2, executor.lines)
    if "logging" in executor.job:
        LoggingConfig.from_dict(executor.job["logging"]).apply(lambda: _context(executor))


def process_context(runtime: Runtime) -> dict[str, str]:
    """The ids of a process, for log records."""
    return {
        "job_id": runtime.job_id.hex(),
        "worker_id": runtime.worker_id.hex(),
        "node_id": runtime.node_id,
    }


def _context(executor: Executor) -> dict[str, str]:
    out = process_context(executor.runtime)
    if executor.actor_spec is not None:
        out["actor_id"] = executor.actor_id.hex()
    running = executor.context()
    if running is not None:
        out["task_id"] = running.task_id.hex()
        out["task_name"] = (running.options or {}).get("name") or running.name
        out["task_func_name"] = running.name
    if executor.actor_spec is not None:
        out["actor_name"] = executor.actor_spec.get("name") or ""
    return out
