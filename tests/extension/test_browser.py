"""JupyterLab in a real browser (``extension/ui-tests``) on real clusters: panel, displays of a notebook."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.jupyterlab import EXTENSION, ROOT, chromium, lab, panel_is_built, write_json

from rayjup.cluster import descriptors

# A real JupyterLab, a browser, a cluster and a notebook with real models.
pytestmark = pytest.mark.timeout(300)

__all__ = ["chromium", "lab", "panel_is_built"]  # fixtures


@pytest.fixture
def jp_server_cleanup() -> None:
    """This file starts servers of its own, as a user does; there is none in this process to clean up."""


@pytest.mark.slow
@pytest.mark.usefixtures("panel_is_built")
def test_start_watch_and_stop_a_cluster_by_clicking(
    node: str, chromium: str, lab: dict[str, str], tmp_path: Path
) -> None:
    put_notebook(lab, ROOT / "notebooks" / "01_tour.ipynb")
    shots = Path(os.environ.get("RAYJUP_UI_SHOTS", tmp_path / "shots"))
    command = [node, "ui-tests/panel.mjs", "--notebook", "01_tour.ipynb", "--shots", str(shots)]
    command += ["--url", lab["url"], "--token", lab["token"], "--chromium", chromium]
    if picture := os.environ.get("RAYJUP_UI_PICTURE"):
        command += ["--picture", str(Path(picture).resolve())]
    done = subprocess.run(command, cwd=EXTENSION, capture_output=True, text=True, timeout=240, check=False)
    print(done.stdout)
    log = (tmp_path / "lab.log").read_text()
    assert done.returncode == 0, f"{done.stderr}\npictures: {shots}\nserver log:\n{log[-3000:]}"
    assert "ok: the numbers moved" in done.stdout
    assert "Traceback" not in log, log
    assert descriptors.list_clusters() == []


def put_notebook(lab: dict[str, str], source: Path) -> None:
    notebook = json.loads(source.read_text(encoding="utf-8"))
    notebook["metadata"]["kernelspec"] = {"name": "rayjup", "display_name": "Python 3 (rayjup)"}
    write_json(Path(lab["work"], source.name), notebook)


@pytest.mark.slow
@pytest.mark.usefixtures("panel_is_built")
@pytest.mark.parametrize("notebook", ["displays.ipynb", "library_displays.ipynb"])
def test_displays_alive_reloaded_and_without_their_kernel(
    notebook: str, node: str, chromium: str, lab: dict[str, str], tmp_path: Path
) -> None:
    put_notebook(lab, ROOT / "tests" / "extension" / notebook)
    shots = Path(os.environ.get("RAYJUP_UI_SHOTS", tmp_path / "shots"))
    command = [node, "ui-tests/displays.mjs", "--notebook", notebook, "--shots", str(shots)]
    command += ["--url", lab["url"], "--token", lab["token"], "--chromium", chromium]
    done = subprocess.run(command, cwd=EXTENSION, capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout)
    log = (tmp_path / "lab.log").read_text()
    assert done.returncode == 0, f"{done.stderr}\npictures: {shots}\nserver log:\n{log[-3000:]}"
    assert "ok: without its kernel" in done.stdout
