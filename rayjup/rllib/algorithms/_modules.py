"""From settings and spaces to the descriptions of modules."""

from __future__ import annotations

import copy
from typing import Any

from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec

Spaces = dict[str, tuple[Any, Any]]


def multi_rl_module_spec(
    config: Any, env: Any, spaces: Spaces | None, inference_only: bool, given: Any = None
) -> MultiRLModuleSpec:
    """Descriptions of all modules of a config.

    Parameters
    ----------
    config
        The `AlgorithmConfig`.
    env
        An environment, for spaces that nobody gave.
    spaces
        (observation space, action space) by module id.
    inference_only
        Leave out what only training needs.
    given
        Description of a single module, instead of the config's.
    """
    own = given if given is not None else config.rl_module_spec
    default = config.get_default_rl_module_spec() if _has_default(config) else RLModuleSpec()
    if isinstance(own, MultiRLModuleSpec):
        multi = MultiRLModuleSpec(
            multi_rl_module_class=own.multi_rl_module_class,
            model_config=own.model_config,
            load_state_path=own.load_state_path,
            modules_to_load=own.modules_to_load,
            rl_module_specs={key: copy.copy(spec) for key, spec in own.rl_module_specs.items()},
        )
        for key in config.policies:
            if key not in multi and config.is_multi_agent:
                multi.rl_module_specs[key] = copy.copy(default)
    else:
        multi = MultiRLModuleSpec(rl_module_specs={key: copy.copy(own) for key in config.policies})
    multi.inference_only = inference_only
    for key, spec in multi.rl_module_specs.items():
        module_config = config.get_config_for_module(key)
        spec.module_class = spec.module_class or default.module_class
        if spec.catalog_class is None and spec.module_class is default.module_class:
            spec.catalog_class = default.catalog_class
        if spec.model_config is None:
            spec.model_config = module_config.model_config
        elif isinstance(spec.model_config, dict):
            spec.model_config = {**module_config.model_config, **spec.model_config}
        spec.inference_only = inference_only or spec.inference_only
        found = spaces_of(config, env, spaces, key)
        spec.observation_space = spec.observation_space or found[0]
        spec.action_space = spec.action_space or found[1]
    return multi


def spaces_of(config: Any, env: Any, spaces: Spaces | None, module_id: str) -> tuple[Any, Any]:
    """(observation space, action space) of a module: from ``spaces``, ``policies``, the config, or the
    environment.
    """
    if spaces and module_id in spaces:
        return spaces[module_id]
    policy = config.policies.get(module_id) if isinstance(config.policies, dict) else None
    if isinstance(policy, tuple) and len(policy) == 4:
        policy_spaces = policy[1], policy[2]
    else:
        policy_spaces = getattr(policy, "observation_space", None), getattr(policy, "action_space", None)
    observation = policy_spaces[0] or config.observation_space
    action = policy_spaces[1] or config.action_space
    if env is not None and (observation is None or action is None):
        from_env = spaces_in_env(config, env, module_id)
        observation = observation or from_env[0]
        action = action or from_env[1]
    if spaces and (observation is None or action is None):
        observation, action = spaces.get(DEFAULT_MODULE_ID, next(iter(spaces.values())))
    return observation, action


def spaces_in_env(config: Any, env: Any, module_id: str) -> tuple[Any, Any]:
    """Spaces that an environment says, of the agents that the module plays where there are several."""
    env = getattr(env, "unwrapped", env) if not hasattr(env, "single_action_space") else env
    if hasattr(env, "single_action_space"):
        return env.single_observation_space, env.single_action_space
    if hasattr(env, "get_observation_space"):  # a MultiAgentEnv
        agents = list(getattr(env, "possible_agents", None) or getattr(env, "agents", []) or [])
        for agent in agents:
            try:
                mapped = config.policy_mapping_fn(agent, None)
            except (AttributeError, TypeError):  # the mapping looks into the episode
                mapped = module_id
            if mapped == module_id:
                return env.get_observation_space(agent), env.get_action_space(agent)
        if agents:
            return env.get_observation_space(agents[0]), env.get_action_space(agents[0])
    return env.observation_space, env.action_space


def _has_default(config: Any) -> bool:
    from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig

    return type(config).get_default_rl_module_spec is not AlgorithmConfig.get_default_rl_module_spec
