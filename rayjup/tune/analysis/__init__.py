"""Looking at experiments: `ExperimentAnalysis`."""

from __future__ import annotations

from rayjup.tune.analysis.experiment_analysis import ExperimentAnalysis

__all__ = ["ExperimentAnalysis"]
