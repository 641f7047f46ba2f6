"""The one background thread of a kernel that keeps its cluster displays up to date.

It runs only while a display is wanted. At each tick it takes one snapshot for all displays and
sends what changed. The form saved with the notebook is brought up to date on the main thread when
a cell ends, because headless runners take messages of the running cell only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rayjup.notebook.displays import LiveDisplay

THREAD_NAME = "rayjup-displays"
MIN_INTERVAL_S = 0.25
DEFAULT_INTERVAL_S = 1.0
QUIET_S = 60.0  # without work and without a running cell, displays come to rest after this long


class Source(Protocol):
    """What a feed watches: `rayjup.observe.ClusterView` or anything with its two methods."""

    def snapshot(self) -> Mapping[str, Any]: ...

    def close(self) -> None: ...


class Feed:
    """Snapshots of one cluster, distributed to the displays of this kernel.

    Parameters
    ----------
    interval_s : float
        Seconds between two updates, at least ``MIN_INTERVAL_S``.
    quiet_s : float
        See ``QUIET_S``.
    """

    def __init__(self, interval_s: float = DEFAULT_INTERVAL_S, quiet_s: float = QUIET_S) -> None:
        self.quiet_s = quiet_s
        self._interval_s = interval_s
        self._lock = threading.RLock()  # displays and thread; never held during I/O with the cluster
        self._io_lock = threading.Lock()  # one snapshot at a time
        self._source: Source | None = None
        self._displays: list[LiveDisplay] = []
        self._shell: InteractiveShell | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._cell_running = False
        self._signature: Any = None
        self._busy_at = 0.0

    @property
    def interval_s(self) -> float:
        """Seconds between two updates."""
        return self._interval_s

    @interval_s.setter
    def interval_s(self, value: float) -> None:
        if not value >= MIN_INTERVAL_S:
            raise ValueError(
                f"the displays' interval of {value} s is too short: "
                f"at least {MIN_INTERVAL_S} s keep front ends responsive"
            )
        self._interval_s = value

    # ------------------------------------------------------------ life cycle

    def open(self, source: Source) -> None:
        """Watch ``source`` from now on."""
        with self._lock:
            self._source = source
            self._signature = None

    def close(self, status: str = "") -> None:
        """End all displays with a last snapshot and stop the thread; the source is closed too."""
        with self._lock:
            source, thread = self._source, self._thread
        snapshot = None
        if source is not None:
            try:
                snapshot = self._snapshot(source)
            except ConnectionError:
                status = status or "gone"
        self._end(snapshot, status)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=2.0)
        if source is not None:
            source.close()

    def detach(self) -> None:
        """Close and forget the shell's events (for ``%unload_ext``)."""
        self.close()
        with self._lock:
            shell, self._shell = self._shell, None
        if shell is not None:
            shell.events.unregister("pre_run_cell", self._before_cell)
            shell.events.unregister("post_run_cell", self._after_cell)

    def _attach(self, shell: InteractiveShell) -> None:
        if self._shell is None:
            self._shell = shell
            self._cell_running = True  # displays are made by a cell
            shell.events.register("pre_run_cell", self._before_cell)
            shell.events.register("post_run_cell", self._after_cell)

    def snapshot(self) -> Mapping[str, Any]:
        """A snapshot of the cluster now.

        Raises
        ------
        ConnectionError
            When no cluster is watched or it is gone.
        """
        source = self._source
        if source is None:
            raise ConnectionError("no cluster is being watched: run %ray_init first")
        return self._snapshot(source)

    def _snapshot(self, source: Source) -> Mapping[str, Any]:
        with self._io_lock:
            return source.snapshot()

    # ------------------------------------------------------------ displays

    def add(self, display: LiveDisplay, shell: InteractiveShell) -> None:
        """Keep ``display`` up to date until the feed is closed."""
        with self._lock:
            self._attach(shell)
            self._displays.append(display)
            self._busy_at = time.monotonic()
            alike = [one for one in self._displays if type(one) is type(display)]
            for oldest in alike[: -display.max_live]:  # a notebook full of live copies helps nobody
                self._displays.remove(oldest)
                if oldest.live:
                    oldest.freeze(shell)
        self.wake()

    def wake(self) -> None:
        """Have the thread run (again), since a display is wanted."""
        with self._lock:
            if self._source is None or not any(display.wanted for display in self._displays):
                return
            if self._thread is None or not self._thread.is_alive():
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                self._thread.start()

    @property
    def watching(self) -> bool:
        """True from `open` until `close`, or until the cluster was found gone."""
        return self._source is not None

    @property
    def running(self) -> bool:
        """True while the background thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def _run(self) -> None:
        while not self._wake.wait(self._interval_s):
            source = self._source
            if source is None:
                return
            try:
                snapshot = self._snapshot(source)
            except ConnectionError:
                if self._source is source:
                    self._end(None, "gone")
                return
            with self._lock:
                # Deciding to end and ending are one step, so that `wake` can't miss the moment.
                if self._source is not source or not self._tick(snapshot):
                    self._thread = None
                    return

    def _tick(self, snapshot: Mapping[str, Any]) -> bool:
        now = time.monotonic()
        signature = activity(snapshot)
        if signature != self._signature or self._cell_running:
            self._signature, self._busy_at = signature, now
        for display in self._displays:
            if display.wanted:
                display.update_live(snapshot)
        if now - self._busy_at >= self.quiet_s and self._shell is not None:
            for display in self._displays:
                if display.live:
                    display.freeze(self._shell, snapshot)
        return any(display.wanted for display in self._displays)

    def _end(self, snapshot: Mapping[str, Any] | None, status: str) -> None:
        with self._lock:
            self._source = self._thread = None
            self._wake.set()
            displays, self._displays = self._displays, []
            if self._shell is not None:
                for display in displays:
                    display.freeze(self._shell, snapshot, status)

    # ------------------------------------------------------------ the shell's events

    def _before_cell(self, *_: Any) -> None:
        with self._lock:
            self._cell_running = True
            self._busy_at = time.monotonic()
            resting = self._displays and not any(display.live for display in self._displays)
            if resting and self._source is not None and self._shell is not None:
                self._displays[-1].thaw(self._shell)
        self.wake()

    def _after_cell(self, *_: Any) -> None:
        with self._lock:
            self._cell_running = False
            self._busy_at = time.monotonic()
            source, shell = self._source, self._shell
            displays = [display for display in self._displays if display.live]
        if source is None or shell is None or not displays:
            return
        try:
            snapshot = self._snapshot(source)
        except ConnectionError:
            self._end(None, "gone")
            return
        with self._lock:
            for display in displays:
                if display.live:
                    display.update_live(snapshot)
                    display.update_saved(shell, time.monotonic())


def activity(snapshot: Mapping[str, Any]) -> Any:
    """What has to stay the same for a cluster to count as quiet (load and memory may vary)."""
    tasks = [
        (task.get("pending"), task.get("running"), task.get("finished"), task.get("failed"))
        for task in snapshot.get("tasks") or []
    ]
    actors = [(actor.get("state"), actor.get("pending")) for actor in snapshot.get("actors") or []]
    return tasks, actors, len(snapshot.get("nodes") or [])


FEED = Feed()
"""The feed of this kernel: a kernel is connected to one cluster at a time."""
