"""What a vector of environments went through, as arrays; episodes are cut out of them at the end."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rayjup.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode
from rayjup.rllib.utils import nested


class Rollout:
    """Steps of N environments.

    Parameters
    ----------
    num_envs
        N.
    observations, infos
        Of the reset.
    initial_state
        A recurrent module's state before the first step, without batch axis; empty without memory.
    """

    def __init__(self, num_envs: int, observations: Any, infos: Any, initial_state: Any) -> None:
        self.n = num_envs
        self.observations = _owned(observations)
        plain = nested.map_leaves(
            lambda leaf: leaf.detach().cpu().numpy() if hasattr(leaf, "detach") else np.asarray(leaf),
            initial_state,
        )
        self.initial = plain
        self.state = (
            nested.map_leaves(lambda leaf: np.repeat(leaf[None], num_envs, 0), plain) if plain else {}
        )
        self.ids = [uuid.uuid4().hex for _ in range(num_envs)]
        self.started = np.zeros(num_envs, int)  # steps of the open episodes before this sample
        self.returns = np.zeros(num_envs)
        self.skip = np.zeros(num_envs, bool)  # the next step is a reset only
        self.before: list[Any] = [
            None
        ] * num_envs  # the last step of the sample before, for recurrent modules
        self.begin(None)

    def begin(self, num_episodes: int | None) -> None:
        """A new sample."""
        self.steps: list[tuple] = []
        self.first = self.observations
        self.first_started = self.started.copy()
        # Per environment: (begin, end, terminated, truncated, final observation or None)
        self.segments: list[list[tuple]] = [[] for _ in range(self.n)]
        self.start = np.zeros(self.n, int)
        self.finished: list[tuple[float, int, int]] = []  # return, length, number of the episode
        self.number = np.arange(self.n)  # the episodes' numbers, in order of their beginnings
        self.begun = self.n
        self.complete = 0
        self.limit = num_episodes

    def is_enough(self, steps: int | None, num_episodes: int | None) -> bool:
        """Whether the sample is complete."""
        if num_episodes is not None:
            return self.complete >= num_episodes
        return len(self.steps) >= (steps or 0)

    def add(
        self, actions: Any, outputs: dict[str, Any], after: Any, observations: Any, rewards: Any,
        terminated: Any, truncated: Any, infos: dict[str, Any], autoreset: Any,
    ) -> Any:  # fmt: skip
        """One step of all environments; returns a mask of those that must be reset by hand, or None."""
        observations = _owned(observations)
        t = len(self.steps)
        rewards = np.asarray(rewards, np.float32)
        says = any(
            not key.startswith("_") and key != "final_obs" and value is not None and not _is_empty(value)
            for key, value in infos.items()
        )
        self.steps.append((observations, actions, rewards, outputs, after, infos if says else None))
        self.returns += rewards
        skipped, self.skip = self.skip, np.zeros(self.n, bool)
        if skipped.any():
            self.start[skipped] = t + 1
            self.started[skipped] = 0
            self.returns[skipped] = 0.0
        ended = (terminated | truncated) & ~skipped
        self.observations = observations
        if after:
            self.state = after
        if not ended.any():
            return None
        rows = np.flatnonzero(ended)
        for n in rows.tolist():
            final = None
            if autoreset == AutoresetMode.SAME_STEP:
                final = _final(infos["final_obs"], n, observations)
            self.segments[n].append((self.start[n], t + 1, bool(terminated[n]), bool(truncated[n]), final))
            self._finish(n, t)
        if self.state:
            self.state = nested.map_leaves(_copy_with(rows), self.state, self.initial)
        if autoreset == AutoresetMode.NEXT_STEP:
            self.skip = ended.copy()
        return ended if autoreset == AutoresetMode.DISABLED else None

    def _finish(self, n: int, t: int) -> None:
        length = int(t + 1 - self.start[n] + self.started[n])
        self.finished.append((float(self.returns[n]), length, int(self.number[n])))
        if self.limit is not None and self.number[n] < self.limit:
            self.complete += 1
        self.number[n] = self.begun
        self.begun += 1
        self.start[n] = t + 1
        self.started[n] = 0
        self.returns[n] = 0.0

    def replace(self, mask: Any, observations: Any) -> None:
        """Observations behind a reset by hand."""
        final = self.observations
        for n in np.flatnonzero(mask):
            begin, end, terminated, truncated, _ = self.segments[n][-1]
            self.segments[n][-1] = (begin, end, terminated, truncated, _copied(nested.take(final, n)))
        self.observations = _owned(observations)
        self.steps[-1] = (self.observations, *self.steps[-1][1:])

    def cut(self, num_episodes: int | None) -> tuple[list[SingleAgentEpisode], list[tuple[float, int]]]:
        """Episodes and chunks of this sample, and (return, length) of the finished ones."""
        if not self.steps:
            return [], []
        columns = list(zip(*self.steps, strict=True))
        # Environment first, time second: every episode is one contiguous piece.
        observations = nested.map_leaves(lambda *leaves: np.stack(leaves, 1), self.first, *columns[0])
        actions = nested.map_leaves(lambda *leaves: np.stack(leaves, 1), *columns[1])
        rewards = np.stack(columns[2], 1)
        extra = {}
        if columns[3][0]:
            extra = nested.map_leaves(lambda *leaves: np.stack(leaves, 1), *columns[3])
        if self.state:
            extra["state_out"] = nested.map_leaves(lambda *leaves: np.stack(leaves, 1), *columns[4])
        total = len(self.steps)
        infos = columns[5] if any(columns[5]) else None
        episodes = []
        numbers = self._numbers()
        for n in range(self.n):
            segments = list(self.segments[n])
            if num_episodes is None and self.start[n] < total and not self.skip[n]:
                segments.append((self.start[n], total, False, False, None))
            for place, (begin, end, terminated, truncated, final) in enumerate(segments):
                if num_episodes is not None and numbers[n][place] >= num_episodes:
                    continue
                if end > begin:
                    episodes.append(self._episode(
                        n, begin, end, terminated, truncated, final, observations, actions, rewards, extra,
                        infos,
                    ))  # fmt: skip
                if terminated or truncated:
                    self.ids[n] = uuid.uuid4().hex
                    self.before[n] = None
        done = [(r, k) for r, k, i in self.finished if num_episodes is None or i < num_episodes]
        self.started = np.where(self.skip, 0, self.started + total - self.start)
        return episodes, done

    def _numbers(self) -> list[list[int]]:
        """Numbers of the finished episodes by environment, in order."""
        found: list[list[int]] = [[] for _ in range(self.n)]
        ends = sorted((seg[1], n) for n in range(self.n) for seg in self.segments[n])
        for (_, n), (_, _, number) in zip(ends, self.finished, strict=True):
            found[n].append(number)
        return found

    def _episode(
        self, n: int, begin: int, end: int, terminated: bool, truncated: bool, final: Any, observations: Any,
        actions: Any, rewards: Any, extra: dict[str, Any], infos: Any,
    ) -> SingleAgentEpisode:  # fmt: skip
        def part(leaf: Any) -> Any:
            return leaf[n, begin:end]

        if final is None:
            seen = nested.map_leaves(lambda leaf: leaf[n, begin : end + 1], observations)
        else:
            seen = nested.map_leaves(
                lambda leaf, last: np.concatenate([leaf[n, begin:end], np.asarray(last, leaf.dtype)[None]]),
                observations,
                final,
            )
        t_started = int(self.first_started[n]) if begin == 0 else 0
        columns = {
            "observations": seen,
            "actions": nested.map_leaves(part, actions),
            "rewards": part(rewards),
            "extra_model_outputs": nested.map_leaves(part, extra),
        }
        if self.initial:  # a recurrent module goes on from the state behind the step before
            before = self.before[n] if t_started else None
            self.before[n] = {
                **{key: nested.map_leaves(lambda leaf: leaf[-1:], columns[key]) for key in columns},
                "observations": nested.map_leaves(lambda leaf: leaf[-2:-1], seen),
            }
            if before is not None:
                columns = {
                    key: nested.map_leaves(lambda a, b: np.concatenate([a, b]), before[key], columns[key])
                    for key in columns
                }
        steps = len(columns["rewards"])
        return SingleAgentEpisode(
            self.ids[n],
            infos=_infos(infos, n, begin, end, steps - (end - begin)) if infos else [_EMPTY] * (steps + 1),
            terminated=terminated,
            truncated=truncated,
            t_started=t_started,
            len_lookback_buffer=steps - (end - begin),
            agent_id=DEFAULT_AGENT_ID,
            module_id=DEFAULT_MODULE_ID,
            **columns,
        )


_EMPTY: dict[str, Any] = {}


def _is_empty(value: Any) -> bool:
    return isinstance(value, dict) and not value


def _owned(observations: Any) -> Any:
    return nested.map_leaves(lambda leaf: np.array(leaf), _dict(observations))


def _dict(value: Any) -> Any:
    return {k: _dict(v) for k, v in value.items()} if isinstance(value, dict) else value


def _copied(item: Any) -> Any:
    return nested.map_leaves(lambda leaf: np.array(leaf), item)


def _final(final_obs: Any, n: int, observations: Any) -> Any:
    """The last observation of an episode whose environment is reset already."""
    item = final_obs[n] if not isinstance(final_obs, (dict, tuple)) else nested.take(final_obs, n)
    return _copied(_dict(item))


def _copy_with(rows: Any) -> Any:
    def change(leaf: Any, first: Any) -> Any:
        leaf = leaf.copy()
        leaf[rows] = first
        return leaf

    return change


def _info(infos: dict[str, Any], n: int) -> dict[str, Any]:
    """One environment's part of a vector's infos; of its last step where it was reset since."""
    if "final_info" in infos and infos["_final_info"][n]:
        infos = infos["final_info"]
    return {
        key: _info(values, n) if isinstance(values, dict) else values[n]
        for key, values in infos.items()
        if not key.startswith("_") and key not in ("final_obs", "final_info")
        and (f"_{key}" not in infos or infos[f"_{key}"][n])
    }  # fmt: skip


def _infos(infos: Any, n: int, begin: int, end: int, lookback: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [_EMPTY] * (lookback + 1)
    for step in infos[begin:end]:
        if step is None:
            found.append(_EMPTY)
            continue
        found.append(_info(step, n))
    return found
