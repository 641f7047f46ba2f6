"""Soft actor-critic."""

from rayjup.rllib.algorithms.sac.sac import SAC, SACConfig, SACTorchLearner

__all__ = ["SAC", "SACConfig", "SACTorchLearner"]
