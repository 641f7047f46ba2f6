"""Implicit Q-learning."""

from rayjup.rllib.algorithms.iql.iql import IQL, IQLConfig, IQLTorchLearner

__all__ = ["IQL", "IQLConfig", "IQLTorchLearner"]
