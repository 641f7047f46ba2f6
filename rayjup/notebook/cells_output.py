"""Output that belongs to a cell, whoever publishes it and when; and the thread that does so meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rayjup.notebook.cells import Cell

INTERVAL_S = 0.25
THREAD_NAME = "rayjup-cells"


class Output:
    """One output of a cell, which is replaced when it changes.

    Parameters
    ----------
    shell
        The shell of the kernel.
    cell
        Where it belongs.
    """

    _lock = threading.RLock()  # of all outputs: one is not changed before it has been shown

    def __init__(self, shell: InteractiveShell, cell: Cell) -> None:
        self._shell = shell
        self._cell = cell
        self._id = uuid.uuid4().hex
        self.shown = False

    def publish(self, html: str, text: str) -> None:
        """Show it, or show it anew.

        A headless runner hears only what comes on behalf of the running cell. So when another cell
        ends, what is there already is changed on behalf of that one: it is found by its id.
        """
        with self._lock:
            elsewhere = threading.current_thread() is not threading.main_thread()
            with self._bound(elsewhere or not self.shown):
                self._shell.display_pub.publish(
                    data={"text/plain": text, "text/html": html},
                    metadata={},
                    transient={"display_id": self._id},
                    update=self.shown,
                )
            self.shown = True

    @contextlib.contextmanager
    def _bound(self, wanted: bool) -> Iterator[None]:
        """Have this thread publish on behalf of the cell."""
        bind = getattr(self._shell, "set_thread_parent", None)
        if not wanted or bind is None or self._cell.parent is None:
            yield
            return
        tokens = bind(self._cell.parent)
        try:
            yield
        finally:
            self._shell.reset_thread_parent(tokens)  # type: ignore[attr-defined]


class Ticking(Protocol):
    """What the thread looks after."""

    @property
    def active(self) -> bool:
        """Whether ticks are wanted."""

    def tick(self, now: float) -> None:
        """About every quarter of a second while active, in the thread."""


class Ticker:
    """The thread that brings outputs up to date, at most four times a second.

    It sleeps while nothing is going on.
    """

    def __init__(self) -> None:
        self.parts: list[Ticking] = []
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something is to be done; cheap, from any thread."""
        if not self._wake.is_set():
            self._wake.set()

    def start(self) -> None:
        """Begin, if it has not."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while True:
            active = any(part.active for part in self.parts)
            self._wake.wait(None if not active else INTERVAL_S)
            if self._closed.is_set():
                return
            self._wake.clear()
            now = time.monotonic()
            for part in self.parts:
                part.tick(now)
            if self._closed.wait(INTERVAL_S):
                return
