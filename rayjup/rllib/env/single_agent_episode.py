"""What one agent saw, did and got, from a reset to an end, or a chunk of that.

With T steps there are T actions, rewards and extra outputs, and T+1 observations and infos: the first ones
come from the reset (or are the last ones of the chunk before).
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np

from rayjup.rllib.core.columns import Columns
from rayjup.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from rayjup.rllib.utils import nested


class SingleAgentEpisode:
    """An episode, or a chunk of one.

    Parameters
    ----------
    id_
        Name of the episode; made up when not given. Chunks of one episode share it.
    observations, infos, actions, rewards, extra_model_outputs
        Data of earlier steps (one more of observations and infos than of the others).
    observation_space, action_space
        Spaces, needed for ``fill`` and ``one_hot_discrete`` only.
    terminated, truncated
        How the last step ended.
    t_started
        Steps of the episode before this chunk.
    len_lookback_buffer
        How many of the given steps lie before this chunk's own beginning: ``"auto"`` for all of them.
    agent_id, module_id, multi_agent_episode_id
        Whose episode it is, where there are several agents.

    Examples
    --------
    >>> from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode
    >>> episode = SingleAgentEpisode()
    >>> episode.add_env_reset(0.0)
    >>> episode.add_env_step(1.0, action=1, reward=0.5)
    >>> episode.add_env_step(2.0, action=0, reward=1.5, terminated=True)
    >>> len(episode), episode.get_return(), episode.get_observations(-1), episode.is_done
    (2, 2.0, 2.0, True)
    """

    def __init__(
        self,
        id_: str | None = None,
        *,
        observations: Any = None,
        observation_space: Any = None,
        infos: Any = None,
        actions: Any = None,
        action_space: Any = None,
        rewards: Any = None,
        terminated: bool = False,
        truncated: bool = False,
        extra_model_outputs: dict[str, Any] | None = None,
        t_started: int | None = None,
        len_lookback_buffer: int | str = "auto",
        agent_id: Any = None,
        module_id: str | None = None,
        multi_agent_episode_id: str | None = None,
    ) -> None:
        self.id_ = id_ or uuid.uuid4().hex
        self.agent_id, self.module_id = agent_id, module_id
        self.multi_agent_episode_id = multi_agent_episode_id
        self.observation_space, self.action_space = observation_space, action_space
        steps = _steps(rewards)
        lookback = steps if len_lookback_buffer == "auto" else min(int(len_lookback_buffer), steps)
        self.observations = _buffer(observations, lookback, observation_space)
        if infos is None and observations is not None:
            infos = [{} for _ in range(self.observations.len_incl_lookback())]
        self.infos = _buffer(infos, lookback, None)
        self.actions = _buffer(actions, lookback, action_space)
        self.rewards = _buffer(rewards, lookback, None)
        self.extra_model_outputs: dict[str, InfiniteLookbackBuffer] = {
            key: _buffer(values, lookback, None) for key, values in (extra_model_outputs or {}).items()
        }
        self.is_terminated, self.is_truncated = bool(terminated), bool(truncated)
        self.t_started = 0 if t_started is None else t_started
        self.t = self.t_started + len(self.rewards)
        self.custom_data: dict[str, Any] = {}
        self._started = self._last = time.perf_counter()

    def __len__(self) -> int:
        return self.t - self.t_started

    def __repr__(self) -> str:
        return (
            f"SingleAgentEpisode(id={self.id_[:8]} steps {self.t_started}..{self.t} "
            f"return={self.get_return():g} done={self.is_done})"
        )

    def __getitem__(self, item: slice) -> SingleAgentEpisode:
        if not isinstance(item, slice):
            raise TypeError(
                "an episode is indexed by slices; single steps come from `get_observations(i)` etc."
            )
        return self.slice(item)

    # ------------------------------------------------------------ growing

    def add_env_reset(self, observation: Any, infos: dict[str, Any] | None = None) -> None:
        """The first observation."""
        if self.is_reset or self.is_done:
            raise RuntimeError(f"{self!r} has begun already: begin another SingleAgentEpisode.")
        _check(self.observation_space, observation, "observation")
        self.observations.append(observation)
        self.infos.append(infos or {})
        self._started = self._last = time.perf_counter()

    def add_env_step(
        self,
        observation: Any,
        action: Any,
        reward: Any,
        infos: dict[str, Any] | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        extra_model_outputs: dict[str, Any] | None = None,
    ) -> None:
        """One step: the action taken, and what came of it."""
        if not self.is_reset:
            raise RuntimeError("a step before the beginning: call `add_env_reset()` first.")
        if self.is_done:
            raise RuntimeError(f"{self!r} has ended: no step can follow.")
        self.observations.append(observation)
        self.actions.append(action)
        self.rewards.append(reward)
        self.infos.append(infos or {})
        self.t += 1
        for key, value in (extra_model_outputs or {}).items():
            if key not in self.extra_model_outputs:
                self.extra_model_outputs[key] = InfiniteLookbackBuffer([])
            self.extra_model_outputs[key].append(value)
        self.is_terminated, self.is_truncated = bool(terminated), bool(truncated)
        self._last = time.perf_counter()

    def concat_episode(self, other: SingleAgentEpisode) -> None:
        """Append the chunk that follows this one."""
        if other.id_ != self.id_ or self.is_done or other.t_started != self.t:
            raise ValueError(
                f"{other!r} does not continue {self!r}: same id, adjoining steps and an open end are needed."
            )
        self.observations.pop()
        self.infos.pop()
        self.observations.extend(other.get_observations())
        self.infos.extend(other.get_infos())
        self.actions.extend(other.get_actions())
        self.rewards.extend(other.get_rewards())
        for key in other.extra_model_outputs:
            mine = self.extra_model_outputs.setdefault(key, InfiniteLookbackBuffer([]))
            mine.extend(other.get_extra_model_outputs(key))
        self.t = other.t
        self.is_terminated, self.is_truncated = other.is_terminated, other.is_truncated
        self.custom_data.update(other.custom_data)
        self._last = other._last

    def cut(self, len_lookback_buffer: int = 0) -> SingleAgentEpisode:
        """The next chunk, empty but for its first observation and some steps to look back on."""
        if self.is_done:
            raise RuntimeError(f"{self!r} has ended: there is nothing to go on with.")
        back = min(len_lookback_buffer, self.rewards.len_incl_lookback())

        def last(buffer: InfiniteLookbackBuffer, count: int) -> Any:
            total = buffer.len_incl_lookback()
            data = nested.take(buffer.data, slice(total - count, None)) if buffer.finalized else None
            return buffer.data[total - count :] if data is None else data

        return SingleAgentEpisode(
            self.id_,
            observations=last(self.observations, back + 1),
            infos=last(self.infos, back + 1),
            actions=last(self.actions, back),
            rewards=last(self.rewards, back),
            extra_model_outputs={k: last(v, back) for k, v in self.extra_model_outputs.items()},
            observation_space=self.observation_space,
            action_space=self.action_space,
            t_started=self.t,
            len_lookback_buffer=back,
            agent_id=self.agent_id,
            module_id=self.module_id,
            multi_agent_episode_id=self.multi_agent_episode_id,
        )

    def slice(self, slice_: slice, *, len_lookback_buffer: int | None = None) -> SingleAgentEpisode:
        """The steps of ``slice_`` (step 1), with what lies before them as lookback."""
        start, stop, step = slice_.indices(len(self))
        if step != 1:
            raise ValueError(f"steps of {step} would tear observations and actions apart: use step 1.")
        stop = max(stop, start)
        most = start + self.rewards.lookback
        back = most if len_lookback_buffer is None else min(len_lookback_buffer, most)
        at = slice(most - back, stop + self.rewards.lookback)
        one_more = slice(at.start, at.stop + 1)

        def part(buffer: InfiniteLookbackBuffer, which: slice) -> Any:
            return nested.take(buffer.data, which) if buffer.finalized else buffer.data[which]

        at_end = stop == len(self)
        return SingleAgentEpisode(
            self.id_,
            observations=part(self.observations, one_more),
            infos=part(self.infos, one_more),
            actions=part(self.actions, at),
            rewards=part(self.rewards, at),
            extra_model_outputs={k: part(v, at) for k, v in self.extra_model_outputs.items()},
            observation_space=self.observation_space,
            action_space=self.action_space,
            terminated=self.is_terminated and at_end,
            truncated=self.is_truncated and at_end,
            t_started=self.t_started + start,
            len_lookback_buffer=back,
            agent_id=self.agent_id,
            module_id=self.module_id,
            multi_agent_episode_id=self.multi_agent_episode_id,
        )

    def to_numpy(self) -> SingleAgentEpisode:
        """Turn lists into arrays (infos stay a list)."""
        self.observations.finalize()
        if len(self) or self.rewards.lookback:
            self.actions.finalize()
            self.rewards.finalize()
            for buffer in self.extra_model_outputs.values():
                buffer.finalize()
        return self

    # ------------------------------------------------------------ reading

    def get_observations(
        self,
        indices: Any = None,
        *,
        neg_index_as_lookback: bool = False,
        fill: Any = None,
        one_hot_discrete: bool = False,
    ) -> Any:
        """Observations by time step; see `InfiniteLookbackBuffer.get`."""
        return self.observations.get(
            indices,
            neg_index_as_lookback=neg_index_as_lookback,
            fill=fill,
            one_hot_discrete=one_hot_discrete,
        )

    def get_infos(self, indices: Any = None, *, neg_index_as_lookback: bool = False, fill: Any = None) -> Any:
        """Info dicts by time step."""
        return self.infos.get(indices, neg_index_as_lookback=neg_index_as_lookback, fill=fill)

    def get_actions(
        self,
        indices: Any = None,
        *,
        neg_index_as_lookback: bool = False,
        fill: Any = None,
        one_hot_discrete: bool = False,
    ) -> Any:
        """Actions by time step."""
        return self.actions.get(
            indices,
            neg_index_as_lookback=neg_index_as_lookback,
            fill=fill,
            one_hot_discrete=one_hot_discrete,
        )

    def get_rewards(
        self, indices: Any = None, *, neg_index_as_lookback: bool = False, fill: float | None = None
    ) -> Any:
        """Rewards by time step."""
        if fill is not None and self.rewards.len_incl_lookback() == 0:
            count = len(indices) if isinstance(indices, list) else 1
            return [fill] * count if isinstance(indices, list) else fill
        return self.rewards.get(indices, neg_index_as_lookback=neg_index_as_lookback, fill=fill)

    def get_extra_model_outputs(
        self, key: str, indices: Any = None, *, neg_index_as_lookback: bool = False, fill: Any = None
    ) -> Any:
        """What the module said besides actions (``"action_logp"`` …), by time step."""
        return self.extra_model_outputs[key].get(
            indices, neg_index_as_lookback=neg_index_as_lookback, fill=fill
        )

    def set_observations(
        self, *, new_data: Any, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace observations."""
        self.observations.set(new_data, at_indices=at_indices, neg_index_as_lookback=neg_index_as_lookback)

    def set_actions(
        self, *, new_data: Any, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace actions."""
        self.actions.set(new_data, at_indices=at_indices, neg_index_as_lookback=neg_index_as_lookback)

    def set_rewards(
        self, *, new_data: Any, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace rewards."""
        self.rewards.set(new_data, at_indices=at_indices, neg_index_as_lookback=neg_index_as_lookback)

    def set_extra_model_outputs(
        self, *, key: str, new_data: Any, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace or add a column of extra outputs."""
        if key in self.extra_model_outputs:
            self.extra_model_outputs[key].set(
                new_data, at_indices=at_indices, neg_index_as_lookback=neg_index_as_lookback
            )
        elif at_indices is None and _steps(new_data) == len(self):
            self.extra_model_outputs[key] = InfiniteLookbackBuffer(new_data)
        else:
            raise KeyError(f"no extra output {key!r} yet: give all {len(self)} steps of a new one.")

    def get_return(self) -> float:
        """Sum of the rewards of this chunk."""
        rewards = self.get_rewards()
        return float(rewards.sum() if isinstance(rewards, np.ndarray) else sum(rewards))

    def get_duration_s(self) -> float:
        """Seconds between the first and the last entry."""
        return self._last - self._started

    def env_steps(self) -> int:
        """Steps of the environment in this chunk."""
        return len(self)

    def agent_steps(self) -> int:
        """Steps of the agent: as many, since there is one agent."""
        return len(self)

    @property
    def is_reset(self) -> bool:
        """True once there is an observation."""
        return self.observations.len_incl_lookback() > 0

    @property
    def is_done(self) -> bool:
        """True after termination or truncation."""
        return self.is_terminated or self.is_truncated

    @property
    def is_numpy(self) -> bool:
        """True when the columns are arrays."""
        return self.observations.finalized

    def get_data_dict(self) -> dict[str, Any]:
        """Columns of this chunk: obs, new_obs, actions, rewards, ends, infos and extra outputs."""
        count = len(self)
        ends = np.zeros((2, count), bool)
        if count:
            ends[:, -1] = self.is_terminated, self.is_truncated
        return {
            Columns.EPS_ID: [self.id_] * count,
            Columns.T: np.arange(self.t_started, self.t),
            Columns.OBS: self.get_observations(slice(0, count)),
            Columns.NEXT_OBS: self.get_observations(slice(1, count + 1)),
            Columns.ACTIONS: self.get_actions(),
            Columns.REWARDS: self.get_rewards(),
            Columns.TERMINATEDS: ends[0],
            Columns.TRUNCATEDS: ends[1],
            Columns.INFOS: self.get_infos(slice(0, count)),
            **{key: self.get_extra_model_outputs(key) for key in self.extra_model_outputs},
        }

    def get_sample_batch(self) -> Any:
        """The columns as a `SampleBatch`."""
        from rayjup.rllib.policy.sample_batch import SampleBatch

        columns = self.get_data_dict()
        return SampleBatch(
            {key: nested.stack(v) if isinstance(v, list) and v else v for key, v in columns.items()}
        )

    def validate(self) -> None:
        """Raise when the columns do not fit each other."""
        steps, observations = len(self), len(self.observations)
        if self.is_reset and observations != steps + 1:
            raise ValueError(f"{observations} observations for {steps} steps: one more than steps is needed.")
        for name, buffer in (
            ("actions", self.actions),
            ("rewards", self.rewards),
            *self.extra_model_outputs.items(),
        ):
            if len(buffer) != steps:
                raise ValueError(f"{len(buffer)} {name} for {steps} steps: as many are needed.")

    # ------------------------------------------------------------ state

    def get_state(self) -> dict[str, Any]:
        """Everything, as plain containers and arrays."""
        names = ("observations", "infos", "actions", "rewards")
        return {
            **{name: getattr(self, name).data for name in names},
            "extra_model_outputs": {k: v.data for k, v in self.extra_model_outputs.items()},
            "lookback": self.rewards.lookback,
            **{name: getattr(self, name) for name in _PLAIN},
        }

    @staticmethod
    def from_state(state: dict[str, Any]) -> SingleAgentEpisode:
        """The episode `get_state` was called on."""
        episode = SingleAgentEpisode(
            state["id_"],
            observations=state["observations"],
            infos=state["infos"],
            actions=state["actions"],
            rewards=state["rewards"],
            extra_model_outputs=state["extra_model_outputs"],
            observation_space=state["observation_space"],
            action_space=state["action_space"],
            t_started=state["t_started"],
            len_lookback_buffer=state["lookback"],
        )
        for name in _PLAIN:
            setattr(episode, name, state[name])
        return episode


_PLAIN = (
    "id_", "agent_id", "module_id", "multi_agent_episode_id", "observation_space", "action_space",
    "is_terminated", "is_truncated", "t_started", "t", "custom_data",
)  # fmt: skip


def _steps(data: Any) -> int:
    if data is None:
        return 0
    if isinstance(data, InfiniteLookbackBuffer):
        return data.len_incl_lookback()
    return len(data) if isinstance(data, list) else nested.length(data)


def _buffer(data: Any, lookback: int, space: Any) -> InfiniteLookbackBuffer:
    if isinstance(data, InfiniteLookbackBuffer):
        return data
    if isinstance(data, list):
        data = list(data)
    return InfiniteLookbackBuffer(data, lookback, space)


def _check(space: Any, value: Any, what: str) -> None:
    if space is not None and not space.contains(value):
        raise ValueError(
            f"the {what} {value!r} does not lie in {space}: correct the environment or its space."
        )
