"""Metrics in the text format that Prometheus reads."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Tags = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """All values under one name."""

    name: str
    kind: str
    description: str = ""
    samples: list[tuple[str, Tags, float]] = field(default_factory=list)  # suffix, labels, value

    def add(self, value: float, **labels: str) -> None:
        """One more value."""
        self.samples.append(("", tuple(labels.items()), value))

    def add_series(self, series: dict[str, Any], labels: Tags = ()) -> None:
        """What one process has recorded: ``values`` and ``buckets`` by tags."""
        for tags, value in series["values"].items():
            every = (*tags, *labels)
            if self.kind != "histogram":
                self.samples.append(("", every, value))
                continue
            total = 0
            limits = [*series["boundaries"], math.inf]
            for limit, count in zip(limits, series["buckets"][tags], strict=True):
                total += count
                self.samples.append(("_bucket", (*every, ("le", number(limit))), total))
            self.samples.append(("_sum", every, value))
            self.samples.append(("_count", every, total))


def render(families: Iterable[Family]) -> str:
    """The text, one block per family; families without values are left out."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {escaped(family.description)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for suffix, tags, value in family.samples:
            shown = str(value) if type(value) is int else number(value)
            lines.append(f"{family.name}{suffix}{_labels(tags)} {shown}")
    return "".join(line + "\n" for line in lines)


def _labels(tags: Tags) -> str:
    parts = [f'{key}="{escaped(value, quote=True)}"' for key, value in tags]
    return "{" + ",".join(parts) + "}" if parts else ""


def number(value: float) -> str:
    """A number as Prometheus writes it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))


def escaped(text: str, quote: bool = False) -> str:
    """Text without line breaks; ``quote``: to stand between quotation marks."""
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text
