"""Replay buffers of multi-agent episodes: one buffer per module."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.utils.replay_buffers.episode_replay_buffer import (
    EpisodeReplayBuffer,
    PrioritizedEpisodeReplayBuffer,
)


class MultiAgentEpisodeReplayBuffer(EpisodeReplayBuffer):
    """Steps of the agents' episodes, by the module that plays them; single-agent episodes go to theirs."""

    KIND: type[EpisodeReplayBuffer] = EpisodeReplayBuffer

    def __init__(
        self,
        capacity: int = 10000,
        *,
        batch_size_B: int = 16,
        batch_length_T: int = 1,
        metrics_num_episodes_for_smoothing: int = 100,
        **kwargs: Any,
    ) -> None:
        self._settings = {
            "batch_size_B": batch_size_B,
            "batch_length_T": batch_length_T,
            "metrics_num_episodes_for_smoothing": metrics_num_episodes_for_smoothing,
            **kwargs,
        }
        self._buffers: dict[str, Any] = {}
        self._env_steps = 0
        super().__init__(capacity, **{k: v for k, v in self._settings.items() if k != "alpha"})

    def _of(self, module_id: str) -> Any:
        if module_id not in self._buffers:
            settings = dict(self._settings)
            if settings.get("seed") is not None:
                settings["seed"] += len(self._buffers)
            self._buffers[module_id] = self.KIND(self.capacity, **settings)
        return self._buffers[module_id]

    def __len__(self) -> int:
        return self.get_num_timesteps()

    def add(self, episodes: Any, weight: Any = None) -> None:
        """Take episodes, sorted by modules."""
        for episode in [episodes] if not isinstance(episodes, list) else episodes:
            self._env_steps += len(episode)
            own = list(episode.agent_episodes.values()) if hasattr(episode, "agent_episodes") else [episode]
            for part in own:
                module_id = part.module_id or DEFAULT_MODULE_ID
                special = weight.get(module_id) if isinstance(weight, dict) else weight
                self._of(module_id).add(part, **({} if special is None else {"weight": special}))

    def sample(self, num_items: int | None = None, *, modules_to_sample: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Draws by module: ``{module id: columns}``."""
        chosen = modules_to_sample or list(self._buffers)
        return {m: self._buffers[m].sample(num_items, **kwargs) for m in chosen if len(self._buffers[m])}

    def get_module_ids(self) -> list[str]:
        """Modules that have steps here."""
        return list(self._buffers)

    def _sum(self, method: str, module_id: str | None) -> int:
        if module_id is not None:
            return getattr(self._of(module_id), method)()
        return sum(getattr(b, method)() for b in self._buffers.values())

    def get_num_timesteps(self, module_id: str | None = None) -> int:
        """Steps in the buffer, of a module or of all."""
        return self._sum("get_num_timesteps", module_id)

    def get_num_agent_timesteps(self) -> int:
        """Steps of all agents in the buffer."""
        return self._sum("get_num_timesteps", None)

    def get_added_timesteps(self, module_id: str | None = None) -> int:
        """Steps of environments added so far; of a module: of its agents."""
        return self._env_steps if module_id is None else self._sum("get_added_timesteps", module_id)

    def get_added_agent_timesteps(self) -> int:
        """Steps of all agents added so far."""
        return self._sum("get_added_timesteps", None)

    def get_sampled_timesteps(self, module_id: str | None = None) -> int:
        """Steps drawn so far."""
        return self._sum("get_sampled_timesteps", module_id)

    def get_num_episodes(self, module_id: str | None = None) -> int:
        """Agents' episodes in the buffer."""
        return self._sum("get_num_episodes", module_id)

    def get_num_episodes_evicted(self, module_id: str | None = None) -> int:
        """Agents' episodes that are gone."""
        return self._sum("get_num_episodes_evicted", module_id)

    @property
    def episodes(self) -> list[Any]:
        """The agents' episodes in the buffer."""
        return [e for b in self._buffers.values() for e in b.episodes]

    def get_metrics(self) -> dict[str, Any]:
        """Counts by module."""
        return {module_id: buffer.get_metrics() for module_id, buffer in self._buffers.items()}

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """States by module."""
        return {"buffers": {m: b.get_state() for m, b in self._buffers.items()}, "env_steps": self._env_steps}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        self._buffers = {}
        for module_id, own in state["buffers"].items():
            self._of(module_id).set_state(own)
        self._env_steps = state["env_steps"]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {"capacity": self.capacity, **self._settings}


class MultiAgentPrioritizedEpisodeReplayBuffer(MultiAgentEpisodeReplayBuffer):
    """The same, drawn by priority."""

    KIND = PrioritizedEpisodeReplayBuffer

    def __init__(
        self,
        capacity: int = 10000,
        *,
        batch_size_B: int = 16,
        batch_length_T: int = 1,
        alpha: float = 1.0,
        metrics_num_episodes_for_smoothing: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            capacity,
            batch_size_B=batch_size_B,
            batch_length_T=batch_length_T,
            metrics_num_episodes_for_smoothing=metrics_num_episodes_for_smoothing,
            alpha=alpha,
            **kwargs,
        )

    def update_priorities(
        self, priorities: np.ndarray | dict[str, np.ndarray], module_id: str | None = None
    ) -> None:
        """New priorities of what was drawn last, of a module or by module."""
        if isinstance(priorities, dict):
            for own, values in priorities.items():
                self._buffers[own].update_priorities(values)
        else:
            self._buffers[module_id or DEFAULT_MODULE_ID].update_priorities(priorities)
