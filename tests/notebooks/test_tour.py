"""The tour executes headless with all checks passed, and the runner tells when one hasn't."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from rayjup.cluster.descriptors import process_start_time

ROOT = Path(__file__).parents[2]
CHECK_MIME = "application/vnd.rayjup.check+json"


STORY_S = 180.0
"""What is promised to a reader: a notebook is executed within three minutes, on two cores."""


def execute(path: Path, out: Path, timeout_s: float = STORY_S) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "notebooks" / "execute.py"), str(path), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def write(path: Path, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, path)
    return path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tour_passes_all_its_checks(tmp_path: Path) -> None:
    done = execute(ROOT / "notebooks" / "01_tour.ipynb", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout and "FAILED" not in done.stdout

    notebook = nbformat.read(tmp_path / "01_tour.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    checks = [output.data[CHECK_MIME] for output in outputs if CHECK_MIME in output.get("data", {})]
    assert len(checks) >= 15 and all(check["passed"] for check in checks)
    assert all(check["name"] in done.stdout for check in checks)
    assert not [output for output in outputs if output.output_type == "error"]
    (first, *_) = (
        output.data for output in outputs if "rayjup-cluster" in output.get("data", {}).get("text/html", "")
    )
    assert "partial_sum" in first["text/plain"] and "stopped" in first["text/plain"]
    page = (tmp_path / "01_tour.html").read_text()
    assert "rayjup cluster" in page and "checks passed in" in page


def test_tour_is_stored_without_outputs() -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "01_tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_a_failed_check_ends_with_code_1(tmp_path: Path) -> None:
    path = write(
        tmp_path / "bad.ipynb",
        "from rayjup.notebook import Checks\ncheck = Checks()\ncheck('fine', 1 == 1)",
        "check('sums up', 1 + 1 == 3, 'off by one')",
        "check('after it', True)",
    )
    done = execute(path, tmp_path / "out")
    assert done.returncode == 1
    assert "FAILED" in done.stdout and "off by one" in done.stdout and "NOT PASSED: 1" in done.stdout
    assert done.stdout.index("sums up") < done.stdout.index("after it")


def test_a_cell_that_raises_ends_with_code_1_and_leaves_no_cluster(tmp_path: Path) -> None:
    path = write(
        tmp_path / "raises.ipynb",
        "%load_ext rayjup\n%ray_init --num-cpus 1 --linger inf\nimport os, rayjup\n"
        "from rayjup.notebook import Checks\ncheck = Checks()\ncheck('began', True)\n"
        "from rayjup.cluster import descriptors\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(descriptors.list_clusters()[0].head_pid))",
        "1 / 0",
        "check('never reached', True)",
    )
    done = execute(path, tmp_path / "out")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout and "began" in done.stdout and "NOT PASSED" in done.stdout
    assert "\x1b[" not in done.stdout
    pid = int((tmp_path / "pid").read_text())
    assert process_start_time(pid) == 0.0
    assert (tmp_path / "out" / "raises.ipynb").exists() and (tmp_path / "out" / "raises.html").exists()


def test_a_notebook_without_checks_does_not_pass(tmp_path: Path) -> None:
    done = execute(write(tmp_path / "none.ipynb", "1 + 1"), tmp_path / "out")
    assert done.returncode == 1 and "checked nothing" in done.stdout


def test_a_missing_notebook_is_named(tmp_path: Path) -> None:
    done = execute(tmp_path / "nowhere.ipynb", tmp_path / "out")
    assert done.returncode == 2 and "nowhere.ipynb" in done.stderr
