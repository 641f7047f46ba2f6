"""Measuring and keeping results: the part of the benchmarks that knows nothing of what is measured.

A benchmark prints a table while it runs and writes one JSON file; ``report.py`` puts two such files
side by side.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

HIGHER, LOWER = "higher", "lower"
SETTLE_S = 0.5


class Unavailable(Exception):
    """Raised by a line that this engine cannot run; the text says what is missing."""


@dataclass
class Line:
    """One measured line: all its repeats, or why there are none."""

    name: str
    unit: str
    better: str
    values: list[float] = field(default_factory=list)
    error: str | None = None
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the repeats."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the best and the worst repeat, relative to the median."""
        return (max(self.values) - min(self.values)) / 2 / self.value if self.value else 0.0

    def text(self) -> str:
        """What is printed while the benchmark runs."""
        if not self.values:
            return f"{self.name:<48} {self.error}"
        return f"{self.name:<48} {number(self.value):>12} {self.unit:<6} ± {self.spread:.0%}  {self.note}"


@dataclass(frozen=True)
class Budget:
    """How long a line may take. One call may be longer than ``seconds``: it is then the whole repeat."""

    repeats: int = 3
    seconds: float = 2.0
    warmup_s: float = 1.0

    @classmethod
    def quick(cls) -> Budget:
        return cls(repeats=1, seconds=0.3, warmup_s=0.1)


class Recorder:
    """Runs lines that match the pattern, prints them and keeps them."""

    def __init__(self, budget: Budget, only: str = "") -> None:
        self.budget = budget
        self._only = re.compile(re.escape(only), re.IGNORECASE)
        self.lines: list[Line] = []

    def wants(self, name: str) -> bool:
        return self._only.search(name) is not None

    def wants_any(self, names: Iterable[str]) -> bool:
        return any(self.wants(name) for name in names)

    def rate(self, name: str, unit: str, prepare: Callable[[], tuple[Callable[[], Any], float]]) -> None:
        """Measure how often per second the call from ``prepare`` runs, times its multiplier."""

        def measure(line: Line) -> None:
            call, multiplier = prepare()
            line.values = [multiplier * r for r in calls_per_second(call, self.budget)]

        self._run(Line(name, unit, HIGHER), measure)

    def times(self, name: str, unit: str, sample: Callable[[Line], list[float]]) -> None:
        """Measure something of which less is better; ``sample`` returns the repeats."""

        def measure(line: Line) -> None:
            line.values = sample(line)

        self._run(Line(name, unit, LOWER), measure)

    def _run(self, line: Line, measure: Callable[[Line], None]) -> None:
        if not self.wants(line.name):
            return
        gc.collect()
        time.sleep(SETTLE_S)  # what the line before left to clean up should not be measured here
        try:
            measure(line)
        except Unavailable as reason:
            line.error = f"not available: {reason}"
        except Exception as error:  # noqa: BLE001 - reported, kept in the results, and the exit status says so
            traceback.print_exc()
            line.error = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        self.lines.append(line)
        print(line.text(), flush=True)

    def failed(self) -> list[str]:
        return [line.name for line in self.lines if line.error and line.error.startswith("FAILED")]


def calls_per_second(call: Callable[[], Any], budget: Budget) -> list[float]:
    """Rates of ``budget.repeats`` runs of about ``budget.seconds`` each, after a warm-up."""
    start = time.perf_counter()
    count = 0
    while count == 0 or time.perf_counter() - start < budget.warmup_s:
        call()
        count += 1
    # Look at the clock about ten times per warm-up, so that looking costs nothing.
    step = count // 10 + 1
    rates = []
    for _ in range(budget.repeats):
        done = 0
        start = time.perf_counter()
        elapsed = 0.0
        while elapsed < budget.seconds:
            for _ in range(step):
                call()
            done += step
            elapsed = time.perf_counter() - start
        rates.append(done / elapsed)
    return rates


def number(value: float) -> str:
    """A value with as many digits as are worth reading."""
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What a reader needs to know about this machine; nothing that names it."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = found.group(1).strip() if found else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument(
        "--quick", action="store_true", help="one short repeat per line: only to see that it runs"
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="lines whose name contains TEXT")


def recorder(arguments: argparse.Namespace) -> Recorder:
    return Recorder(Budget.quick() if arguments.quick else Budget(), arguments.only)


def finish(record: Recorder, arguments: argparse.Namespace, engine: str, version: str) -> int:
    """Write the results; the exit status is 1 when a line failed."""
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "engine": engine,
            "version": version,
            "date": time.strftime("%Y-%m-%d"),
            "quick": arguments.quick,
            "machine": machine(),
            "lines": [asdict(line) for line in record.lines],
        }
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name in record.failed():
        print(f"failed: {name}", file=sys.stderr)
    return 1 if record.failed() else 0
