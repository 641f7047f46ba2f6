"""Trials as parallel coordinates: an axis per parameter, one for the metric, a line per trial."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HEIGHT, _TOP, _BOTTOM = 210, 34, 22
_STEP, _SIDE = 130, 70
_LONGEST = 16  # letters of a name or value
_CHOICES = 12  # more different texts than this on one axis cannot be told apart
_FAINTEST = 0.12  # of a line: the worst trial, on any background


@dataclass(frozen=True)
class _Axis:
    name: str
    low: float
    high: float
    choices: tuple[str, ...] = ()  # of an axis of texts, from bottom to top
    is_log: bool = False

    def height(self, value: Any) -> float | None:
        """Where a value lies, from 0 (bottom) to 1; None for one that has no place."""
        if self.choices:
            text = str(value)
            if text not in self.choices:
                return None
            return self.choices.index(text) / max(len(self.choices) - 1, 1)
        if not _is_number(value):
            return None
        at = math.log10(value) if self.is_log else float(value)
        return (at - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def ends(self) -> list[tuple[float, str]]:
        """Where to write what along the axis."""
        if self.choices:
            last = max(len(self.choices) - 1, 1)
            return [(i / last, text) for i, text in enumerate(self.choices)]
        ends = (10**self.low, 10**self.high) if self.is_log else (self.low, self.high)
        return (
            [(0.0, f"{ends[0]:.4g}"), (1.0, f"{ends[1]:.4g}")]
            if ends[0] < ends[1]
            else [(0.5, f"{ends[0]:.4g}")]
        )


def parallel_coordinates(
    trials: Sequence[tuple[Mapping[str, Any], float]], metric: str, mode: str = "min", most_axes: int = 6
) -> str:
    """An SVG drawing of trials; empty where there is nothing to compare.

    Parameters
    ----------
    trials
        Parameters of each, and its value of the metric. Trials whose value is no finite number are left
        out, as are parameters that are the same in all trials.
    metric
        Name of the last axis.
    mode
        ``"min"`` or ``"max"``: which trials are good, and so drawn strong and on top.
    most_axes
        So many parameters at most, in the order in which they come.

    Examples
    --------
    >>> from rayjup.runs.parallel import parallel_coordinates
    >>> drawing = parallel_coordinates([({"lr": 0.1}, 2.0), ({"lr": 0.01}, 1.0)], "loss")
    >>> drawing.count("<polyline"), parallel_coordinates([], "loss")
    (2, '')
    """
    shown = [(config, value) for config, value in trials if _is_number(value)]
    names = list(dict.fromkeys(name for config, _ in shown for name in config))
    axes = [axis for name in names if (axis := _axis(name, [config.get(name) for config, _ in shown]))]
    if len(shown) < 2 or not axes:
        return ""
    axes = [*axes[:most_axes], _value_axis(metric, [value for _, value in shown])]
    worst_first = sorted(shown, key=lambda trial: trial[1], reverse=mode != "max")
    lines = []
    for rank, (config, value) in enumerate(worst_first):
        heights = [axis.height(config.get(axis.name)) for axis in axes[:-1]] + [axes[-1].height(value)]
        points = " ".join(f"{_x(i):.0f},{_y(h):.1f}" for i, h in enumerate(heights) if h is not None)
        share = rank / (len(shown) - 1)
        opacity = _FAINTEST + (1 - _FAINTEST) * share**1.5
        title = html.escape(", ".join(f"{name}={_cut(v)}" for name, v in config.items()) + f": {value:.6g}")
        lines.append(
            f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-opacity="{opacity:.2f}" '
            f'stroke-width="{2 if rank == len(shown) - 1 else 1}"><title>{title}</title></polyline>'
        )
    scales = "".join(_drawn(axis, _x(i)) for i, axis in enumerate(axes))
    width = 2 * _SIDE + _STEP * (len(axes) - 1)
    label = html.escape(f"parameters and {metric} of {len(shown)} trials")
    return (
        f'<svg width="{width}" height="{_HEIGHT}" role="img" aria-label="{label}" font-size="11" '
        f'style="max-width:100%">{"".join(lines)}{scales}</svg>'
    )


def _axis(name: str, values: list[Any]) -> _Axis | None:
    """The axis of a parameter; None where it says nothing."""
    numbers = [v for v in values if _is_number(v)]
    there = [v for v in values if v is not None]
    if len(numbers) == len(there) and len(set(numbers)) > 1:
        return _value_axis(name, numbers)
    texts = tuple(sorted({str(v) for v in there}))
    return _Axis(name, 0, 0, texts) if 1 < len(texts) <= _CHOICES else None


def _value_axis(name: str, numbers: list[float]) -> _Axis:
    low, high = min(numbers), max(numbers)
    if low > 0 and high / low >= 50:  # learning rates and the like
        return _Axis(name, math.log10(low), math.log10(high), is_log=True)
    return _Axis(name, low, high)


def _drawn(axis: _Axis, x: float) -> str:
    name = html.escape(_cut(axis.name))
    parts = [
        f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" '
        'stroke="currentColor" opacity="0.5"/>',
        f'<text x="{x:.0f}" y="14" text-anchor="middle" fill="currentColor" font-weight="bold">{name}</text>',
    ]
    for height, text in axis.ends():
        at = _y(height) + (13 if height == 0 else -4)
        parts.append(
            f'<text x="{x + 4:.0f}" y="{at:.0f}" fill="currentColor">{html.escape(_cut(text))}</text>'
        )
    return "".join(parts)


def _x(index: int) -> float:
    return _SIDE + index * _STEP


def _y(height: float) -> float:
    return _HEIGHT - _BOTTOM - height * (_HEIGHT - _BOTTOM - _TOP)


def _cut(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
