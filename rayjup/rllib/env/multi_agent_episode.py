"""What several agents saw, did and got in one episode: a `SingleAgentEpisode` per agent, and the clock they
share.

An agent's action lies in its own episode once its next observation (or its end) is there; until then action
and rewards wait. So agents may act at once, in turn, or now and then.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode


class MultiAgentEpisode:
    """An episode of several agents, or a chunk of one.

    Parameters
    ----------
    id_
        Name of the episode; made up when not given.
    observations, infos, actions, rewards, extra_model_outputs
        Lists of dicts by agent, of earlier steps.
    terminateds, truncateds
        Ends by agent, of the last of these steps.
    agent_to_module_mapping_fn
        Which module plays an agent: ``f(agent_id, episode)``.

    Examples
    --------
    >>> from rayjup.rllib.env.multi_agent_episode import MultiAgentEpisode
    >>> episode = MultiAgentEpisode()
    >>> episode.add_env_reset(observations={"a": 0.0})
    >>> episode.add_env_step({"b": 1.0}, {"a": 1}, {"a": 0.5}, terminateds={"__all__": False}, truncateds={})
    >>> ends = {"__all__": True}
    >>> episode.add_env_step({"a": 2.0}, {"b": 0}, {"a": 1.0, "b": 2.0}, terminateds=ends, truncateds={})
    >>> episode.get_return(), episode.agent_episodes["a"].get_rewards(), len(episode)
    (3.5, [1.5], 2)
    """

    def __init__(
        self,
        id_: str | None = None,
        *,
        observations: list[dict] | None = None,
        observation_space: Any = None,
        infos: list[dict] | None = None,
        actions: list[dict] | None = None,
        action_space: Any = None,
        rewards: list[dict] | None = None,
        terminateds: dict | None = None,
        truncateds: dict | None = None,
        extra_model_outputs: list[dict] | None = None,
        env_t_started: int | None = None,
        agent_t_started: dict | None = None,
        len_lookback_buffer: int | str = "auto",
        agent_episode_ids: dict | None = None,
        agent_module_ids: dict | None = None,
        agent_to_module_mapping_fn: Callable[..., str] | None = None,
    ) -> None:
        self.id_ = id_ or uuid.uuid4().hex
        self.observation_space, self.action_space = observation_space, action_space
        self.agent_to_module_mapping_fn = agent_to_module_mapping_fn
        self.agent_episodes: dict[Any, SingleAgentEpisode] = {}
        self._module_ids: dict[Any, str] = dict(agent_module_ids or {})
        self._episode_ids: dict[Any, str] = dict(agent_episode_ids or {})
        self.env_t_started = env_t_started or 0
        self.env_t = self.env_t_started
        self.is_terminated = self.is_truncated = False
        self._acted: dict[Any, tuple[Any, dict]] = {}  # actions whose outcome is not there yet
        self._hanging: dict[Any, float] = {}  # rewards before the next observation
        self._seen: dict[Any, list[int]] = {}  # by agent: the times of its observations
        self._to_act: set[Any] = set()
        self._stepped: set[Any] = set()
        self._ended: dict[Any, str] = {}
        self.custom_data: dict[str, Any] = {}
        self._started = self._last = time.perf_counter()
        if observations:
            self._fill(observations, infos, actions, rewards, terminateds, truncateds, extra_model_outputs)

    def _fill(
        self,
        observations: Any,
        infos: Any,
        actions: Any,
        rewards: Any,
        terminateds: Any,
        truncateds: Any,
        extra: Any,
    ) -> None:
        self.add_env_reset(observations=observations[0], infos=infos[0] if infos else None)
        for place, seen in enumerate(observations[1:]):
            last = place == len(observations) - 2
            self.add_env_step(
                seen,
                actions[place],
                rewards[place],
                infos[place + 1] if infos else None,
                terminateds=(terminateds or {}) if last else {},
                truncateds=(truncateds or {}) if last else {},
                extra_model_outputs=extra[place] if extra else None,
            )

    def __len__(self) -> int:
        return self.env_t - self.env_t_started

    def __repr__(self) -> str:
        return (
            f"MultiAgentEpisode(id={self.id_[:8]} steps {self.env_t_started}..{self.env_t} "
            f"agents={list(self.agent_episodes)} return={self.get_return():g} done={self.is_done})"
        )

    def __getitem__(self, item: slice) -> MultiAgentEpisode:
        return self.slice(item)

    def module_for(self, agent_id: Any) -> str:
        """The module that plays an agent; settled at the agent's first step."""
        if agent_id not in self._module_ids:
            mapping = self.agent_to_module_mapping_fn
            self._module_ids[agent_id] = DEFAULT_MODULE_ID if mapping is None else mapping(agent_id, self)
        return self._module_ids[agent_id]

    def _of(self, agent_id: Any) -> SingleAgentEpisode:
        if agent_id not in self.agent_episodes:
            self.agent_episodes[agent_id] = SingleAgentEpisode(
                self._episode_ids.get(agent_id),
                agent_id=agent_id,
                module_id=self.module_for(agent_id),
                multi_agent_episode_id=self.id_,
            )
        return self.agent_episodes[agent_id]

    # ------------------------------------------------------------ growing

    def add_env_reset(self, *, observations: dict, infos: dict | None = None) -> None:
        """The first observations."""
        if self.agent_episodes:
            raise RuntimeError(f"{self!r} has begun already.")
        self._started = self._last = time.perf_counter()
        for agent, observation in observations.items():
            self._of(agent).add_env_reset(observation, (infos or {}).get(agent))
            self._seen[agent] = [self.env_t]
        self._to_act = set(observations)

    def add_env_step(
        self,
        observations: dict,
        actions: dict,
        rewards: dict,
        infos: dict | None = None,
        *,
        terminateds: dict | None = None,
        truncateds: dict | None = None,
        extra_model_outputs: dict | None = None,
    ) -> None:
        """One step of the environment."""
        if self.is_done:
            raise RuntimeError(f"{self!r} has ended: no step can follow.")
        infos, terminateds, truncateds = infos or {}, dict(terminateds or {}), dict(truncateds or {})
        self.env_t += 1
        self._last = time.perf_counter()
        everyone_terminated = terminateds.pop("__all__", False)
        everyone_truncated = truncateds.pop("__all__", False)
        for agent, action in actions.items():
            if agent in self._ended:
                raise RuntimeError(f"agent {agent!r} acts although it has ended in {self!r}.")
            self._acted[agent] = (action, (extra_model_outputs or {}).get(agent, {}))
        for agent, reward in rewards.items():
            self._hanging[agent] = self._hanging.get(agent, 0.0) + float(reward)
        self.is_terminated = bool(everyone_terminated)
        self.is_truncated = bool(everyone_truncated) and not self.is_terminated
        for agent, observation in observations.items():
            self._see(agent, observation, infos.get(agent), terminateds.get(agent), truncateds.get(agent))
        ending = {a for a in self.agent_episodes if a not in self._ended} if self.is_done else set()
        ending |= {a for a in self.agent_episodes if terminateds.get(a) or truncateds.get(a)} - set(
            self._ended
        )
        for agent in ending:
            self._end(
                agent,
                terminated=bool(terminateds.get(agent)) or (self.is_terminated and not truncateds.get(agent)),
                info=infos.get(agent),
            )
        self._stepped = set(observations)
        self._to_act = {a for a in observations if a not in self._ended}

    def _see(self, agent: Any, observation: Any, info: Any, terminated: Any, truncated: Any) -> None:
        own = self._of(agent)
        if agent in self._ended:
            return
        if not own.is_reset:  # the agent comes in now
            own.add_env_reset(observation, info)
            self._hanging.setdefault(agent, 0.0)
            self._seen[agent] = [self.env_t]
            return
        if agent not in self._acted:  # it saw something without having acted: the newest sight counts
            own.set_observations(new_data=observation, at_indices=-1)
            self._seen[agent][-1] = self.env_t
            return
        action, extra = self._acted.pop(agent)
        ended = bool(terminated or truncated) or self.is_done
        own.add_env_step(
            observation,
            action,
            self._hanging.pop(agent, 0.0),
            info,
            terminated=bool(terminated) or (self.is_terminated and not truncated),
            truncated=bool(truncated and not terminated) or (self.is_truncated and not terminated),
            extra_model_outputs=extra,
        )
        self._seen[agent].append(self.env_t)
        if ended:
            self._ended[agent] = "terminated" if own.is_terminated else "truncated"

    def _end(self, agent: Any, *, terminated: bool, info: Any) -> None:
        """An agent's end without an observation: its last one stands for it."""
        if agent in self._ended:
            return
        own = self.agent_episodes[agent]
        if agent in self._acted:
            action, extra = self._acted.pop(agent)
            own.add_env_step(
                own.get_observations(-1),
                action,
                self._hanging.pop(agent, 0.0),
                info,
                terminated=terminated,
                truncated=not terminated,
                extra_model_outputs=extra,
            )
            self._seen[agent].append(self.env_t)
        else:
            left = self._hanging.pop(agent, 0.0)
            if len(own) and left:
                own.set_rewards(new_data=own.get_rewards(-1) + left, at_indices=-1)
            own.is_terminated, own.is_truncated = terminated, not terminated
        self._ended[agent] = "terminated" if terminated else "truncated"

    def cut(self, len_lookback_buffer: int = 0) -> MultiAgentEpisode:
        """The next chunk; actions and rewards that wait go with it."""
        if self.is_done:
            raise RuntimeError(f"{self!r} has ended: there is nothing to go on with.")
        new = self._empty(self.env_t)
        for agent, own in self.agent_episodes.items():
            if agent not in self._ended:
                new.agent_episodes[agent] = own.cut(len_lookback_buffer)
                new._seen[agent] = [self._seen[agent][-1]]
        new._acted, new._hanging = dict(self._acted), dict(self._hanging)
        new._to_act, new._ended = set(self._to_act), dict(self._ended)
        return new

    def _empty(self, env_t: int) -> MultiAgentEpisode:
        new = MultiAgentEpisode(
            self.id_,
            observation_space=self.observation_space,
            action_space=self.action_space,
            env_t_started=env_t,
            agent_episode_ids={a: e.id_ for a, e in self.agent_episodes.items()},
            agent_module_ids=self._module_ids,
            agent_to_module_mapping_fn=self.agent_to_module_mapping_fn,
        )
        return new

    def concat_episode(self, other: MultiAgentEpisode) -> None:
        """Append the chunk that follows this one."""
        if other.id_ != self.id_ or other.env_t_started != self.env_t or self.is_done:
            raise ValueError(f"{other!r} does not continue {self!r}.")
        for agent, theirs in other.agent_episodes.items():
            if agent in self.agent_episodes and len(theirs):
                self.agent_episodes[agent].concat_episode(theirs)
                self._seen[agent].extend(other._seen[agent][1:])
            elif agent not in self.agent_episodes:
                self.agent_episodes[agent], self._seen[agent] = theirs, list(other._seen[agent])
            else:
                own = self.agent_episodes[agent]
                own.is_terminated, own.is_truncated = theirs.is_terminated, theirs.is_truncated
        self.env_t = other.env_t
        self.is_terminated, self.is_truncated = other.is_terminated, other.is_truncated
        self._acted, self._hanging = dict(other._acted), dict(other._hanging)
        self._to_act, self._ended = set(other._to_act), dict(other._ended)
        self.custom_data.update(other.custom_data)

    def slice(self, slice_: slice, *, len_lookback_buffer: int | None = None) -> MultiAgentEpisode:
        """The steps of the environment in ``slice_`` (step 1); steps of agents that end within it belong
        to it.
        """
        start, stop, step = slice_.indices(len(self))
        if step != 1:
            raise ValueError(f"steps of {step} would tear observations and actions apart: use step 1.")
        begin, end = self.env_t_started + start, self.env_t_started + max(stop, start)
        new = self._empty(begin)
        new.env_t = end
        for agent, own in self.agent_episodes.items():
            times = self._seen[agent]
            first = next((i for i, t in enumerate(times) if t >= begin), len(times))
            last = next((i for i in range(len(times) - 1, -1, -1) if times[i] <= end), -1)
            if last < first:
                continue
            new.agent_episodes[agent] = own.slice(slice(first, last), len_lookback_buffer=len_lookback_buffer)
            new._seen[agent] = times[first : last + 1]
        if end == self.env_t:
            new.is_terminated, new.is_truncated = self.is_terminated, self.is_truncated
            new._acted, new._hanging = dict(self._acted), dict(self._hanging)
            new._to_act, new._ended = set(self._to_act), dict(self._ended)
        return new

    def to_numpy(self) -> MultiAgentEpisode:
        """Turn the agents' lists into arrays."""
        for own in self.agent_episodes.values():
            own.to_numpy()
        return self

    # ------------------------------------------------------------ reading

    def _get(
        self, what: str, indices: Any, agent_ids: Any, env_steps: bool, extra: int, settings: dict
    ) -> Any:
        agents = self.agent_ids if agent_ids is None else agent_ids
        if not isinstance(agents, (list, tuple, set)):
            agents = [agents]
        read = {a: getattr(self.agent_episodes[a], f"get_{what}") for a in agents if a in self.agent_episodes}
        if not env_steps:
            return {a: f(indices=indices, **settings) for a, f in read.items()}
        count = len(self) + extra
        if indices is None:
            indices = slice(0, count)
        if isinstance(indices, slice):
            times = list(range(*indices.indices(count)))
            return [self._at(t, read, extra, settings) for t in times]
        if isinstance(indices, list):
            return [self._at(t if t >= 0 else count + t, read, extra, settings) for t in indices]
        return self._at(indices if indices >= 0 else count + indices, read, extra, settings)

    def _at(self, t: int, read: dict[Any, Any], extra: int, settings: dict) -> dict[Any, Any]:
        """What agents have at a time of the environment: observations when they saw, actions when they
        acted.
        """
        moment, found = self.env_t_started + t, {}
        for agent, function in read.items():
            times = self._seen[agent]
            if moment in times:
                place = times.index(moment)
                if extra or place < len(self.agent_episodes[agent]):
                    found[agent] = function(indices=place, **settings)
        return found

    def get_observations(
        self, indices: Any = None, agent_ids: Any = None, *, env_steps: bool = True,
        neg_index_as_lookback: bool = False, fill: Any = None, one_hot_discrete: bool = False,
        return_list: bool = False,
    ) -> Any:  # fmt: skip
        """Observations: dicts by agent per step of the environment, or (``env_steps=False``) by agent over
        its own steps.
        """
        settings = {
            "fill": fill,
            "one_hot_discrete": one_hot_discrete,
            "neg_index_as_lookback": neg_index_as_lookback,
        }
        return self._get("observations", indices, agent_ids, env_steps, 1, settings)

    def get_infos(
        self, indices: Any = None, agent_ids: Any = None, *, env_steps: bool = True,
        neg_index_as_lookback: bool = False, fill: Any = None, return_list: bool = False,
    ) -> Any:  # fmt: skip
        """Info dicts, as `get_observations`."""
        settings = {"fill": fill, "neg_index_as_lookback": neg_index_as_lookback}
        return self._get("infos", indices, agent_ids, env_steps, 1, settings)

    def get_actions(
        self, indices: Any = None, agent_ids: Any = None, *, env_steps: bool = True,
        neg_index_as_lookback: bool = False, fill: Any = None, one_hot_discrete: bool = False,
        return_list: bool = False,
    ) -> Any:  # fmt: skip
        """Actions, at the times of the observations they answer."""
        settings = {
            "fill": fill,
            "one_hot_discrete": one_hot_discrete,
            "neg_index_as_lookback": neg_index_as_lookback,
        }
        return self._get("actions", indices, agent_ids, env_steps, 0, settings)

    def get_rewards(
        self, indices: Any = None, agent_ids: Any = None, *, env_steps: bool = True,
        neg_index_as_lookback: bool = False, fill: Any = None, return_list: bool = False,
    ) -> Any:  # fmt: skip
        """Rewards for these actions, up to the agent's next observation."""
        settings = {"fill": fill, "neg_index_as_lookback": neg_index_as_lookback}
        return self._get("rewards", indices, agent_ids, env_steps, 0, settings)

    def get_extra_model_outputs(
        self, key: str | None = None, indices: Any = None, agent_ids: Any = None, *, env_steps: bool = True,
        neg_index_as_lookback: bool = False, fill: Any = None, return_list: bool = False,
    ) -> Any:  # fmt: skip
        """What the modules said besides actions."""
        settings = {"key": key, "fill": fill, "neg_index_as_lookback": neg_index_as_lookback}
        return self._get("extra_model_outputs", indices, agent_ids, env_steps, 0, settings)

    def _set(self, what: str, new_data: dict, at_indices: Any, as_lookback: bool, **more: Any) -> None:
        for agent, values in new_data.items():
            getattr(self.agent_episodes[agent], f"set_{what}")(
                new_data=values, at_indices=at_indices, neg_index_as_lookback=as_lookback, **more
            )

    def set_observations(
        self, *, new_data: dict, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace agents' observations, by their own steps."""
        self._set("observations", new_data, at_indices, neg_index_as_lookback)

    def set_actions(
        self, *, new_data: dict, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace agents' actions."""
        self._set("actions", new_data, at_indices, neg_index_as_lookback)

    def set_rewards(
        self, *, new_data: dict, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace agents' rewards."""
        self._set("rewards", new_data, at_indices, neg_index_as_lookback)

    def set_extra_model_outputs(
        self, *, key: str, new_data: dict, at_indices: Any = None, neg_index_as_lookback: bool = False
    ) -> None:
        """Replace or add a column of extra outputs."""
        self._set("extra_model_outputs", new_data, at_indices, neg_index_as_lookback, key=key)

    def get_return(self, include_hanging_rewards: bool = False) -> float:
        """Sum of all agents' rewards (with those before the next observation, if wanted)."""
        total = sum(e.get_return() for e in self.agent_episodes.values())
        return total + (sum(self._hanging.values()) if include_hanging_rewards else 0.0)

    def get_agents_to_act(self) -> set[Any]:
        """Who has to act now."""
        return set() if self.is_done else set(self._to_act)

    def get_agents_that_stepped(self) -> set[Any]:
        """Whose observations came with the last step."""
        return set(self._stepped)

    def get_terminateds(self) -> dict[Any, bool]:
        """Who has terminated, and "__all__"."""
        return {
            **{a: self._ended.get(a) == "terminated" for a in self.agent_episodes},
            "__all__": self.is_terminated,
        }

    def get_truncateds(self) -> dict[Any, bool]:
        """Who was truncated, and "__all__"."""
        return {
            **{a: self._ended.get(a) == "truncated" for a in self.agent_episodes},
            "__all__": self.is_truncated,
        }

    def get_duration_s(self) -> float:
        """Seconds between the first and the last entry."""
        return self._last - self._started

    @property
    def agent_ids(self) -> list[Any]:
        """Agents of the episode."""
        return list(self.agent_episodes)

    @property
    def agent_episode_ids(self) -> dict[Any, str]:
        """Ids of the agents' own episodes."""
        return {a: e.id_ for a, e in self.agent_episodes.items()}

    @property
    def agent_t_started(self) -> dict[Any, int]:
        """Agents' own steps before this chunk."""
        return {a: e.t_started for a, e in self.agent_episodes.items()}

    @property
    def env_t_to_agent_t(self) -> dict[Any, list[int]]:
        """By agent: the times of the environment at which it saw something."""
        return {a: list(times) for a, times in self._seen.items()}

    @property
    def is_reset(self) -> bool:
        """True once there are observations."""
        return bool(self.agent_episodes)

    @property
    def is_done(self) -> bool:
        """True after the episode's end."""
        return self.is_terminated or self.is_truncated

    @property
    def is_numpy(self) -> bool:
        """True when the columns are arrays."""
        return all(e.is_numpy for e in self.agent_episodes.values())

    def env_steps(self) -> int:
        """Steps of the environment in this chunk."""
        return len(self)

    def agent_steps(self) -> int:
        """Steps of all agents in this chunk."""
        return sum(len(e) for e in self.agent_episodes.values())

    def get_sample_batch(self) -> Any:
        """All steps as a `MultiAgentBatch`."""
        from rayjup.rllib.policy.sample_batch import MultiAgentBatch, concat_samples

        parts: dict[str, list[Any]] = {}
        for own in self.agent_episodes.values():
            if len(own):
                parts.setdefault(own.module_id or DEFAULT_MODULE_ID, []).append(own.get_sample_batch())
        return MultiAgentBatch({m: concat_samples(p) for m, p in parts.items()}, env_steps=len(self))

    def print(self) -> None:
        """Show which agents saw something at which time."""
        import sys

        for agent in self.agent_ids:
            marks = "".join(
                "x" if t in self._seen[agent] else "." for t in range(self.env_t_started, self.env_t + 1)
            )
            sys.stdout.write(f"{agent!s:>12} {marks}\n")

    def validate(self) -> None:
        """Raise when an agent's columns do not fit each other."""
        for own in self.agent_episodes.values():
            own.validate()

    # ------------------------------------------------------------ state

    def get_state(self) -> dict[str, Any]:
        """Everything, as plain containers and arrays; the mapping function is left out."""
        plain = {
            k: v for k, v in vars(self).items() if k not in ("agent_episodes", "agent_to_module_mapping_fn")
        }
        return {**plain, "agent_episodes": {a: e.get_state() for a, e in self.agent_episodes.items()}}

    @staticmethod
    def from_state(state: dict[str, Any]) -> MultiAgentEpisode:
        """The episode `get_state` was called on."""
        episode = MultiAgentEpisode(state["id_"])
        episode.__dict__.update(state)
        episode.agent_episodes = {
            a: SingleAgentEpisode.from_state(e) for a, e in state["agent_episodes"].items()
        }
        return episode
