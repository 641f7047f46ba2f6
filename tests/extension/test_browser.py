"""JupyterLab in a real browser (``extension/ui-tests``) on real clusters: panel, displays of a notebook."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.jupyterlab import EXTENSION, ROOT, Lab, chromium, lab, panel_is_built, write_json

from rayjup.cluster import descriptors, manager

# A real JupyterLab, a browser, a cluster and a notebook with real models.
pytestmark = pytest.mark.timeout(300)

__all__ = ["chromium", "lab", "panel_is_built"]  # fixtures


@pytest.fixture
def jp_server_cleanup() -> None:
    """This file starts servers of its own, as a user does; there is none in this process to clean up."""


@pytest.mark.slow
@pytest.mark.usefixtures("panel_is_built")
def test_start_watch_and_stop_a_cluster_by_clicking(
    node: str, chromium: str, lab: Lab, tmp_path: Path
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


def put_notebook(lab: Lab, source: Path) -> None:
    notebook = json.loads(source.read_text(encoding="utf-8"))
    notebook["metadata"]["kernelspec"] = {"name": "rayjup", "display_name": "Python 3 (rayjup)"}
    write_json(Path(lab["work"], source.name), notebook)


@pytest.mark.slow
@pytest.mark.usefixtures("panel_is_built")
@pytest.mark.parametrize("notebook", ["displays.ipynb", "library_displays.ipynb"])
def test_displays_alive_reloaded_and_without_their_kernel(
    notebook: str, node: str, chromium: str, lab: Lab, tmp_path: Path
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


WATCHED = """
import sys, threading, time, rayjup
from rayjup import serve, tune
rayjup.init(address=sys.argv[1], namespace="serve", log_to_driver=False)

@rayjup.remote(num_cpus=0, num_gpus=0.5)
class Holder:
    def work(self):
        time.sleep(0.2)

holders = [Holder.remote() for _ in range(3)]

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Echo:
    async def __call__(self, request):
        return "hello from behind the proxy"

serve.start(http_options={"port": 0})
serve.run(Echo.bind(), name="echo", route_prefix="/echo")

def objective(config):
    for step in range(4000):
        tune.report({"loss": 10 * config["x"] - step / 100})  # every report can be seen
        time.sleep(0.25)

def load():
    while True:
        rayjup.get([holder.work.remote() for holder in holders])

threading.Thread(target=load, daemon=True).start()
tune.Tuner(
    tune.with_resources(objective, {"cpu": 0.1}),
    param_space={"x": tune.grid_search([1.0, 2.0, 3.0])},
    tune_config=tune.TuneConfig(metric="loss", mode="min"),
    run_config=tune.RunConfig(name="watched", storage_path=sys.argv[2], verbose=0),
).fit()
"""


@pytest.mark.slow
@pytest.mark.usefixtures("panel_is_built")
def test_panes_move_and_act(node: str, chromium: str, lab: Lab, tmp_path: Path) -> None:
    cluster = manager.start("busy", num_cpus=2, num_gpus=4)
    content = {"cells": [], "metadata": {"kernelspec": {"name": "rayjup", "display_name": "rayjup"}}}
    write_json(Path(lab["work"], "empty.ipynb"), {**content, "nbformat": 4, "nbformat_minor": 5})
    shots = Path(os.environ.get("RAYJUP_UI_SHOTS", tmp_path / "shots"))
    command = [node, "ui-tests/panes.mjs", "--notebook", "empty.ipynb", "--shots", str(shots)]
    command += ["--restarts", "--head", str(cluster.head_pid)]
    command += ["--url", lab["url"], "--token", lab["token"], "--chromium", chromium]
    if importlib.util.find_spec("panel") is not None:
        command.append("--dashboard")
    else:
        print("the dashboard's pages are not visited: Panel is not installed")
    arguments = [sys.executable, "-c", WATCHED, cluster.cluster_id, str(tmp_path / "tune")]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as program:
        try:
            with subprocess.Popen(
                command, cwd=EXTENSION, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as browser:
                assert browser.stdout is not None
                said = []
                for line in browser.stdout:
                    said.append(line)
                    if line == "restart the server\n":
                        lab["server"].stop()
                        assert lab["server"].start() == lab["url"]
        finally:
            program.kill()
    print("".join(said))
    log = (tmp_path / "lab.log").read_text()
    assert browser.returncode == 0, f"{''.join(said)}\npictures: {shots}\nserver log:\n{log[-3000:]}"
    assert "ok: the panel goes on with another server\n" in said
    assert "ok: the panel goes on when the head is killed\n" in said
