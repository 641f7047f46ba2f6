"""Learners, and groups of them."""

from rayjup.rllib.core.learner.learner import Learner
from rayjup.rllib.core.learner.learner_group import LearnerGroup

__all__ = ["Learner", "LearnerGroup"]
