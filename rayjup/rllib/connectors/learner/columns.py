"""Columns of train batches: actions, rewards, ends, outputs; next observations; infos; returns to go."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.connectors.connector_v2 import ConnectorV2, episodes_of
from rayjup.rllib.core.columns import Columns


class AddColumnsFromEpisodesToTrainBatch(ConnectorV2):
    """Actions, rewards, terminateds, truncateds and the module's extra outputs (but for states)."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add those columns that are not there yet."""
        present = set(batch)
        for episode in episodes_of(episodes):
            steps = len(episode)
            if Columns.ACTIONS not in present:
                self.add_n_batch_items(batch, Columns.ACTIONS, episode.get_actions(), steps, episode)
            if Columns.REWARDS not in present:
                rewards = np.asarray(episode.get_rewards(), np.float32)
                self.add_n_batch_items(batch, Columns.REWARDS, rewards, steps, episode)
            for column, end in (
                (Columns.TERMINATEDS, episode.is_terminated),
                (Columns.TRUNCATEDS, episode.is_truncated),
            ):
                if column not in present:
                    ends = np.zeros(steps, bool)
                    ends[-1] = end
                    self.add_n_batch_items(batch, column, ends, steps, episode)
            for key in episode.extra_model_outputs:
                if key not in present and key != Columns.STATE_OUT:
                    self.add_n_batch_items(batch, key, episode.get_extra_model_outputs(key), steps, episode)
        return batch


class AddNextObservationsFromEpisodesToTrainBatch(ConnectorV2):
    """Observations one step later, as "new_obs"."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add the column."""
        if Columns.NEXT_OBS not in batch:
            for episode in episodes_of(episodes):
                later = episode.get_observations(slice(1, len(episode) + 1))
                self.add_n_batch_items(batch, Columns.NEXT_OBS, later, len(episode), episode)
        return batch


class AddInfosFromEpisodesToTrainBatch(ConnectorV2):
    """The environment's info dicts, as "infos"."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add the column."""
        if Columns.INFOS not in batch:
            for episode in episodes_of(episodes):
                infos = list(episode.get_infos(slice(0, len(episode))))
                self.add_n_batch_items(batch, Columns.INFOS, infos, len(episode), episode)
        return batch


class ComputeReturnsToGo(ConnectorV2):
    """Discounted sums of the rewards from each step to the episode's end, as "returns_to_go"."""

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        gamma: float = 0.99,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, gamma=gamma, **kwargs)
        self.gamma = gamma

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add the column."""
        for episode in episodes_of(episodes):
            self.add_n_batch_items(
                batch,
                Columns.RETURNS_TO_GO,
                returns_to_go(np.asarray(episode.get_rewards(), np.float64), self.gamma).astype(np.float32),
                len(episode),
                episode,
            )
        return batch


def returns_to_go(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """Discounted sums from each step to the end.

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.rllib.connectors.learner.columns import returns_to_go
    >>> returns_to_go(np.array([1.0, 1.0, 1.0]), 0.5)
    array([1.75, 1.5 , 1.  ])
    """
    total, sums = 0.0, np.empty_like(rewards)
    for t in range(len(rewards) - 1, -1, -1):
        total = rewards[t] + gamma * total
        sums[t] = total
    return sums


class AddOneTsToEpisodesAndTruncate(ConnectorV2):
    """One artificial step more per episode, so that a recurrent module also sees the last observation.

    Its reward is 0 and it is masked out of the loss ("loss_mask").
    """

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Lengthen the single-agent episodes in the list (copies take their places)."""
        for place, episode in enumerate(episodes):
            if hasattr(episode, "agent_episodes"):
                for agent, own in list(episode.agent_episodes.items()):
                    if len(own):
                        episode.agent_episodes[agent] = _longer(own)
                        self._mask(batch, episode.agent_episodes[agent])
            elif len(episode):
                episodes[place] = _longer(episode)
                self._mask(batch, episodes[place])
        return batch

    def _mask(self, batch: dict, episode: Any) -> None:
        mask = np.ones(len(episode), bool)
        mask[-1] = False
        self.add_n_batch_items(batch, Columns.LOSS_MASK, mask, len(episode), episode)


def _longer(episode: Any) -> Any:
    new = episode.slice(slice(0, len(episode)))
    terminated, truncated = new.is_terminated, new.is_truncated
    new.is_terminated = new.is_truncated = False
    last = len(new) - 1
    new.add_env_step(
        new.get_observations(-1),
        new.get_actions(last),
        0.0,
        extra_model_outputs={k: new.get_extra_model_outputs(k, last) for k in new.extra_model_outputs},
    )
    # Terminated or cut by something else: what follows the last real step is worth nothing, or its value.
    new.is_terminated, new.is_truncated = terminated, truncated or not terminated
    return new
