"""Runs of Tune, Train and RLlib, seen from a notebook that did not start them, or was restarted meanwhile."""

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
    assert "No run of Tune, Train or RLlib in this cluster yet." in ran.displays[-1]["data"]["text/html"]
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
    assert "best 1 in " in shown["text/plain"], "three reports: 3, 1.5 and 1"
    assert (
        shown["text/html"].count("<polyline") >= 2 and "parameters and loss of 2 trials" in shown["text/html"]
    )
    wrong = kernel.run("from rayjup.notebook import watch_run; watch_run('nothing')")
    assert (
        wrong.ename == "KeyError"
        and "there is no run 'nothing' in this cluster (runs: sweep)" in wrong.evalue
    )


ENDLESS = """
import threading, time
from rayjup import tune

def endless(config):
    while True:
        time.sleep(0.02)
        tune.report({"loss": config["x"]})

tuner = tune.Tuner(
    endless,
    param_space={"x": tune.grid_search([1.0, 2.0])},
    tune_config=tune.TuneConfig(metric="loss", mode="min"),
    run_config=tune.RunConfig(name="endless", storage_path=STORAGE, verbose=0),
)
thread = threading.Thread(target=lambda: results.append(tuner.fit()))
results = []
thread.start()
"""

WATCH = """
from rayjup.notebook import watch_run
from rayjup.notebook.run_displays import find

def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, find("endless")
        time.sleep(0.05)

def trials():
    return {trial["trial_id"]: trial["status"] for trial in (find("endless") or {}).get("trials") or []}

until(lambda: list(trials().values()) == ["RUNNING", "RUNNING"])
shown = watch_run("endless")
first, second = sorted(trials())
"""


def test_filter_the_trials_and_stop_some(kernel: Kernel, cluster: str, tmp_path: object) -> None:
    kernel.ok(f"%ray_init --address {cluster} --no-display")
    kernel.ok(ENDLESS.replace("STORAGE", repr(str(tmp_path))))
    kernel.ok(WATCH)
    kernel.ok("assert first in shown.text() and second in shown.text()")
    kernel.ok("shown.only(first.upper()); assert second not in shown.html() and first in shown.html()")
    kernel.ok("shown.only(''); assert second in shown.text()")
    wrong = kernel.run("shown.stop('nobody')")
    assert wrong.ename == "KeyError" and "the run shows no trial 'nobody' (trials: " in wrong.evalue
    kernel.ok("shown.stop(first); until(lambda: trials() == {first: 'TERMINATED', second: 'RUNNING'})")
    kernel.ok("shown.stop(); thread.join(30); assert results[0].num_terminated == 2, results")


FITS = """
import time
from rayjup import train, tune
from rayjup.train.data_parallel_trainer import DataParallelTrainer

def learn(config):
    for step in range(4):
        time.sleep(0.25)
        train.report({"error": 1 / (step + 1)})

def objective(config):
    for step in range(4):
        time.sleep(0.25)
        tune.report({"loss": config["x"] / (step + 1)})
"""


def test_one_display_is_enough(kernel: Kernel, cluster: str, tmp_path: object) -> None:
    kernel.ok(f"%ray_init --address {cluster} --no-display")
    kernel.ok(FITS)
    run = f"name='NAME', storage_path={str(tmp_path)!r}"
    ran = kernel.ok(
        "DataParallelTrainer(learn, scaling_config=train.ScalingConfig(num_workers=1), "
        f"run_config=train.RunConfig({run.replace('NAME', 'net')})).fit(); None"
    )
    assert ["net: " in shown["data"]["text/plain"] for shown in ran.displays] == [True], ran.displays
    ran = kernel.ok(
        "tune.Tuner(objective, param_space={'x': tune.grid_search([1, 2])}, "
        f"run_config=tune.RunConfig({run.replace('NAME', 'sweep')})).fit(); None"
    )
    assert len(ran.displays) == 1 and "calls" not in ran.displays[0]["data"]["text/plain"], ran.displays


TRAINING = """
import gymnasium as gym, numpy as np
from rayjup.rllib.algorithms.ppo import PPOConfig

class Slope(gym.Env):
    def __init__(self, config=None):
        self.observation_space = gym.spaces.Box(-9, 9, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
    def _see(self):
        return np.array([self.at], np.float32)
    def reset(self, *, seed=None, options=None):
        self.at = 0
        return self._see(), {}
    def step(self, action):
        self.at += 1 if action else -1
        return self._see(), 1.0 if self.at == 5 else -0.1, abs(self.at) == 5, False, {}
    def render(self):
        picture = np.zeros((8, 88, 3), np.uint8)
        picture[:, 40 + 8 * self.at : 48 + 8 * self.at] = 255
        return picture

config = PPOConfig().environment(Slope).debugging(seed=0)
config.training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2, lr=3e-3)
algo = config.rl_module(model_config={"fcnet_hiddens": [8]}).build_algo()
for _ in range(12):
    result = algo.train()
"""

STOPPING = """
import time
from rayjup.notebook import stop_run
stop_run("PPO_Slope")
begun = time.monotonic()
while not (result := algo.train())["done"] and time.monotonic() - begun < 50:
    pass
before = result["training_iteration"]
result["done"], algo.train()["done"], algo.training_iteration == before + 1
"""


def test_learning_is_watched_stopped_and_goes_on(kernel: Kernel, cluster: str) -> None:
    pytest.importorskip("gymnasium", reason="gymnasium is not installed")
    kernel.ok(f"%ray_init --address {cluster} --no-display")
    kernel.ok(TRAINING)
    shown = kernel.ok("%ray_attach PPO_Slope").displays[-1]["data"]["text/plain"]
    assert "return, mean" in shown and "steps per s" in shown and "policy_loss" in shown
    assert "PPO_Slope: running, iteration " in shown  # which one: the board lags by a second at most
    assert kernel.ok(STOPPING).results == ["(True, False, True)"]
    played = kernel.ok("from rayjup.rllib.rendering import play; played = play(algo); display(played)")
    assert 'src="data:image/gif;base64,' in played.displays[-1]["data"]["text/html"]
    # The best way: five steps to the right, and the picture before them.
    assert kernel.ok("played.steps, len(played.frames)").results == ["(5, 6)"]
    kernel.ok("algo.stop()")
    assert "finished" in kernel.ok("%ray_attach PPO_Slope").displays[-1]["data"]["text/plain"]
