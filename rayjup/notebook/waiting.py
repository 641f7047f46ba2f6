"""How far the calls are for which a cell waits: one quiet line per cell, after half a second of waiting.

`rayjup.get` and its kin only leave a note of what they wait for. The thread of `cells_output` looks at it
four times a second, counts, and shows the line. What keeps the calls, when none runs, is asked of the
cluster once a second.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.base import notebook
from rayjup.notebook import waiting_render as render
from rayjup.notebook.cells_output import INTERVAL_S, Output
from rayjup.notebook.waiting_render import Counts

if TYPE_CHECKING:
    from rayjup.notebook.cells import Cell, Cells

APPEARS_AFTER_S = 0.5
_ASK_S = 1.0
_COSTLY_S = 0.002  # counting that takes longer is done more seldom
_REMEMBERED = 40  # ticks, over which the rate is measured


class Line:
    """What is shown of the waiting of one cell."""

    def __init__(self, cell: Cell, before: tuple[int, int, int]) -> None:
        self.cell = cell
        self.waited = 0.0  # seconds
        self.output: Output | None = None
        self.counts = Counts()
        self.history: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)
        self.next_count = 0.0
        self.ids: set[bytes] = set()  # of refs that were waited for
        self._before = before  # calls made, finished, failed when it began
        self._last: Any = None  # the refs of which the ids are known
        self._pending: list[Any] = []

    def count(self, runtime: Any, waits: Sequence[Sequence[Any]]) -> None:
        """Count the calls by state.

        Refs that were waited for are counted one by one; where all calls that are under way are
        the cell's own, the counts of the engine tell of those, too, that were not waited for yet.
        """
        pending = 0
        for refs in waits:
            if refs is not self._last:
                # Generators are waited for as well; they are no calls, but what comes of one.
                self._last, self._pending = refs, [ref for ref in refs if isinstance(ref, rayjup.ObjectRef)]
                self.ids.update(ref._id for ref in self._pending)
            self._pending = [ref for ref in self._pending if not ref._kind]
            pending += len(self._pending)
        made, finished, failed = (now - then for now, then in zip(totals(runtime), self._before, strict=True))
        own = made if self._before[0] == self._before[1] + self._before[2] else 0
        if own > len(self.ids):
            self.counts.total, self.counts.done = own, min(own, finished + failed)
        else:
            self.counts.total, self.counts.done = len(self.ids), len(self.ids) - pending
        self.counts.failed = min(failed, self.counts.done)
        self.counts.running = min(running(runtime), self.counts.total - self.counts.done)
        self.history.append((time.monotonic(), self.counts.done))

    def let_go(self) -> None:
        """Hold no refs while nothing is waited for."""
        self._last, self._pending = None, []


def totals(runtime: Any) -> tuple[int, int, int]:
    """Calls of this process so far: made, finished, failed."""
    made = finished = failed = 0
    for function in list(runtime.tasks.functions):
        made += function.submitted
        finished += function.finished
        failed += function.failed
    return made, finished, failed


def running(runtime: Any) -> int:
    """How many processes work on calls of this one."""
    with runtime.lock:
        tasks = sum(1 for pool in runtime.tasks.pools.values() for lease in pool.leases if lease.inflight)
        return tasks + sum(1 for client in runtime.actors.clients.values() if client.inflight)


class Waiting:
    """Watches what cells wait for.

    Parameters
    ----------
    cells
        The cells that are watched.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._runtime: Any = None
        self._line: Line | None = None
        self._view: Any = None
        self._asked = 0.0
        self._why = ("starting", "")
        self._ticked = 0.0
        self._nudged = True
        self._lock = threading.Lock()
        if cells.in_kernel():
            cells.ticker.parts.append(self)

    # -- what happens in the kernel

    def connected(self, runtime: Any) -> None:
        """Watch what is waited for over the new connection."""
        if self._cells.in_kernel():
            self._runtime = runtime
            notebook.waits = {}
            cell = self._cells.current
            if cell is not None and cell.running:
                self.cell_begins(cell)

    def close(self) -> None:
        """Watch no longer."""
        notebook.waits = None
        self._forget_view()

    def cell_begins(self, cell: Cell) -> None:
        """Look at the cell from now on."""
        runtime = self._runtime
        self._line = None
        if runtime is not None and not runtime.closed:
            self._line = Line(cell, totals(runtime))
            self._ticked = 0.0
            self._cells.ticker.wake()

    def cell_ends(self, cell: Cell) -> None:
        """Make the line one on what was done."""
        with self._lock:
            line, self._line = self._line, None
        if line is None or line.output is None:
            return
        # Of an interrupted cell the last look counts: by now its calls are cancelled.
        if not self._runtime.closed and not cell.interrupted:
            line.count(self._runtime, [])
        elapsed = (cell.ended or time.time()) - cell.began
        text = render.finished_text(line.counts, elapsed, cell.interrupted)
        line.output.publish(render.finished_html(text, cell.spent), text)
        self._forget_view()

    # -- what the thread does

    @property
    def active(self) -> bool:
        """Whether a cell runs that may come to wait."""
        return self._line is not None

    def tick(self, now: float) -> None:
        """Look at what is waited for."""
        self._nudge()
        line, runtime = self._line, self._runtime
        passed = min(2 * INTERVAL_S, now - self._ticked) if self._ticked else 0.0
        self._ticked = now
        if line is None or runtime.closed or line.cell.quiet or not rayjup.notebook.show_progress:
            return
        waits = list((notebook.waits or {}).values())
        if not waits:
            line.let_go()
            return
        line.waited += passed
        if now >= line.next_count:
            began = time.thread_time()
            line.count(runtime, waits)
            took = time.thread_time() - began
            line.next_count = now + (100 * took if took > _COSTLY_S else 0.0)
        phase, why = self._obstacle(now, line)
        spent = line.cell.spent
        spent[phase] = spent.get(phase, 0.0) + passed
        if line.waited < APPEARS_AFTER_S:
            return
        counts = line.counts
        rate = render.speed(line.history)
        text = render.progress_text(counts, time.time() - line.cell.began, rate, why)
        with self._lock:
            if line is self._line:  # the cell has not ended meanwhile
                if line.output is None:
                    line.output = Output(self._cells.shell, line.cell)
                line.output.publish(render.progress_html(counts, text), text)

    def _obstacle(self, now: float, line: Line) -> tuple[str, str]:
        if line.counts.running or line.counts.done == line.counts.total:
            return "running", ""
        if now - self._asked < _ASK_S:
            return self._why
        self._asked = now
        try:
            if self._view is None:
                session = import_module("rayjup.core.session").current()
                if session is None or session.cluster is None:
                    return self._why
                self._view = rayjup.observe.ClusterView(session.cluster)
            snapshot = self._view.snapshot()
        except ConnectionError:
            self._forget_view()
            return self._why
        self._why = render.obstacle(snapshot, len(self._runtime.tasks.waiting))
        return self._why

    def _forget_view(self) -> None:
        view, self._view = self._view, None
        if view is not None:
            view.close()

    def _nudge(self) -> None:
        """Have the kernel's event loop look around: in a cell with ``await`` it is what hears interrupts.

        Python notes a signal, but nothing wakes the loop from waiting for sockets and timers.
        """
        loop = getattr(getattr(self._cells.shell.kernel, "io_loop", None), "asyncio_loop", None)
        if self._line is not None and self._nudged and loop is not None and not loop.is_closed():
            self._nudged = False  # one at a time, however long the loop doesn't run
            loop.call_soon_threadsafe(self._on_nudge)

    def _on_nudge(self) -> None:
        self._nudged = True
