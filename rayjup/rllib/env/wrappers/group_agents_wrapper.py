"""Groups of agents as single agents."""

from __future__ import annotations

from typing import Any

from rayjup.rllib.env.multi_agent_env import MultiAgentEnv

GROUP_REWARDS, GROUP_INFO = "_group_rewards", "_group_info"


class GroupAgentsWrapper(MultiAgentEnv):
    """An environment in which each group of agents acts as one, with tuples of observations and actions.

    A group's reward is the sum of its members'; theirs are in its info.

    Parameters
    ----------
    env
        The environment.
    groups
        Agents by the group's name.
    obs_space, act_space
        A group's spaces; tuples of the members' by default.
    """

    def __init__(
        self, env: MultiAgentEnv, groups: dict[str, list[Any]], obs_space: Any = None, act_space: Any = None
    ) -> None:
        from gymnasium.spaces import Tuple

        super().__init__()
        self.env, self.groups = env, groups
        self._group_of = {agent: name for name, members in groups.items() for agent in members}
        alone = [a for a in env.possible_agents or env.agents if a not in self._group_of]
        self.possible_agents = [*groups, *alone]
        self.agents = list(self.possible_agents)
        self.observation_spaces = {a: env.get_observation_space(a) for a in alone}
        self.action_spaces = {a: env.get_action_space(a) for a in alone}
        for name, members in groups.items():
            self.observation_spaces[name] = obs_space or Tuple(
                [env.get_observation_space(a) for a in members]
            )
            self.action_spaces[name] = act_space or Tuple([env.get_action_space(a) for a in members])

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Begin."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._grouped(observations, tuple), self._grouped(infos, lambda v: {GROUP_INFO: list(v)}, {})

    def step(self, action_dict: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """Take the groups' actions apart, and the members' results together."""
        actions = {}
        for name, action in action_dict.items():
            if name in self.groups:
                actions.update(dict(zip(self.groups[name], action, strict=True)))
            else:
                actions[name] = action
        observations, rewards, terminateds, truncateds, infos = self.env.step(actions)
        grouped_infos = self._grouped(infos, lambda v: {GROUP_INFO: list(v)}, {})
        for name, members in self.groups.items():
            own = [rewards[a] for a in members if a in rewards]
            if own:
                grouped_infos.setdefault(name, {})[GROUP_REWARDS] = own
        return (
            self._grouped(observations, tuple),
            self._grouped(rewards, sum, 0.0),
            self._grouped(terminateds, all, False),
            self._grouped(truncateds, all, False),
            grouped_infos,
        )

    def _grouped(self, by_agent: dict[Any, Any], join: Any, missing: Any = None) -> dict[Any, Any]:
        found = {key: value for key, value in by_agent.items() if key not in self._group_of}
        for name, members in self.groups.items():
            if any(agent in by_agent for agent in members):
                found[name] = join([by_agent.get(agent, missing) for agent in members])
        return found
