"""Episodes in Parquet files: one row per step.

Columns: ``eps_id``, ``agent_id``, ``module_id``, ``t``, ``obs``, ``new_obs``, ``actions``, ``rewards``,
``terminateds``, ``truncateds``, and the module's extra outputs. Arrays lie flattened in lists; their shapes
are in the schema's metadata. Composite observations (dicts, tuples) are pickled.
"""

from __future__ import annotations

import json
import pickle
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from rayjup.rllib.connectors.connector_v2 import episodes_of
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode
from rayjup.rllib.utils import nested

_META = b"rllib"
_KEPT = (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS)


def to_table(episodes: list[Any], *, normalized: bool) -> Any:
    """Episodes as an Arrow table.

    Parameters
    ----------
    episodes
        Single- or multi-agent ones.
    normalized
        Whether actions lie in [-1, 1] rather than in the bounds of the environment.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {}
    for episode in episodes_of(episodes):
        steps = len(episode)
        episode.to_numpy()
        ends = np.zeros((2, steps), bool)
        ends[:, -1] = episode.is_terminated, episode.is_truncated
        parts = {
            Columns.EPS_ID: np.repeat(episode.multi_agent_episode_id or episode.id_, steps),
            Columns.AGENT_ID: np.repeat(str(episode.agent_id), steps),
            Columns.MODULE_ID: np.repeat(str(episode.module_id), steps),
            Columns.T: np.arange(episode.t_started, episode.t),
            Columns.OBS: episode.get_observations(slice(0, steps)),
            Columns.NEXT_OBS: episode.get_observations(slice(1, steps + 1)),
            Columns.ACTIONS: episode.get_actions(),
            Columns.REWARDS: np.asarray(episode.get_rewards(), np.float32),
            Columns.TERMINATEDS: ends[0],
            Columns.TRUNCATEDS: ends[1],
        }
        for key in _KEPT:
            if key in episode.extra_model_outputs:
                parts[key] = episode.get_extra_model_outputs(key)
        for key, values in parts.items():
            columns.setdefault(key, []).append(values)
    arrays: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    for key, parts_of in columns.items():
        whole = nested.concatenate(parts_of)
        if isinstance(whole, (dict, tuple)):
            rows = [pickle.dumps(nested.take(whole, i)) for i in range(nested.length(whole))]
            arrays[key], shapes[key] = pa.array(rows, pa.binary()), "pickle"
        elif whole.ndim > 1:
            flat = np.ascontiguousarray(whole).reshape(len(whole), -1)
            arrays[key] = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])
            shapes[key] = list(whole.shape[1:])
        else:
            arrays[key] = pa.array(whole.tolist() if whole.dtype.kind == "U" else whole)
    table = pa.table(arrays)
    meta = json.dumps({"shapes": shapes, "normalized": normalized})
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _META: meta})


def write(episodes: list[Any], directory: str, *, normalized: bool, filesystem: Any = None) -> str:
    """Write a file into a directory; its path."""
    import pyarrow.parquet as pq

    name = f"{directory.rstrip('/')}/run-{time.time_ns()}-{uuid.uuid4().hex[:8]}.parquet"
    if filesystem is None:
        Path(directory).mkdir(parents=True, exist_ok=True)
    pq.write_table(to_table(episodes, normalized=normalized), name, filesystem=filesystem)
    return name


def columns_of(table: Any, schema: dict[str, str] | None = None) -> tuple[dict[str, Any], bool | None]:
    """A table as arrays by column, and whether its actions are normalized (None: it does not say).

    Parameters
    ----------
    table
        With the columns above, or with others that ``schema`` names: ``{"obs": "my_observations"}``.
    """
    meta = json.loads((table.schema.metadata or {}).get(_META, b"{}"))
    shapes = meta.get("shapes", {})
    names = {own: theirs for own, theirs in (schema or {}).items() if theirs in table.column_names}
    found = {}
    for column in table.column_names:
        own = next((o for o, theirs in names.items() if theirs == column), column)
        data = table[column].combine_chunks()
        shape = shapes.get(column)
        if shape == "pickle":
            found[own] = nested.stack([pickle.loads(v) for v in data.to_pylist()])
        elif str(data.type).startswith(("fixed_size_list", "list", "large_list")):
            rows = len(table)
            flat = data.flatten()
            while str(flat.type).startswith(("fixed_size_list", "list", "large_list")):
                flat = flat.flatten()
            found[own] = flat.to_numpy(zero_copy_only=False).reshape(rows, *(shape or [-1]))
        else:
            found[own] = data.to_numpy(zero_copy_only=False)
    return found, meta.get("normalized")


def to_episodes(columns: dict[str, Any]) -> list[SingleAgentEpisode]:
    """Columns as episodes: rows of one episode (and agent) belong together, in the order of ``t``."""
    rows = nested.length(columns[Columns.OBS])
    names = columns.get(Columns.EPS_ID)
    if names is None:  # rows in order, ends say where episodes are
        ends = np.asarray(columns[Columns.TERMINATEDS], bool) | np.asarray(
            columns.get(Columns.TRUNCATEDS, np.zeros(rows, bool)), bool
        )
        number = np.concatenate([[0], np.cumsum(ends)[:-1]])
    else:
        agents = columns.get(Columns.AGENT_ID, np.repeat("", rows))
        both = np.char.add(np.asarray(names, str), np.asarray(agents, str))
        _, number = np.unique(both, return_inverse=True)
    times = np.asarray(columns.get(Columns.T, np.arange(rows)))
    order = np.lexsort((times, number))
    cuts = np.flatnonzero(np.diff(number[order])) + 1
    found = []
    for place in np.split(order, cuts):
        seen = nested.take(columns[Columns.OBS], place)
        if Columns.NEXT_OBS in columns:
            last = nested.take(columns[Columns.NEXT_OBS], place[-1:])
        else:  # without it, the last observation stands for what follows
            last = nested.map_leaves(lambda leaf: leaf[-1:], seen)
        observations = nested.map_leaves(lambda a, b: np.concatenate([a, b]), seen, last)
        extra = {k: nested.take(columns[k], place) for k in _KEPT if k in columns}
        truncateds = columns.get(Columns.TRUNCATEDS)
        found.append(
            SingleAgentEpisode(
                None if names is None else str(names[place[0]]),
                observations=observations,
                actions=nested.take(columns[Columns.ACTIONS], place),
                rewards=np.asarray(columns[Columns.REWARDS], np.float32)[place],
                extra_model_outputs=extra,
                terminated=bool(columns[Columns.TERMINATEDS][place[-1]]),
                truncated=False if truncateds is None else bool(truncateds[place[-1]]),
                t_started=int(times[place[0]]) if Columns.T in columns else 0,
                len_lookback_buffer=0,
                module_id=None
                if Columns.MODULE_ID not in columns
                else str(columns[Columns.MODULE_ID][place[0]]),
            )
        )
    return found
