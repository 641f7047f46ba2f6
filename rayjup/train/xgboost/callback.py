"""Reports after each round of boosting."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import load
from rayjup.train.gbdt_trainer import ReportEachRound

xgboost: Any = load("xgboost", "RayTrainReportCallback", "xgboost")


class RayTrainReportCallback(xgboost.callback.TrainingCallback):  # type: ignore[misc,name-defined,unused-ignore]
    """A callback for ``xgboost.train`` that reports metrics and models.

    Parameters
    ----------
    metrics
        Names such as ``"train-logloss"`` to report: one, several, or ``{new name: name}``; all by default.
    filename
        Name of the model's file in checkpoints.
    frequency
        A checkpoint every so many rounds; 0 for none before the end.
    checkpoint_at_end
        Whether there is one at the end.
    results_postprocessing_fn
        Changes the metrics before they are reported.
    """

    CHECKPOINT_NAME = "model.ubj"

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    ) -> None:
        super().__init__()
        self._reports = ReportEachRound(
            metrics, filename, frequency, checkpoint_at_end, results_postprocessing_fn
        )
        self._round = -1

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> Any:
        """The booster in a checkpoint that was reported through this callback."""
        with checkpoint.as_directory() as directory:
            booster = xgboost.Booster()
            booster.load_model(os.path.join(directory, filename))
            return booster

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, Any]) -> bool:
        """Report; called by XGBoost."""
        self._round += 1
        found: dict[str, Any] = {}
        for data, by_metric in evals_log.items():
            for metric, values in by_metric.items():
                last = values[-1]
                found[f"{data}-{metric}"] = last[0] if isinstance(last, tuple) else last
        self._reports.round_done(self._round, found, model.save_model)
        return False

    def after_training(self, model: Any) -> Any:
        """Report the finished model; called by XGBoost."""
        self._reports.training_done(self._round, model.save_model)
        return model
