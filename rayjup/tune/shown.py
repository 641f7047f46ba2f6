"""How a running or finished experiment looks in a notebook: HTML that needs nothing else, from a row of the
board."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from rayjup.runs.showing import curve, markup

_ROWS = 20
_STATES = ("RUNNING", "PAUSED", "PENDING", "TERMINATED", "ERROR")
_CELL = "padding:1px 8px;text-align:left;vertical-align:middle"


def html_of(row: Mapping[str, Any]) -> str:
    """A row of the board (see `rayjup.tune.execution.state`): counts, the best so far, trials and their
    curves.

    Examples
    --------
    >>> from rayjup.tune.shown import html_of
    >>> row = {"name": "exp", "path": "/tmp/exp", "metric": "loss", "mode": "min", "total": 4, "best": None,
    ...        "counts": {"RUNNING": 1}, "trials": []}
    >>> html_of(row)
    '<div><p><b>exp</b>: 1 of 4 trials (1 running) in <code>/tmp/exp</code></p></div>'
    """
    counts = row["counts"]
    parts = ", ".join(f"{counts[state]} {state.lower()}" for state in _STATES if counts.get(state))
    made = sum(counts.values())
    total = f"{made} of {row['total']}" if row.get("total") else str(made)
    text = markup(
        "<p><b>{}</b>: {} trials ({}) in <code>{}</code></p>", row["name"], total, parts, row["path"]
    )
    best = row.get("best")
    if best:
        values = ", ".join(f"{name}={_short(value)}" for name, value in (best.get("config") or {}).items())
        text += markup(
            "<p>best so far: {} = <b>{}</b> by {} ({})</p>",
            row["metric"],
            _short(best["value"]),
            best["trial_id"],
            values,
        )
        winner = next((t for t in row["trials"] if t["trial_id"] == best["trial_id"]), None)
        if winner is not None and len(winner["curve"]) > 1:
            text += curve(winner["curve"], f"{row['metric']} of the best")
    return f"<div>{text}{_table(row)}</div>"


def _table(row: Mapping[str, Any]) -> str:
    order = {state: i for i, state in enumerate(_STATES)}
    trials = sorted(row["trials"], key=lambda trial: order.get(trial["status"], 9))[:_ROWS]
    if not trials:
        return ""
    params = list(dict.fromkeys(name for trial in trials for name in trial["config"]))
    metrics = list(dict.fromkeys(name for trial in trials for name in trial["metrics"]))[:4]
    head = ["trial", "state", *params, "iteration", *metrics, ""]
    lines = ["".join(f'<th style="{_CELL}">{html.escape(str(name))}</th>' for name in head)]
    for trial in trials:
        cells = [trial["trial_id"], trial["status"]]
        cells += [_short(trial["config"].get(name, "")) for name in params]
        cells += [str(trial["iteration"])]
        cells += [_short(trial["metrics"].get(name, "")) for name in metrics]
        body = "".join(f'<td style="{_CELL}">{html.escape(str(cell))}</td>' for cell in cells)
        lines.append(f'{body}<td style="{_CELL}">{_spark(trial["curve"])}</td>')
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    more = len(row["trials"]) - len(trials)
    return f"<table>{rows}</table>" + (markup("<p>… and {} more</p>", more) if more > 0 else "")


def _spark(values: list[float]) -> str:
    """A curve as small as a word."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    last = len(values) - 1
    points = " ".join(
        f"{2 + i * 76 / last:.1f},{16 - (v - low) / span * 14:.1f}" for i, v in enumerate(values)
    )
    return (
        f'<svg width="80" height="18"><polyline points="{points}" fill="none" stroke="#1f77b4" '
        'stroke-width="1.2"/></svg>'
    )


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
