"""Put two results of ``data.py`` side by side as a Markdown table.

``python benchmarks/data_report.py --ray ray.json --rayjup rayjup.json [--out results/data.md]``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def seconds(values: list[float]) -> str:
    return f"{min(values):.3f} s" if values else "–"


def table(ray: dict[str, Any], ours: dict[str, Any]) -> str:
    theirs = {line["name"]: line for line in ray["lines"]}
    rows = [
        f"| | rayjup {ours['version']} | Ray {ray['version']} | Ray / rayjup | bare peer | rayjup / peer |",
        "|---|---|---|---|---|---|",
    ]
    for line in ours["lines"]:
        other = theirs.get(line["name"], {"values": [], "error": "not run"})
        mine, bare = line["values"], line["bare"]
        faster = f"{min(other['values']) / min(mine):.0f} ×" if mine and other["values"] else "–"
        beside = f"{line['peer']} {seconds(bare)}" if bare else "–"
        ratio = f"{min(mine) / min(bare):.2f}" if mine and bare else "–"
        cells = [line["name"], seconds(mine) if mine else line["error"]]
        cells += [seconds(other["values"]) if other["values"] else other["error"], faster, beside, ratio]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def loads(document: dict[str, Any]) -> str:
    return " and ".join(f"{load:.1f}" for load in document["load"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ray", type=Path, required=True)
    parser.add_argument("--rayjup", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ray, ours = load(options.ray), load(options.rayjup)
    machine = ours["machine"]
    text = (
        "# Datasets\n\n"
        f"{ours['date']}, {machine['cpus']} CPUs, Python {machine['python']}. Shortest of the repeats, on a "
        "running cluster; made by `benchmarks/data.py` and `benchmarks/data_report.py`. Peers ran beside "
        f"rayjup, in the same minutes. Load before and after: {loads(ours)} for rayjup and its peers, "
        f"{loads(ray)} for Ray.\n\n" + table(ray, ours) + "\n"
    )
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
