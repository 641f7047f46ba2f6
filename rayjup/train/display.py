"""How a run looks in a notebook: one display, renewed while it runs; curves as small drawings."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rayjup.base import notebook
from rayjup.runs.showing import curves, markup, table

_INTERVAL_S = 0.5


class RunDisplay:
    """The display of one run in the cell that runs it; nothing outside of notebooks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._handle: Any = None
        self._shown = 0.0
        self._active = _in_notebook()
        if self._active and notebook.on_display is not None:
            notebook.on_display()

    def show(self, row: Mapping[str, Any], points: Sequence[Mapping[str, float]], *, last: bool) -> None:
        """Show a run's row on the board, twice a second at most."""
        now = time.monotonic()
        if not self._active or (not last and now - self._shown < _INTERVAL_S):
            return
        self._shown = now
        bundle = {"text/plain": text(row), "text/html": html(row, points)}
        from IPython.display import display

        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def text(row: Mapping[str, Any]) -> str:
    """A run in one line."""
    shown = ", ".join(f"{k}={_short(v)}" for k, v in list(row["metrics"].items())[:6])
    return (
        f"{row['name']}: {row['state']}, {len(row['workers'])} workers, {row['iteration']} reports, "
        f"{row['seconds']:.1f} s{'; ' + shown if shown else ''}"
    )


def html(row: Mapping[str, Any], points: Sequence[Mapping[str, float]]) -> str:
    """A run with its workers, curves and checkpoints."""
    head = markup(
        "<div><b>{}</b> {} · {} reports · {} s{}</div>",
        row["name"],
        row["state"],
        row["iteration"],
        f"{row['seconds']:.1f}",
        f" · {row['failures']} failures" if row["failures"] else "",
    )
    workers = table(
        ("rank", "host", "pid", "GPU", "state"),
        [
            (w["rank"], w["host"], w["pid"], ", ".join(map(str, w["gpus"])) or "–", w["state"])
            for w in row["workers"][:16]
        ],
    )
    metrics = table(("metric", "last"), [(k, _short(v)) for k, v in list(row["metrics"].items())[:12]])
    kept = row["checkpoints"]
    saved = markup("<div>checkpoints: {} (last {})</div>", len(kept), kept[-1]["path"]) if kept else ""
    note = markup("<pre>{}</pre>", row["note"]) if row["note"] and row["state"] != "finished" else ""
    body = f'<div style="display:flex;gap:2em;flex-wrap:wrap">{workers}{metrics}{curves(points)}</div>'
    return f"<div>{head}{body}{saved}{note}</div>"


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:80]


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None
