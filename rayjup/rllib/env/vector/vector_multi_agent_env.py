"""VectorMultiAgentEnv: multi-agent environments side by side, as one."""

from __future__ import annotations

from typing import Any


class VectorMultiAgentEnv:
    """N multi-agent environments: `step` takes and returns lists with one entry per environment.

    An environment whose episode is over is reset in the next step (its action is passed over).

    Parameters
    ----------
    envs
        The environments.
    """

    def __init__(self, envs: list[Any] | None = None) -> None:
        self.envs = list(envs or [])
        self.num_envs = len(self.envs)
        self._over = [False] * self.num_envs
        self.closed = False

    @property
    def unwrapped(self) -> VectorMultiAgentEnv:
        """Itself."""
        return self

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Reset all; observations and infos."""
        found = [
            env.reset(seed=None if seed is None else seed + i, options=options)
            for i, env in enumerate(self.envs)
        ]
        self._over = [False] * self.num_envs
        return [o for o, _ in found], [i for _, i in found]

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Step all; observations, rewards, terminateds, truncateds, infos."""
        columns: tuple[list, list, list, list, list] = ([], [], [], [], [])
        for i, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            if self._over[i]:
                observations, infos = env.reset()
                row: Any = (observations, {}, {"__all__": False}, {"__all__": False}, infos)
            else:
                row = env.step(action)
            self._over[i] = bool(row[2]["__all__"] or row[3]["__all__"])
            for column, value in zip(columns, row, strict=True):
                column.append(value)
        return columns

    def render(self) -> Any:
        """Pictures of all."""
        return tuple(env.render() for env in self.envs)

    def close(self, **kwargs: Any) -> None:
        """Close all, once."""
        if not self.closed:
            self.close_extras(**kwargs)
            self.closed = True

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environments."""
        for env in self.envs:
            env.close()
