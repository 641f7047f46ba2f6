"""The story notebooks execute headless with all checks passed, within three minutes and a megabyte."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from .test_tour import CHECK_MIME, ROOT, execute

STORIES = sorted(path.name for path in (ROOT / "notebooks").glob("0[2-9]_*.ipynb"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", STORIES)
def test_a_story_passes_all_its_checks(name: str, tmp_path: Path) -> None:
    done = execute(ROOT / "notebooks" / name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout
    notebook = nbformat.read(tmp_path / name, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    checks = [output.data[CHECK_MIME] for output in outputs if CHECK_MIME in output.get("data", {})]
    assert len(checks) >= 10 and not [output for output in outputs if output.output_type == "error"]
    assert (tmp_path / name).stat().st_size < 1_000_000


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_stored_without_outputs(name: str) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_there_are_stories() -> None:
    assert {
        "02_many_models.ipynb",
        "03_gpus_and_failures.ipynb",
        "04_data_to_inference.ipynb",
        "05_serving.ipynb",
    } <= set(STORIES)
