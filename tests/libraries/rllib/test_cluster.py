"""Runners and learners as actors; failures; recorded data."""

from __future__ import annotations

import os
import signal
import time

import cloudpickle
import numpy as np
import pytest
from libraries.rllib import environments
from libraries.rllib.environments import Corridor, Turns

from rayjup.rllib.algorithms.bc import BCConfig
from rayjup.rllib.algorithms.cql import CQLConfig
from rayjup.rllib.algorithms.impala import IMPALAConfig
from rayjup.rllib.algorithms.iql import IQLConfig
from rayjup.rllib.algorithms.marwil import MARWILConfig
from rayjup.rllib.algorithms.ppo import PPOConfig
from rayjup.rllib.env.env_runner_group import EnvRunnerGroup

cloudpickle.register_pickle_by_value(environments)  # executors don't find the tests


def small(env="CartPole-v1", **training):
    config = PPOConfig().environment(env).training(
        train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2, **training
    )  # fmt: skip
    return config.rl_module(model_config={"fcnet_hiddens": [16]}).debugging(seed=1)


def test_remote_runners_sample_a_batch_and_go_on_after_a_restore(ray_cluster, tmp_path):
    algo = small().env_runners(num_env_runners=2, num_envs_per_env_runner=2).build_algo()
    result = algo.train()
    assert result["num_env_steps_sampled_lifetime"] == 256
    assert result["fault_tolerance"]["num_healthy_workers"] == 2
    remote = algo.env_runner_group.foreach_env_runner(
        lambda runner: runner.module.get_state(), local_env_runner=False
    )
    own = algo.get_weights()["default_policy"]
    for state in remote:
        assert all(np.array_equal(state[k], own[k]) for k in state)
    path = algo.save_to_path(tmp_path / "checkpoint")
    expected = [algo.train()["env_runners"]["episode_return_mean"] for _ in range(2)]
    algo.stop()
    again = type(algo).from_checkpoint(path)
    assert [again.train()["env_runners"]["episode_return_mean"] for _ in range(2)] == expected
    again.stop()


def test_a_killed_runner_comes_back_and_the_others_go_on(ray_cluster):
    config = small().env_runners(num_env_runners=2)
    algo = config.build_algo()
    algo.train()
    pids = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(pids[0], signal.SIGKILL)
    result = algo.train()
    assert result["fault_tolerance"] == {
        "num_healthy_workers": 2, "num_remote_worker_restarts": 1, "num_env_runners_dropped_lifetime": 0
    }  # fmt: skip
    again = algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    assert pids[1] in again and pids[0] not in again
    algo.stop()


def test_two_learners_stay_alike_and_learn_as_one(ray_cluster):
    config = small().env_runners(num_env_runners=0).learners(num_learners=2)
    config.training(train_batch_size_per_learner=128)
    algo = config.build_algo()
    result = algo.train()
    assert result["learners"]["default_policy"]["num_module_steps_trained"] == 256
    states = algo.learner_group.foreach_learner(lambda learner: learner.module["default_policy"].get_state())
    assert all(np.array_equal(states[0][k], states[1][k]) for k in states[0])
    algo.stop()


def test_impala_asynchronously(ray_cluster):
    config = (
        IMPALAConfig().environment("CartPole-v1").env_runners(num_env_runners=2, rollout_fragment_length=20)
    )
    config.training(train_batch_size_per_learner=100).learners(num_learners=1)
    config.reporting(min_time_s_per_iteration=1).rl_module(model_config={"fcnet_hiddens": [16]})
    algo = config.build_algo()
    trained, deadline = 0, time.monotonic() + 80
    while trained < 300 and time.monotonic() < deadline:  # how much is done in a second says nothing
        learners = algo.train()["learners"]
        trained = learners.get("__all_modules__", {}).get("num_env_steps_trained_lifetime", 0)
    assert trained >= 300
    algo.stop()


def test_evaluation_beside_training(ray_cluster):
    config = small(Corridor).env_runners(num_env_runners=0)
    config.evaluation(
        evaluation_interval=1, evaluation_num_env_runners=1, evaluation_parallel_to_training=True,
        evaluation_duration=4, evaluation_config=PPOConfig.overrides(explore=False),
    )  # fmt: skip
    algo = config.build_algo()
    for _ in range(4):
        result = algo.train()
    assert result["evaluation"]["env_runners"]["num_episodes"] == 4
    algo.stop()


def test_agents_in_turn(ray_cluster):
    config = small(Turns).multi_agent(policies={"one"}, policy_mapping_fn=lambda agent, episode, **kw: "one")
    config.env_runners(num_env_runners=1)
    group = EnvRunnerGroup(config=config, local_env_runner=False)
    episodes, metrics = group.sample({"num_episodes": 2})
    for episode in episodes:
        episode.validate()
        assert len(episode) == 6 and episode.is_terminated
        # Each: three moves of its own, and what it gets in the other's turns; "b" begins after "a" moved.
        assert episode.agent_episodes["a"].get_return() == pytest.approx(4.5)
        assert episode.agent_episodes["b"].get_return() == pytest.approx(4.5)
        assert [len(episode.agent_episodes[a]) for a in "ab"] == [3, 3]
    assert metrics[0]["num_env_steps_sampled"].peek() == 12
    group.stop()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Episodes of an expert in the corridor, and of chance."""
    path = str(tmp_path_factory.mktemp("recorded"))
    from rayjup.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

    config = small(Corridor).env_runners(num_env_runners=0).offline_data(output=path)
    runner = OfflineSingleAgentEnvRunner(config=config)

    class Expert:
        def forward_inference(self, batch):
            import torch

            return {"actions": torch.ones(len(batch["obs"]), dtype=torch.long)}

        def get_initial_state(self):
            return {}

    runner.module = Expert()
    runner.sample(num_episodes=40, explore=False)
    runner.sample(num_timesteps=1500, random_actions=True)
    runner.stop()
    return path


@pytest.mark.parametrize("kind", [BCConfig, MARWILConfig, IQLConfig])
def test_offline_algorithms_improve_on_the_data(kind, recorded):
    config = kind().environment(Corridor).offline_data(input_=[recorded])
    config.training(tuned=True).debugging(seed=0).evaluation(evaluation_interval=1)
    config.training(train_batch_size_per_learner=256, model={"fcnet_hiddens": [32]})
    config.offline_data(dataset_num_iters_per_learner=400 if kind is IQLConfig else 120)
    algo = config.build_algo()
    result = algo.train()
    # BC imitates the mixture, whose best action is most frequent; the others weigh by outcome.
    assert result["evaluation"]["env_runners"]["episode_return_mean"] == pytest.approx(1.0 - 0.1 * 4)
    algo.stop()


def test_cql_runs_on_recorded_pendulum(tmp_path):
    from rayjup.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

    config = small("Pendulum-v1").env_runners(num_env_runners=0).offline_data(output=str(tmp_path))
    runner = OfflineSingleAgentEnvRunner(config=config)
    runner.sample(num_timesteps=300, random_actions=True)
    runner.stop()
    config = CQLConfig().environment("Pendulum-v1").offline_data(input_=[str(tmp_path)])
    config.training(tuned=True, bc_iters=2, train_batch_size_per_learner=64)
    config.offline_data(dataset_num_iters_per_learner=5).evaluation(offline_evaluation_interval=1)
    algo = config.build_algo()
    result = algo.train()
    losses = result["learners"]["default_policy"]
    assert all(np.isfinite(losses[k]) for k in ("qf_loss", "policy_loss", "cql_loss"))
    assert "offline_eval_runners" in result["evaluation"]
    algo.stop()


def test_tune_runs_an_algorithm_by_name(ray_cluster, tmp_path):
    from rayjup import tune

    config = small(Corridor).env_runners(num_env_runners=0).training(lr=tune.grid_search([1e-3, 1e-4]))
    results = tune.Tuner(
        "PPO",
        param_space=config,
        run_config=tune.RunConfig(stop={"training_iteration": 1}, storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert len(results) == 2
    assert all(r.metrics["num_env_steps_sampled_lifetime"] == 256 for r in results)
