"""ConnectorV2: one step on the way from episodes to a module's batch, from its outputs to actions, or to a
train batch.

While a batch is being built, a column is a dict: (episode id,) or (episode id, agent id, module id) -> list
of items. An item is one step's value, or a `BatchedNdArray`: several steps' values with a first axis. So a
whole episode is added at once, without a loop over its steps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from rayjup.rllib.utils.checkpoints import Checkpointable


class BatchedNdArray(np.ndarray):
    """An array whose first axis counts items."""

    def __new__(cls, array: Any) -> BatchedNdArray:
        return np.asarray(array).view(cls)


class ConnectorV2(Checkpointable):
    """Base of connectors: override `__call__`, and the ``recompute_…`` methods where spaces change.

    Examples
    --------
    >>> from rayjup.rllib.connectors.connector_v2 import ConnectorV2
    >>> class Negative(ConnectorV2):
    ...     def __call__(self, *, rl_module, batch, episodes, **kwargs):
    ...         self.foreach_batch_item_change_in_place(batch, "obs", lambda item, *ids: -item)
    ...         return batch
    >>> Negative()(rl_module=None, batch={"obs": {("a",): [1.0, 2.0]}}, episodes=[])
    {'obs': {('a',): [-1.0, -2.0]}}
    """

    def __init__(
        self, input_observation_space: Any = None, input_action_space: Any = None, **kwargs: Any
    ) -> None:
        self._kwargs = kwargs
        self._input_observation_space, self._input_action_space = input_observation_space, input_action_space
        self._update_spaces()

    def __call__(
        self,
        *,
        rl_module: Any,
        batch: dict[str, Any],
        episodes: list[Any],
        explore: bool | None = None,
        shared_data: dict | None = None,
        metrics: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Change the batch (or the episodes) and return the batch."""
        raise TypeError(f"{type(self).__name__} must define __call__().")

    # ------------------------------------------------------------ spaces

    @property
    def input_observation_space(self) -> Any:
        """Observations this gets."""
        return self._input_observation_space

    @input_observation_space.setter
    def input_observation_space(self, value: Any) -> None:
        self._input_observation_space = value
        self._update_spaces()

    @property
    def input_action_space(self) -> Any:
        """Actions this gets."""
        return self._input_action_space

    @input_action_space.setter
    def input_action_space(self, value: Any) -> None:
        self._input_action_space = value
        self._update_spaces()

    @property
    def observation_space(self) -> Any:
        """Observations behind this."""
        return self._observation_space

    @property
    def action_space(self) -> Any:
        """Actions behind this."""
        return self._action_space

    def _update_spaces(self) -> None:
        observation, action = self._input_observation_space, self._input_action_space
        self._observation_space, self._action_space = observation, action
        if observation is not None:
            self._observation_space = self.recompute_output_observation_space(observation, action)
        if action is not None:
            self._action_space = self.recompute_output_action_space(observation, action)

    def recompute_output_observation_space(
        self, input_observation_space: Any, input_action_space: Any
    ) -> Any:
        """The space of observations behind this: the same, unless overridden."""
        return input_observation_space

    def recompute_output_action_space(self, input_observation_space: Any, input_action_space: Any) -> Any:
        """The space of actions behind this: the same, unless overridden."""
        return input_action_space

    # ------------------------------------------------------------ episodes and batches

    @staticmethod
    def single_agent_episode_iterator(
        episodes: list[Any],
        agents_that_stepped_only: bool = True,
        zip_with_batch_column: Any = None,
    ) -> Iterator[Any]:
        """The agents' episodes inside of multi-agent ones; single-agent ones as they are.

        Parameters
        ----------
        episodes
            Of both kinds.
        agents_that_stepped_only
            Pass over agents that are not to act now.
        zip_with_batch_column
            A column's items come along, as (episode, item).
        """
        flat: list[Any] = []
        for episode in episodes:
            if hasattr(episode, "agent_episodes"):
                agents = episode.get_agents_to_act() if agents_that_stepped_only else episode.agent_ids
                flat.extend(episode.agent_episodes[a] for a in episode.agent_ids if a in agents)
            else:
                flat.append(episode)
        if zip_with_batch_column is None:
            yield from flat
        elif isinstance(zip_with_batch_column, list):
            yield from zip(flat, zip_with_batch_column, strict=True)
        else:
            places: dict[Any, int] = {}
            for episode in flat:
                key = sub_key(episode)
                place = places.get(key, 0)
                places[key] = place + 1
                yield episode, zip_with_batch_column[key][place]

    @staticmethod
    def add_batch_item(
        batch: dict[str, Any], column: str, item_to_add: Any, single_agent_episode: Any = None
    ) -> None:
        """Add one step's value to a column."""
        if single_agent_episode is None:
            batch.setdefault(column, []).append(item_to_add)
        else:
            batch.setdefault(column, {}).setdefault(sub_key(single_agent_episode), []).append(item_to_add)

    @staticmethod
    def add_n_batch_items(
        batch: dict[str, Any],
        column: str,
        items_to_add: Any,
        num_items: int,
        single_agent_episode: Any = None,
    ) -> None:
        """Add several steps' values: a list, or arrays with a first axis of ``num_items``."""
        if isinstance(items_to_add, list):
            if len(items_to_add) != num_items:
                raise ValueError(f"{len(items_to_add)} items for {column!r}, not {num_items}.")
            new = items_to_add
        else:
            from rayjup.rllib.utils import nested

            new = [nested.map_leaves(BatchedNdArray, items_to_add)]
        if single_agent_episode is None:
            batch.setdefault(column, []).extend(new)
        else:
            batch.setdefault(column, {}).setdefault(sub_key(single_agent_episode), []).extend(new)

    @staticmethod
    def foreach_batch_item_change_in_place(
        batch: dict[str, Any], column: str | list[str] | tuple[str, ...], func: Callable[..., Any]
    ) -> None:
        """Replace items by ``func(item, episode_id, agent_id, module_id)``; with several columns, by a
        tuple of theirs.
        """
        columns = [column] if isinstance(column, str) else list(column)
        first = batch.get(columns[0])
        if first is None:
            raise ValueError(f"no column {columns[0]!r} in the batch: it has {sorted(batch)}.")
        lists = {None: first} if isinstance(first, list) else first
        for key, items in lists.items():
            ids = (None, None, None) if key is None else (*key, None, None)[:3]
            rows = [batch[c] if key is None else batch[c][key] for c in columns]
            for place in range(len(items)):
                values = [row[place] for row in rows]
                new = func(values[0] if isinstance(column, str) else values, *ids)
                for row, value in zip(rows, [new] if isinstance(column, str) else new, strict=True):
                    row[place] = value

    @staticmethod
    def switch_batch_from_column_to_module_ids(batch: dict[str, Any]) -> dict[str, Any]:
        """From ``{column: {module id: values}}`` to ``{module id: {column: values}}``."""
        switched: dict[str, Any] = {}
        for column, by_module in batch.items():
            for module_id, values in by_module.items():
                switched.setdefault(module_id, {})[column] = values
        return switched

    # ------------------------------------------------------------ state

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """What this has learnt about the data; nothing, unless overridden."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state."""

    def reset_state(self) -> None:
        """Forget."""

    def merge_states(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        """One state out of those of several runners."""
        return {}

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {
            "input_observation_space": self._input_observation_space,
            "input_action_space": self._input_action_space,
            **self._kwargs,
        }

    def __repr__(self) -> str:
        return type(self).__name__


def sub_key(episode: Any) -> tuple:
    """Where an episode's items lie in a column."""
    if episode.agent_id is not None and episode.multi_agent_episode_id is not None:
        return episode.multi_agent_episode_id, episode.agent_id, episode.module_id
    return (episode.id_,)


def episodes_of(episodes: list[Any]) -> Iterator[Any]:
    """All single-agent episodes with steps in them."""
    for episode in ConnectorV2.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
        if len(episode):
            yield episode
