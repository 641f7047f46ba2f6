"""Connectors that change observations: flattening, standardizing, adding what was done before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from rayjup.rllib.connectors.connector_v2 import ConnectorV2
from rayjup.rllib.core.columns import Columns


class ObservationPreprocessor(ConnectorV2):
    """Base of connectors that change the newest observation, in the episode itself.

    Because the episode keeps what `preprocess` returns, learners see the same as the module in the runner.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        multi_agent: bool = False,
        agent_ids: Collection[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._multi_agent, self._agent_ids = multi_agent, agent_ids
        super().__init__(
            input_observation_space,
            input_action_space,
            multi_agent=multi_agent,
            agent_ids=agent_ids,
            **kwargs,
        )

    def preprocess(self, observation: Any, episode: Any) -> Any:
        """The changed observation."""
        raise TypeError(f"{type(self).__name__} must define preprocess().")

    def output_space(self, space: Any, action_space: Any) -> Any:
        """The space of changed observations."""
        return space

    def recompute_output_observation_space(
        self, input_observation_space: Any, input_action_space: Any
    ) -> Any:
        """By agent, in multi-agent pipelines."""
        if self._multi_agent and hasattr(input_observation_space, "spaces"):
            from gymnasium.spaces import Dict

            actions = getattr(input_action_space, "spaces", {})
            return Dict({
                agent: self.output_space(space, actions.get(agent))
                if self._agent_ids is None or agent in self._agent_ids
                else space
                for agent, space in input_observation_space.spaces.items()
            })  # fmt: skip
        return self.output_space(input_observation_space, input_action_space)

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Change the newest observation of every episode."""
        for episode in self.single_agent_episode_iterator(episodes):
            if self._agent_ids is None or episode.agent_id in self._agent_ids:
                changed = self.preprocess(episode.get_observations(-1), episode)
                episode.set_observations(at_indices=-1, new_data=changed)
                episode.observation_space = self._space_of(episode)
        return batch

    def _space_of(self, episode: Any) -> Any:
        space = self.observation_space
        if self._multi_agent and hasattr(space, "spaces"):
            return space.spaces.get(episode.agent_id, space)
        return space


class FlattenObservations(ObservationPreprocessor):
    """Observations of any space as vectors, discrete parts one-hot.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from rayjup.rllib.connectors.env_to_module import FlattenObservations
    >>> FlattenObservations(gym.spaces.Discrete(4), gym.spaces.Discrete(2)).observation_space.shape
    (4,)
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        multi_agent: bool = False,
        agent_ids: Collection[Any] | None = None,
        keys_to_remove: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self._without = set(keys_to_remove or ())
        super().__init__(
            input_observation_space,
            input_action_space,
            multi_agent=multi_agent,
            agent_ids=agent_ids,
            keys_to_remove=keys_to_remove,
            **kwargs,
        )

    def _part(self, space: Any) -> Any:
        if not self._without:
            return space
        from gymnasium.spaces import Dict

        return Dict({key: sub for key, sub in space.spaces.items() if key not in self._without})

    def output_space(self, space: Any, action_space: Any) -> Any:
        """A box."""
        from gymnasium.spaces import Box
        from gymnasium.spaces.utils import flatdim

        return Box(-np.inf, np.inf, (flatdim(self._part(space)),), np.float32)

    def preprocess(self, observation: Any, episode: Any) -> Any:
        """A vector of float32."""
        from gymnasium.spaces.utils import flatten

        space = self.input_observation_space
        if self._multi_agent:
            space = space.spaces[episode.agent_id]
        part = self._part(space)
        if self._without:
            observation = {key: observation[key] for key in part.spaces}
        return np.asarray(flatten(part, observation), np.float32)


class MeanStdFilter(ObservationPreprocessor):
    """Observations minus their running mean, divided by their running standard deviation.

    Statistics are summed as in Chan, Golub, LeVeque 1983, so those of several runners join exactly.
    """

    def __init__(
        self,
        *,
        multi_agent: bool = False,
        de_mean_to_zero: bool = True,
        de_std_to_one: bool = True,
        clip_by_value: float | None = 10.0,
        update_stats: bool = True,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        **kwargs: Any,
    ) -> None:
        self.de_mean, self.de_std = de_mean_to_zero, de_std_to_one
        self.clip, self.update = clip_by_value, update_stats
        self._stats: dict[Any, list[Any]] = {}  # agent -> [count, mean, sum of squared differences]
        self._new: dict[Any, list[Any]] = {}  # the same, since the last merge
        super().__init__(
            input_observation_space,
            input_action_space,
            multi_agent=multi_agent,
            de_mean_to_zero=de_mean_to_zero,
            de_std_to_one=de_std_to_one,
            clip_by_value=clip_by_value,
            update_stats=update_stats,
            **kwargs,
        )

    def output_space(self, space: Any, action_space: Any) -> Any:
        """A box within the clipping bounds."""
        from gymnasium.spaces import Box

        bound = np.inf if self.clip is None else self.clip
        return Box(-bound, bound, space.shape, np.float32)

    def preprocess(self, observation: Any, episode: Any) -> Any:
        """Standardize."""
        x = np.asarray(observation, np.float64)
        agent = episode.agent_id if self._multi_agent else None
        if self.update:
            for stats in (self._stats, self._new):
                stats[agent] = joined(stats.get(agent), [1, x, np.zeros_like(x)])
        count, mean, squares = self._stats.get(agent, [0, np.zeros_like(x), np.zeros_like(x)])
        if self.de_mean:
            x = x - mean
        if self.de_std and count > 1:
            x = x / (np.sqrt(squares / (count - 1)) + 1e-8)
        if self.clip is not None:
            x = np.clip(x, -self.clip, self.clip)
        return x.astype(np.float32)

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Statistics by agent, and those that are new since the last state was set."""
        return {"stats": dict(self._stats), "new": dict(self._new)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take statistics; nothing is new then."""
        self._stats = {agent: list(s) for agent, s in state["stats"].items()}
        self._new = {}

    def reset_state(self) -> None:
        """Forget."""
        self._stats, self._new = {}, {}

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """What was known before, and what is new in each of the states."""
        whole = dict(self._stats)
        for state in states:
            for agent, new in state["new"].items():
                whole[agent] = joined(whole.get(agent), new)
        return {"stats": whole, "new": {}}


def joined(a: list[Any] | None, b: list[Any]) -> list[Any]:
    """[count, mean, squared differences] of two samples together."""
    if a is None:
        return list(b)
    count = a[0] + b[0]
    delta = b[1] - a[1]
    return [count, a[1] + delta * (b[0] / count), a[2] + b[2] + delta**2 * (a[0] * b[0] / count)]


class PrevActionsPrevRewards(ObservationPreprocessor):
    """Observations as dicts that also hold the last actions (one-hot where discrete) and rewards."""

    ORIG, ACTIONS, REWARDS = "_orig_obs", "prev_n_actions", "prev_n_rewards"

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        multi_agent: bool = False,
        n_prev_actions: int = 1,
        n_prev_rewards: int = 1,
        **kwargs: Any,
    ) -> None:
        self.n_prev_actions, self.n_prev_rewards = n_prev_actions, n_prev_rewards
        super().__init__(
            input_observation_space,
            input_action_space,
            multi_agent=multi_agent,
            n_prev_actions=n_prev_actions,
            n_prev_rewards=n_prev_rewards,
            **kwargs,
        )

    def output_space(self, space: Any, action_space: Any) -> Any:
        """A dict."""
        from gymnasium.spaces import Box, Dict

        parts = {self.ORIG: space}
        if self.n_prev_actions:
            width = self.n_prev_actions * _width(action_space)
            parts[self.ACTIONS] = Box(-np.inf, np.inf, (width,), np.float32)
        if self.n_prev_rewards:
            parts[self.REWARDS] = Box(-np.inf, np.inf, (self.n_prev_rewards,), np.float32)
        return Dict(parts)

    def preprocess(self, observation: Any, episode: Any) -> Any:
        """Zeros stand for what lies before the episode."""
        from gymnasium.spaces.utils import flatten

        space = self.input_action_space
        if self._multi_agent:
            space = space.spaces[episode.agent_id]
        parts = {self.ORIG: observation}
        done = episode.rewards.len_incl_lookback()
        if self.n_prev_actions:
            width = _width(space)
            rows = np.zeros((self.n_prev_actions, width), np.float32)
            for back in range(1, min(self.n_prev_actions, done) + 1):
                rows[-back] = flatten(space, episode.get_actions(-back))
            parts[self.ACTIONS] = rows.reshape(-1)
        if self.n_prev_rewards:
            rewards = np.zeros(self.n_prev_rewards, np.float32)
            for back in range(1, min(self.n_prev_rewards, done) + 1):
                rewards[-back] = episode.get_rewards(-back)
            parts[self.REWARDS] = rewards
        return parts


def _width(space: Any) -> int:
    from gymnasium.spaces.utils import flatdim

    return flatdim(space)


class WriteObservationsToEpisodes(ConnectorV2):
    """Puts the observations of the batch, changed by connectors before this, into the episodes."""

    def recompute_output_observation_space(
        self, input_observation_space: Any, input_action_space: Any
    ) -> Any:
        """As they come."""
        return input_observation_space

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Replace the newest observations."""
        for episode, observation in self.single_agent_episode_iterator(
            episodes, zip_with_batch_column=batch[Columns.OBS]
        ):
            episode.observation_space = None
            episode.set_observations(at_indices=-1, new_data=observation)
        return batch
