"""Which cell runs: calls get its number, and what they print, how far they are and their end go there.

A cell is known by the number given to it here (execution counts repeat, and `%run` nests cells) and by
its parent header, which says to front ends where output belongs. The parts that do something when a
cell begins or ends are called in a fixed order by one pair of IPython events.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from rayjup.base import notebook
from rayjup.notebook.cells_output import Ticker

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_REMEMBERED = 1000


@dataclass(slots=True)
class Cell:
    """One execution of a cell."""

    number: int
    parent: Any  # the header of the message that asked for it; None in a terminal
    execution_count: int
    began: float = field(default_factory=time.time)
    ended: float | None = None
    interrupted: bool = False
    depth: int = 1  # cells run by it are part of it
    quiet: bool = False  # it shows by itself how far it is
    spent: dict[str, float] = field(default_factory=dict)  # seconds of waiting by phase, from samples

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None


class Part(Protocol):
    """What wants to know of cells."""

    def cell_begins(self, cell: Cell) -> None:
        """``cell`` is about to run."""

    def cell_ends(self, cell: Cell) -> None:
        """``cell`` has run, or was interrupted; output still goes there."""

    def connected(self, runtime: Any) -> None:
        """This kernel has connected to a cluster."""

    def close(self) -> None:
        """Stop all activity: the extension is unloaded."""


class Cells:
    """The cells of a shell, the latest thousand.

    Parameters
    ----------
    shell
        Whose cells; those of a terminal have no parent.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.parts: list[Part] = []
        self.ticker = Ticker()
        self.current: Cell | None = None  # the one that runs, or ran last
        self._numbers = itertools.count(1)
        self._cells: OrderedDict[int, Cell] = OrderedDict()
        self._running: dict[Any, Cell] = {}  # several in kernels with subshells
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def begin(self) -> None:
        """Count the cell that loads the extension as begun."""
        self._before(None)

    def close(self) -> None:
        """Watch no longer."""
        self.shell.events.unregister("pre_run_cell", self._before)
        self.shell.events.unregister("post_run_cell", self._after)
        notebook.on_connected = notebook.on_display = None
        self.ticker.close()
        for part in self.parts:
            part.close()
        self._enter(None)

    def get(self, number: int | None) -> Cell | None:
        """The cell of that number; None when it is too long ago."""
        return self._cells.get(number) if number is not None else None

    def by_count(self, execution_count: int) -> Cell | None:
        """The latest cell with the number that stands beside it."""
        for cell in reversed(self._cells.values()):
            if cell.execution_count == execution_count:
                return cell
        return None

    def in_kernel(self) -> bool:
        """Whether outputs can be bound to cells, and changed later."""
        return getattr(self.shell, "kernel", None) is not None

    def connected(self, runtime: Any) -> None:
        """This kernel has connected to a cluster."""
        for part in self.parts:
            part.connected(runtime)
        if self.ticker.parts:
            self.ticker.start()

    # -- the shell's events

    def _parent(self) -> tuple[Any, Any]:
        get_parent = getattr(self.shell, "get_parent", None)
        parent = get_parent() if get_parent is not None else None
        if not parent:
            return None, None
        header = parent.get("header") or parent
        return header.get("msg_id"), {"header": header}  # not the rest: it holds the cell's source

    def _before(self, _: Any) -> None:
        id, parent = self._parent()
        cell = self._running.get(id)
        if cell is not None:
            cell.depth += 1
            return
        cell = Cell(next(self._numbers), parent, self.shell.execution_count)
        self._running[id] = self._cells[cell.number] = self.current = cell
        if len(self._cells) > _REMEMBERED:
            self._cells.popitem(last=False)
        self._enter(cell.number)
        for part in self.parts:
            part.cell_begins(cell)

    def _after(self, result: Any) -> None:
        id, _ = self._parent()
        cell = self._running.get(id)
        if cell is None:
            return
        cell.depth -= 1
        if cell.depth:
            return
        del self._running[id]
        cell.ended = time.time()
        cell.interrupted = _interrupted(result)
        for part in self.parts:
            part.cell_ends(cell)
        if self._running:
            self.current = next(reversed(self._running.values()))
            self._enter(self.current.number)

    @staticmethod
    def _enter(number: int | None) -> None:
        core = sys.modules.get("rayjup.core.cells")
        if core is not None:
            core.enter(number)
        else:  # found there by the connection, once there is one
            notebook.cell = number


def _interrupted(result: Any) -> bool:
    if result is None:  # a cell with `await` that was cancelled
        return True
    return isinstance(result.error_in_exec, (KeyboardInterrupt, asyncio.CancelledError))


_cells: Cells | None = None

_PARTS = (("interrupts", "Interrupts"), ("waiting", "Waiting"), ("logs", "Logs"))


def current() -> Cells | None:
    """The cells of this process's shell; None without the extension."""
    return _cells


def quieten() -> None:
    """The running cell shows by itself how far it is: one display is enough."""
    if _cells is not None and _cells.current is not None:
        _cells.current.quiet = True


def install(shell: InteractiveShell) -> None:
    """Watch the cells of ``shell``."""
    global _cells
    if _cells is not None:
        return
    _cells = Cells(shell)
    for module, class_ in _PARTS:
        _cells.parts.append(getattr(import_module(f"rayjup.notebook.{module}"), class_)(_cells))
    notebook.on_connected = _cells.connected
    notebook.on_display = quieten
    _cells.begin()
    sessions = sys.modules.get("rayjup.core.session")
    session = sessions.own() if sessions is not None else None
    if session is not None and not session.runtime.closed:
        _cells.connected(session.runtime)


def remove(shell: InteractiveShell) -> None:
    """Undo `install`."""
    global _cells
    if _cells is not None:
        _cells.close()
        _cells = None
