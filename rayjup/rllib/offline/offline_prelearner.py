"""The class under its own module path."""

from rayjup.rllib.offline.offline_data import OfflinePreLearner

__all__ = ["OfflinePreLearner"]
