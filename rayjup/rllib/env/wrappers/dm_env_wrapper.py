"""Environments with the interface of dm_env."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def space_of(spec: Any) -> Any:
    """The gymnasium space of a dm_env spec."""
    if isinstance(spec, dict):
        return spaces.Dict({key: space_of(part) for key, part in spec.items()})
    if isinstance(spec, (list, tuple)):
        return spaces.Tuple([space_of(part) for part in spec])
    if hasattr(spec, "num_values"):
        return spaces.Discrete(int(spec.num_values))
    dtype = np.float32 if np.issubdtype(spec.dtype, np.floating) else spec.dtype
    if hasattr(spec, "minimum"):
        low = np.broadcast_to(np.asarray(spec.minimum, dtype), spec.shape)
        high = np.broadcast_to(np.asarray(spec.maximum, dtype), spec.shape)
        return spaces.Box(low, high, dtype=dtype)
    return spaces.Box(-np.inf, np.inf, spec.shape, dtype)


class DMEnv(gym.Env):
    """A dm_env environment as one of gymnasium.

    Parameters
    ----------
    dm_env
        The environment.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, dm_env: Any) -> None:
        self._env = dm_env
        self.observation_space = space_of(dm_env.observation_spec())
        self.action_space = space_of(dm_env.action_spec())

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Step; an end with a discount left is a truncation."""
        found = self._env.step(action)
        over = found.last()
        cut = over and bool(found.discount)
        return self._cast(found.observation), float(found.reward or 0.0), over and not cut, cut, {}

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        """Reset."""
        super().reset(seed=seed)
        return self._cast(self._env.reset().observation), {}

    def _cast(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            own: Any = self.observation_space
            return {k: np.asarray(v, own.spaces[k].dtype) for k, v in observation.items()}
        return np.asarray(observation, self.observation_space.dtype)

    def render(self) -> Any:
        """A picture, where the environment draws one."""
        return self._env.physics.render() if hasattr(self._env, "physics") else None

    def close(self) -> None:
        """Close the environment."""
        self._env.close()
