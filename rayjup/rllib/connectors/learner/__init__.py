"""Connectors of learners: from episodes to train batches."""

from rayjup.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
)
from rayjup.rllib.connectors.connector_pipeline_v2 import ConnectorPipelineV2
from rayjup.rllib.connectors.learner.columns import (
    AddColumnsFromEpisodesToTrainBatch,
    AddInfosFromEpisodesToTrainBatch,
    AddNextObservationsFromEpisodesToTrainBatch,
    AddOneTsToEpisodesAndTruncate,
    ComputeReturnsToGo,
)
from rayjup.rllib.connectors.learner.general_advantage_estimation import GeneralAdvantageEstimation


class LearnerConnectorPipeline(ConnectorPipelineV2):
    """The pipeline in a learner."""


__all__ = [
    "AddColumnsFromEpisodesToTrainBatch",
    "AddInfosFromEpisodesToTrainBatch",
    "AddNextObservationsFromEpisodesToTrainBatch",
    "AddObservationsFromEpisodesToBatch",
    "AddOneTsToEpisodesAndTruncate",
    "AddStatesFromEpisodesToBatch",
    "AddTimeDimToBatchAndZeroPad",
    "AgentToModuleMapping",
    "BatchIndividualItems",
    "ComputeReturnsToGo",
    "GeneralAdvantageEstimation",
    "LearnerConnectorPipeline",
    "NumpyToTensor",
]
