"""Who ends trials and experiments: `Stopper` and those that come with Tune."""

from __future__ import annotations

from rayjup.tune.stopper.basic import (
    CombinedStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    TimeoutStopper,
)
from rayjup.tune.stopper.plateau import ExperimentPlateauStopper, TrialPlateauStopper

__all__ = [
    "CombinedStopper",
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "NoopStopper",
    "Stopper",
    "TimeoutStopper",
    "TrialPlateauStopper",
]
