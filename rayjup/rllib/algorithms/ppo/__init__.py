"""Proximal policy optimization."""

from rayjup.rllib.algorithms.ppo.ppo import PPO, PPOConfig, PPOTorchLearner

__all__ = ["PPO", "PPOConfig", "PPOTorchLearner"]
