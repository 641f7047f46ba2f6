"""Tasks of the DeepMind control suite (`pip install dm-control`)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rayjup.rllib.env.wrappers.dm_env_wrapper import DMEnv, space_of


class ActionClip(gym.ActionWrapper):
    """Clips actions to the bounds of the space."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def action(self, action: Any) -> Any:
        """Clip."""
        space: Any = self.action_space
        return np.clip(action, space.low, space.high)


class DMCEnv(DMEnv):
    """A task of the control suite, with flat observations or pixels.

    Parameters
    ----------
    domain_name, task_name, task_kwargs, visualize_reward, environment_kwargs
        As of ``dm_control.suite.load``.
    from_pixels, height, width, camera_id
        See pictures instead of positions.
    frame_skip
        How often each action is repeated.
    channels_first
        Pictures as (channels, height, width).
    preprocess
        Pictures as numbers from -0.5 to 0.5.
    """

    def __init__(
        self, domain_name: str, task_name: str, task_kwargs: dict | None = None,
        visualize_reward: bool = False,
        from_pixels: bool = False, height: int = 64, width: int = 64, camera_id: int = 0, frame_skip: int = 2,
        environment_kwargs: dict | None = None, channels_first: bool = True, preprocess: bool = True,
    ) -> None:  # fmt: skip
        try:
            from dm_control import suite  # type: ignore[import-not-found]
        except ImportError:
            raise ImportError("the control suite needs a package: pip install dm-control") from None
        env = suite.load(
            domain_name,
            task_name,
            task_kwargs=task_kwargs,
            environment_kwargs=environment_kwargs,
            visualize_reward=visualize_reward,
        )
        super().__init__(env)
        self._pixels, self._skip = from_pixels, frame_skip
        self._picture = {"height": height, "width": width, "camera_id": camera_id}
        self._first, self._preprocess = channels_first, preprocess
        if from_pixels:
            shape = (3, height, width) if channels_first else (height, width, 3)
            low, high, kind = (-0.5, 0.5, np.float32) if preprocess else (0, 255, np.uint8)
            self.observation_space = gym.spaces.Box(low, high, shape, kind)  # type: ignore[arg-type]
        else:
            parts = space_of(dict(env.observation_spec()))
            size = sum(int(np.prod(space.shape)) or 1 for space in parts.spaces.values())
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def _cast(self, observation: Any) -> Any:
        if not self._pixels:
            return np.concatenate([np.ravel(v) for v in observation.values()]).astype(np.float32)
        picture = self._env.physics.render(**self._picture)
        picture = picture.transpose(2, 0, 1).copy() if self._first else picture
        return picture.astype(np.float32) / 255.0 - 0.5 if self._preprocess else picture

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        """Repeat the action, add the rewards up."""
        total = 0.0
        for _ in range(self._skip):
            observation, reward, terminated, truncated, infos = super().step(action)
            total += reward
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, infos
