"""LightGBM inside of trials."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rayjup.runs.boosting import BoosterReport, Metrics
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import load


class TuneReportCheckpointCallback:
    """Reports LightGBM's evaluations, with the model as checkpoint; for ``lightgbm.train(callbacks=[…])``.

    Parameters are those of `rayjup.runs.boosting.BoosterReport`.
    """

    CHECKPOINT_NAME = "model.txt"
    order = 20
    before_iteration = False

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    ) -> None:
        self._report = BoosterReport(
            metrics, filename, frequency, checkpoint_at_end, results_postprocessing_fn
        )

    def __call__(self, env: Any) -> None:
        """Report an iteration (called by LightGBM)."""
        evaluated = {}
        for entry in env.evaluation_result_list or ():
            data, name, value = entry[:3]
            if len(entry) > 4:  # of cross validation: with the standard deviation
                name = name.split(" ")[-1]
                evaluated[f"{data}-{name}-mean"], evaluated[f"{data}-{name}-stdv"] = value, entry[4]
            else:
                evaluated[f"{data}-{name}"] = value
        self._report.after_iteration(env.iteration, evaluated, env.model.save_model)
        if env.iteration == env.end_iteration - 1:
            self._report.after_training(env.iteration, env.model.save_model)

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> Any:
        """The model in a checkpoint."""
        lightgbm = load("lightgbm", "TuneReportCheckpointCallback", "lightgbm")
        with checkpoint.as_directory() as local:
            return lightgbm.Booster(model_file=os.path.join(local, filename))


TuneReportCallback = TuneReportCheckpointCallback
