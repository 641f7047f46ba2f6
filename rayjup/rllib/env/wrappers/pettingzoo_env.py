"""Environments of PettingZoo: in turn (AEC), and all at once (parallel)."""

from __future__ import annotations

from typing import Any

from rayjup.rllib.env.multi_agent_env import MultiAgentEnv


class _Wrapper(MultiAgentEnv):
    def __init__(self, env: Any) -> None:
        super().__init__()
        env.reset()  # some only know their agents then
        self.env = env
        self.possible_agents = list(getattr(env, "possible_agents", None) or env.agents)
        self.agents = list(env.agents)
        self.observation_spaces = {a: env.observation_space(a) for a in self.possible_agents}
        self.action_spaces = {a: env.action_space(a) for a in self.possible_agents}

    @property
    def get_sub_environments(self) -> Any:
        """The environment below."""
        return self.env.unwrapped

    def render(self) -> Any:
        """A picture of the environment."""
        return self.env.render()

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


class PettingZooEnv(_Wrapper):
    """An environment in which agents act in turn.

    Agents that have ended are stepped over as PettingZoo asks for, without a module.

    Examples
    --------
    >>> from pettingzoo.classic import tictactoe_v3  # doctest: +SKIP
    >>> env = PettingZooEnv(tictactoe_v3.env())  # doctest: +SKIP
    """

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begin; the first agent's observation."""
        self.env.reset(seed=seed, options=options)
        self.agents = list(self.env.agents)
        agent = self.env.agent_selection
        return {agent: self.env.observe(agent)}, {agent: self.env.infos.get(agent, {})}

    def step(self, action_dict: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """The action of the agent whose turn it is; the next one's observation."""
        self.env.step(action_dict[self.env.agent_selection])
        rewards: dict[Any, float] = {}
        terminateds: dict[Any, bool] = {}
        truncateds: dict[Any, bool] = {}
        infos: dict[Any, dict] = {}
        observations: dict[Any, Any] = {}
        for agent, reward in self.env.rewards.items():
            if reward:
                rewards[agent] = float(reward)
        while self.env.agents:
            agent = self.env.agent_selection
            if not (self.env.terminations[agent] or self.env.truncations[agent]):
                break
            terminateds[agent] = bool(self.env.terminations[agent])
            truncateds[agent] = bool(self.env.truncations[agent]) and not terminateds[agent]
            observations[agent] = self.env.observe(agent)
            infos[agent] = self.env.infos.get(agent, {})
            self.env.step(None)
        over = not self.env.agents
        if not over:
            agent = self.env.agent_selection
            observations[agent] = self.env.observe(agent)
            infos[agent] = self.env.infos.get(agent, {})
        self.agents = list(self.env.agents)
        cut = over and bool(truncateds) and not any(terminateds.values())
        terminateds["__all__"], truncateds["__all__"] = over and not cut, cut
        return observations, rewards, terminateds, truncateds, infos


class ParallelPettingZooEnv(_Wrapper):
    """An environment in which all agents act at once."""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begin; everybody's observation."""
        observations, infos = self.env.reset(seed=seed, options=options)
        self.agents = list(self.env.agents)
        return observations, infos or {}

    def step(self, action_dict: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Everybody's action."""
        observations, rewards, terminateds, truncateds, infos = self.env.step(action_dict)
        terminateds, truncateds = dict(terminateds), dict(truncateds)
        self.agents = list(self.env.agents)
        over = not self.env.agents
        cut = over and any(truncateds.values()) and not all(terminateds.values())
        terminateds["__all__"], truncateds["__all__"] = over and not cut, cut
        return observations, rewards, terminateds, truncateds, infos
