"""A run that was saved, killed and restored goes on as one that never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rayjup.rllib.algorithms.algorithm import Algorithm
from rayjup.rllib.algorithms.dqn import DQNConfig
from rayjup.rllib.algorithms.ppo import PPOConfig

HERE = Path(__file__).parent


def config_of(name):
    if name == "DQN":
        config = DQNConfig().environment("CartPole-v1").training(
            store_buffer_in_checkpoints=True, num_steps_sampled_before_learning_starts=100,
            epsilon=[[0, 1.0], [1000, 0.1]],
        )  # fmt: skip
        config.reporting(min_sample_timesteps_per_iteration=200).env_runners(num_envs_per_env_runner=2)
    else:
        config = PPOConfig().environment("CartPole-v1")
        config.env_runners(num_env_runners=0, num_envs_per_env_runner=4)
        config.training(
            train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2,
            entropy_coeff=[[0, 0.1], [2000, 0.0]], lr=[[0, 1e-3], [2000, 1e-4]],
        )  # fmt: skip
        if name == "PPO with connectors":
            from rayjup.rllib.connectors.env_to_module import MeanStdFilter

            config.env_runners(env_to_module_connector=lambda env: MeanStdFilter())
        if name == "recurrent PPO":
            config.rl_module(model_config={"use_lstm": True, "lstm_cell_size": 8, "max_seq_len": 8})
    return config.rl_module(model_config={"fcnet_hiddens": [16]}).debugging(seed=3)


def seen(algo, iterations):
    """What iterations bring, to the last digit."""
    found = []
    for _ in range(iterations):
        result = algo.train()
        losses = result["learners"]["default_policy"]
        found.append([
            result["training_iteration"], result["num_env_steps_sampled_lifetime"],
            result["env_runners"]["episode_return_mean"], result["env_runners"]["num_episodes_lifetime"],
            losses["total_loss"],
        ])  # fmt: skip
    return found


@pytest.mark.parametrize("name", ["PPO with connectors", "recurrent PPO", "DQN"])
def test_a_restored_run_is_the_uninterrupted_one(name, tmp_path):
    algo = config_of(name).build_algo()
    seen(algo, 2)
    path = algo.save_to_path(tmp_path / "checkpoint")
    expected = seen(algo, 3)
    algo.stop()
    again = Algorithm.from_checkpoint(path)
    assert seen(again, 3) == expected
    again.stop()


def test_the_process_may_be_killed_in_between(tmp_path):
    program = f"""
import json, os, signal, sys
sys.path.append({str(HERE)!r})
from test_resume import config_of, seen
algo = config_of("PPO").build_algo()
seen(algo, 2)
algo.save_to_path({str(tmp_path / "checkpoint")!r})
print(json.dumps(seen(algo, 2)), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = Algorithm.from_checkpoint(tmp_path / "checkpoint")
    assert json.loads(done.stdout) == seen(again, 2)
    again.stop()


def test_what_has_changed_since_begins_anew(tmp_path):
    algo = config_of("PPO").build_algo()
    seen(algo, 1)
    path = algo.save_to_path(tmp_path / "checkpoint")
    algo.stop()
    config = config_of("PPO").env_runners(num_envs_per_env_runner=2)
    again = Algorithm.from_checkpoint(path, config=config)
    assert again.env_runner.num_envs == 2
    assert seen(again, 1)[0][:2] == [2, 512]
    chunks = again.env_runner.sample(num_timesteps=8)
    assert len({e.id_ for e in chunks}) <= 4
    again.stop()


def test_environments_that_cannot_be_kept_begin_new_episodes(tmp_path):
    from libraries.rllib.environments import Corridor

    class Stuck(Corridor):
        def __getstate__(self):
            raise TypeError("a device is open")

    config = config_of("PPO").environment(Stuck).env_runners(num_envs_per_env_runner=1)
    algo = config.build_algo()
    seen(algo, 1)
    path = algo.save_to_path(tmp_path / "checkpoint")
    algo.stop()
    again = Algorithm.from_checkpoint(path)
    chunks = again.env_runner.sample(num_timesteps=3)
    assert chunks[0].t_started == 0 and seen(again, 1)[0][0] == 2
    again.stop()
