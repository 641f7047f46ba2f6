"""The table of the benchmarks says what the numbers say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MACHINE = {"cpu": "a CPU", "cores": 2, "memory_gb": 8.0, "system": "Linux 6", "python": "3.11.7"}


def result(path, engine, lines, **changes):
    document = {
        "engine": engine,
        "version": "1.0",
        "date": "2026-01-02",
        "quick": False,
        "machine": MACHINE,
        "lines": lines,
        **changes,
    }
    path.write_text(json.dumps(document))
    return str(path)


def line(name, values, better="higher", unit="/s", error=None):
    return {"name": name, "unit": unit, "better": better, "values": values, "error": error, "note": ""}


def report(*arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "report.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def pair(tmp_path):
    echo = "bare: unix-socket echo between two processes"
    ray = [
        line(echo, [50_000]),
        line("single client tasks sync", [400, 500, 600]),
        line("import", [2.0], better="lower", unit="s"),
        line("only in ray", [1.0]),
    ]
    rayjup = [
        line(echo, [60_000]),
        line("single client tasks sync", [6000]),
        line("import", [0.1], better="lower", unit="s"),
        line("broken", [], error="FAILED: ValueError: no"),
    ]
    return result(tmp_path / "a", "ray", ray), result(tmp_path / "b", "rayjup", rayjup)


def rows(text):
    cells = [
        [c.strip() for c in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("| ")
    ]
    return {row[0]: row[1:] for row in cells}


def test_ratio_says_how_many_times_better_whatever_better_means(pair, tmp_path):
    out = tmp_path / "core.md"
    done = report("--ray", pair[0], "--rayjup", pair[1], "--out", str(out))
    assert done.returncode == 0, done.stderr
    table = rows(done.stdout)
    assert table["single client tasks sync"] == ["/s", "500 ± 20%", "6 000 ± 0%", "12.0 ×", "981", "10%"]
    assert table["import"] == ["s", "2 ± 0%", "0.1 ± 0%", "20.0 ×", "", ""]
    assert table["only in ray"] == ["/s", "1 ± 0%", "", "", "", ""]
    assert table["broken"] == ["/s", "", "FAILED: ValueError: no", "", "", ""]
    assert table["bare: unix-socket echo between two processes"][-2:] == ["", ""]
    assert out.read_text() == done.stdout


def test_one_result_makes_a_table_without_ratio(pair):
    done = report("--rayjup", pair[1])
    assert done.returncode == 0
    assert rows(done.stdout)["single client tasks sync"] == ["/s", "6 000 ± 0%", "981", "10%"]


def test_results_of_two_machines_are_not_compared(pair, tmp_path):
    other = result(tmp_path / "c", "rayjup", [], machine={**MACHINE, "cores": 64})
    done = report("--ray", pair[0], "--rayjup", other)
    assert done.returncode != 0
    assert "different machines" in done.stderr


def test_a_quick_run_says_so(pair, tmp_path):
    quick = result(tmp_path / "c", "rayjup", [line("import", [1.0])], quick=True)
    assert "quick run" in report("--rayjup", quick).stdout
    assert "quick run" not in report("--rayjup", pair[1]).stdout


def test_nothing_to_report_is_an_error():
    done = report()
    assert done.returncode != 0
    assert "--rayjup" in done.stderr
