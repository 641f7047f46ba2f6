"""Connectors of env runners, before the module: from episodes to its batch."""

from rayjup.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
)
from rayjup.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from rayjup.rllib.connectors.env_to_module.filters import (
    FlattenObservations,
    MeanStdFilter,
    ObservationPreprocessor,
    PrevActionsPrevRewards,
    WriteObservationsToEpisodes,
)


class EnvToModulePipeline(ConnectorPipelineV2):
    """The pipeline before the module."""


__all__ = [
    "AddObservationsFromEpisodesToBatch",
    "AddStatesFromEpisodesToBatch",
    "AddTimeDimToBatchAndZeroPad",
    "AgentToModuleMapping",
    "BatchIndividualItems",
    "EnvToModulePipeline",
    "FlattenObservations",
    "MeanStdFilter",
    "NumpyToTensor",
    "ObservationPreprocessor",
    "PrevActionsPrevRewards",
    "WriteObservationsToEpisodes",
]
