"""DreamerV3: a world model, and a policy that learns in its dreams."""

from rayjup.rllib.algorithms.dreamerv3.dreamerv3 import DreamerV3, DreamerV3Config, DreamerV3TorchLearner

__all__ = ["DreamerV3", "DreamerV3Config", "DreamerV3TorchLearner"]
