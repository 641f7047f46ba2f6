"""Datasets of Minari (`pip install minari`) as columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.core.columns import Columns
from rayjup.rllib.utils import nested


def columns_of(dataset_ids: list[str]) -> dict[str, Any]:
    """All episodes of the datasets, which must have been downloaded, row by row."""
    try:
        import minari
    except ImportError:
        raise ImportError("datasets of Minari need a package: pip install minari") from None
    parts: dict[str, list[Any]] = {}
    for dataset_id in dataset_ids:
        for episode in minari.load_dataset(dataset_id).iterate_episodes():
            steps = len(episode.rewards)
            own = {
                Columns.EPS_ID: np.repeat(f"{dataset_id}/{episode.id}", steps),
                Columns.T: np.arange(steps),
                Columns.OBS: nested.map_leaves(lambda leaf, n=steps: leaf[:n], episode.observations),
                Columns.NEXT_OBS: nested.map_leaves(
                    lambda leaf, n=steps: leaf[1 : n + 1], episode.observations
                ),
                Columns.ACTIONS: episode.actions,
                Columns.REWARDS: np.asarray(episode.rewards, np.float32),
                Columns.TERMINATEDS: np.asarray(episode.terminations, bool),
                Columns.TRUNCATEDS: np.asarray(episode.truncations, bool),
            }
            for key, values in own.items():
                parts.setdefault(key, []).append(values)
    return {key: nested.concatenate(values) for key, values in parts.items()}
