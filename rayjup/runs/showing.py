"""Parts of displays of runs: tables and curves as HTML that needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT = 220, 70
_CELL = "padding:1px 8px;text-align:left"


def markup(template: str, *values: Any) -> str:
    """A template with escaped values for its ``{}``."""
    return template.format(*(html.escape(str(value)) for value in values))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A small table; nothing where there are no rows.

    Examples
    --------
    >>> from rayjup.runs.showing import table
    >>> "<td" in table(("rank", "state"), [(0, "running")]), table(("rank",), [])
    (True, '')
    """
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{html.escape(str(cell))}</td>' for cell in row) + "</tr>"
        for row in rows
    )
    if not body:
        return ""
    heads = "".join(f'<th style="{_CELL}">{html.escape(name)}</th>' for name in head)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def curve(values: Sequence[float], title: str) -> str:
    """One curve as a drawing, with its first and last value."""
    finite = [(i, v) for i, v in enumerate(values) if math.isfinite(v)]
    if len(finite) < 2:
        return ""
    low, high = min(v for _, v in finite), max(v for _, v in finite)
    span = (high - low) or 1.0
    last = max(len(values) - 1, 1)
    path = " ".join(
        f"{4 + i * (_WIDTH - 8) / last:.1f},{_HEIGHT - 4 - (v - low) / span * (_HEIGHT - 22):.1f}"
        for i, v in finite
    )
    label = html.escape(f"{title}: {finite[0][1]:.4g} → {finite[-1][1]:.4g}")
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{label}">'
        f'<text x="4" y="11" font-size="11" fill="currentColor">{label}</text>'
        f'<polyline points="{path}" fill="none" stroke="#1f77b4" stroke-width="1.5"/></svg>'
    )


def curves(points: Sequence[Mapping[str, float]], most: int = 4) -> str:
    """Curves of the metrics of reports; what only counts is passed over.

    Examples
    --------
    >>> from rayjup.runs.showing import curves
    >>> curves([{"loss": 2.0}, {"loss": 1.0}]).count("<svg")
    1
    """
    names: dict[str, None] = {}
    for point in points:
        names.update(dict.fromkeys(point))
    shown = [name for name in names if name not in _COUNTERS]
    shown.sort(key=lambda name: ("loss" not in name and "error" not in name, name))
    drawn = [curve([p[name] for p in points if name in p], name) for name in shown]
    return "".join([one for one in drawn if one][:most])


_COUNTERS = {
    "training_iteration",
    "timestamp",
    "time_total_s",
    "time_this_iter_s",
    "epoch",
    "step",
    "pid",
    "iterations_since_restore",
    "time_since_restore",
}
