"""The account of a cell's time, as HTML and as text. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from rayjup.notebook.render import STYLE
from rayjup.notebook.waiting_render import duration

if TYPE_CHECKING:
    from rayjup.notebook.why import Account, Calls

_ROWS = 20

# Phase: what it is called, and a colour that shows on light and dark grounds.
PHASES = {
    "running": ("calls running", "#3c9a3c"),
    "reading": ("reading arguments", "#2a9d9d"),
    "storing": ("storing results", "#4a7fd6"),
    "environment": ("building the runtime environment", "#b455b4"),
    "resources": ("waiting for resources", "#d14545"),
    "actor": ("actors being made", "#d9822b"),
    "arguments": ("waiting for other calls", "#b58900"),
    "starting": ("starting and queued", "#c9a227"),
    "own": ("the notebook's own code, sending and fetching", "#8f8f8f"),
}


def shares(account: Account) -> list[tuple[str, float, float]]:
    """Phase, seconds and share, of phases that took any time."""
    total = account.seconds or 1.0
    return [(p, account.phases[p], account.phases[p] / total) for p in PHASES if account.phases.get(p)]


def headline(title: str, account: Account) -> str:
    """One line on all of it."""
    count = sum(one.count for one in account.calls)
    text = f"{title}: {duration(account.seconds)}, {count:,} call{'' if count == 1 else 's'}"
    running = account.phases.get("running")
    if running:
        text += f"; while any ran, {account.busy / running:.1f} did on the average"
    return text


def as_text(title: str, account: Account) -> str:
    """As text."""
    lines = [headline(title, account)]
    for phase, seconds, share in shares(account):
        lines.append(
            f"  {PHASES[phase][0]:46} {duration(seconds):>12}  {share:4.0%}  {'█' * round(share * 30)}"
        )
    if account.calls:
        lines.append(
            f"  {'call':30} {'calls':>8} {'failed':>7} {'open':>6} "
            + " ".join(f"{head:>10}" for head in ("waited", "longest", "ran", "longest"))
        )
    for one in account.calls[:_ROWS]:
        lines.append(
            f"  {one.name[:30]:30} {one.count:>8,} {one.failed:>7,} {one.unfinished:>6,} "
            + " ".join(f"{cell:>10}" for cell in _times(one))
        )
    if len(account.calls) > _ROWS:
        lines.append(f"  … and {len(account.calls) - _ROWS} more names")
    return "\n".join(lines)


def as_html(title: str, account: Account) -> str:
    """As a stacked bar and a table."""
    found = shares(account)
    bar = "".join(
        f'<div style="width:{share:.4%};background:{PHASES[phase][1]}" '
        f'title="{PHASES[phase][0]}: {duration(seconds)}"></div>'
        for phase, seconds, share in found
    )
    legend = "".join(
        f'<span style="margin-right:1.2em;white-space:nowrap"><span style="display:inline-block;width:.8em;'
        f'height:.8em;border-radius:2px;background:{PHASES[phase][1]}"></span> {PHASES[phase][0]} '
        f"<b>{duration(seconds)}</b> {share:.0%}</span> "
        for phase, seconds, share in found
    )
    rows = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{one.count:,}</td><td>{one.failed:,}</td><td>{one.unfinished:,}</td>"
        + "".join(f"<td>{cell}</td>" for cell in _times(one))
        + "</tr>"
        for one in account.calls[:_ROWS]
    )
    heads = ("call", "calls", "failed", "open", "waited (mean)", "longest", "ran (mean)", "longest")
    table = f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>" if rows else ""
    return (
        f'{STYLE}<div class="rayjup-cluster rayjup-why"><div>{escape(headline(title, account))}</div>'
        '<div style="display:flex;height:1em;border-radius:3px;overflow:hidden;margin:.4em 0">'
        f"{bar}</div><div>{legend}</div>{table}</div>"
    )


def _times(one: Calls) -> list[str]:
    return [*_mean_and_most(one.waited), *_mean_and_most(one.ran)]


def _mean_and_most(values: Sequence[float]) -> list[str]:
    return [_short(sum(values) / len(values)), _short(max(values))] if values else ["", ""]


def _short(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else duration(seconds)
