"""Replay buffers of episodes: drawn evenly, or by priority."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode
from rayjup.rllib.utils import nested
from rayjup.rllib.utils.checkpoints import Checkpointable
from rayjup.rllib.utils.replay_buffers._columns import Ring, SumTree


class EpisodeReplayBuffer(Checkpointable):
    """Steps of episodes, of which batches are drawn evenly.

    Parameters
    ----------
    capacity
        How many steps are kept (and the last observations of episodes take places, too).
    batch_size_B, batch_length_T
        Default shape of batches: B rows, of T steps each.
    metrics_num_episodes_for_smoothing
        Window of means in `get_metrics`.
    **kwargs
        ``seed``, ``extra_columns`` (further outputs of the module to keep).

    Examples
    --------
    >>> from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode
    >>> from rayjup.rllib.utils.replay_buffers import EpisodeReplayBuffer
    >>> buffer = EpisodeReplayBuffer(capacity=100, seed=0)
    >>> episode = SingleAgentEpisode()
    >>> episode.add_env_reset(0.0)
    >>> episode.add_env_step(1.0, action=0, reward=1.0)
    >>> episode.add_env_step(2.0, action=1, reward=1.0, terminated=True)
    >>> buffer.add(episode)
    >>> batch = buffer.sample(4, n_step=2, gamma=0.5)
    >>> buffer.get_num_timesteps(), batch["obs"].shape, sorted(set(batch["rewards"].tolist()))
    (2, (4,), [1.0, 1.5])
    """

    def __init__(
        self,
        capacity: int = 10000,
        *,
        batch_size_B: int = 16,
        batch_length_T: int = 64,
        metrics_num_episodes_for_smoothing: int = 100,
        **kwargs: Any,
    ) -> None:
        self.capacity, self.batch_size_B, self.batch_length_T = capacity, batch_size_B, batch_length_T
        self._extra = tuple(kwargs.get("extra_columns", ()))
        self.rng = np.random.default_rng(kwargs.get("seed"))
        self._ring = Ring(capacity)
        self.episode_id_to_index: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._tails: dict[
            str, tuple[int, int]
        ] = {}  # open episodes: slot of the last observation, its number
        self._added = self._sampled = self._episodes_added = 0
        self._window = metrics_num_episodes_for_smoothing
        self._evicted = 0

    def __len__(self) -> int:
        return self._ring.steps

    def add(self, episodes: Any) -> None:
        """Take episodes or chunks; a chunk that continues one joins it."""
        for episode in [episodes] if not isinstance(episodes, list) else episodes:
            if len(episode):
                self._add(episode)

    def _add(self, episode: SingleAgentEpisode) -> np.ndarray:
        if len(episode) >= self.capacity:
            raise ValueError(f"an episode of {len(episode)} steps does not fit into {self.capacity} places.")
        episode.to_numpy()
        tail, number = self._tails.pop(episode.id_, (None, -1))
        if tail is not None and (
            self._ring.episode[tail] != number or self._ring.t[tail] != episode.t_started
        ):
            tail = None  # overwritten meanwhile, or not adjoining
        if episode.id_ not in self.episode_id_to_index:
            self.episode_id_to_index[episode.id_] = self._episodes_added
            self._ids[self._episodes_added] = episode.id_
            self._episodes_added += 1
        number = self.episode_id_to_index[episode.id_]
        slots, last = self._ring.add(episode, number, tail, self._extra)
        if not episode.is_done:
            self._tails[episode.id_] = (last, number)
        self._added += len(episode)
        self._forget()
        return slots

    def _forget(self) -> None:
        """Drop the names of episodes that were overwritten."""
        if self._ring.size < self.capacity:
            return
        oldest = int(self._ring.episode[self._ring.head])
        if len(self._ids) > 2 * 64 and oldest >= 0:
            alive = set(np.unique(self._ring.episode).tolist())
            for number in [n for n in self._ids if n not in alive]:
                episode_id = self._ids.pop(number)
                self.episode_id_to_index.pop(episode_id, None)
                self._tails.pop(episode_id, None)
                self._evicted += 1

    # ------------------------------------------------------------ sampling

    def sample(
        self,
        num_items: int | None = None,
        *,
        batch_size_B: int | None = None,
        batch_length_T: int | None = None,
        n_step: int | tuple[int, int] | None = None,
        beta: float = 0.0,
        gamma: float = 0.99,
        include_infos: bool = False,
        include_extra_model_outputs: bool = False,
        to_numpy: bool = False,
        sample_episodes: bool | None = False,
        **kwargs: Any,
    ) -> Any:
        """Draw a batch.

        Parameters
        ----------
        num_items
            Rows; steps are drawn one by one.
        batch_size_B, batch_length_T
            Rows, and steps per row; more than one step gives columns of (B, T, …), padded, with a
            ``loss_mask``.
        n_step
            Transitions over so many steps; a pair draws a number in that range for each.
        gamma
            Discount within such transitions.
        sample_episodes
            Return a list of `SingleAgentEpisode` instead of columns.

        Returns
        -------
        columns
            obs, actions, rewards, new_obs, terminateds, truncateds, n_step, weights; or sequences.
        """
        rows = num_items or batch_size_B or self.batch_size_B
        length = batch_length_T or (1 if num_items or n_step else self.batch_length_T)
        slots, weights = self._draw(rows, beta)
        self._sampled += rows * length
        if length > 1 and n_step is None:
            found = self._ring.sequences(slots, length)
        else:
            n: Any = n_step or 1
            if isinstance(n, (tuple, list)):
                n = self.rng.integers(n[0], n[1] + 1, rows)
            found = self._ring.n_step(slots, n, gamma)
        found["weights"] = weights
        for key in self._extra:
            if key in self._ring.columns and key not in found:
                found[key] = nested.take(self._ring.columns[key], slots)
        return _as_episodes(found) if sample_episodes else found

    def sample_arrivals(self, rows: int, length: int) -> dict[str, Any]:
        """Observations with what led to them, (rows, length, …), without padding: see `Ring.arrivals`."""
        slots, _ = self._draw(rows, 0.0)
        self._sampled += rows * length
        return self._ring.arrivals(slots, length, self.rng)

    def _draw(self, rows: int, beta: float) -> tuple[np.ndarray, np.ndarray]:
        if not self._ring.steps:
            raise ValueError("the buffer is empty: add episodes before sampling.")
        return self._ring.random(rows, self.rng), np.ones(rows, np.float32)

    # ------------------------------------------------------------ counts

    @property
    def episodes(self) -> list[SingleAgentEpisode]:
        """The episodes in the buffer (copies), as far as they are still there."""
        found = []
        ring = self._ring
        for number in sorted(set(ring.episode[: ring.size][ring.acted[: ring.size]].tolist())):
            slots = np.flatnonzero((ring.episode == number) & ring.acted)
            slots = slots[np.argsort(ring.t[slots])]
            seen = np.append(slots, ring.next[slots[-1]])
            found.append(
                SingleAgentEpisode(
                    self._ids.get(number),
                    observations=nested.take(ring.columns["obs"], seen),
                    actions=nested.take(ring.columns["actions"], slots),
                    rewards=ring.columns["rewards"][slots],
                    terminated=bool(ring.terminated[slots[-1]]),
                    truncated=bool(ring.truncated[slots[-1]]),
                    t_started=int(ring.t[slots[0]]),
                    len_lookback_buffer=0,
                )
            )
        return found

    @property
    def num_episodes_evicted(self) -> int:
        """Episodes that are gone."""
        return self._evicted

    @property
    def sampled_timesteps(self) -> int:
        """Steps drawn so far."""
        return self._sampled

    def get_num_episodes(self, module_id: str | None = None) -> int:
        """Episodes in the buffer."""
        ring = self._ring
        return len(np.unique(ring.episode[: ring.size][ring.acted[: ring.size]]))

    def get_num_episodes_evicted(self, module_id: str | None = None) -> int:
        """Episodes that are gone."""
        return self._evicted

    def get_num_timesteps(self, module_id: str | None = None) -> int:
        """Steps in the buffer."""
        return self._ring.steps

    def get_added_timesteps(self, module_id: str | None = None) -> int:
        """Steps added so far."""
        return self._added

    def get_sampled_timesteps(self, module_id: str | None = None) -> int:
        """Steps drawn so far."""
        return self._sampled

    def get_metrics(self) -> dict[str, Any]:
        """The counts."""
        return {
            "num_env_steps_stored": self._ring.steps,
            "num_env_steps_added_lifetime": self._added,
            "num_env_steps_sampled_lifetime": self._sampled,
            "num_episodes_stored": len(self.episode_id_to_index),
            "num_episodes_added_lifetime": self._episodes_added,
            "num_episodes_evicted_lifetime": self._evicted,
        }

    # ------------------------------------------------------------ state

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Everything, and the state of the random numbers."""
        return {
            "ring": self._ring.state(),
            "ids": dict(self.episode_id_to_index),
            "tails": dict(self._tails),
            "counts": (self._added, self._sampled, self._episodes_added, self._evicted),
            "rng": self.rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        self._ring = Ring(self.capacity)
        self._ring.set_state(state["ring"])
        self.episode_id_to_index = dict(state["ids"])
        self._ids = {number: name for name, number in self.episode_id_to_index.items()}
        self._tails = {k: tuple(v) for k, v in state["tails"].items()}
        self._added, self._sampled, self._episodes_added, self._evicted = state["counts"]
        self.rng.bit_generator.state = state["rng"]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {
            "capacity": self.capacity,
            "batch_size_B": self.batch_size_B,
            "batch_length_T": self.batch_length_T,
            "metrics_num_episodes_for_smoothing": self._window,
            "extra_columns": self._extra,
        }


class PrioritizedEpisodeReplayBuffer(EpisodeReplayBuffer):
    """Steps drawn in proportion to (priority)^α.

    Source: Schaul, Quan, Antonoglou, Silver, "Prioritized Experience Replay", ICLR 2016. New steps get the
    highest priority so far; ``weights`` are (N · P(i))^-β over their largest value.

    Parameters
    ----------
    alpha
        α; 0 draws evenly.
    """

    def __init__(
        self,
        capacity: int = 10000,
        *,
        batch_size_B: int = 16,
        batch_length_T: int = 1,
        alpha: float = 1.0,
        metrics_num_episodes_for_smoothing: int = 100,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            capacity,
            batch_size_B=batch_size_B,
            batch_length_T=batch_length_T,
            metrics_num_episodes_for_smoothing=metrics_num_episodes_for_smoothing,
            **kwargs,
        )
        self.alpha = alpha
        self._tree = SumTree(capacity)
        self._highest = 1.0
        self._drawn = np.empty(0, np.int64)

    def add(self, episodes: Any, weight: float | None = None) -> None:
        """Take episodes, with a priority of their own."""
        for episode in [episodes] if not isinstance(episodes, list) else episodes:
            if len(episode):
                slots = self._add(episode)
                self._tree.set(slots, (self._highest if weight is None else weight) ** self.alpha)
                last = int(self._ring.next[slots[-1]])
                if not self._ring.acted[last]:
                    self._tree.set(np.asarray([last]), 0.0)

    def _draw(self, rows: int, beta: float) -> tuple[np.ndarray, np.ndarray]:
        if not self._ring.steps:
            raise ValueError("the buffer is empty: add episodes before sampling.")
        total = self._tree.total
        # One draw from each of as many equal parts of the whole.
        slots = self._tree.find((np.arange(rows) + self.rng.random(rows)) * total / rows)
        bad = ~self._ring.acted[slots]
        if bad.any():
            slots[bad] = self._ring.random(int(bad.sum()), self.rng)
        probabilities = np.maximum(self._tree.get(slots), 1e-12) / total
        weights = (self._ring.steps * probabilities) ** -beta
        self._drawn = slots
        return slots, (weights / weights.max()).astype(np.float32)

    def update_priorities(self, priorities: np.ndarray, module_id: str | None = None) -> None:
        """New priorities of the steps drawn last."""
        if len(priorities) != len(self._drawn):
            raise ValueError(f"{len(priorities)} priorities for {len(self._drawn)} steps drawn.")
        values = np.abs(priorities) + 1e-6
        self._highest = max(self._highest, float(values.max()))
        self._tree.set(self._drawn, values**self.alpha)

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Also the priorities."""
        return {**super().get_state(), "priorities": self._tree.sums.copy(), "highest": self._highest}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        super().set_state(state)
        self._tree.sums[:] = state["priorities"]
        self._highest = state["highest"]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        args, kwargs = super().get_ctor_args_and_kwargs()
        return args, {**kwargs, "alpha": self.alpha}


def _as_episodes(columns: dict[str, Any]) -> list[SingleAgentEpisode]:
    """Rows of transitions as episodes of one step, or of several."""
    found = []
    sequences = "loss_mask" in columns
    for row in range(len(columns["rewards"])):
        if sequences:
            steps = int(columns["loss_mask"][row].sum())
            observations = nested.map_leaves(lambda leaf, r=row, n=steps: leaf[r, :n], columns["obs"])
            observations = nested.map_leaves(lambda leaf: np.concatenate([leaf, leaf[-1:]]), observations)
            cut: Any = (row, slice(0, steps))
            ended = columns["terminateds"][row].any(), columns["truncateds"][row].any()
        else:
            observations = nested.map_leaves(
                lambda a, b, r=row: np.stack([a[r], b[r]]), columns["obs"], columns["new_obs"]
            )
            cut = slice(row, row + 1)
            ended = columns["terminateds"][row], columns["truncateds"][row]
        extra: dict[str, Any] = {
            k: columns[k][row : row + 1] for k in ("n_step", "weights") if k in columns and not sequences
        }
        found.append(
            SingleAgentEpisode(
                observations=observations,
                actions=nested.map_leaves(lambda leaf, c=cut: leaf[c], columns["actions"]),
                rewards=columns["rewards"][cut],
                terminated=bool(ended[0]),
                truncated=bool(ended[1]),
                extra_model_outputs=extra,
                len_lookback_buffer=0,
            )
        )
    return found
