"""Connectors of env runners, behind the module: from its outputs to actions."""

from rayjup.rllib.connectors.common import TensorToNumpy
from rayjup.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from rayjup.rllib.connectors.module_to_env.actions import (
    GetActions,
    ListifyDataForVectorEnv,
    ModuleToAgentUnmapping,
    NormalizeAndClipActions,
    RemoveSingleTsTimeRankFromBatch,
    UnBatchToIndividualItems,
)


class ModuleToEnvPipeline(ConnectorPipelineV2):
    """The pipeline behind the module."""


__all__ = [
    "GetActions",
    "ListifyDataForVectorEnv",
    "ModuleToAgentUnmapping",
    "ModuleToEnvPipeline",
    "NormalizeAndClipActions",
    "RemoveSingleTsTimeRankFromBatch",
    "TensorToNumpy",
    "UnBatchToIndividualItems",
]
