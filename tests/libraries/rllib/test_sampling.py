"""Env runners: episodes are cut rightly in all autoreset modes, by both ways through the runner."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from libraries.rllib.environments import Counting, Masked, Target

from rayjup.rllib.algorithms.ppo import PPOConfig
from rayjup.rllib.connectors.env_to_module import MeanStdFilter
from rayjup.rllib.env.single_agent_env_runner import SingleAgentEnvRunner


def runner_of(env=Counting, envs=2, **settings):
    config = (
        PPOConfig().environment(env).env_runners(num_env_runners=0, num_envs_per_env_runner=envs, **settings)
    )
    return SingleAgentEnvRunner(config=config.debugging(seed=3))


def vector_of(mode):
    class Vector(SyncVectorEnv):
        def __init__(self, config):
            super().__init__([Counting, Counting], autoreset_mode=mode)

    return Vector


def as_rows(episodes):
    """(episode number, first t, length, sum of rewards, terminated, truncated) of every chunk."""
    rows = []
    for e in episodes:
        seen = np.asarray(e.get_observations())
        assert len(set(seen[:, 0].tolist())) == 1, "observations of two episodes in one"
        assert np.array_equal(seen[:, 1], np.arange(e.t_started, e.t_started + len(e) + 1))
        assert np.asarray(e.get_rewards()).tolist() == list(range(e.t_started + 1, e.t_started + len(e) + 1))
        rows.append((int(seen[0, 0]), e.t_started, len(e), e.is_terminated, e.is_truncated))
    return sorted(rows)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("way", ["arrays", "steps"])
def test_episodes_are_whole_in_every_autoreset_mode(mode, way):
    settings = {} if way == "arrays" else {"env_to_module_connector": lambda env: _Nothing()}
    runner = runner_of(vector_of(mode), **settings)
    assert runner._plain == (way == "arrays")
    rows = [row for _ in range(4) for row in as_rows(runner.sample(num_timesteps=14))]
    # Episodes 0, 2, … have 3 steps and terminate; 1, 3, … have 5 and are truncated.
    whole = {}
    for number, begun, length, terminated, truncated in rows:
        whole.setdefault(number, []).append((begun, length, terminated, truncated))
    ended = [n for n in whole if any(t or c for *_, t, c in whole[n])]
    assert len(ended) >= 4
    for n in ended:
        assert sum(length for _, length, *_ in whole[n]) == 2 * (3 if n % 2 == 0 else 5)
        assert all(t == (n % 2 == 0) for *_, t, c in whole[n] if t or c)
    runner.stop()


class _Nothing(MeanStdFilter):
    """A connector that changes nothing, so that steps go through the pipelines."""

    def __call__(self, *, batch, **kwargs):
        return batch


def test_random_actions_know_nothing_of_the_environment():
    runner = runner_of(Target, envs=2)
    episodes = runner.sample(num_timesteps=400, random_actions=True)
    seen, actions = (np.array([f(e)[0] for e in episodes]).ravel() for f in (_observed, _acted))
    assert abs(np.corrcoef(seen, actions)[0, 1]) < 0.2
    again = runner_of(Target, envs=2)
    repeated = again.sample(num_timesteps=400, random_actions=True)
    assert np.array_equal(actions, np.array([_acted(e)[0] for e in repeated]).ravel())
    for one in (runner, again):
        one.stop()


def _observed(episode):
    return np.asarray(episode.get_observations())


def _acted(episode):
    return np.asarray(episode.get_actions())


def test_both_ways_give_the_same_episodes():
    found = []
    for settings in ({}, {"env_to_module_connector": lambda env: _Nothing()}):
        runner = runner_of("CartPole-v1", envs=3, **settings)
        episodes = runner.sample(num_timesteps=300)
        found.append(sorted((len(e), e.is_done, np.asarray(e.get_observations()).tolist()) for e in episodes))
        runner.stop()
    assert found[0] == found[1]


def test_first_episodes_to_begin_count_not_the_first_to_end():
    runner = runner_of(Counting, envs=2)
    episodes = runner.sample(num_episodes=3)
    # Two begin (3 steps each), then the next two (5 steps each): the third is one of those.
    assert sorted(len(e) for e in episodes) == [3, 3, 5]
    assert all(e.is_done for e in episodes)
    assert runner.get_metrics()["num_episodes"].peek() == 3
    runner.stop()


def test_masked_actions_are_never_taken():
    runner = runner_of(Masked, envs=4)
    for explore in (True, False):
        assert sum(len(e) for e in runner.sample(num_timesteps=400, explore=explore)) == 400
    runner.stop()


def test_a_failing_sub_environment_restarts_alone():
    class Failing(Counting):
        def step(self, action):
            if self.episode == 1 and self.t == 1:
                raise RuntimeError("broken")
            return super().step(action)

    config = PPOConfig().environment(Failing).env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    config.fault_tolerance(restart_failed_sub_environments=True)
    runner = SingleAgentEnvRunner(config=config)
    episodes = runner.sample(num_timesteps=40)
    assert sum(len(e) for e in episodes) == 40
    assert all(len(e) <= 3 for e in episodes)
    assert any(e.is_truncated and len(e) == 2 for e in episodes)
    runner.stop()


def test_mean_std_filter_standardizes_what_modules_and_learners_see():
    runner = runner_of(
        "Pendulum-v1", envs=2, env_to_module_connector=lambda env: MeanStdFilter(multi_agent=False)
    )
    runner.sample(num_timesteps=400)
    seen = np.concatenate([np.asarray(e.get_observations()) for e in runner.sample(num_timesteps=400)])
    spread = seen.std(0)
    assert np.abs(seen.mean(0)).max() < 1.0 and spread.min() > 0.5 and spread.max() < 2.0
    state = runner.get_state()
    other = runner_of("Pendulum-v1", envs=2, env_to_module_connector=lambda env: MeanStdFilter())
    other.set_state(state)
    own, theirs = (r._env_to_module.connectors[0]._stats[None] for r in (runner, other))
    assert own[0] == theirs[0] and np.allclose(own[1], theirs[1])
    runner.stop()
    other.stop()


def test_a_vector_environment_by_entry_point():
    config = PPOConfig().environment("CartPole-v1")
    config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=4, gym_env_vectorize_mode="vector_entry_point"
    )
    runner = SingleAgentEnvRunner(config=config)
    episodes = runner.sample(num_timesteps=400)
    assert isinstance(runner.env.unwrapped, gym.vector.VectorEnv)
    assert 380 <= sum(len(e) for e in episodes) <= 400  # steps that only reset are none of an episode
    runner.stop()
