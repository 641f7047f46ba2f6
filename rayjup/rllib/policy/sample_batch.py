"""SampleBatch and MultiAgentBatch: columns of steps, as the older interfaces hand them on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.utils import nested


class SampleBatch(dict):
    """A dict of columns of equal length.

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.rllib import SampleBatch
    >>> batch = SampleBatch({"obs": np.arange(4), "rewards": np.ones(4)})
    >>> len(batch), batch[1:3]["obs"].tolist()
    (4, [1, 2])
    """

    OBS, CUR_OBS, NEXT_OBS = "obs", "obs", "new_obs"
    ACTIONS, REWARDS, INFOS, T = "actions", "rewards", "infos", "t"
    TERMINATEDS, TRUNCATEDS, DONES = "terminateds", "truncateds", "dones"
    EPS_ID, AGENT_INDEX, ENV_ID, UNROLL_ID, SEQ_LENS = (
        "eps_id",
        "agent_index",
        "env_id",
        "unroll_id",
        "seq_lens",
    )
    PREV_ACTIONS, PREV_REWARDS = "prev_actions", "prev_rewards"
    ACTION_DIST_INPUTS, ACTION_PROB, ACTION_LOGP = "action_dist_inputs", "action_prob", "action_logp"
    VF_PREDS, VALUES_BOOTSTRAPPED = "vf_preds", "values_bootstrapped"
    RETURNS_TO_GO, ATTENTION_MASKS = "returns_to_go", "attention_masks"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        training = kwargs.pop("_is_training", False)
        kwargs.pop("_max_seq_len", None)
        super().__init__(*args, **kwargs)
        for key, value in list(self.items()):
            if isinstance(value, list):
                self[key] = nested.stack(value) if value else np.empty(0)
        self._training = training
        lengths = {
            k: nested.length(v) for k, v in self.items() if k not in (self.SEQ_LENS,) and _has_length(v)
        }
        lengths = {k: n for k, n in lengths.items() if not k.startswith("state_in")}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of different lengths: {lengths}.")
        self.count = next(iter(lengths.values()), 0)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: Any) -> Any:
        return (
            self.slice(*key.indices(self.count)[:2]) if isinstance(key, slice) else super().__getitem__(key)
        )

    def get(self, key: Any, default: Any = None) -> Any:
        """A column, or ``default``."""
        return super().get(key, default)

    def env_steps(self) -> int:
        """Steps of the environment: rows."""
        return self.count

    def agent_steps(self) -> int:
        """Steps of the agent: rows."""
        return self.count

    @property
    def is_training(self) -> bool:
        """Whether the batch is for learning."""
        return bool(self._training)

    def set_training(self, training: Any = True) -> None:
        """Say whether the batch is for learning."""
        self._training = training

    def _made(self, columns: dict[str, Any]) -> SampleBatch:
        return SampleBatch(columns, _is_training=self._training)

    def copy(self, shallow: bool = False) -> SampleBatch:
        """A copy, with copies of the columns unless ``shallow``."""
        if shallow:
            return self._made(dict(self))
        return self._made({k: nested.map_leaves(_copied, v) for k, v in self.items()})

    def rows(self) -> Iterator[dict[str, Any]]:
        """Row after row, as dicts."""
        for i in range(self.count):
            yield {k: nested.take(v, i) for k, v in self.items() if k != self.SEQ_LENS}

    def columns(self, keys: list[str]) -> list[Any]:
        """Some columns."""
        return [self[key] for key in keys]

    def slice(self, start: int, end: int, state_start: Any = None, state_end: Any = None) -> SampleBatch:
        """Rows from ``start`` up to ``end``."""
        return self._made(
            {k: nested.take(v, slice(start, end)) for k, v in self.items() if k != self.SEQ_LENS}
        )

    def concat(self, other: SampleBatch) -> SampleBatch:
        """These rows and others'."""
        return concat_samples([self, other])

    def shuffle(self) -> SampleBatch:
        """Bring the rows into a random order, in place."""
        order = np.random.permutation(self.count)
        for key in list(self):
            if key != self.SEQ_LENS:
                self[key] = nested.take(self[key], order)
        return self

    def split_by_episode(self, key: str | None = None) -> list[SampleBatch]:
        """Batches of one episode each."""
        names = self.get(key or self.EPS_ID)
        if names is None and self.TERMINATEDS in self:
            ends = np.asarray(self[self.TERMINATEDS], bool) | np.asarray(
                self.get(self.TRUNCATEDS, np.zeros(self.count, bool)), bool
            )
            cuts = np.flatnonzero(ends)[:-1] + 1 if ends.any() and ends[-1] else np.flatnonzero(ends) + 1
        elif names is not None:
            cuts = np.flatnonzero(np.asarray(names)[1:] != np.asarray(names)[:-1]) + 1
        else:
            raise KeyError("neither 'eps_id' nor 'terminateds' says where episodes begin.")
        edges = [0, *cuts.tolist(), self.count]
        return [self.slice(a, b) for a, b in itertools.pairwise(edges) if b > a]

    def is_single_trajectory(self) -> bool:
        """Whether all rows but the last go on."""
        ends = np.asarray(self[self.TERMINATEDS], bool)
        if self.TRUNCATEDS in self:
            ends = ends | np.asarray(self[self.TRUNCATEDS], bool)
        return not ends[:-1].any()

    def is_terminated_or_truncated(self) -> bool:
        """Whether the last row ends an episode."""
        return bool(self[self.TERMINATEDS][-1] or (self.TRUNCATEDS in self and self[self.TRUNCATEDS][-1]))

    def timeslices(
        self, size: int | None = None, num_slices: int | None = None, k: int | None = None
    ) -> list[SampleBatch]:
        """Batches of ``size`` rows each, or so many of them."""
        size = size or k
        if (size is None) == (num_slices is None):
            raise ValueError("give either size or num_slices.")
        if size is not None:
            return [self.slice(i, min(i + size, self.count)) for i in range(0, self.count, size)]
        edges = np.linspace(0, self.count, num_slices + 1).astype(int)  # type: ignore[operator]
        return [self.slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]

    def right_zero_pad(self, max_seq_len: int, exclude_states: bool = True) -> SampleBatch:
        """Sequences (of the lengths in "seq_lens") filled up with zeros to ``max_seq_len``, in place."""
        lengths = self.get(self.SEQ_LENS)
        if lengths is None:
            raise ValueError("'seq_lens' must say how long the sequences are.")
        for key in list(self):
            if key == self.SEQ_LENS or (exclude_states and key.startswith("state_in")):
                continue

            def pad(leaf: Any) -> Any:
                out = np.zeros((len(lengths) * max_seq_len, *leaf.shape[1:]), leaf.dtype)
                source = 0
                for row, n in enumerate(lengths):
                    out[row * max_seq_len : row * max_seq_len + n] = leaf[source : source + n]
                    source += n
                return out

            self[key] = nested.map_leaves(pad, self[key])
        self.count = len(lengths) * max_seq_len
        return self

    def size_bytes(self) -> int:
        """Bytes of all columns."""
        return sum(
            leaf.nbytes for value in self.values() for leaf in nested.leaves(value) if hasattr(leaf, "nbytes")
        )

    def to_device(
        self,
        device: Any,
        framework: str = "torch",
        pin_memory: bool = False,
        use_stream: bool = False,
        stream: Any = None,
    ) -> SampleBatch:
        """Columns as tensors on a device, in place."""
        from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor

        for key in list(self):
            if key != self.INFOS:
                self[key] = convert_to_torch_tensor(self[key], device, pin_memory)
        return self

    def as_multi_agent(self, module_id: str | None = None) -> MultiAgentBatch:
        """A `MultiAgentBatch` with this one in it."""
        return MultiAgentBatch({module_id or DEFAULT_MODULE_ID: self}, self.count)


class MultiAgentBatch:
    """Batches by module.

    Parameters
    ----------
    policy_batches
        `SampleBatch` by module id.
    env_steps
        Steps of the environment they come from.
    """

    def __init__(self, policy_batches: dict[str, Any], env_steps: int) -> None:
        self.policy_batches = {
            k: v if isinstance(v, SampleBatch) else SampleBatch(v) for k, v in policy_batches.items()
        }
        self.count = env_steps

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: str) -> SampleBatch:
        return self.policy_batches[key]

    def env_steps(self) -> int:
        """Steps of the environment."""
        return self.count

    def agent_steps(self) -> int:
        """Steps of all agents."""
        return sum(b.count for b in self.policy_batches.values())

    def copy(self) -> MultiAgentBatch:
        """A copy."""
        return MultiAgentBatch({k: v.copy() for k, v in self.policy_batches.items()}, self.count)

    def size_bytes(self) -> int:
        """Bytes of all batches."""
        return sum(b.size_bytes() for b in self.policy_batches.values())

    def to_device(self, device: Any, framework: str = "torch", **kwargs: Any) -> MultiAgentBatch:
        """Columns as tensors on a device, in place."""
        for batch in self.policy_batches.values():
            batch.to_device(device, framework, **kwargs)
        return self

    def as_multi_agent(self) -> MultiAgentBatch:
        """Itself."""
        return self

    def timeslices(self, k: int) -> list[MultiAgentBatch]:
        """Batches of k steps of each module."""
        parts = {m: b.timeslices(k) for m, b in self.policy_batches.items()}
        count = max(len(p) for p in parts.values())
        return [MultiAgentBatch({m: p[i] for m, p in parts.items() if i < len(p)}, k) for i in range(count)]

    @staticmethod
    def concat_samples(samples: list[Any]) -> MultiAgentBatch:
        """Several, one behind the other."""
        return concat_samples_into_ma_batch(samples)

    @staticmethod
    def wrap_as_needed(policy_batches: dict[str, Any], env_steps: int) -> Any:
        """A `SampleBatch` where there is the default module alone, a `MultiAgentBatch` otherwise."""
        if list(policy_batches) == [DEFAULT_MODULE_ID]:
            return policy_batches[DEFAULT_MODULE_ID]
        return MultiAgentBatch(policy_batches, env_steps)


def concat_samples(samples: list[Any]) -> Any:
    """Batches one behind the other, with the columns that all of them have."""
    samples = [s for s in samples if len(s)]
    if any(isinstance(s, MultiAgentBatch) for s in samples):
        return concat_samples_into_ma_batch(samples)
    if not samples:
        return SampleBatch()
    keys = [k for k in samples[0] if all(k in s for s in samples)]
    return SampleBatch({k: nested.concatenate([s[k] for s in samples]) for k in keys})


def concat_samples_into_ma_batch(samples: list[Any]) -> MultiAgentBatch:
    """Batches of both kinds as one `MultiAgentBatch`."""
    parts: dict[str, list[Any]] = {}
    steps = 0
    for sample in samples:
        for module_id, batch in sample.as_multi_agent().policy_batches.items():
            parts.setdefault(module_id, []).append(batch)
        steps += sample.env_steps()
    return MultiAgentBatch({m: concat_samples(p) for m, p in parts.items()}, steps)


def convert_ma_batch_to_sample_batch(batch: Any) -> SampleBatch:
    """The only batch in a `MultiAgentBatch`; a `SampleBatch` as it is."""
    if isinstance(batch, SampleBatch):
        return batch
    if len(batch.policy_batches) != 1:
        raise ValueError(f"{sorted(batch.policy_batches)} cannot become one SampleBatch.")
    return next(iter(batch.policy_batches.values()))


def attempt_count_timesteps(tensor_dict: dict[str, Any]) -> int:
    """Rows in a dict of columns: Σ "seq_lens", or the length of the first column."""
    lengths = tensor_dict.get(Columns.SEQ_LENS)
    if lengths is not None and len(lengths):
        return int(sum(lengths))
    for key, value in tensor_dict.items():
        if not key.startswith("state_") and key != Columns.INFOS and _has_length(value):
            return nested.length(value)
    return 0


def _has_length(value: Any) -> bool:
    leaf: Any = nested.first_leaf(value) if not isinstance(value, dict) or value else None
    return hasattr(leaf, "__len__") and not isinstance(leaf, str) and np.ndim(leaf) > 0


def _copied(leaf: Any) -> Any:
    return leaf.copy() if isinstance(leaf, np.ndarray) else leaf.clone() if hasattr(leaf, "clone") else leaf
