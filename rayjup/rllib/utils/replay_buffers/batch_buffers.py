"""Replay buffers of whole batches: for programs that bring their own training loop.

The algorithms use the buffers of episodes (`episode_replay_buffer`). These hold `SampleBatch`es, cut into
items: single steps, sequences, episodes, or fragments as they come.
"""

from __future__ import annotations

import enum
import itertools
from typing import Any

import numpy as np

from rayjup.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch, concat_samples
from rayjup.rllib.utils.replay_buffers._columns import SumTree


class StorageUnit(str, enum.Enum):
    """What one item of a buffer is."""

    TIMESTEPS = "timesteps"
    SEQUENCES = "sequences"
    EPISODES = "episodes"
    FRAGMENTS = "fragments"


class ReplayMode(str, enum.Enum):
    """Whether modules' items are drawn together or each for itself."""

    LOCKSTEP = "lockstep"
    INDEPENDENT = "independent"


class ReplayBuffer:
    """Items of batches, drawn evenly with replacement; the oldest go when there is no room.

    Parameters
    ----------
    capacity
        Steps at most.
    storage_unit
        What an item is: "timesteps", "sequences" (as "seq_lens" says), "episodes" (whole ones) or
        "fragments" (batches as they were added).

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.rllib import SampleBatch
    >>> from rayjup.rllib.utils.replay_buffers import ReplayBuffer
    >>> buffer = ReplayBuffer(capacity=3, seed=0)
    >>> buffer.add(SampleBatch({"obs": np.arange(5)}))
    >>> len(buffer), sorted(set(buffer.sample(20)["obs"].tolist()))
    (3, [2, 3, 4])
    """

    def __init__(self, capacity: int = 10000, storage_unit: str = "timesteps", **kwargs: Any) -> None:
        try:
            self.storage_unit = StorageUnit(storage_unit)
        except ValueError:
            raise ValueError(
                f"storage_unit {storage_unit!r}: one of {', '.join(u.value for u in StorageUnit)}."
            ) from None
        self.capacity = capacity
        self.rng = np.random.default_rng(kwargs.get("seed"))
        self._items: list[Any] = []
        self._next = 0  # the place that is filled next, once the buffer has been full
        self._steps = self._added = self._sampled = 0
        self._full = False

    def __len__(self) -> int:
        return len(self._items)

    def add(self, batch: Any, **kwargs: Any) -> None:
        """Take a batch, cut into items."""
        for item in self._cut(batch):
            self._added += item.env_steps()
            self._put(item, **kwargs)

    def _cut(self, batch: Any) -> list[Any]:
        unit = self.storage_unit
        if not len(batch):
            return []
        joint = isinstance(batch, MultiAgentBatch) and unit is StorageUnit.EPISODES
        if joint or unit is StorageUnit.FRAGMENTS:
            return [batch]
        if unit is StorageUnit.TIMESTEPS:
            return batch.timeslices(1)
        if unit is StorageUnit.EPISODES:
            whole = [e for e in batch.split_by_episode() if e.is_terminated_or_truncated()]
            return [e for e in whole if "t" not in e or int(e["t"][0]) == 0]
        lengths = batch.get(SampleBatch.SEQ_LENS)
        if lengths is None:
            raise ValueError("storage_unit='sequences' needs batches with 'seq_lens'.")
        edges = np.concatenate([[0], np.cumsum(lengths)]).tolist()
        return [batch.slice(a, b) for a, b in itertools.pairwise(edges)]

    def _put(self, item: Any, **kwargs: Any) -> int:
        """Store an item; returns its place."""
        if not self._full and self._steps + item.env_steps() <= self.capacity:
            self._items.append(item)
            self._steps += item.env_steps()
            return len(self._items) - 1
        self._full = True
        if not self._items:
            raise ValueError(f"an item of {item.env_steps()} steps does not fit into {self.capacity}.")
        place = self._next % len(self._items)
        self._steps += item.env_steps() - self._items[place].env_steps()
        self._items[place] = item
        self._next = place + 1
        return place

    def sample(self, num_items: int | None = None, **kwargs: Any) -> Any:
        """So many items (one by default), joined to a batch."""
        if not self._items:
            raise ValueError("the buffer is empty: add batches before sampling.")
        places = self.rng.integers(0, len(self._items), num_items or 1)
        return self._joined(places)

    def _joined(self, places: Any) -> Any:
        found = concat_samples([self._items[i] for i in places])
        self._sampled += found.env_steps()
        return found

    def stats(self, debug: bool = False) -> dict[str, Any]:
        """Counts."""
        return {
            "added_count": self._added,
            "added_count_wrapped": self._added,
            "eviction_started": self._full,
            "sampled_count": self._sampled,
            "est_size_bytes": sum(item.size_bytes() for item in self._items),
            "num_entries": len(self._items),
        }

    def get_state(self) -> dict[str, Any]:
        """Items, counts, random generator."""
        names = ("_items", "_next", "_steps", "_added", "_sampled", "_full")
        state = {name: getattr(self, name) for name in names}
        return {**state, "_items": list(self._items), "rng": self.rng.bit_generator.state}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        for name, value in state.items():
            if name == "rng":
                self.rng.bit_generator.state = value
            else:
                setattr(self, name, list(value) if name == "_items" else value)


class PrioritizedReplayBuffer(ReplayBuffer):
    """Items drawn in proportion to (priority)^α (Schaul et al. 2016)."""

    def __init__(
        self, capacity: int = 10000, storage_unit: str = "timesteps", alpha: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(capacity, storage_unit, **kwargs)
        if alpha <= 0:
            raise ValueError(f"alpha={alpha}: it must be above 0.")
        self.alpha = alpha
        self._tree = SumTree(capacity)
        self._highest = 1.0

    def _put(self, item: Any, **kwargs: Any) -> int:
        place = super()._put(item)
        weight = kwargs.get("weight")
        priority = self._highest if weight is None else float(weight)
        self._tree.set(np.asarray([place]), priority**self.alpha)
        return place

    def sample(self, num_items: int | None = None, beta: float = 0.0, **kwargs: Any) -> Any:
        """Items with "weights" ((N P(i))^-β over their largest value) and "batch_indexes"."""
        if not self._items:
            raise ValueError("the buffer is empty: add batches before sampling.")
        places = self._tree.find(self.rng.random(num_items or 1) * self._tree.total)
        share = self._tree.get(places) / self._tree.total
        weights = (len(self._items) * share) ** -beta
        found = self._joined(places)
        lengths = [len(self._items[i]) for i in places]
        if isinstance(found, SampleBatch):
            found["weights"] = np.repeat(weights / weights.max(), lengths).astype(np.float32)
            found["batch_indexes"] = np.repeat(places, lengths)
        return found

    def update_priorities(self, idxes: Any, priorities: Any) -> None:
        """New priorities of the items at "batch_indexes"."""
        values = np.asarray(priorities, float)
        if len(values) != len(idxes) or (values <= 0).any():
            raise ValueError("update_priorities() needs one number above 0 per index.")
        self._highest = max(self._highest, float(values.max()))
        self._tree.set(np.asarray(idxes), values**self.alpha)

    def get_state(self) -> dict[str, Any]:
        """Also the priorities."""
        return {**super().get_state(), "priorities": self._tree.sums.copy(), "_highest": self._highest}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        super().set_state({k: v for k, v in state.items() if k != "priorities"})
        self._tree.sums[:] = state["priorities"]


class FifoReplayBuffer(ReplayBuffer):
    """A queue: every batch comes out once, the oldest first; an empty batch when there is none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(100_000_000, StorageUnit.FRAGMENTS)

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """The oldest batch."""
        if not self._items:
            return MultiAgentBatch({}, 0)
        found = self._items.pop(0)
        self._steps -= found.env_steps()
        self._sampled += found.env_steps()
        return found


class ReservoirReplayBuffer(ReplayBuffer):
    """An even sample of everything that was ever added (Vitter 1985, algorithm R)."""

    def __init__(self, capacity: int = 10000, storage_unit: str = "timesteps", **kwargs: Any) -> None:
        super().__init__(capacity, storage_unit, **kwargs)
        self._seen = self._evicted = 0

    def _put(self, item: Any, **kwargs: Any) -> int:
        self._seen += 1
        if not self._full and self._steps + item.env_steps() <= self.capacity:
            return super()._put(item)
        self._full = True
        self._evicted += 1
        place = int(self.rng.integers(self._seen))
        if place < len(self._items):
            self._steps += item.env_steps() - self._items[place].env_steps()
            self._items[place] = item
        return place

    def stats(self, debug: bool = False) -> dict[str, Any]:
        """Also how many were added and given up."""
        return {**super().stats(), "num_evicted": self._evicted, "num_add_calls": self._seen}

    def get_state(self) -> dict[str, Any]:
        """Also those counts."""
        return {**super().get_state(), "_seen": self._seen, "_evicted": self._evicted}


class MultiAgentReplayBuffer(ReplayBuffer):
    """A buffer per module, or (``replay_mode="lockstep"``) one of batches of all of them.

    Parameters
    ----------
    underlying_buffer_config
        ``{"type": class or name, …}`` of the modules' buffers.
    """

    BUFFER: type = ReplayBuffer

    def __init__(
        self,
        capacity: int = 10000,
        storage_unit: str = "timesteps",
        num_shards: int = 1,
        replay_mode: str = "independent",
        replay_sequence_override: bool = True,
        replay_sequence_length: int = 1,
        replay_burn_in: int = 0,
        replay_zero_init_states: bool = True,
        underlying_buffer_config: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(capacity, storage_unit, **kwargs)
        self.capacity = max(1, capacity // num_shards)
        self.replay_mode = ReplayMode(replay_mode)
        given = dict(underlying_buffer_config or {})
        kind = given.pop("type", self.BUFFER)
        self._kind = globals()[kind.rsplit(".", 1)[-1]] if isinstance(kind, str) else kind
        self._settings = {**kwargs, **given}
        self.replay_buffers: dict[str, Any] = {}

    def __len__(self) -> int:
        return sum(len(buffer) for buffer in self.replay_buffers.values())

    def _of(self, module_id: str) -> Any:
        if module_id not in self.replay_buffers:
            settings = {"capacity": self.capacity, "storage_unit": self.storage_unit, **self._settings}
            self.replay_buffers[module_id] = self._kind(**settings)
        return self.replay_buffers[module_id]

    def add(self, batch: Any, **kwargs: Any) -> None:
        """Take a batch of one module or of several."""
        batch = batch.as_multi_agent()
        self._added += batch.env_steps()
        if self.replay_mode is ReplayMode.LOCKSTEP:
            self._of("__all__").add(batch, **kwargs)
            return
        for module_id, own in batch.policy_batches.items():
            self._of(module_id).add(own, **kwargs)

    def sample(self, num_items: int | None = None, policy_id: str | None = None, **kwargs: Any) -> Any:
        """So many items of each module (or of one)."""
        if self.replay_mode is ReplayMode.LOCKSTEP:
            return self._of("__all__").sample(num_items, **kwargs)
        chosen = [policy_id] if policy_id is not None else list(self.replay_buffers)
        found = {m: self.replay_buffers[m].sample(num_items, **kwargs) for m in chosen}
        return MultiAgentBatch(found, max((b.env_steps() for b in found.values()), default=0))

    def stats(self, debug: bool = False) -> dict[str, Any]:
        """Counts, by module."""
        return {"added_count": self._added, **{m: b.stats() for m, b in self.replay_buffers.items()}}

    def get_state(self) -> dict[str, Any]:
        """The buffers' states."""
        return {"_added": self._added, "buffers": {m: b.get_state() for m, b in self.replay_buffers.items()}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        self._added = state["_added"]
        for module_id, own in state["buffers"].items():
            self._of(module_id).set_state(own)


class MultiAgentPrioritizedReplayBuffer(MultiAgentReplayBuffer):
    """A `PrioritizedReplayBuffer` per module."""

    BUFFER = PrioritizedReplayBuffer

    def __init__(
        self,
        capacity: int = 10000,
        storage_unit: str = "timesteps",
        num_shards: int = 1,
        replay_mode: str = "independent",
        replay_sequence_override: bool = True,
        replay_sequence_length: int = 1,
        replay_burn_in: int = 0,
        replay_zero_init_states: bool = True,
        underlying_buffer_config: dict | None = None,
        prioritized_replay_alpha: float = 0.6,
        prioritized_replay_beta: float = 0.4,
        prioritized_replay_eps: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            capacity, storage_unit, num_shards, replay_mode, replay_sequence_override, replay_sequence_length,
            replay_burn_in, replay_zero_init_states, underlying_buffer_config,
            **{"alpha": prioritized_replay_alpha, **kwargs},
        )  # fmt: skip
        self.beta, self.eps = prioritized_replay_beta, prioritized_replay_eps

    def sample(self, num_items: int | None = None, policy_id: str | None = None, **kwargs: Any) -> Any:
        """So many items of each module, with weights for ``beta``."""
        return super().sample(num_items, policy_id, **{"beta": self.beta, **kwargs})

    def update_priorities(self, prio_dict: dict[str, tuple[Any, Any]]) -> None:
        """New priorities: {module: (batch indexes, TD errors)}."""
        for module_id, (places, errors) in prio_dict.items():
            self.replay_buffers[module_id].update_priorities(places, np.abs(errors) + self.eps)


class MultiAgentMixInReplayBuffer(MultiAgentReplayBuffer):
    """New batches, each with some old ones mixed in.

    Parameters
    ----------
    replay_ratio
        Share of old items in what is drawn; 0 draws new ones only.
    """

    def __init__(self, capacity: int = 10000, *args: Any, replay_ratio: float = 0.66, **kwargs: Any) -> None:
        if not 0 <= replay_ratio <= 1:
            raise ValueError(f"replay_ratio={replay_ratio}: it must be from 0 to 1.")
        super().__init__(capacity, *args, **kwargs)
        self.replay_ratio = replay_ratio
        self._new: dict[str, list[Any]] = {}

    def add(self, batch: Any, **kwargs: Any) -> None:
        """Take a batch; it will be drawn at least once, if it is drawn in time."""
        for module_id, own in batch.as_multi_agent().policy_batches.items():
            self._new.setdefault(module_id, []).append(own)
        super().add(batch, **kwargs)

    def sample(self, num_items: int | None = None, policy_id: str | None = None, **kwargs: Any) -> Any:
        """The batches that were added since, with old items up to ``replay_ratio``."""
        found: dict[str, Any] = {}
        for module_id in [policy_id] if policy_id is not None else list(self.replay_buffers):
            new = self._new.pop(module_id, [])
            steps = sum(len(b) for b in new)
            share = self.replay_ratio
            if not new:
                old = 0 if share == 0 else num_items or 1
            else:
                old = round(steps * share / max(1e-9, 1 - share))
            if not new and share == 0:
                continue
            parts = list(new)
            if old:
                parts.append(self.replay_buffers[module_id].sample(min(old, self.capacity), **kwargs))
            found[module_id] = concat_samples(parts)
        return MultiAgentBatch(found, max((b.env_steps() for b in found.values()), default=0))
