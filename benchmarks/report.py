"""Put two results of ``core.py`` or ``scale.py`` side by side as a Markdown table.

``python benchmarks/report.py --ray ray.json --rayjup rayjup.json [--out core.md]``; with one of the
two, that column alone. A third column shows what Ray has published of its releases.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import bare
import harness

OBJECT_COPY = "bare: copy of 100 MB, several threads"

# Lines whose value is a part of what the bare machine gives.
YARDSTICKS = {
    "single client tasks sync": bare.ECHO,
    "1:1 actor calls sync": bare.ECHO,
    "single client put gigabytes": bare.COPY,
    "multi client put gigabytes": bare.COPY,
    "put, 100 MB": OBJECT_COPY,
    "put and keep, 100 MB": OBJECT_COPY,
    "argument of a task, 100 MB": OBJECT_COPY,
    "result of a task, 100 MB": OBJECT_COPY,
    "result that an actor has, 100 MB": OBJECT_COPY,
}

# Ray's release tests run the same lines on a machine of 64 cores; where it has published a figure
# for a single client, it stands beside ours. Per second.
PUBLISHED = {
    "single client tasks sync": 981,
    "single client tasks async": 8041,
    "1:1 actor calls sync": 2012,
    "1:1 actor calls async": 8664,
    "single client put calls (Plasma Store)": 5173,
    "single client get calls (Plasma Store)": 10_620,
    "placement group create/removal": 765,
    "single client get object containing 10k refs": 13,
    "single client wait 1k refs": 5,
}


class Result:
    """One JSON file of a benchmark."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(harness.Line)}
        self.title = f"{document['engine']} {document['version']}"
        self.date: str = document["date"]
        self.quick: bool = document["quick"]
        self.machine: dict[str, Any] = document["machine"]
        self.lines = {
            raw["name"]: harness.Line(**{k: v for k, v in raw.items() if k in known})
            for raw in document["lines"]
        }

    def cell(self, name: str) -> str:
        """Median and spread, or why there is none."""
        line = self.lines.get(name)
        if line is None:
            return ""
        if not line.values:
            return line.error or "no result"
        note = f" ({line.note})" if line.note else ""
        return f"{harness.number(line.value)} ± {line.spread:.0%}{note}"


def ratio(name: str, ray: Result, rayjup: Result) -> str:
    """How many times better rayjup is, whichever direction is better."""
    theirs, ours = ray.lines.get(name), rayjup.lines.get(name)
    if name.startswith("bare:") or theirs is None or ours is None or not theirs.values or not ours.values:
        return ""
    factor = ours.value / theirs.value if ours.better == harness.HIGHER else theirs.value / ours.value
    return f"{factor:.1f} ×" if factor < 100 else f"{factor:.0f} ×"


def yardstick(name: str, result: Result) -> str:
    """The line as a percentage of what the machine gave in the same run."""
    line, bare_line = result.lines.get(name), result.lines.get(YARDSTICKS.get(name, ""))
    if line is None or bare_line is None or not line.values or not bare_line.values:
        return ""
    return f"{line.value / bare_line.value:.0%}"


def heading(results: list[Result], title: str) -> list[str]:
    machine = results[-1].machine
    same = {k: v for k, v in machine.items() if k != "python"}
    for other in results[:-1]:
        if {k: v for k, v in other.machine.items() if k != "python"} != same:
            raise SystemExit("The two results are from different machines: measure both on one.")
    dates = " and ".join(sorted({r.date for r in results}))
    lines = [
        f"# {title} benchmark",
        "",
        f"{' and '.join(r.title for r in results)}; {dates}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {machine['system']}, Python {machine['python']}.",
        "",
        "Median of the repeats ± half of their range. Lines per second are named and defined as in "
        "Ray's own microbenchmark; *bare*, start-up, memory and seconds are ours. Of seconds and MB less is "
        "better; the ratio always says how many times better rayjup is.",
        "",
    ]
    if any(r.quick for r in results):
        lines += ["**A quick run: one short repeat per line, numbers are not worth quoting.**", ""]
    return lines


def table(ray: Result | None, rayjup: Result | None) -> list[str]:
    results = [r for r in (ray, rayjup) if r is not None]
    names = list(dict.fromkeys(name for r in results for name in r.lines))
    head = ["line", "unit", *(r.title for r in results)]
    if ray and rayjup:
        head.append("ratio")
    published = any(name in PUBLISHED for name in names)
    if published:
        head.append("Ray, published, 64 cores")
    bare_known = any(name in YARDSTICKS for name in names)
    if bare_known:
        head.append("of bare")
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for name in names:
        line = next(r.lines[name] for r in results if name in r.lines)
        row = [name, line.unit, *(r.cell(name) for r in results)]
        if ray and rayjup:
            row.append(ratio(name, ray, rayjup))
        if published:
            row.append(harness.number(PUBLISHED[name]) if name in PUBLISHED else "")
        if bare_known:
            row.append(yardstick(name, results[-1]))
        rows.append(row)
    return ["| " + " | ".join(row) + " |" for row in rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ray", type=Path, help="result on Ray")
    parser.add_argument("--rayjup", type=Path, help="result on rayjup")
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--title", default="Core", help="what was measured")
    arguments = parser.parse_args()
    ray = Result(arguments.ray) if arguments.ray else None
    rayjup = Result(arguments.rayjup) if arguments.rayjup else None
    results = [r for r in (ray, rayjup) if r is not None]
    if not results:
        parser.error("give --ray, --rayjup or both")
    text = "\n".join([*heading(results, arguments.title), *table(ray, rayjup)]) + "\n"
    print(text, end="")
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
