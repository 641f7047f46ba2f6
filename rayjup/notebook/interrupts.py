"""An interrupted cell takes the calls with it that it has made; actors and the connection stay.

``rayjup.notebook.on_interrupt = "leave"`` has them go on instead.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from rayjup.notebook.cells import Cell, Cells

MODES = ("cancel", "leave")
_NAMED = 3


class Interrupts:
    """Acts when a cell has been interrupted.

    Parameters
    ----------
    cells
        The cells that are watched.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def cell_begins(self, cell: Cell) -> None:
        """Nothing to do."""

    def connected(self, runtime: Any) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""

    def cell_ends(self, cell: Cell) -> None:
        """Cancel the calls of an interrupted cell, and say so in one line."""
        core = sys.modules.get("rayjup.core.cells")  # no call was made when it isn't loaded
        if cell.interrupted and core is not None:
            text = act(core, cell.number)
            if text:
                print(text, file=sys.stderr)  # noqa: T201 - what a cell says is its output


def mode() -> str:
    """What is done about the calls of an interrupted cell.

    Raises
    ------
    ValueError
        ``rayjup.notebook.on_interrupt`` was set to something else.
    """
    chosen: str = sys.modules["rayjup.notebook"].on_interrupt  # type: ignore[attr-defined]
    return checked(chosen)


def checked(chosen: str) -> str:
    """``chosen``, if there is such a mode."""
    if chosen not in MODES:
        raise ValueError(
            f"rayjup.notebook.on_interrupt is {chosen!r}: it must be 'cancel' (an interrupted cell takes its "
            "calls with it) or 'leave' (they go on)"
        )
    return chosen


def act(core: Any, number: int) -> str:
    """Do what is to be done about the calls of a cell; what there is to say about it."""
    try:
        chosen = mode()
    except ValueError as error:
        return f"Nothing was cancelled: {error}."
    if chosen == "leave":
        names = core.counts(number)
        return f"Interrupted; {_calls(names)} of this cell run on." if names else ""
    names = core.cancel(number)
    return f"Interrupted; cancelled {_calls(names)} of this cell. Actors stay." if names else ""


def _calls(names: Counter[str]) -> str:
    """``"3 calls (2 × f, g)"``."""
    total = names.total()
    shown = [name if count == 1 else f"{count:,} × {name}" for name, count in names.most_common(_NAMED)]
    if len(names) > _NAMED:
        shown.append("…")
    return f"{total:,} call{'' if total == 1 else 's'} ({', '.join(shown)})"
