"""Where replay buffers keep their steps: one ring of slots per column, with links between the steps of an
episode.

A slot holds an observation, and what was done there: action, reward, end. The slot of an episode's newest
observation has no action yet; when the episode goes on, that slot is filled and linked to the next. So
chunks of many episodes may come in any order, and n-step transitions and sequences follow the links, for a
whole batch at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.utils import nested


class Ring:
    """Slots of steps.

    Parameters
    ----------
    capacity
        Slots; the oldest are used again when all are taken.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.columns: dict[str, Any] = {}
        self.next = np.full(capacity, -1, np.int64)  # the slot of the next step, -1 where there is none
        self.acted = np.zeros(capacity, bool)  # something was done here: a transition begins
        self.terminated = np.zeros(capacity, bool)
        self.truncated = np.zeros(capacity, bool)
        self.t = np.zeros(capacity, np.int64)
        self.episode = np.full(capacity, -1, np.int64)  # number of the episode
        self.head = 0
        self.size = 0  # slots in use
        self.steps = 0  # of them, with an action

    def _slots(self, count: int) -> np.ndarray:
        """New slots; what was in them is gone."""
        slots = (self.head + np.arange(count)) % self.capacity
        self.head = (self.head + count) % self.capacity
        self.steps -= int(self.acted[slots].sum())
        self.size = min(self.capacity, self.size + count)
        self.acted[slots] = False
        self.next[slots] = -1
        return slots

    def _write(self, name: str, slots: Any, values: Any) -> None:
        if name not in self.columns:
            # Memory is taken by the pages that are written to, not by the size.
            self.columns[name] = nested.map_leaves(
                lambda leaf: np.zeros((self.capacity, *np.shape(leaf)[1:]), np.asarray(leaf).dtype), values
            )

        def put(column: np.ndarray, new: Any) -> None:
            column[slots] = new

        nested.map_leaves(put, self.columns[name], values)

    def add(
        self, episode: Any, number: int, tail: int | None, extra: tuple[str, ...]
    ) -> tuple[np.ndarray, int]:
        """Take a chunk; returns the slots of its transitions, and that of its last observation.

        ``tail`` is the slot of the last observation of the chunk before, if it is still there.
        """
        count = len(episode)
        if tail is None:
            slots = self._slots(count + 1)
            self._write("obs", slots, episode.get_observations(slice(0, count + 1)))
        else:
            new = self._slots(count)
            slots = np.concatenate([[tail], new])
            self._write("obs", new, episode.get_observations(slice(1, count + 1)))
        begun, last = slots[:-1], int(slots[-1])
        self._write("actions", begun, episode.get_actions())
        self._write("rewards", begun, np.asarray(episode.get_rewards(), np.float32))
        for key in extra:
            if key in episode.extra_model_outputs:
                self._write(key, begun, episode.get_extra_model_outputs(key))
        self.acted[begun] = True
        self.next[begun] = slots[1:]
        self.terminated[slots] = False
        self.truncated[slots] = False
        self.terminated[begun[-1]], self.truncated[begun[-1]] = episode.is_terminated, episode.is_truncated
        self.t[slots] = episode.t_started + np.arange(count + 1)
        self.episode[slots] = number
        self.steps += count
        return begun, last

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Slots of transitions, drawn evenly."""
        found = rng.integers(0, self.size, count)
        while True:
            bad = np.flatnonzero(~self.acted[found])
            if not len(bad):
                return found
            found[bad] = rng.integers(0, self.size, len(bad))

    def n_step(self, slots: np.ndarray, n: Any, gamma: float) -> dict[str, Any]:
        """Transitions over up to n steps from ``slots``: fewer where an episode ends or nothing more is
        known.

        ``rewards`` are Σ γ^k r_{t+k}, ``new_obs`` and the ends those behind the last of the steps,
        ``n_step`` how many there were.
        """
        n = np.broadcast_to(n, slots.shape)
        rewards = self.columns["rewards"][slots].astype(np.float32).copy()
        last = slots.copy()
        steps = np.ones(len(slots), np.int64)
        for k in range(1, int(n.max())):
            following = self.next[last]
            going = (k < n) & ~(self.terminated[last] | self.truncated[last]) & self.acted[following]
            rewards[going] += gamma**k * self.columns["rewards"][following[going]]
            last = np.where(going, following, last)
            steps += going
        return {
            "obs": nested.take(self.columns["obs"], slots),
            "actions": nested.take(self.columns["actions"], slots),
            "rewards": rewards,
            "new_obs": nested.take(self.columns["obs"], self.next[last]),
            "terminateds": self.terminated[last],
            "truncateds": self.truncated[last],
            "n_step": steps,
        }

    def sequences(self, slots: np.ndarray, length: int) -> dict[str, Any]:
        """``length`` steps from each of the slots, going on with random others' beginnings never: short
        ones are padded.

        Column ``loss_mask`` is False in the padding; ``is_first`` says where episodes begin.
        """
        grid = np.empty((len(slots), length), np.int64)
        mask = np.zeros((len(slots), length), bool)
        at, alive = slots.copy(), np.ones(len(slots), bool)
        for k in range(length):
            grid[:, k], mask[:, k] = at, alive
            following = self.next[at]
            alive = alive & self.acted[following] & ~(self.terminated[at] | self.truncated[at])
            at = np.where(alive, following, at)
        found = {name: nested.take(column, grid) for name, column in self.columns.items()}
        return {
            **found,
            "terminateds": self.terminated[grid] & mask,
            "truncateds": self.truncated[grid] & mask,
            "is_first": (self.t[grid] == 0) & mask,
            "loss_mask": mask,
        }

    def arrivals(self, slots: np.ndarray, length: int, rng: np.random.Generator) -> dict[str, Any]:
        """``length`` observations from each of the slots on, with what led to them; where an episode is
        over, the row goes on in another place.

        ``actions_before``, ``rewards_before`` and ``ended`` (for good, not cut off) belong to the step that
        led to the observation; ``is_first`` says where a row begins or goes on elsewhere.
        """
        grid = np.empty((len(slots), length), np.int64)
        before = np.full((len(slots), length), -1, np.int64)
        at, came = slots.copy(), np.full(len(slots), -1, np.int64)
        for k in range(length):
            grid[:, k], before[:, k] = at, came
            going = self.acted[at]
            came = np.where(going, at, -1)
            at = np.where(going, self.next[at], at)
            if not going.all():
                at[~going] = self.random(int((~going).sum()), rng)
        first = before < 0
        steps = np.where(first, grid, before)
        return {
            "obs": nested.take(self.columns["obs"], grid),
            "actions_before": nested.take(self.columns["actions"], steps),
            "rewards_before": np.where(first, 0.0, self.columns["rewards"][steps]).astype(np.float32),
            "ended": self.terminated[steps] & ~first,
            "is_first": first,
            "loss_mask": np.ones(grid.shape, bool),
        }

    def state(self) -> dict[str, Any]:
        """Everything in use."""
        kept = slice(0, self.size)
        names = ("next", "acted", "terminated", "truncated", "t", "episode")
        return {
            "columns": nested.take(self.columns, kept) if self.columns else {},
            **{name: getattr(self, name)[kept] for name in names},
            "head": self.head,
            "size": self.size,
            "steps": self.steps,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        self.head, self.size, self.steps = state["head"], state["size"], state["steps"]
        kept = slice(0, self.size)
        for name in ("next", "acted", "terminated", "truncated", "t", "episode"):
            getattr(self, name)[kept] = state[name]
        for name, values in state["columns"].items():
            self._write(name, np.arange(self.size), values)


class SumTree:
    """Priorities, for draws in proportion to them: a binary tree of sums, used for whole batches."""

    def __init__(self, capacity: int) -> None:
        self.leaves = 1 << max(1, (capacity - 1).bit_length())
        self.sums = np.zeros(2 * self.leaves)

    def set(self, places: np.ndarray, values: Any) -> None:
        """Change priorities."""
        nodes = np.asarray(places) + self.leaves
        self.sums[nodes] = values
        nodes = np.unique(nodes >> 1)
        while nodes[0] >= 1:
            self.sums[nodes] = self.sums[2 * nodes] + self.sums[2 * nodes + 1]
            if nodes[0] == 1:
                return
            nodes = np.unique(nodes >> 1)

    def get(self, places: np.ndarray) -> np.ndarray:
        """Priorities."""
        return self.sums[np.asarray(places) + self.leaves]

    @property
    def total(self) -> float:
        """Their sum."""
        return float(self.sums[1])

    def find(self, heights: np.ndarray) -> np.ndarray:
        """The places where the running sum passes these heights."""
        nodes = np.ones(len(heights), np.int64)
        left_over = np.asarray(heights, float).copy()
        while nodes[0] < self.leaves:
            left = 2 * nodes
            right = left_over >= self.sums[left]
            # Rounding must not lead into empty branches.
            right &= self.sums[left + 1] > 0
            left_over = np.where(right, left_over - self.sums[left], left_over)
            nodes = left + right
        return nodes - self.leaves
