"""Reports after each round of boosting."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.gbdt_trainer import ReportEachRound


class RayTrainReportCallback:
    """A callback for ``lightgbm.train`` that reports metrics and models.

    Parameters
    ----------
    metrics
        Names such as ``"valid-binary_logloss"`` to report: one, several, or ``{new name: name}``; all
        by default.
    filename
        Name of the model's file in checkpoints.
    frequency
        A checkpoint every so many rounds; 0 for none before the end.
    checkpoint_at_end
        Whether there is one at the end.
    results_postprocessing_fn
        Changes the metrics before they are reported.
    """

    CHECKPOINT_NAME = "model.txt"
    order = 20  # after LightGBM's own, which may end training
    before_iteration = False

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = CHECKPOINT_NAME,
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    ) -> None:
        self._reports = ReportEachRound(
            metrics, filename, frequency, checkpoint_at_end, results_postprocessing_fn
        )

    @classmethod
    def get_model(cls, checkpoint: Checkpoint, filename: str = CHECKPOINT_NAME) -> Any:
        """The booster in a checkpoint that was reported through this callback."""
        import lightgbm

        with checkpoint.as_directory() as directory:
            return lightgbm.Booster(model_file=os.path.join(directory, filename))

    def __call__(self, env: Any) -> None:
        """Report; called by LightGBM."""
        found: dict[str, Any] = {}
        for data, metric, value, *more in env.evaluation_result_list or ():
            # Of cross-validation there is the deviation as well.
            name = f"{data}-{metric}" if len(more) < 2 else f"{data}-{metric}-mean"
            found[name] = value
            if len(more) > 1:
                found[f"{data}-{metric}-stdv"] = more[1]
        self._reports.round_done(env.iteration - env.begin_iteration, found, env.model.save_model)
        if env.iteration == env.end_iteration - 1:
            self._reports.training_done(env.iteration - env.begin_iteration, env.model.save_model)
