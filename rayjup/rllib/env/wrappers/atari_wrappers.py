"""Wrappers for Atari games, as in Mnih et al. 2015 and Machado et al. 2018."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium as gym
import numpy as np


def is_atari(env: gym.Env | str) -> bool:
    """Whether this is a game of the arcade learning environment."""
    if isinstance(env, str):
        return env.startswith(("ALE/", "ale_py:"))
    return hasattr(env.unwrapped, "ale")


def get_wrapper_by_cls(env: Any, cls: type) -> Any:
    """The wrapper of a class around an environment, or None."""
    while True:
        if isinstance(env, cls):
            return env
        if not isinstance(env, gym.Wrapper):
            return None
        env = env.env


class ClipRewardEnv(gym.RewardWrapper):
    """Rewards' signs."""

    def reward(self, reward: Any) -> float:
        """-1, 0 or 1."""
        return float(np.sign(reward))


class NoopResetEnv(gym.Wrapper):
    """Begins with up to ``noop_max`` steps of doing nothing."""

    def __init__(self, env: gym.Env, noop_max: int = 30) -> None:
        super().__init__(env)
        self.noop_max, self.override_num_noops, self.noop_action = noop_max, None, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        """Reset, and wait."""
        observation, infos = self.env.reset(**kwargs)
        count = self.override_num_noops or int(self.unwrapped.np_random.integers(1, self.noop_max + 1))
        for _ in range(count):
            observation, _, terminated, truncated, infos = self.env.step(self.noop_action)
            if terminated or truncated:
                observation, infos = self.env.reset(**kwargs)
        return observation, infos

    def step(self, ac: Any) -> Any:
        """As below."""
        return self.env.step(ac)


class FireResetEnv(gym.Wrapper):
    """Presses FIRE behind a reset, for games that stand still until then."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        meanings = env.unwrapped.get_action_meanings()  # type: ignore[attr-defined]
        if meanings[1] != "FIRE" or len(meanings) < 3:
            raise ValueError(f"action 1 of this game is {meanings[1]!r}, not FIRE.")

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        """Reset, and fire."""
        self.env.reset(**kwargs)
        observation, _, terminated, truncated, infos = self.env.step(1)
        if terminated or truncated:
            observation, infos = self.env.reset(**kwargs)
        return observation, infos

    def step(self, ac: Any) -> Any:
        """As below."""
        return self.env.step(ac)


class EpisodicLifeEnv(gym.Wrapper):
    """A lost life ends an episode; the game itself is reset only when it is over."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.lives, self.was_real_terminated = 0, True

    def step(self, action: Any) -> Any:
        """Terminated also with a life lost."""
        observation, reward, terminated, truncated, infos = self.env.step(action)
        self.was_real_terminated = terminated
        lives = self.env.unwrapped.ale.lives()  # type: ignore[attr-defined]
        if 0 < lives < self.lives:
            terminated = True
        self.lives = lives
        return observation, reward, terminated, truncated, infos

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        """Reset the game, or go on with the next life."""
        if self.was_real_terminated:
            observation, infos = self.env.reset(**kwargs)
        else:
            observation, _, _, _, infos = self.env.step(0)
        self.lives = self.env.unwrapped.ale.lives()  # type: ignore[attr-defined]
        return observation, infos


class MaxAndSkipEnv(gym.Wrapper):
    """Repeats each action ``skip`` times; the pixelwise maximum of the last two frames is seen."""

    def __init__(self, env: gym.Env, skip: int = 4) -> None:
        super().__init__(env)
        self._skip = skip

    def step(self, action: Any) -> Any:
        """Repeat, add the rewards up."""
        total, frames = 0.0, deque(maxlen=2)  # type: ignore[var-annotated]
        terminated = truncated = False
        infos: dict[str, Any] = {}
        for _ in range(self._skip):
            observation, reward, terminated, truncated, infos = self.env.step(action)
            frames.append(observation)
            total += float(reward)
            if terminated or truncated:
                break
        return np.max(np.stack(frames), axis=0), total, terminated, truncated, infos

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        """As below."""
        return self.env.reset(**kwargs)


class GrayScaleAndResize(gym.ObservationWrapper):
    """Frames of ``dim`` x ``dim`` pixels, in one channel."""

    def __init__(self, env: gym.Env, dim: int, grayscale: bool = True) -> None:
        super().__init__(env)
        self.dim, self.grayscale = dim, grayscale
        self.observation_space = gym.spaces.Box(0, 255, (dim, dim, 1 if grayscale else 3), np.uint8)

    def observation(self, frame: Any) -> Any:
        """Convert and resize (areas are averaged)."""
        from PIL import Image

        image = Image.fromarray(np.asarray(frame, np.uint8))
        image = (image.convert("L") if self.grayscale else image).resize(
            (self.dim, self.dim), Image.Resampling.BOX
        )
        array = np.asarray(image, np.uint8)
        return array[:, :, None] if self.grayscale else array


class NormalizedImageEnv(gym.ObservationWrapper):
    """Bytes as numbers from -1 to 1."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        below: Any = self.env.observation_space
        self.observation_space = gym.spaces.Box(-1.0, 1.0, below.shape, np.float32)

    def observation(self, observation: Any) -> Any:
        """x / 128 - 1."""
        return (np.asarray(observation, np.float32) / 128.0) - 1.0


class FrameStack(gym.Wrapper):
    """The newest k frames, one behind the other in the channels."""

    def __init__(self, env: gym.Env, k: int) -> None:
        super().__init__(env)
        self.k, self.frames = k, deque(maxlen=k)  # type: ignore[var-annotated]
        space: Any = env.observation_space
        low, high = np.repeat(space.low, k, -1), np.repeat(space.high, k, -1)
        self.observation_space = gym.spaces.Box(low, high, dtype=space.dtype)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        """k times the first frame."""
        observation, infos = self.env.reset(seed=seed, options=options)
        self.frames.extend([observation] * self.k)
        return np.concatenate(self.frames, -1), infos

    def step(self, action: Any) -> Any:
        """The newest frame takes the oldest one's place."""
        observation, reward, terminated, truncated, infos = self.env.step(action)
        self.frames.append(observation)
        return np.concatenate(self.frames, -1), reward, terminated, truncated, infos


class MonitorEnv(gym.Wrapper):
    """Remembers returns and lengths of whole games."""

    def __init__(self, env: Any = None) -> None:
        super().__init__(env)
        self._current: float | None = None
        self._steps = self._total = self._handed = 0
        self._rewards: list[float] = []
        self._lengths: list[int] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict]:
        """Begin to count."""
        if self._current is not None:
            self._rewards.append(self._current)
            self._lengths.append(self._steps)
        self._current, self._steps = 0.0, 0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        """Count."""
        out = self.env.step(action)
        self._current = (self._current or 0.0) + float(out[1])
        self._steps += 1
        self._total += 1
        return out

    def get_episode_rewards(self) -> list[float]:
        """Returns of the games so far."""
        return self._rewards

    def get_episode_lengths(self) -> list[int]:
        """Their lengths."""
        return self._lengths

    def get_total_steps(self) -> int:
        """Steps so far."""
        return self._total

    def next_episode_results(self) -> Any:
        """(return, length) of games that were not handed out yet."""
        for i in range(self._handed, len(self._rewards)):
            yield self._rewards[i], self._lengths[i]
        self._handed = len(self._rewards)


def wrap_deepmind(env: Any, dim: int = 84, framestack: bool = True, noframeskip: bool = False) -> Any:
    """The wrappers of Mnih et al. 2015."""
    env = MonitorEnv(env)
    env = NoopResetEnv(env, noop_max=30)
    if noframeskip:
        env = MaxAndSkipEnv(env, skip=4)
    env = EpisodicLifeEnv(env)
    if "FIRE" in env.unwrapped.get_action_meanings():
        env = FireResetEnv(env)
    env = ClipRewardEnv(GrayScaleAndResize(env, dim))
    return FrameStack(env, 4) if framestack else env


def wrap_atari_for_new_api_stack(
    env: Any, dim: int = 64, frameskip: int = 4, framestack: int | None = None, grayscale: bool = True
) -> Any:
    """The same, with numbers from -1 to 1, and frames stacked by a connector unless ``framestack`` says
    how many.
    """
    env = GrayScaleAndResize(env, dim=dim, grayscale=grayscale)
    env = NormalizedImageEnv(env)
    if frameskip > 1:
        env = MaxAndSkipEnv(env, skip=frameskip)
    env = NoopResetEnv(env, noop_max=30)
    env = EpisodicLifeEnv(env)
    if "FIRE" in env.unwrapped.get_action_meanings():
        env = FireResetEnv(env)
    env = ClipRewardEnv(env)
    return env if framestack is None else FrameStack(env, framestack)
