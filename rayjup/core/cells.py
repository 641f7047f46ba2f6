"""From which cell of a notebook a call comes: what it prints and how it goes is shown there.

The notebook sets it (:func:`enter`); programs have none, and pay nothing. Calls made by a task belong
to the cell of the task.
"""

from __future__ import annotations

from collections import Counter

from rayjup.base import notebook
from rayjup.core import session as sessions
from rayjup.engine.runtime.cancelling import cancel_all
from rayjup.engine.runtime.runtime import Runtime


def enter(cell: int | None) -> None:
    """Calls made from now on come from ``cell`` (None: from no cell)."""
    notebook.cell = cell
    session = sessions.own()
    if session is not None:
        session.runtime.tasks.cell = cell


def limit_lines(per_second: float | None) -> None:
    """Have each process send only so many printed lines per second (None: all); for connections made
    from now on."""
    notebook.lines_per_s = per_second


def connected(runtime: Runtime) -> None:
    """A driver has connected, perhaps in the middle of a cell."""
    runtime.tasks.cell = notebook.cell
    if notebook.on_connected is not None:
        notebook.on_connected(runtime)


def cancel(cell: int) -> Counter[str]:
    """Cancel what the cell has launched and is not finished, with what that has launched.

    Returns
    -------
    Counter
        How many calls, by the name of what is called.
    """
    session = sessions.own()
    if session is None or session.runtime.closed:
        return Counter()
    tasks = session.runtime.tasks
    return Counter(task.name for task in cancel_all(tasks, tasks.of_cell(cell)))


def counts(cell: int) -> Counter[str]:
    """Unfinished calls of a cell by the name of what is called."""
    session = sessions.own()
    if session is None or session.runtime.closed:
        return Counter()
    return Counter(task.name for task in session.runtime.tasks.of_cell(cell))
