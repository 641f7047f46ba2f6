"""Asynchronous PPO."""

from rayjup.rllib.algorithms.appo.appo import APPO, APPOConfig, APPOTorchLearner

__all__ = ["APPO", "APPOConfig", "APPOTorchLearner"]
