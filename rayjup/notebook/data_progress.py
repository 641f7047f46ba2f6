"""How far the operators of a dataset are, in the cell that runs it."""

from __future__ import annotations

import uuid
import weakref
from html import escape
from typing import TYPE_CHECKING, Any

from rayjup.base import notebook
from rayjup.notebook import cells
from rayjup.notebook.table import wrap_html

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class DataProgress:
    """One display per run, updated in place."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._ids: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()

    def __call__(self, stats: Any) -> None:
        first = stats not in self._ids
        if first:
            self._ids[stats] = uuid.uuid4().hex
            cells.quieten()
        self._shell.display_pub.publish(
            data={"text/plain": text(stats), "text/html": html(stats)},
            metadata={},
            transient={"display_id": self._ids[stats]},
            update=not first,
        )


def text(stats: Any) -> str:
    """The operators as lines of text."""
    return "\n".join(
        f"{name}: {c.finished:,} of {c.expected or c.started:,} tasks, {c.rows:,} rows"
        for name, c, _ in stats.operators()
    )


def html(stats: Any) -> str:
    """The operators as bars."""
    lines = []
    for name, c, _ in stats.operators():
        total = c.expected or c.started or 1
        share = 1.0 if stats.finished else min(1.0, c.finished / total)
        lines.append(
            f'<div><progress max="1" value="{share:.3f}" style="width:12em"></progress> '
            f'{escape(name)} <span class="rj-soft">{c.finished:,} of {total:,} tasks · {c.rows:,} rows · '
            f"{c.bytes / 2**20:,.1f} MiB</span></div>"
        )
    return wrap_html(lines, None)


def install(shell: InteractiveShell) -> None:
    """Show the progress of datasets from now on."""
    notebook.on_data_progress = DataProgress(shell)


def remove(shell: InteractiveShell) -> None:
    """Show it no more."""
    notebook.on_data_progress = None
