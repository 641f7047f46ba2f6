"""From episodes to columns: observations, states of recurrent modules, the time axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.connectors.connector_v2 import BatchedNdArray, ConnectorV2, episodes_of, sub_key
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.utils import nested


class _FromEpisodes(ConnectorV2):
    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        as_learner_connector: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            input_observation_space, input_action_space, as_learner_connector=as_learner_connector, **kwargs
        )
        self._for_learner = as_learner_connector


class AddObservationsFromEpisodesToBatch(_FromEpisodes):
    """The newest observation of every episode; in learners all of them but the last."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add the column "obs", unless there is one."""
        if Columns.OBS in batch:
            return batch
        if self._for_learner:
            for episode in episodes_of(episodes):
                observations = episode.get_observations(slice(0, len(episode)))
                self.add_n_batch_items(batch, Columns.OBS, observations, len(episode), episode)
        else:
            for episode in self.single_agent_episode_iterator(episodes):
                self.add_batch_item(batch, Columns.OBS, episode.get_observations(-1), episode)
        return batch


class AddStatesFromEpisodesToBatch(_FromEpisodes):
    """Where recurrent modules go on from: the state behind the step before."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Add the column "state_in" for modules with memory."""
        if not rl_module.is_stateful() or Columns.STATE_IN in batch:
            return batch
        source = episodes_of(episodes) if self._for_learner else self.single_agent_episode_iterator(episodes)
        for episode in source:
            module = _module_of(rl_module, episode)
            if not module.is_stateful():
                continue
            first = nested.map_leaves(lambda leaf: np.asarray(leaf), _arrays(module.get_initial_state()))
            has = Columns.STATE_OUT in episode.extra_model_outputs
            if not self._for_learner:
                known = has and len(episode.extra_model_outputs[Columns.STATE_OUT].data) > 0
                known = known and episode.extra_model_outputs[Columns.STATE_OUT].len_incl_lookback() > 0
                state = _at(episode, -1) if known and episode.t else first
                self.add_batch_item(batch, Columns.STATE_IN, state, episode)
                continue
            for start in range(0, len(episode), _sequence_length(module)):
                if episode.t_started + start == 0 or not has:
                    state = first
                elif start == 0:
                    buffer = episode.extra_model_outputs[Columns.STATE_OUT]
                    state = buffer.get(-1, neg_index_as_lookback=True) if buffer.lookback else first
                else:
                    state = _at(episode, start - 1)
                self.add_batch_item(batch, Columns.STATE_IN, state, episode)
        return batch


class AddTimeDimToBatchAndZeroPad(_FromEpisodes):
    """A time axis for recurrent modules: length 1 in env runners, sequences padded with zeros in learners."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Change all columns but "state_in"; add "loss_mask" and "seq_lens" in learners."""
        if not rl_module.is_stateful():
            return batch
        columns = [c for c in batch if c not in (Columns.STATE_IN, Columns.LOSS_MASK, Columns.INFOS)]
        if not self._for_learner:
            for column in columns:
                for items in batch[column].values():
                    items[:] = [
                        nested.map_leaves(lambda leaf: np.asarray(leaf)[None], item) for item in items
                    ]
            return batch
        for episode in episodes_of(episodes):
            module = _module_of(rl_module, episode)
            if not module.is_stateful():
                continue
            key, most, steps = sub_key(episode), _sequence_length(module), len(episode)
            lengths = [min(most, steps - start) for start in range(0, steps, most)]
            if Columns.LOSS_MASK in batch and key in batch[Columns.LOSS_MASK]:
                mask = np.concatenate([np.atleast_1d(m) for m in batch[Columns.LOSS_MASK][key]])
            else:
                mask = np.ones(steps, bool)
            for column in columns:
                if key in batch[column]:
                    whole = nested.concatenate([_with_axis(item) for item in batch[column][key]])
                    batch[column][key] = [
                        nested.map_leaves(lambda leaf, most=most: _padded(leaf, most), whole)
                    ]
            batch.setdefault(Columns.LOSS_MASK, {})[key] = [BatchedNdArray(_padded(mask, most))]
            batch.setdefault(Columns.SEQ_LENS, {})[key] = [BatchedNdArray(np.asarray(lengths, np.int32))]
        return batch


def _padded(leaf: np.ndarray, most: int) -> np.ndarray:
    sequences = -(-len(leaf) // most)
    whole = np.zeros((sequences * most, *leaf.shape[1:]), leaf.dtype)
    whole[: len(leaf)] = leaf
    return BatchedNdArray(whole.reshape(sequences, most, *leaf.shape[1:]))


def _with_axis(item: Any) -> Any:
    if isinstance(nested.first_leaf(item), BatchedNdArray):
        return item
    return nested.map_leaves(lambda leaf: np.asarray(leaf)[None], item)


def _module_of(rl_module: Any, episode: Any) -> Any:
    if not hasattr(rl_module, "foreach_module"):
        return rl_module
    return rl_module[episode.module_id] if episode.module_id in rl_module else next(iter(rl_module.values()))


def _sequence_length(module: Any) -> int:
    settings = module.model_config
    return int(settings["max_seq_len"] if isinstance(settings, dict) and "max_seq_len" in settings else
               getattr(settings, "max_seq_len", 20))  # fmt: skip


def _at(episode: Any, place: int) -> Any:
    return episode.get_extra_model_outputs(Columns.STATE_OUT, place)


def _arrays(structure: Any) -> Any:
    return nested.map_leaves(
        lambda leaf: leaf.detach().cpu().numpy() if hasattr(leaf, "detach") else leaf, structure
    )
