"""XGBoost inside of trials."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from rayjup.runs.boosting import BoosterReport, Metrics
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import load

_base: Any = load("xgboost.callback", "TuneReportCheckpointCallback", "xgboost").TrainingCallback


class TuneReportCheckpointCallback(_base):  # type: ignore[misc]
    """Reports XGBoost's evaluations, with the model as checkpoint; for ``xgboost.train(callbacks=[…])``.

    Parameters are those of `rayjup.runs.boosting.BoosterReport`.
    """

    CHECKPOINT_NAME = "model.ubj"

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    ) -> None:
        super().__init__()
        self._report = BoosterReport(
            metrics, filename, frequency, checkpoint_at_end, results_postprocessing_fn
        )
        self._iteration = -1

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, Any]) -> bool:
        """Report an iteration."""
        evaluated: OrderedDict[str, Any] = OrderedDict()
        for data, log in evals_log.items():
            for name, values in log.items():
                last = values[-1]
                evaluated[f"{data}-{name}"] = last[0] if isinstance(last, (tuple, list)) else last
        self._iteration = epoch
        self._report.after_iteration(epoch, evaluated, model.save_model)
        return False

    def after_training(self, model: Any) -> Any:
        """Report the model."""
        self._report.after_training(self._iteration, model.save_model)
        return model

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> Any:
        """The model in a checkpoint."""
        xgboost = load("xgboost", "TuneReportCheckpointCallback", "xgboost")
        with checkpoint.as_directory() as local:
            booster = xgboost.Booster()
            booster.load_model(os.path.join(local, filename))
        return booster


TuneReportCallback = TuneReportCheckpointCallback
