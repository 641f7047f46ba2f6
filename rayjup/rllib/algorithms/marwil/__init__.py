"""Monotonic advantage re-weighted imitation learning."""

from rayjup.rllib.algorithms.marwil.marwil import MARWIL, MARWILConfig, MARWILTorchLearner

__all__ = ["MARWIL", "MARWILConfig", "MARWILTorchLearner"]
