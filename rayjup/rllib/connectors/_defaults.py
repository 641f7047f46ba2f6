"""The pipelines an algorithm gets, with the user's connectors in their places.

`is_plain` tells whether a pipeline consists of default pieces alone: env runners then do the same on
whole arrays of all environments (`rayjup.rllib.env._fast`), and the tests check that it is the same.
"""

from __future__ import annotations

import inspect
from typing import Any

from rayjup.rllib.connectors import common
from rayjup.rllib.connectors import env_to_module as e2m
from rayjup.rllib.connectors import learner as lrn
from rayjup.rllib.connectors import module_to_env as m2e
from rayjup.rllib.connectors.connector_v2 import ConnectorV2


def env_to_module(config: Any, env: Any = None, spaces: Any = None, device: Any = None) -> Any:
    """From episodes to the module's batch."""
    own = _given(config.env_to_module_connector, env, spaces, device)
    observation, action = _spaces(env, spaces)
    pieces: list[ConnectorV2] = list(own)
    if config.add_default_connectors_to_env_to_module_pipeline:
        multi = config.is_multi_agent
        pieces += [
            common.AddObservationsFromEpisodesToBatch(),
            common.AddTimeDimToBatchAndZeroPad(),
            common.AddStatesFromEpisodesToBatch(),
            *([common.AgentToModuleMapping()] if multi else []),
            common.BatchIndividualItems(multi_agent=multi),
            common.NumpyToTensor(device=device),
        ]
    pipeline = e2m.EnvToModulePipeline(observation, action, connectors=pieces)
    pipeline.is_plain = not own and config.add_default_connectors_to_env_to_module_pipeline  # type: ignore[attr-defined]
    return pipeline


def module_to_env(config: Any, env: Any = None, spaces: Any = None) -> Any:
    """From the module's outputs to actions."""
    own = _given(config.module_to_env_connector, env, spaces, None)
    observation, action = _spaces(env, spaces)
    pieces: list[ConnectorV2] = list(own)
    if config.add_default_connectors_to_module_to_env_pipeline:
        multi = config.is_multi_agent
        pieces = [
            m2e.GetActions(),
            m2e.TensorToNumpy(),
            m2e.RemoveSingleTsTimeRankFromBatch(),
            m2e.UnBatchToIndividualItems(),
            *([m2e.ModuleToAgentUnmapping()] if multi else []),
            *own,
            m2e.NormalizeAndClipActions(
                normalize_actions=config.normalize_actions, clip_actions=config.clip_actions
            ),
            m2e.ListifyDataForVectorEnv(),
        ]
    pipeline = m2e.ModuleToEnvPipeline(observation, action, connectors=pieces)
    pipeline.is_plain = not own and config.add_default_connectors_to_module_to_env_pipeline  # type: ignore[attr-defined]
    return pipeline


def learner(config: Any, observation_space: Any, action_space: Any, device: Any = None) -> Any:
    """From episodes to the train batch."""
    own = _given(config.learner_connector, observation_space, action_space, device)
    pieces: list[ConnectorV2] = list(own)
    if config.add_default_connectors_to_learner_pipeline:
        multi = config.is_multi_agent
        pieces += [
            common.AddObservationsFromEpisodesToBatch(as_learner_connector=True),
            lrn.AddColumnsFromEpisodesToTrainBatch(),
            common.AddTimeDimToBatchAndZeroPad(as_learner_connector=True),
            common.AddStatesFromEpisodesToBatch(as_learner_connector=True),
            *([common.AgentToModuleMapping()] if multi else []),
            common.BatchIndividualItems(multi_agent=multi),
            common.NumpyToTensor(device=device),
        ]
    return lrn.LearnerConnectorPipeline(observation_space, action_space, connectors=pieces)


def _given(maker: Any, *arguments: Any) -> list[ConnectorV2]:
    """What the user's function returns, called with as many arguments as it takes."""
    if maker is None:
        return []
    if isinstance(maker, ConnectorV2):
        return [maker]
    try:
        parameters = inspect.signature(maker).parameters.values()
        if any(p.kind is p.VAR_POSITIONAL for p in parameters):
            count = len(arguments)
        else:
            count = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    except (TypeError, ValueError):
        count = len(arguments)
    made = maker() if isinstance(maker, type) else maker(*arguments[:count])
    return list(made) if isinstance(made, (list, tuple)) else [made]


def _spaces(env: Any, spaces: Any) -> tuple[Any, Any]:
    if env is not None:
        if hasattr(env, "single_observation_space"):
            return env.single_observation_space, env.single_action_space
        return getattr(env, "observation_space", None), getattr(env, "action_space", None)
    if spaces:
        both = spaces.get("__env_single__") or spaces.get("__env__") or next(iter(spaces.values()))
        return both
    return None, None
