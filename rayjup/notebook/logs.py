"""What tasks and actors print, in the cell that has made the call: one block per cell, which can be folded.

Lines arrive in whichever thread reads the connection, which only puts them aside. The thread of
`cells_output` sorts them into blocks and shows these; at the end of a cell its block is completed at
once, so that runners without a front end keep it.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any

from rayjup.base import notebook
from rayjup.notebook import logs_bars
from rayjup.notebook import logs_render as render
from rayjup.notebook.cells_output import Output

if TYPE_CHECKING:
    from rayjup.core.driver_logs import Deduplicator
    from rayjup.notebook.cells import Cell, Cells

LINES_PER_S = 1000.0
"""So many lines per second of each process come to the notebook; the others are in the log files."""

SHOWN = 200
_BLOCKS = 100  # kept for lines that come late
_WAITING = 50_000  # lines put aside; more are counted only
_SETTLE_S = 0.2  # the end of a cell waits so long for the lines of a process that doesn't answer

Chunk = tuple[str, str, int | None, list[str], int]


class Block:
    """The lines of one cell.

    Parameters
    ----------
    output
        Where they are shown.
    cell
        Whose they are.
    where
        The directory of the log files.
    deduplicator
        Finds the lines that several processes print; None: all are shown.
    """

    def __init__(self, output: Output, cell: Cell, where: str, deduplicator: Deduplicator | None) -> None:
        self._output = output
        self.cell = cell
        self._where = where
        self._deduplicator = deduplicator
        self._lines: deque[render.Line] = deque(maxlen=SHOWN)
        self._bars = logs_bars.Bars()
        self._titles: set[str] = set()
        self.printed = 0
        self.dropped = 0
        self.dirty = False
        self.unheard = False  # shown while its cell did not run: a headless runner has missed it
        self.shown_at = 0.0

    def add(self, now: float, stream: str, title: str, lines: list[str], dropped: int) -> None:
        """Take lines of a process, and how many were left out before them."""
        self.dirty = True
        self._titles.add(title)
        self.printed += len(lines) + dropped
        self.dropped += dropped
        lines = [render.clipped(line) for line in lines if not self._bars.take(stream, title, line)]
        if self._deduplicator is None:
            self._lines.extend((stream, title, line) for line in lines)
        elif lines:
            self._lines.extend(self._deduplicator.add(now, stream, title, lines))

    def settle(self, now: float) -> None:
        """Show what was held back until ``now`` to be compared."""
        if self._deduplicator is not None:
            due = self._deduplicator.due(now)
            if due:
                self._lines.extend(due)
                self.dirty = True

    @property
    def active(self) -> bool:
        """Whether there is something to be shown, now or soon."""
        return self.dirty or (self._deduplicator is not None and self._deduplicator.remembers)

    def show(self, now: float) -> None:
        """Bring the output up to date."""
        self.dirty = False
        self.shown_at = now
        lines = render.newest(self._lines)
        repeated = self._deduplicator.held_back if self._deduplicator is not None else 0
        replaced = self._bars.replaced  # a bar is one line, whose state changes
        about = render.summary(self.printed - replaced, len(self._titles))
        bars = self._bars.lines()
        # Repetitions are counted beside the line that is shown for them.
        said = render.notes(len(lines) + len(bars), self.printed - replaced - repeated, self.dropped)
        self._output.publish(
            render.as_html(lines, bars, about, said, self._where),
            render.as_text(lines, bars, about, said, self._where),
        )


class Logs:
    """Sorts lines into the blocks of their cells.

    Parameters
    ----------
    cells
        The cells that are watched.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._lock = threading.RLock()
        self._incoming: deque[Chunk] = deque()
        self._waiting = 0
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._runtime: Any = None
        self._before: Any = None
        self._warn_before: Any = None
        if cells.in_kernel():
            notebook.lines_per_s = LINES_PER_S
            cells.ticker.parts.append(self)

    def close(self) -> None:
        """Let lines go to the program's output again."""
        notebook.lines_per_s = None
        if self._runtime is not None:
            from rayjup.core import driver_logs

            driver_logs.set_sink(None)
            self._runtime.link.on["warning"] = self._warn_before
        self._drain()
        self._show_all()

    def connected(self, runtime: Any) -> None:
        """Take the lines of the new connection; in a terminal they are for the program's output."""
        if not self._cells.in_kernel():
            return
        from rayjup.core import driver_logs

        self._runtime = runtime
        self._before = None
        driver_logs.set_sink(self.take)
        self._warn_before = runtime.link.on.get("warning")
        runtime.link.on["warning"] = self.warn

    def cell_begins(self, cell: Cell) -> None:
        """Remember how far calls were, to know whether this cell has to do with any."""
        self._before = self._calls()

    def cell_ends(self, cell: Cell) -> None:
        """Complete the cell's block, and those of earlier cells for which there were lines."""
        runtime = self._runtime
        if runtime is None:
            return
        if not cell.interrupted and not runtime.closed and self._calls() != self._before:
            runtime.settle_logs(_SETTLE_S)
        self._drain()
        with self._lock:
            block = self._blocks.get(cell.number)
            if block is not None:
                block.settle(float("inf"))
            for block in self._blocks.values():
                block.dirty |= block.unheard
                block.unheard = False
            self._show_all()

    def _calls(self) -> Any:
        runtime = self._runtime
        if runtime is None or runtime.closed:
            return None
        functions = list(runtime.tasks.functions)
        done = sum(function.finished + function.failed for function in functions)
        return sum(function.submitted for function in functions), done, len(runtime.actors.clients)

    # -- lines

    def take(self, chunk: Chunk) -> None:
        """Put lines aside; called with the reactor's work to do, so it has to be quick."""
        stream, title, cell, lines, dropped = chunk
        if self._waiting > _WAITING:
            chunk = (stream, title, cell, [], dropped + len(lines))
            lines = []
        self._waiting += len(lines)
        self._incoming.append(chunk)
        self._cells.ticker.wake()

    def warn(self, text: str) -> None:
        """The cluster has something to say to this job."""
        self.take(("stderr", "rayjup", None, [text], 0))

    def _drain(self) -> None:
        now = time.monotonic()
        with self._lock:
            while self._incoming:
                stream, title, number, lines, dropped = self._incoming.popleft()
                self._waiting -= len(lines)
                block = self._block(number)
                if block is not None:
                    block.add(now, stream, title, lines, dropped)

    def _block(self, number: int | None) -> Block | None:
        cell = self._cells.get(number) or self._cells.current
        if cell is None:
            return None
        block = self._blocks.get(cell.number)
        if block is None:
            from rayjup.core import driver_logs

            where = f"{self._runtime.session_dir}/logs"
            output = Output(self._cells.shell, cell)
            block = self._blocks[cell.number] = Block(output, cell, where, driver_logs.deduplicator())
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(cell.number)
        return block

    # -- showing

    @property
    def active(self) -> bool:
        """Whether there are lines to be shown, now or soon."""
        return bool(self._incoming) or any(block.active for block in list(self._blocks.values()))

    def tick(self, now: float) -> None:
        """Show what has come."""
        self._drain()
        current = self._cells.current
        with self._lock:
            for block in self._blocks.values():
                block.settle(now)
                block.unheard |= block.dirty and not (block.cell is current and current.running)
            self._show_all()

    def _show_all(self) -> None:
        with self._lock:
            for block in list(self._blocks.values()):
                if block.dirty:
                    block.show(time.monotonic())
