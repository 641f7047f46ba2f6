"""Deep Q-networks."""

from rayjup.rllib.algorithms.dqn.dqn import DQN, DQNConfig, DQNTorchLearner

__all__ = ["DQN", "DQNConfig", "DQNTorchLearner"]
