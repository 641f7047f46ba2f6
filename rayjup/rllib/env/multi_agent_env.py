"""MultiAgentEnv: an environment in which several agents act, at once or in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium

from rayjup.rllib.env.env_context import EnvContext


class MultiAgentEnv(gymnasium.Env):
    """Base of multi-agent environments: observations, actions, rewards and ends are dicts by agent.

    An agent that finds an observation of its own in what `reset` or `step` return has to act next. The ends
    have an entry ``"__all__"`` for the whole episode.

    Attributes
    ----------
    possible_agents, agents
        Ids of all agents, and of those in the episode now.
    observation_spaces, action_spaces
        Spaces by agent; or ``observation_space`` and ``action_space`` for all.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from rayjup.rllib.env.multi_agent_env import MultiAgentEnv
    >>> class Chicken(MultiAgentEnv):
    ...     def __init__(self, config=None):
    ...         super().__init__()
    ...         self.possible_agents = self.agents = ["a", "b"]
    ...         self.observation_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(1))
    ...         self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))
    ...
    ...     def reset(self, *, seed=None, options=None):
    ...         return dict.fromkeys(self.agents, 0), {}
    ...
    ...     def step(self, action_dict):
    ...         dare = action_dict["a"] + action_dict["b"]
    ...         rewards = {agent: -5.0 if dare == 2 else float(move) for agent, move in action_dict.items()}
    ...         return dict.fromkeys(self.agents, 0), rewards, {"__all__": True}, {"__all__": False}, {}
    >>> Chicken().num_agents
    2
    """

    agents: list[Any] = []
    possible_agents: list[Any] = []
    observation_spaces: dict[Any, Any] | None = None
    action_spaces: dict[Any, Any] | None = None
    observation_space: Any = None
    action_space: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.agents = list(self.agents)
        self.possible_agents = list(self.possible_agents)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begin an episode; observations and infos of those who act first."""
        raise TypeError(f"{type(self).__name__} must define reset().")

    def step(self, action_dict: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:  # type: ignore[override]
        """Take actions; observations, rewards, terminateds, truncateds and infos by agent."""
        raise TypeError(f"{type(self).__name__} must define step().")

    def render(self) -> Any:
        """A picture, or nothing."""
        return None

    def get_observation_space(self, agent_id: Any) -> Any:
        """An agent's observation space."""
        return _space(self.observation_spaces, self.observation_space, agent_id, "observation_spaces")

    def get_action_space(self, agent_id: Any) -> Any:
        """An agent's action space."""
        return _space(self.action_spaces, self.action_space, agent_id, "action_spaces")

    @property
    def num_agents(self) -> int:
        """Agents in the episode now."""
        return len(self.agents)

    @property
    def max_num_agents(self) -> int:
        """Agents there can be."""
        return len(self.possible_agents)

    def with_agent_groups(
        self, groups: dict[str, list[Any]], obs_space: Any = None, act_space: Any = None
    ) -> MultiAgentEnv:
        """Groups of agents as single agents with tuples of observations and actions."""
        from rayjup.rllib.env.wrappers.group_agents_wrapper import GroupAgentsWrapper

        return GroupAgentsWrapper(self, groups, obs_space, act_space)


def _space(by_agent: Any, common: Any, agent_id: Any, name: str) -> Any:
    if by_agent is not None and agent_id in by_agent:
        return by_agent[agent_id]
    spaces = getattr(common, "spaces", None)
    if isinstance(spaces, dict) and agent_id in spaces:
        return spaces[agent_id]
    if common is None:
        raise ValueError(f"agent {agent_id!r} has no space: set self.{name} (a dict by agent).")
    return common


def make_multi_agent(env_name_or_creator: Any) -> type[MultiAgentEnv]:
    """A class of multi-agent environments with ``config["num_agents"]`` independent copies of a
    single-agent one.

    Examples
    --------
    >>> from rayjup.rllib.env.multi_agent_env import make_multi_agent
    >>> env = make_multi_agent("CartPole-v1")({"num_agents": 2})
    >>> sorted(env.reset()[0])
    [0, 1]
    """

    class MultiEnv(MultiAgentEnv):
        """Independent copies."""

        def __init__(self, config: dict | None = None) -> None:
            super().__init__()
            config = EnvContext(dict(config or {}), getattr(config, "worker_index", 0))
            count = config.pop("num_agents", 1)
            maker: Callable[[Any], Any]
            if isinstance(env_name_or_creator, str):
                maker = lambda c: gymnasium.make(env_name_or_creator, disable_env_checker=True, **c)  # noqa: E731
            else:
                maker = env_name_or_creator
            self.envs = [maker(config) for _ in range(count)]
            self.agents = list(range(count))
            self.possible_agents = list(range(count))
            self.observation_spaces = {i: env.observation_space for i, env in enumerate(self.envs)}
            self.action_spaces = {i: env.action_space for i, env in enumerate(self.envs)}
            self._ended: set[int] = set()

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
            """Reset all."""
            self._ended = set()
            self.agents = list(self.possible_agents)
            found = {
                i: env.reset(seed=None if seed is None else seed + i, options=options)
                for i, env in enumerate(self.envs)
            }
            return {i: o for i, (o, _) in found.items()}, {i: info for i, (_, info) in found.items()}

        def step(self, action_dict: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
            """Step those that have not ended."""
            columns: tuple[dict, dict, dict, dict, dict] = ({}, {}, {}, {}, {})
            for i, action in action_dict.items():
                for column, value in zip(columns, self.envs[i].step(action), strict=True):
                    column[i] = value
                if columns[2][i] or columns[3][i]:
                    self._ended.add(i)
            everyone = len(self._ended) == len(self.envs)
            # The episode terminated when its last agents did, and was truncated otherwise.
            columns[3]["__all__"] = everyone and any(columns[3].values())
            columns[2]["__all__"] = everyone and not columns[3]["__all__"]
            return columns

        def render(self) -> Any:
            """A picture of the first one."""
            return self.envs[0].render()

        def close(self) -> None:
            """Close all."""
            for env in self.envs:
                env.close()

    return MultiEnv
