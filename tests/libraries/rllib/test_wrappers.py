"""Environments of others: PettingZoo, Atari games, recorded data of Minari."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest

from rayjup.rllib.algorithms.bc import BCConfig
from rayjup.rllib.algorithms.ppo import PPOConfig
from rayjup.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from rayjup.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from rayjup.rllib.env.wrappers.atari_wrappers import wrap_atari_for_new_api_stack, wrap_deepmind
from rayjup.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv, PettingZooEnv

# What these packages say to their own users.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The old environment creation API:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:minari"),
    pytest.mark.filterwarnings("ignore::UserWarning:pettingzoo"),
]


def missing(package):
    return f"{package} is not installed: pip install {package}"


def pennies():
    """Matching pennies, five times: the first agent wins where both show the same side."""
    pettingzoo = pytest.importorskip("pettingzoo", reason=missing("pettingzoo"))

    class Pennies(pettingzoo.ParallelEnv):
        metadata = {"name": "pennies_v0", "is_parallelizable": True}

        def __init__(self):
            self.possible_agents = ["same", "other"]
            self.render_mode = None

        @functools.cache  # noqa: B019
        def observation_space(self, agent):
            return gym.spaces.Box(0, 5, (1,), np.float32)

        @functools.cache  # noqa: B019
        def action_space(self, agent):
            return gym.spaces.Discrete(2)

        def reset(self, seed=None, options=None):
            self.agents, self.t = list(self.possible_agents), 0
            return self._see(), {a: {} for a in self.agents}

        def _see(self):
            return {a: np.array([self.t], np.float32) for a in self.agents}

        def step(self, actions):
            self.t += 1
            won = 1.0 if actions["same"] == actions["other"] else -1.0
            over = self.t == 5
            seen, ended = self._see(), dict.fromkeys(self.agents, over)
            rewards = {"same": won, "other": -won}
            if over:
                self.agents = []
            return seen, rewards, ended, dict.fromkeys(ended, False), {a: {} for a in ended}

    return Pennies


def config_of(env):
    config = PPOConfig().environment(env).rl_module(model_config={"fcnet_hiddens": [8]}).debugging(seed=0)
    return config.multi_agent(
        policies={"same", "other"}, policy_mapping_fn=lambda agent, episode, **kw: agent
    ).env_runners(num_env_runners=0, num_envs_per_env_runner=2)


def test_agents_of_pettingzoo_at_once():
    kind = pennies()
    from pettingzoo.test import parallel_api_test

    parallel_api_test(kind(), num_cycles=20)
    runner = MultiAgentEnvRunner(config=config_of(lambda context: ParallelPettingZooEnv(kind())))
    episodes = runner.sample(num_episodes=4)
    for episode in episodes:
        episode.validate()
        assert len(episode) == 5 and episode.is_terminated
        a, b = (np.asarray(episode.agent_episodes[n].get_rewards()) for n in ("same", "other"))
        actions = [np.asarray(episode.agent_episodes[n].get_actions()) for n in ("same", "other")]
        assert (a == -b).all() and ((a == 1) == (actions[0] == actions[1])).all()
    runner.stop()


def test_agents_of_pettingzoo_in_turn():
    kind = pennies()
    from pettingzoo.test import api_test
    from pettingzoo.utils.conversions import parallel_to_aec

    api_test(parallel_to_aec(kind()), num_cycles=20)
    runner = MultiAgentEnvRunner(config=config_of(lambda context: PettingZooEnv(parallel_to_aec(kind()))))
    for episode in runner.sample(num_episodes=4):
        episode.validate()
        assert episode.is_terminated and len(episode) == 10  # five rounds, two turns each
        returns = [episode.agent_episodes[n].get_return() for n in ("same", "other")]
        assert returns[0] == -returns[1] and abs(returns[0]) in (1, 3, 5)
    runner.stop()


def test_games_of_pettingzoo_are_played():
    pytest.importorskip("pygame", reason=missing("pygame"))
    classic = pytest.importorskip("pettingzoo.classic.tictactoe_v3", reason=missing("pettingzoo[classic]"))
    config = PPOConfig().environment(lambda context: PettingZooEnv(classic.env()))
    config.multi_agent(policies={"p"}, policy_mapping_fn=lambda agent, episode, **kw: "p")
    config.env_runners(num_env_runners=0).rl_module(model_config={"fcnet_hiddens": [8]}).debugging(seed=0)
    runner = MultiAgentEnvRunner(config=config)
    for episode in runner.sample(num_episodes=10):
        moves = sum(len(e) for e in episode.agent_episodes.values())
        returns = sorted(e.get_return() for e in episode.agent_episodes.values())
        assert 5 <= moves <= 9 and returns in ([-1, 1], [0, 0])
    runner.stop()


def test_atari_games_as_the_papers_see_them():
    ale_py = pytest.importorskip("ale_py", reason=missing("ale-py"))
    gym.register_envs(ale_py)
    make = functools.partial(gym.make, "ALE/Breakout-v5", frameskip=1, repeat_action_probability=0.0)
    env = wrap_atari_for_new_api_stack(make(), dim=42, framestack=4)
    seen, _ = env.reset(seed=0)
    assert seen.shape == env.observation_space.shape == (42, 42, 4)
    assert seen.dtype == np.float32 and -1 <= seen.min() < seen.max() <= 1
    rewards, ends = [], 0
    for step in range(400):
        seen, reward, terminated, truncated, _ = env.step(step % 4)
        rewards.append(reward)
        if terminated or truncated:
            ends += 1
            env.reset()
    assert set(rewards) <= {-1.0, 0.0, 1.0} and ends >= 2  # a lost life ends an episode
    older = wrap_deepmind(make(), dim=84)
    assert older.reset(seed=0)[0].shape == (84, 84, 4)

    config = PPOConfig().environment(
        lambda context: wrap_atari_for_new_api_stack(make(), dim=42, framestack=2)
    )
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=2).debugging(seed=0)
    runner = SingleAgentEnvRunner(config=config)
    assert sum(len(e) for e in runner.sample(num_timesteps=40)) == 40
    runner.stop()


def test_datasets_of_minari_are_learnt_from(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    minari = pytest.importorskip("minari", reason=missing("minari"))
    pytest.importorskip("h5py", reason=missing("h5py"))
    from minari.data_collector import EpisodeBuffer

    buffers = []
    env = gym.make("CartPole-v1")
    for seed in range(3):
        seen, _ = env.reset(seed=seed)
        rows = {"observations": [seen], "actions": [], "rewards": [], "terminations": [], "truncations": []}
        over = False
        while not over:
            action = int(seen[2] + 0.5 * seen[3] > 0)
            seen, *rest, _ = env.step(action)
            for name, value in zip(rows, (seen, action, *rest), strict=True):
                rows[name].append(value)
            over = any(rest[1:])
        buffers.append(EpisodeBuffer(id=seed, **{k: np.array(v) for k, v in rows.items()}))
    minari.create_dataset_from_buffers("cartpole/leaning-v0", buffers, env=env, algorithm_name="leaning")
    env.close()
    config = BCConfig().environment("CartPole-v1").offline_data(
        input_=["minari:cartpole/leaning-v0"], dataset_num_iters_per_learner=300
    )  # fmt: skip
    config.training(tuned=True, train_batch_size_per_learner=128).debugging(seed=0)
    config.rl_module(model_config={"fcnet_hiddens": [32]}).evaluation(evaluation_interval=1)
    algo = config.build_algo()
    assert algo.offline_data.num_steps > 300
    assert algo.train()["evaluation"]["env_runners"]["episode_return_mean"] > 80  # chance: 22
    algo.stop()
