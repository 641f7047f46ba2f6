"""Progress bars for tasks and actors (mirrors ``ray.experimental.tqdm_ray``).

In a driver the bars share one line at the bottom of the terminal; in tasks and actors a bar prints
a line now and then, which appears in the driver with the task's name in front.
"""

from __future__ import annotations

import builtins
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

_DRIVER_S = 0.1
_TASK_S = 1.0
_WIDTH = 20


class _BarManager:
    """The bars of this process, and the line in which they are shown."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._bars: list[tqdm] = []
        self._hidden = False
        self._shown = 0  # characters on the line

    def add(self, bar: tqdm) -> None:
        """Show a bar."""
        with self._lock:
            self._bars.append(bar)
            self.show()

    def remove(self, bar: tqdm) -> None:
        """Show the bar for the last time."""
        with self._lock:
            if bar in self._bars:
                self._clear()
                self._bars.remove(bar)
                if not self._hidden:
                    sys.stderr.write(f"{bar}\n")
                self.show()

    def show(self) -> None:
        """Draw the line again."""
        with self._lock:
            if self._hidden:
                return
            self._clear()
            line = "  ".join(map(str, self._bars))
            sys.stderr.write(line)
            sys.stderr.flush()
            self._shown = len(line)

    def hide_bars(self) -> None:
        """Show nothing until :meth:`unhide_bars`."""
        with self._lock:
            self._clear()
            self._hidden = True

    def unhide_bars(self) -> None:
        """Show the bars again."""
        with self._lock:
            self._hidden = False
            self.show()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """``print`` above the bars."""
        with self._lock:
            self._clear()
            builtins.print(*args, **kwargs)  # noqa: T201 - it is what the function is for
            if self._bars:
                self.show()

    def _clear(self) -> None:
        if self._shown:
            sys.stderr.write(f"\r{' ' * self._shown}\r")
            self._shown = 0


_manager = _BarManager()


def instance() -> _BarManager:
    """The bars of this process."""
    return _manager


def safe_print(*args: Any, **kwargs: Any) -> None:
    """``print`` that leaves the progress bars intact."""
    _manager.print(*args, **kwargs)


class tqdm:
    """A progress bar, used as that of the package ``tqdm``.

    Parameters
    ----------
    iterable
        What to go through.
    desc
        What is shown in front.
    total
        How many there will be; the length of ``iterable`` where None.
    unit
        What is counted.
    position
        Taken for compatibility; bars are shown in the order in which they were made.
    flush_interval_s
        Seconds between two updates at least.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        *,
        flush_interval_s: float | None = None,
    ) -> None:
        import rayjup as ray

        self._iterable = iterable
        self._desc = desc or ""
        self._unit = unit or "it"
        self._total = total
        if total is None and hasattr(iterable, "__len__"):
            self._total = len(iterable)  # type: ignore[arg-type]
        self._n = 0
        self._closed = False
        self._in_task = ray.is_initialized() and ray.get_runtime_context().get_task_id() is not None
        default = _TASK_S if self._in_task else _DRIVER_S
        self._interval = default if flush_interval_s is None else flush_interval_s
        self._started = time.monotonic()
        self._next = self._started + self._interval
        if not self._in_task:
            _manager.add(self)

    @property
    def n(self) -> int:
        """How many are done."""
        return self._n

    @n.setter
    def n(self, value: int) -> None:
        self._n = value

    @property
    def total(self) -> int | None:
        """How many there will be, if that is known."""
        return self._total

    @total.setter
    def total(self, value: int | None) -> None:
        self._total = value

    def set_description(self, desc: str) -> None:
        """Change what is shown in front."""
        self._desc = desc
        self._show_if_due()

    def update(self, n: int = 1) -> None:
        """``n`` more are done."""
        self._n += n
        self._show_if_due()

    def refresh(self) -> None:
        """Show the bar now."""
        self._next = time.monotonic() + self._interval
        if self._in_task:
            self._print_line()
        else:
            _manager.show()

    def close(self) -> None:
        """Show the bar for the last time."""
        if self._closed:
            return
        self._closed = True
        if self._in_task:
            self._print_line()
        else:
            _manager.remove(self)

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("No iterable was given: use tqdm(iterable), or tqdm(total=n) and update().")
        for item in self._iterable:
            yield item
            self.update(1)
        self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def __str__(self) -> str:
        front = f"{self._desc}: " if self._desc else ""
        rate = self._n / max(time.monotonic() - self._started, 1e-9)
        if not self._total:
            return f"{front}{self._n} {self._unit} [{rate:.1f} {self._unit}/s]"
        share = min(1.0, self._n / self._total)
        drawn = "#" * int(_WIDTH * share)
        return f"{front}{share:4.0%} |{drawn:{_WIDTH}}| {self._n}/{self._total} [{rate:.1f} {self._unit}/s]"

    def _show_if_due(self) -> None:
        if not self._closed and time.monotonic() >= self._next:
            self.refresh()

    def _print_line(self, file: TextIO | None = None) -> None:
        out = file or sys.stdout
        out.write(f"{self}\n")
        out.flush()
