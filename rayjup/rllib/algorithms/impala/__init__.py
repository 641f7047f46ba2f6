"""Importance-weighted actor-learner architecture."""

from rayjup.rllib.algorithms.impala.impala import IMPALA, IMPALAConfig, IMPALATorchLearner

Impala, ImpalaConfig = IMPALA, IMPALAConfig

__all__ = ["IMPALA", "IMPALAConfig", "IMPALATorchLearner", "Impala", "ImpalaConfig"]
