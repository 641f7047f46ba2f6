"""Small environments whose optimum is known."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from rayjup.rllib.env.multi_agent_env import MultiAgentEnv


class Corridor(gym.Env):
    """Walk right to the end: -0.1 per step, +1 at the goal."""

    def __init__(self, config=None):
        self.end_pos = (config or {}).get("corridor_length", 5)
        self.cur_pos = 0.0
        self.action_space = gym.spaces.Discrete(2)
        self.observation_space = gym.spaces.Box(0.0, self.end_pos, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cur_pos, self.t = 0.0, 0
        return np.array([self.cur_pos], np.float32), {}

    def step(self, action):
        self.t += 1
        if action == 0 and self.cur_pos > 0:
            self.cur_pos -= 1.0
        elif action == 1:
            self.cur_pos += 1.0
        done = self.cur_pos >= self.end_pos
        return (
            np.array([self.cur_pos], np.float32),
            1.0 if done else -0.1,
            done,
            self.t >= 60 and not done,
            {},
        )


class Target(gym.Env):
    """One step per episode: the action should be half of what is seen; minus the squared distance."""

    def __init__(self, config=None):
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seen = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.seen, {}

    def step(self, action):
        return self.seen, -float(((action - self.seen / 2) ** 2).sum()), True, False, {}


class Pictures(gym.Env):
    """A bright bar in the left or right half of an image: action 0 is right for left, 1 for right."""

    def __init__(self, config=None):
        self.action_space = gym.spaces.Discrete(2)
        self.observation_space = gym.spaces.Box(0, 255, (16, 12, 1), np.uint8)

    def _see(self):
        self.side = int(self.np_random.integers(2))
        image = np.zeros((16, 12, 1), np.uint8)
        image[:, 6 * self.side : 6 * self.side + 6] = 200
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._see(), {}

    def step(self, action):
        self.t += 1
        right = float(action == self.side)
        return self._see(), right, self.t == 5, False, {}


class OldCorridor:
    """The same, with the interface of the old gym."""

    def __init__(self, config):
        self.inner = Corridor(config)
        self.action_space, self.observation_space = self.inner.action_space, self.inner.observation_space

    def reset(self):
        return self.inner.reset()[0]

    def step(self, action):
        observation, reward, done, _, info = self.inner.step(action)
        return observation, reward, done, info


class Counting(gym.Env):
    """Observations count the steps; episodes of given lengths, every second one truncated."""

    def __init__(self, config=None):
        self.lengths = list((config or {}).get("lengths", [3, 5]))
        self.action_space = gym.spaces.Discrete(2)
        self.observation_space = gym.spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.episode = -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.t = 0
        return np.array([self.episode, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == self.lengths[self.episode % len(self.lengths)]
        cut = over and self.episode % 2 == 1
        return np.array([self.episode, self.t], np.float32), float(self.t), over and not cut, cut, {}


class Masked(gym.Env):
    """Action 0 is always best and mostly forbidden; a forbidden action raises."""

    def __init__(self, config=None):
        self.action_space = gym.spaces.Discrete(4)
        self.observation_space = gym.spaces.Dict(
            {
                "action_mask": gym.spaces.Box(0, 1, (4,), np.int8),
                "observations": gym.spaces.Box(-1, 1, (2,), np.float32),
            }
        )

    def _see(self):
        self.mask = (self.np_random.random(4) < 0.5).astype(np.int8)
        self.mask[self.np_random.integers(4)] = 1
        return {"action_mask": self.mask, "observations": self.np_random.random(2).astype(np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._see(), {}

    def step(self, action):
        assert self.mask[action] == 1, "a forbidden action was taken"
        self.t += 1
        return self._see(), float(action == 0), self.t == 10, False, {}


class PrisonersDilemma(MultiAgentEnv):
    """One round: defecting (1) is each one's best answer to everything, so both end there."""

    PAYOFF = {(0, 0): (3.0, 3.0), (0, 1): (0.0, 5.0), (1, 0): (5.0, 0.0), (1, 1): (1.0, 1.0)}

    def __init__(self, config=None):
        super().__init__()
        self.agents = self.possible_agents = ["row", "column"]
        self.observation_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(1))
        self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))

    def reset(self, *, seed=None, options=None):
        return dict.fromkeys(self.agents, 0), {}

    def step(self, action_dict):
        rewards = self.PAYOFF[int(action_dict["row"]), int(action_dict["column"])]
        return {}, dict(zip(self.agents, rewards, strict=True)), {"__all__": True}, {"__all__": False}, {}


class Turns(MultiAgentEnv):
    """Two agents act in turn for six steps; each gets 1 for its own move, and 0.5 for the other's."""

    def __init__(self, config=None):
        super().__init__()
        self.agents = self.possible_agents = ["a", "b"]
        self.observation_spaces = dict.fromkeys(self.agents, gym.spaces.Box(0, 10, (1,), np.float32))
        self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return {"a": np.zeros(1, np.float32)}, {}

    def step(self, action_dict):
        (who,) = action_dict
        other = "b" if who == "a" else "a"
        self.t += 1
        over = self.t == 6
        seen = {other: np.array([self.t], np.float32)}
        return seen, {who: 1.0, other: 0.5}, {"__all__": over}, {"__all__": False}, {}
