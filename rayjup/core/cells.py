"""From which cell of a notebook a call comes: what it prints and how it goes is shown there.

The notebook sets it (:func:`enter`); programs have none, and pay nothing. Calls made by a task belong
to the cell of the task.
"""

from __future__ import annotations

from rayjup.core import session as sessions
from rayjup.engine.runtime.runtime import Runtime

_cell: int | None = None
lines_per_s: float | None = None
"""So many printed lines per second each process may send here on the average; None: all."""


def enter(cell: int | None) -> None:
    """Calls made from now on come from ``cell`` (None: from no cell)."""
    global _cell
    _cell = cell
    session = sessions.current()
    if session is not None:
        session.runtime.tasks.cell = cell


def limit_lines(per_second: float | None) -> None:
    """Set :data:`lines_per_s`, for connections made from now on."""
    global lines_per_s
    lines_per_s = per_second


def connected(runtime: Runtime) -> None:
    """A driver has connected, perhaps in the middle of a cell."""
    runtime.tasks.cell = _cell


def cancel(cell: int) -> int:
    """Cancel what the cell has launched and is not finished, with what that has launched; how many."""
    session = sessions.current()
    if session is None:
        return 0
    tasks = session.runtime.tasks.of_cell(cell)
    for task in tasks:
        if task.refs:
            session.runtime.tasks.cancel(task.refs[0], False, True)
    return len(tasks)


def counts(cell: int) -> dict[str, int]:
    """Unfinished calls of a cell by function name."""
    session = sessions.current()
    out: dict[str, int] = {}
    if session is not None:
        for task in session.runtime.tasks.of_cell(cell):
            out[task.name] = out.get(task.name, 0) + 1
    return out
