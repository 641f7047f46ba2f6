"""Truncated quantile critics."""

from rayjup.rllib.algorithms.tqc.tqc import TQC, TQCCatalog, TQCConfig, TQCTorchLearner

__all__ = ["TQC", "TQCCatalog", "TQCConfig", "TQCTorchLearner"]
