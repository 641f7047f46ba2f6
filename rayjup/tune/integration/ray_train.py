"""Train inside of trials."""

from __future__ import annotations

from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint


class TuneReportCallback:
    """Given to a trainer that runs inside of a trial, passes what its workers report on to the trial.

    Examples
    --------
    >>> from rayjup.tune.integration.ray_train import TuneReportCallback
    >>> callback = TuneReportCallback()  # for train.RunConfig(callbacks=[callback])
    """

    CHECKPOINT_PATH_KEY = "checkpoint_path"

    def __init__(self) -> None:
        self._run = session.current()

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Report what the first worker has reported; of a checkpoint, where it lies."""
        values = dict(metrics[0])
        if checkpoint is not None:
            values[self.CHECKPOINT_PATH_KEY] = checkpoint.path
        run = self._run or session.current()
        if run is None:
            session.warn_outside("TuneReportCallback.after_report")
            return
        run.report(values)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Nothing to report: the trainer raises."""
