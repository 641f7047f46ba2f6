"""Learners in PyTorch."""

from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner

__all__ = ["TorchLearner"]
