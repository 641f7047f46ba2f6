"""``%ray_timeline``: what ran where and when, as a static picture and as a file for trace viewers."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import rayjup
from rayjup.notebook.render import clip

Event = Mapping[str, Any]

MAX_LANES = 40
MAX_BARS = 2000
_WIDTH, _LEFT, _LANE = 900, 170, 18
_TICKS = 6
_PHASES = {"submit_task", "task:deserialize_arguments", "task:execute", "task:store_outputs"}


class TimelineDisplay:
    """Events as lanes of bars, one lane per process; HTML with a picture, and text."""

    def __init__(self, events: Sequence[Event], path: Path | None = None) -> None:
        self.path = path
        bars = [event for event in events if event.get("ph") == "X"]
        # The phases of a call lie on top of the call itself: the file has them, the picture does not.
        self.bars = [bar for bar in bars if bar.get("name") not in _PHASES] or bars

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        note = f"<div>Trace for chrome://tracing or ui.perfetto.dev: {escape(str(self.path))}</div>"
        html = lanes_svg(self.bars) + (note if self.path else "")
        return {"text/plain": repr(self), "text/html": html}

    def __repr__(self) -> str:
        lines = [summary_text(self.bars)]
        if self.path is not None:
            lines.append(f"Trace for chrome://tracing or ui.perfetto.dev: {self.path}")
        return "\n".join(lines)


def ray_timeline(path: str | None = None) -> TimelineDisplay:
    """The cluster's timeline; with ``path`` also written there as a Chrome trace.

    Raises
    ------
    ConnectionError
        This notebook is connected to no cluster.
    RuntimeError
        This rayjup records no events.
    """
    if not rayjup.is_initialized():
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    record = getattr(rayjup, "timeline", None)
    if record is None:
        raise RuntimeError(
            "this version of rayjup records no timeline of tasks; %ray_top shows what runs at the moment"
        )
    events = record()
    target = None
    if path is not None:
        target = Path(path)
        target.write_text(json.dumps(events), encoding="utf-8")
    return TimelineDisplay(events, target)


def summary_text(bars: Sequence[Event]) -> str:
    """Number and time of the events by name."""
    if not bars:
        return "No task has finished yet: there is nothing on the timeline."
    totals: dict[str, list[float]] = {}
    for bar in bars:
        entry = totals.setdefault(str(bar.get("name") or "?"), [0, 0.0])
        entry[0] += 1
        entry[1] += float(bar.get("dur") or 0) / 1e6
    begin, end = _span(bars)
    lines = [f"{len(bars):,} events in {_lane_count(bars)} lanes over {(end - begin) / 1e6:.2f} s"]
    longest = sorted(totals.items(), key=lambda item: -item[1][1])
    lines += [f"  {clip(name):36}  {n:>7,.0f} ×  {s:9.2f} s" for name, (n, s) in longest[:15]]
    if len(longest) > 15:
        lines.append(f"  … and {len(longest) - 15} more names")
    return "\n".join(lines)


def lanes_svg(bars: Sequence[Event]) -> str:
    """The events as one SVG picture; the number of elements is bounded, however many events there are."""
    if not bars:
        return f"<div>{escape(summary_text(bars))}</div>"
    begin, end = _span(bars)
    scale = (_WIDTH - _LEFT) / max(1.0, end - begin)
    lanes: dict[Any, list[Event]] = {}
    for bar in bars:
        lanes.setdefault((bar.get("pid"), bar.get("tid")), []).append(bar)
    shown = sorted(lanes.items(), key=lambda item: min(b["ts"] for b in item[1]))[:MAX_LANES]
    least = 1.0
    merged = [(lane, _merged(events, begin, scale, least)) for lane, events in shown]
    while sum(len(rows) for _, rows in merged) > MAX_BARS and least < _WIDTH:
        least *= 2
        merged = [(lane, _merged(events, begin, scale, least)) for lane, events in shown]
    # What lies on top of each other cannot be joined: the picture shows the first of it.
    merged = [(lane, rows[: MAX_BARS // len(merged)]) for lane, rows in merged]
    height = _LANE * len(merged) + 24
    hosts = len({lane[0] for lane in lanes})
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" fill="currentColor" '
        f'style="max-width:{_WIDTH}px;font:11px sans-serif" '
        f'role="img" aria-label="{escape(summary_text(bars).splitlines()[0])}">'
    ]
    for row, (lane, rects) in enumerate(merged):
        y = row * _LANE
        title = escape(clip(_lane_title(lane, hosts), 26))
        parts.append(f'<text x="0" y="{y + 13}">{title}</text>')
        for left, right, name, count in rects:
            label = f"{name} × {count}" if count > 1 else name
            parts.append(
                f'<rect x="{left:.1f}" y="{y + 3}" width="{max(right - left, 0.6):.1f}" height="{_LANE - 5}" '
                f'fill="{_colour(name)}"><title>{escape(label)}</title></rect>'
            )
    y = _LANE * len(merged)
    for tick in range(_TICKS + 1):
        x = _LEFT + (_WIDTH - _LEFT) * tick / _TICKS
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        seconds = (end - begin) / 1e6 * tick / _TICKS
        parts.append(f'<text x="{x:.0f}" y="{y + 16}" text-anchor="{anchor}">{seconds:.2f} s</text>')
        parts.append(f'<line x1="{x:.0f}" y1="0" x2="{x:.0f}" y2="{y}" stroke="currentColor" opacity=".15"/>')
    parts.append("</svg>")
    more = len(lanes) - len(shown)
    rest = f"<div>… and {more} more lanes</div>" if more else ""
    return "".join(parts) + _legend(bars) + rest


def _merged(
    events: Sequence[Event], begin: float, scale: float, least: float
) -> list[tuple[float, float, str, int]]:
    """Bars of one lane as (left, right, name, count); those that would be hairlines are joined."""
    rects: list[tuple[float, float, str, int]] = []
    for event in sorted(events, key=lambda event: float(event["ts"])):
        left = _LEFT + (float(event["ts"]) - begin) * scale
        right = left + float(event.get("dur") or 0) * scale
        name = str(event.get("name") or "?")
        if rects:
            before = rects[-1]
            tiny = right - left < least or before[1] - before[0] < least
            if left - before[1] < least and tiny and (before[2] == name or least > 4):
                both = name if before[2] == name else "several"
                rects[-1] = (before[0], max(before[1], right), both, before[3] + 1)
                continue
        rects.append((left, right, name, 1))
    return rects


def _lane_title(lane: tuple[Any, Any], hosts: int) -> str:
    """``worker 376fd8``, with its machine in front where there are several."""
    host, thread = lane
    thread = re.sub(r"([0-9a-f]{6})[0-9a-f]{20,}", r"\1", str(thread)).replace(":", " ")
    return f"{host} {thread}" if hosts > 1 else thread


def _legend(bars: Sequence[Event]) -> str:
    names = sorted({str(bar.get("name") or "?") for bar in bars})
    items = "".join(
        f'<span style="margin-right:1em;white-space:nowrap"><span style="display:inline-block;width:.8em;'
        f'height:.8em;background:{_colour(name)}"></span> {escape(clip(name))}</span>'
        for name in names[:12]
    )
    return f'<div style="font-size:12px">{items}{"…" if len(names) > 12 else ""}</div>'


def _colour(name: str) -> str:
    # The same name has the same colour in every picture; the middle lightness reads on light and dark.
    return f"hsl({zlib.crc32(name.encode()) % 360},55%,50%)"


def _span(bars: Sequence[Event]) -> tuple[float, float]:
    begin = min(float(bar["ts"]) for bar in bars)
    return begin, max(float(bar["ts"]) + float(bar.get("dur") or 0) for bar in bars)


def _lane_count(bars: Sequence[Event]) -> int:
    return len({(bar.get("pid"), bar.get("tid")) for bar in bars})
