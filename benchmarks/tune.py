"""Tune's speed beside Ray Tune's and bare Optuna's: one run, one table.

    python benchmarks/tune.py --ray-python /path/to/python-with-ray --out benchmarks/results/tune.md

Every line is a program of ``tune_programs.py`` in a process of its own, so that no engine warms up another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
LIMIT_S = 400


def run(python: str, engine: str, program: str) -> dict[str, float] | None:
    """The numbers of a program, or None if it did not come to its end in time."""
    command = [python, str(HERE / "tune_programs.py"), engine, program]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return None
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, float] = json.loads(line[len("RESULT ") :])
            return found
    sys.stderr.write(done.stdout[-2000:] + done.stderr[-4000:])
    return None


def seconds(found: dict[str, float] | None, name: str = "seconds") -> str:
    if found is None:
        return f"not within {LIMIT_S} s"
    if not found:
        return "not run"
    value = found[name]
    return f"{value:.3f} s" if value < 1 else f"{value:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ray-python", help="a Python in which Ray with Tune is installed")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    mine = sys.executable
    load_before = os.getloadavg()[0]
    lines = []

    reports = run(mine, "rayjup", "reports")
    ray_reports = run(arguments.ray_python, "ray", "reports") if arguments.ray_python else {}
    optuna_reports = run(mine, "optuna", "reports")
    ratio = ""
    if reports and ray_reports:
        ratio = f"{ray_reports['seconds'] / reports['seconds']:.0f}×"
    lines.append(
        ("64 trials × 10 reports", seconds(reports), seconds(ray_reports), seconds(optuna_reports), ratio)
    )
    many = run(mine, "rayjup", "many")
    optuna_many = run(mine, "optuna", "many")
    lines.append(("10 000 no-op trials, results on disk", seconds(many), "not run", seconds(optuna_many), ""))
    if many:
        lines.append(("… memory of the driver per trial", f"{many['kb_per_trial']:.1f} KB", "", "", ""))
    rate = run(mine, "rayjup", "rate")
    ray_rate = run(arguments.ray_python, "ray", "rate") if arguments.ray_python else {}
    over = f"{(rate['seconds'] / 2.0 - 1) * 100:.0f} % over" if rate else ""
    lines.append(("2 trials, 1 000 reports each at 500/s (2 s)", seconds(rate), seconds(ray_rate), "", over))
    search = run(mine, "rayjup", "search")
    if search:
        by_optuna, at_random = search["optuna"], search["random"]
        lines.append(
            ("200 trials of 20 ms at random (least possible 2 s)", seconds(search, "random"), "", "", "")
        )
        lines.append(
            ("… with Optuna's TPE", seconds(search, "optuna"), "", "", f"{by_optuna / at_random:.2f}× random")
        )

    asha = run(mine, "rayjup", "asha")
    if asha:
        said = (
            f"{100 * asha['epochs_share']:.0f} % of the epochs, {asha['points_lost']:+.2f} points below the "
            f"grid's {asha['grid_best']:.2f} %"
        )
        lines.append(
            ("64 networks over digits, whole grid of 27 epochs", seconds(asha, "grid_seconds"), "", "", "")
        )
        lines.append(("… with ASHA", seconds(asha), "", "", said))
    concurrent = run(mine, "rayjup", "concurrent")
    lines.append(("1 000 trials of 3 s at the same time", seconds(concurrent), "not run", "", ""))

    head = (
        f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores ({platform.machine()}), Python "
        f"{platform.python_version()}; load before {load_before:.1f}. One run; the programs are in "
        "`benchmarks/tune_programs.py`.\n"
    )
    table = ["| program | rayjup | Ray Tune | Optuna in process | |", "|---|---|---|---|---|"]
    table += ["| " + " | ".join(line) + " |" for line in lines]
    text = "# Tune\n\n" + head + "\n" + "\n".join(table) + "\n"
    sys.stdout.write(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
