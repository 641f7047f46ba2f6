"""From a module's outputs to actions of environments."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.connectors.common.batches import MAP_OF_ROWS
from rayjup.rllib.connectors.connector_v2 import ConnectorV2
from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.utils import nested


class GetActions(ConnectorV2):
    """Draws actions where the module returned the inputs of a distribution; adds their log-likelihood."""

    def __call__(
        self, *, rl_module: Any, batch: dict, episodes: list, explore: bool | None = None, **kwargs: Any
    ) -> Any:
        """Add "actions" (and "action_logp", when exploring)."""
        generator = kwargs.get("generator")
        if hasattr(rl_module, "foreach_module"):
            if batch and all(key in rl_module for key in batch):
                for module_id, outputs in batch.items():
                    actions_of(rl_module[module_id], outputs, bool(explore), generator)
                return batch
            rl_module = next(iter(rl_module.values()))
        actions_of(rl_module, batch, bool(explore), generator)
        return batch


def actions_of(module: Any, outputs: dict[str, Any], explore: bool, generator: Any = None) -> None:
    """Add actions to the outputs of ``forward_exploration`` or ``forward_inference``."""
    if Columns.ACTIONS in outputs:
        return
    if Columns.ACTION_DIST_INPUTS not in outputs:
        raise ValueError(
            f"{type(module).__name__} returned neither 'actions' nor 'action_dist_inputs' but "
            f"{sorted(outputs)}."
        )
    kind = module.get_exploration_action_dist_cls() if explore else module.get_inference_action_dist_cls()
    distribution = kind.from_logits(outputs[Columns.ACTION_DIST_INPUTS])
    if not explore:
        outputs[Columns.ACTIONS] = distribution.to_deterministic().sample()
    elif hasattr(distribution, "sample_and_logp"):
        actions, logp = distribution.sample_and_logp(generator=generator)
        outputs[Columns.ACTIONS], outputs[Columns.ACTION_LOGP] = actions, logp
    else:
        outputs[Columns.ACTIONS] = distribution.sample(generator=generator)
        if not hasattr(distribution, "loc"):
            outputs[Columns.ACTION_LOGP] = distribution.logp(outputs[Columns.ACTIONS])


class RemoveSingleTsTimeRankFromBatch(ConnectorV2):
    """Takes the time axis of length 1 away that recurrent modules got."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Change all columns but "state_out"."""
        multi = hasattr(rl_module, "foreach_module")
        if multi and batch and all(key in rl_module for key in batch):
            for module_id, columns in batch.items():
                if rl_module[module_id].is_stateful():
                    _remove_time(columns)
        elif rl_module.is_stateful():
            _remove_time(batch)
        return batch


def _remove_time(columns: dict[str, Any]) -> None:
    for column, values in columns.items():
        if column != Columns.STATE_OUT:
            columns[column] = nested.map_leaves(lambda leaf: leaf[:, 0], values)


class UnBatchToIndividualItems(ConnectorV2):
    """Arrays as lists of items, under their episodes again."""

    def __call__(
        self, *, rl_module: Any, batch: dict, episodes: list, shared_data: Any = None, **kwargs: Any
    ) -> Any:
        """Split the first axis."""
        rows = (shared_data or {}).get(MAP_OF_ROWS) or {}
        if hasattr(rl_module, "foreach_module") and batch and all(key in rl_module for key in batch):
            return {m: _split(columns, rows.get(m)) for m, columns in batch.items()}
        return _split(batch, rows.get(DEFAULT_MODULE_ID))


def _split(columns: dict[str, Any], keys: list | None) -> dict[str, Any]:
    split: dict[str, Any] = {}
    for column, values in columns.items():
        count = nested.length(values)
        items = [nested.take(values, place) for place in range(count)]
        if keys is None:
            split[column] = items
            continue
        by_key: dict[Any, list] = {}
        for key, item in zip(keys, items, strict=True):
            by_key.setdefault(key, []).append(item)
        split[column] = by_key
    return split


class ModuleToAgentUnmapping(ConnectorV2):
    """From ``{module: {column: items}}`` back to ``{column: items}`` under episodes and agents."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Join the modules' columns."""
        joined: dict[str, dict] = {}
        for columns in batch.values():
            for column, by_key in columns.items():
                joined.setdefault(column, {}).update(by_key)
        return joined


class NormalizeAndClipActions(ConnectorV2):
    """Scales actions from [-1, 1] to the space's bounds, or clips them there; as "actions_for_env".

    Parameters
    ----------
    normalize_actions
        Scale; the module then works in [-1, 1].
    clip_actions
        Clip; only without ``normalize_actions``.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        normalize_actions: bool = True,
        clip_actions: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_observation_space,
            input_action_space,
            normalize_actions=normalize_actions,
            clip_actions=clip_actions,
            **kwargs,
        )
        self.normalize, self.clip = normalize_actions, clip_actions

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add the column, if it differs."""
        if not (self.normalize or self.clip) or Columns.ACTIONS not in batch:
            return batch
        spaces = getattr(self.input_action_space, "spaces", None)

        def change(item: Any, episode_id: Any, agent_id: Any, module_id: Any) -> Any:
            space = self.input_action_space
            if agent_id is not None and spaces is not None and agent_id in spaces:
                space = spaces[agent_id]
            return for_env(space, item, self.normalize, self.clip)

        column = batch[Columns.ACTIONS]
        batch[Columns.ACTIONS_FOR_ENV] = (
            {key: list(items) for key, items in column.items()} if isinstance(column, dict) else list(column)
        )
        self.foreach_batch_item_change_in_place(batch, Columns.ACTIONS_FOR_ENV, change)
        return batch


def for_env(space: Any, action: Any, normalize: bool, clip: bool) -> Any:
    """Actions (one, or a batch) as the environment takes them."""
    spaces: Any = getattr(space, "spaces", None)
    if isinstance(spaces, dict) and isinstance(action, dict):
        return {key: for_env(spaces[key], part, normalize, clip) for key, part in action.items()}
    if isinstance(action, tuple):
        return tuple(for_env(sub, part, normalize, clip) for sub, part in zip(spaces, action, strict=True))
    low = getattr(space, "low", None)
    if low is None or not np.issubdtype(space.dtype, np.floating):
        return action
    if normalize:
        if not space.is_bounded():
            return action
        scaled = low + (np.clip(action, -1.0, 1.0) + 1.0) * (space.high - low) / 2.0
        return scaled.astype(space.dtype)
    return np.clip(action, low, space.high) if clip else action


def to_unit(space: Any, action: np.ndarray) -> np.ndarray:
    """Actions of an environment as the module works with them, in [-1, 1]: the reverse of `for_env`."""
    if (
        getattr(space, "low", None) is None
        or not np.issubdtype(space.dtype, np.floating)
        or not space.is_bounded()
    ):
        return action
    return (2.0 * (action - space.low) / (space.high - space.low) - 1.0).astype(space.dtype)


class ListifyDataForVectorEnv(ConnectorV2):
    """Columns as lists in the order of the environments."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """One item per episode; dicts by agent for multi-agent episodes."""
        for column, by_key in list(batch.items()):
            if not isinstance(by_key, dict):
                continue
            if any(hasattr(e, "agent_episodes") for e in episodes):
                rows: list[Any] = [{} for _ in episodes]
                places = {e.id_: place for place, e in enumerate(episodes)}
                for key, items in by_key.items():
                    rows[places[key[0]]][key[1]] = items[0]
                batch[column] = rows
            else:
                batch[column] = [by_key[(e.id_,)].pop(0) for e in episodes if by_key.get((e.id_,))]
        return batch
