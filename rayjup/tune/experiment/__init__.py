"""What is tried: `Experiment` (a trainable and its space) and `Trial` (one configuration of it)."""

from __future__ import annotations

from rayjup.tune.experiment.experiment import Experiment, convert_to_experiment_list
from rayjup.tune.experiment.trial import Trial

__all__ = ["Experiment", "Trial", "convert_to_experiment_list"]
