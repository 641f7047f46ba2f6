"""Experiments whose driver is killed at any moment go on where they were, also from another folder."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

SEEDS = int(os.environ.get("RAYJUP_RESTORE_SEEDS", "3"))
TRIALS = 24

PROGRAM = f"""
import os, sys, time
import rayjup
from rayjup import tune
from rayjup.runs.checkpoint import Checkpoint

folder, kind, resumed = sys.argv[1], sys.argv[2], sys.argv[3] == "resume"

def train(config):
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        start = checkpoint.to_dict()["step"] + 1
    for step in range(start, 5):
        time.sleep(0.01)
        tune.report(
            {{"step": step, "loss": (config["x"] - 0.3) ** 2 / (step + 1)}},
            checkpoint=Checkpoint.from_dict({{"step": step}}),
        )

rayjup.init()
path = os.path.join(folder, "exp")
if resumed and tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, train)
else:
    settings = {{"metric": "loss", "mode": "min", "num_samples": {TRIALS}}}
    if kind == "optuna":
        from rayjup.tune.search.optuna import OptunaSearch
        settings["search_alg"] = OptunaSearch(seed=3)
        settings["max_concurrent_trials"] = 4
    if kind == "asha":
        settings["scheduler"] = tune.create_scheduler("asha", max_t=5)
    tuner = tune.Tuner(
        train, param_space={{"x": tune.uniform(0, 1)}}, tune_config=tune.TuneConfig(**settings),
        run_config=tune.RunConfig(name="exp", storage_path=folder, verbose=0),
    )
print("fitting", flush=True)
grid = tuner.fit()
print("RESULT", len(grid), grid.num_terminated, grid.num_errors, flush=True)
"""


def start(program: Path, folder: Path, kind: str, how: str, address: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RAY_ADDRESS": address}
    command = [sys.executable, str(program), str(folder), kind, how]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_trial_is_lost_and_none_runs_twice(ray_cluster: ModuleType, tmp_path: Path, seed: int) -> None:
    from rayjup.core import session

    current = session.current()
    assert current is not None
    address = current.cluster.cluster_id
    chance = random.Random(seed)
    kind = ["random", "optuna", "asha"][seed % 3]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    folder = tmp_path / "first"
    folder.mkdir()
    for attempt in range(2):
        driver = start(program, folder, kind, "resume" if attempt else "begin", address)
        assert driver.stdout is not None
        assert driver.stdout.readline().strip() == "fitting", driver.stdout.read()
        time.sleep(chance.uniform(0.05, 1.0))
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
        moved = tmp_path / f"moved-{attempt}"
        shutil.move(folder, moved)
        folder = moved
    driver = start(program, folder, kind, "resume", address)
    output, _ = driver.communicate(timeout=100)
    assert f"RESULT {TRIALS} {TRIALS} 0" in output, output
    check(folder / "exp", finishes=kind != "asha")


def check(experiment: Path, finishes: bool) -> None:
    from rayjup.tune import ExperimentAnalysis

    analysis = ExperimentAnalysis(experiment, default_metric="loss", default_mode="min")
    assert len(analysis.trials) == TRIALS
    assert len({trial.trial_id for trial in analysis.trials}) == TRIALS
    assert len({trial.config["x"] for trial in analysis.trials}) == TRIALS
    for trial in analysis.trials:
        rows = [json.loads(line) for line in (Path(trial.path) / "result.json").read_text().splitlines()]
        steps = [row["step"] for row in rows]
        assert {row["trial_id"] for row in rows} == {trial.trial_id}
        assert steps[0] == 0
        # A report may have reached the file and not the journal, or the checkpoint and not the file.
        assert all(after - before in (0, 1, 2) for before, after in itertools.pairwise(steps)), steps
        assert max(Counter(steps).values()) <= 3
        if finishes:
            assert steps[-1] == 4
            assert trial.last_result["training_iteration"] == 5
