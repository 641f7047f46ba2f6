"""Conservative Q-learning."""

from rayjup.rllib.algorithms.cql.cql import CQL, CQLConfig, CQLTorchLearner

__all__ = ["CQL", "CQLConfig", "CQLTorchLearner"]
