"""Replay buffers.

``EpisodeReplayBuffer``, ``PrioritizedEpisodeReplayBuffer`` and their multi-agent forms are what the
algorithms use; those of `batch_buffers` hold batches, for training loops of one's own.
"""

from __future__ import annotations

from typing import Any

from rayjup.rllib.utils.replay_buffers.batch_buffers import (
    FifoReplayBuffer,
    MultiAgentMixInReplayBuffer,
    MultiAgentPrioritizedReplayBuffer,
    MultiAgentReplayBuffer,
    PrioritizedReplayBuffer,
    ReplayBuffer,
    ReplayMode,
    ReservoirReplayBuffer,
    StorageUnit,
)
from rayjup.rllib.utils.replay_buffers.episode_replay_buffer import (
    EpisodeReplayBuffer,
    PrioritizedEpisodeReplayBuffer,
)
from rayjup.rllib.utils.replay_buffers.multi_agent_episode_buffer import (
    MultiAgentEpisodeReplayBuffer,
    MultiAgentPrioritizedEpisodeReplayBuffer,
)

_NAMES = {
    kind.__name__: kind
    for kind in (
        EpisodeReplayBuffer,
        PrioritizedEpisodeReplayBuffer,
        MultiAgentEpisodeReplayBuffer,
        MultiAgentPrioritizedEpisodeReplayBuffer,
    )
}


def make(config: dict[str, Any], *, multi_agent: bool, seed: int | None) -> Any:
    """The buffer a ``replay_buffer_config`` describes, for as many modules as there are."""
    settings = {k: v for k, v in config.items() if k not in ("type", "beta") and not k.startswith("_")}
    kind = config.get("type", "PrioritizedEpisodeReplayBuffer")
    if isinstance(kind, type) and issubclass(kind, ReplayBuffer):
        kind = kind.__name__
    if isinstance(kind, str):
        name = kind.rsplit(".", 1)[-1]
        if "Episode" not in name:  # a buffer of the old stack: the one of this stack with its meaning
            prioritized = "Prioritized" in name and config.get("prioritized_replay", True)
            name = "PrioritizedEpisodeReplayBuffer" if prioritized else "EpisodeReplayBuffer"
            settings = {k: v for k, v in settings.items() if k in ("capacity", "alpha")}
        if multi_agent and not name.startswith("MultiAgent"):
            name = f"MultiAgent{name}"
        if name not in _NAMES:
            raise ValueError(f"replay buffer {kind!r}: one of {sorted(_NAMES)}, or a class.")
        kind = _NAMES[name]
    if not issubclass(kind, PrioritizedEpisodeReplayBuffer | MultiAgentPrioritizedEpisodeReplayBuffer):
        settings.pop("alpha", None)
    return kind(**{"seed": seed, **settings})


__all__ = [
    "EpisodeReplayBuffer",
    "FifoReplayBuffer",
    "MultiAgentEpisodeReplayBuffer",
    "MultiAgentMixInReplayBuffer",
    "MultiAgentPrioritizedEpisodeReplayBuffer",
    "MultiAgentPrioritizedReplayBuffer",
    "MultiAgentReplayBuffer",
    "PrioritizedEpisodeReplayBuffer",
    "PrioritizedReplayBuffer",
    "ReplayBuffer",
    "ReplayMode",
    "ReservoirReplayBuffer",
    "StorageUnit",
]
