"""What tasks and actors print, where the driver shows it.

In a program it goes to standard output and error, each line with its origin in front. The same line
from many processes is shown once, with the number of the others (`Ray's page
<https://docs.ray.io/en/latest/ray-observability/user-guides/configure-logging.html>`_ describes it;
``RAY_DEDUP_LOGS=0`` switches it off). A notebook takes the lines itself (:func:`set_sink`).
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rayjup.engine.executor.logs import Chunk

Sink = Callable[[Chunk], None]

_WINDOW_S = 5.0
_END = float("inf")
_NUMBER = re.compile(r"\b(0x[0-9a-fA-F]+|[0-9a-f]{16,}|\d[\d.,:]*)")


@dataclass(slots=True)
class _Seen:
    title: str
    stream: str
    line: str
    until: float
    titles: set[str] = field(default_factory=set)
    repeats: int = 0


class Deduplicator:
    """Holds back lines that another process has just printed. Pure: no clock, no output.

    Numbers don't count when lines are compared. What one process repeats is not held back: it may
    be meant.

    Parameters
    ----------
    window_s
        Repetitions are gathered for this long after the first line.
    never, drop
        Regular expressions of lines that are never held back, and of lines that are left out.
    """

    def __init__(self, window_s: float = _WINDOW_S, never: str = "", drop: str = "") -> None:
        self.window_s = window_s
        self.held_back = 0  # lines that were not shown each for itself
        self._never = re.compile(never) if never else None
        self._drop = re.compile(drop) if drop else None
        self._seen: dict[str, _Seen] = {}
        self._explained = False
        self._repeating = 0  # of what was seen, so much has repeats

    def add(self, now: float, stream: str, title: str, lines: list[str]) -> list[tuple[str, str, str]]:
        """Lines that a process printed; those to be shown now, as (stream, title, line)."""
        shown = self.due(now)
        for line in lines:
            if self._drop is not None and self._drop.search(line):
                continue
            if not line.strip() or (self._never is not None and self._never.search(line)):
                shown.append((stream, title, line))
                continue
            key = _NUMBER.sub("0", line)
            seen = self._seen.get(key)
            if seen is None:
                self._seen[key] = _Seen(title, stream, line, now + self.window_s, {title})
                shown.append((stream, title, line))
            elif seen.titles == {title}:
                shown.append((stream, title, line))
            else:
                seen.titles.add(title)
                self._repeating += not seen.repeats
                seen.repeats += 1
                self.held_back += 1
                seen.stream, seen.title, seen.line = stream, title, line
        return shown

    def due(self, now: float) -> list[tuple[str, str, str]]:
        """What was held back and is to be shown now."""
        out = []
        while self._seen:  # they lie in the order in which they become due
            key = next(iter(self._seen))
            seen = self._seen[key]
            if seen.until > now:
                break
            del self._seen[key]
            if seen.repeats:
                self._repeating -= 1
                self.held_back -= 1
                out.append((seen.stream, seen.title, seen.line + self._note(seen.repeats)))
                if now != _END:
                    seen.repeats = 0
                    seen.until = now + self.window_s
                    self._seen[key] = seen
        return out

    def _note(self, repeats: int) -> str:
        if repeats == 1:
            return ""
        note = f" [repeated {repeats}x across cluster]"
        if not self._explained:
            self._explained = True
            note += " (the same line of many processes is shown once; RAY_DEDUP_LOGS=0 shows all)"
        return note

    @property
    def next_due(self) -> float | None:
        """When :meth:`due` has something to say."""
        if not self._repeating:
            return None
        return next(seen.until for seen in self._seen.values() if seen.repeats)

    @property
    def remembers(self) -> bool:
        """Whether there are lines with which new ones are compared."""
        return bool(self._seen)


def deduplicator() -> Deduplicator | None:
    """One set up as the environment variables say; None where they switch it off."""
    if os.environ.get("RAY_DEDUP_LOGS", "1") == "0":
        return None
    return Deduplicator(
        float(os.environ.get("RAY_DEDUP_LOGS_AGG_WINDOW_S", _WINDOW_S)),
        os.environ.get("RAY_DEDUP_LOGS_ALLOW_REGEX", ""),
        os.environ.get("RAY_DEDUP_LOGS_SKIP_REGEX", ""),
    )


class ProgramOutput:
    """Shows lines in the standard output and error of a program.

    Parameters
    ----------
    as_they_are
        Without their origin in front and without comparing them: the job says how it logs.
    """

    def __init__(self, as_they_are: bool = False) -> None:
        self._as_they_are = as_they_are
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._deduplicator = None if as_they_are else deduplicator()

    def __call__(self, chunk: Chunk) -> None:
        stream, title, _, lines, dropped = chunk
        with self._lock:
            if dropped:
                note = f"… {dropped:,} lines left out: they came too fast, and are in the process's log file"
                self._write([(stream, title, note)])
            if self._deduplicator is None:
                self._write([(stream, title, line) for line in lines])
            else:
                self._write(self._deduplicator.add(time.monotonic(), stream, title, lines))
                self._come_back()

    def _come_back(self) -> None:
        assert self._deduplicator is not None
        due = self._deduplicator.next_due
        if due is not None and self._timer is None:
            self._timer = threading.Timer(max(0.0, due - time.monotonic()), self._on_timer)
            self._timer.daemon = True
            self._timer.start()

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            assert self._deduplicator is not None
            self._write(self._deduplicator.due(time.monotonic()))
            self._come_back()

    def _write(self, shown: list[tuple[str, str, str]]) -> None:
        for name in ("stdout", "stderr"):
            target: Any = getattr(sys, name)
            text = "".join(
                f"{line}\n" if self._as_they_are else f"{self._prefix(target, title)} {line}\n"
                for stream, title, line in shown
                if stream == name
            )
            if text and target is not None:
                target.write(text)
                target.flush()

    @staticmethod
    def _prefix(target: Any, title: str) -> str:
        return f"\x1b[36m({title})\x1b[0m" if target.isatty() else f"({title})"

    def close(self) -> None:
        """Show what is still held back."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._deduplicator is not None:
                self._write(self._deduplicator.due(_END))


_sink: Sink | None = None


def set_sink(sink: Sink | None) -> None:
    """Have ``sink`` take all lines instead of the program's output (None: the output again)."""
    global _sink
    _sink = sink


class Receiver:
    """Hands what arrives to whoever shows it."""

    def __init__(self, as_they_are: bool) -> None:
        self._output = ProgramOutput(as_they_are)

    def __call__(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            (_sink or self._output)(chunk)

    def close(self) -> None:
        """The connection ends: show what is held back."""
        self._output.close()
