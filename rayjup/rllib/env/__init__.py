"""Environments and what steps through them.

=============================  ==================================================
`making`                       from a config to environments
`single_agent_env_runner`      vectors of gymnasium environments
`multi_agent_env_runner`       environments of several agents
`env_runner_group`             runners as actors
`single_agent_episode`, `multi_agent_episode`  what is collected
`wrappers`                     PettingZoo, Atari, dm_control, OpenSpiel
=============================  ==================================================
"""

from rayjup.rllib._lazy import exports

_NAMES = {
    "EnvContext": "rayjup.rllib.env.env_context",
    "MultiAgentEnv": "rayjup.rllib.env.multi_agent_env",
    "PettingZooEnv": "rayjup.rllib.env.wrappers.pettingzoo_env",
    "ParallelPettingZooEnv": "rayjup.rllib.env.wrappers.pettingzoo_env",
    "GroupAgentsWrapper": "rayjup.rllib.env.wrappers.group_agents_wrapper",
    "DMEnv": "rayjup.rllib.env.wrappers.dm_env_wrapper",
    "DMCEnv": "rayjup.rllib.env.wrappers.dm_control_wrapper",
}

__all__ = [
    "DMCEnv",
    "DMEnv",
    "EnvContext",
    "GroupAgentsWrapper",
    "MultiAgentEnv",
    "ParallelPettingZooEnv",
    "PettingZooEnv",
]

__getattr__, __dir__ = exports(__name__, _NAMES)
