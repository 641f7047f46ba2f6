"""What report callbacks of XGBoost and LightGBM have in common."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint

Metrics = str | list[str] | dict[str, str] | None


class BoosterReport:
    """Reports what an evaluation says, with the model now and then.

    Parameters
    ----------
    metrics
        Which are reported, and as what: a name, names, or a dictionary of reported and evaluated names. All
        by default.
    filename
        Name of the model's file in checkpoints.
    frequency
        A checkpoint is made every so many iterations; 0: never.
    checkpoint_at_end
        Whether one is made at the end.
    results_postprocessing_fn
        Called with what would be reported; returns what is.
    """

    def __init__(
        self,
        metrics: Metrics = None,
        filename: str = "model",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    ) -> None:
        self.metrics = [metrics] if isinstance(metrics, str) else metrics
        self.filename = filename
        self.frequency = frequency
        self.checkpoint_at_end = checkpoint_at_end
        self.postprocess = results_postprocessing_fn
        self._last: dict[str, Any] = {}
        self._checkpointed_at: int | None = None

    def chosen(self, evaluated: Mapping[str, Any]) -> dict[str, Any]:
        """What is reported of an evaluation."""
        if self.postprocess is not None:
            return dict(self.postprocess(dict(evaluated)))
        if not self.metrics:
            return dict(evaluated)
        names = self.metrics if isinstance(self.metrics, dict) else {name: name for name in self.metrics}
        missing = [name for name in names.values() if name not in evaluated]
        if missing:
            raise KeyError(f"the evaluation has no {missing}; it has {sorted(evaluated)}")
        return {reported: evaluated[name] for reported, name in names.items()}

    def after_iteration(
        self, iteration: int, evaluated: Mapping[str, Any], save: Callable[[str], Any]
    ) -> None:
        """Report iteration number ``iteration`` (from 0)."""
        self._last = self.chosen(evaluated)
        if self.frequency > 0 and (iteration + 1) % self.frequency == 0:
            self._checkpointed_at = iteration
            self._report(save)
        else:
            session.report(self._last)

    def after_training(self, iteration: int, save: Callable[[str], Any]) -> None:
        """Report the model at the end, if that was not done just now."""
        if self.checkpoint_at_end and self._checkpointed_at != iteration:
            self._report(save)

    def _report(self, save: Callable[[str], Any]) -> None:
        with self._saved(save) as checkpoint:
            session.report(dict(self._last), checkpoint=checkpoint)

    @contextlib.contextmanager
    def _saved(self, save: Callable[[str], Any]) -> Iterator[Checkpoint | None]:
        run = session.current()
        if run is not None and run.world_rank not in (0, None):
            yield None  # every worker has the same model
            return
        with tempfile.TemporaryDirectory() as local:
            save(os.path.join(local, self.filename))
            yield Checkpoint.from_directory(local)
