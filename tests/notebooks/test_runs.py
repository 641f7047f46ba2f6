"""Runs of Tune and Train, seen from a notebook that did not start them, or was restarted meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from rayjup.cluster import manager

from .conftest import Kernel

SWEEP = """
import rayjup as ray
from rayjup import tune

ray.init("runs-test")

def objective(config):
    for step in range(3):
        tune.report({"loss": config["x"] / (step + 1)})

tune.Tuner(
    objective,
    param_space={"x": tune.grid_search([3.0, 6.0])},
    tune_config=tune.TuneConfig(metric="loss", mode="min"),
    run_config=tune.RunConfig(name="sweep", storage_path=STORAGE, verbose=0),
).fit()
"""


@pytest.fixture
def cluster() -> Iterator[str]:
    descriptor = manager.start("runs-test", num_cpus=2)
    yield descriptor.name
    manager.stop(descriptor)


def test_a_run_of_another_program(kernel: Kernel, cluster: str, tmp_path: object) -> None:
    kernel.ok(f"%ray_init --address {cluster} --no-display")
    ran = kernel.ok("%ray_attach")
    assert "No run of Tune or Train in this cluster yet." in ran.displays[-1]["data"]["text/html"]
    program = SWEEP.replace("STORAGE", repr(str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    listed = kernel.ok("%ray_attach").displays[-1]["data"]["text/plain"]
    assert "sweep" in listed and "tune" in listed and "2 terminated" in listed
    shown = kernel.ok("%ray_attach sweep").displays[-1]["data"]
    assert "sweep: finished, 2 terminated" in shown["text/plain"]
    lines = [line for line in shown["text/plain"].splitlines() if "terminated" in line][1:]
    assert len(lines) == 2 and " 1 " in lines[0] and " 2 " in lines[1]  # the best loss first
    assert "<table" in shown["text/html"] and 'class="rj-' in shown["text/html"]
    wrong = kernel.run("from rayjup.notebook import watch_run; watch_run('nothing')")
    assert (
        wrong.ename == "KeyError"
        and "there is no run 'nothing' in this cluster (runs: sweep)" in wrong.evalue
    )
