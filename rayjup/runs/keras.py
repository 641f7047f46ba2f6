"""A Keras callback that reports metrics and models to the run it is in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import load
from rayjup.runs.late import LateBase

_EVENTS = tuple(
    f"{phase}_{point}"
    for phase in ("epoch", "train_batch", "test_batch", "predict_batch", "train", "test", "predict")
    for point in ("begin", "end")
)


class ReportCheckpointCallback(LateBase):
    """Reports Keras's logs and checkpoints of the model.

    Keras is imported when one is made; the object is a ``keras.callbacks.Callback``.

    Parameters
    ----------
    checkpoint_on
        Events (``"epoch_end"``, ``"train_end"`` …) at which the model is saved.
    report_metrics_on
        Events at which metrics are reported.
    metrics
        Which of Keras's logs: one, several, or ``{name to report: name in the logs}``; all by default.
    """

    CHECKPOINT_NAME = "model.keras"

    @classmethod
    def late_base(cls) -> type:
        """Keras's base of callbacks."""
        found: type = load("keras", cls.__name__, "tensorflow").callbacks.Callback
        return found

    def __init__(
        self,
        checkpoint_on: str | list[str] = "epoch_end",
        report_metrics_on: str | list[str] = "epoch_end",
        metrics: str | list[str] | dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._save_on = _events("checkpoint_on", checkpoint_on)
        self._report_on = _events("report_metrics_on", report_metrics_on)
        self._metrics = [metrics] if isinstance(metrics, str) else metrics

    def _at(self, event: str, logs: Mapping[str, Any] | None) -> None:
        if event not in self._save_on and event not in self._report_on:
            return
        chosen = self._chosen(logs or {})
        run = session.require(type(self).__name__)
        if event not in self._save_on or run.world_rank != 0:
            session.report(chosen)
            return
        with tempfile.TemporaryDirectory() as directory:
            self.model.save(os.path.join(directory, self.CHECKPOINT_NAME))  # type: ignore[attr-defined]
            session.report(chosen, checkpoint=Checkpoint.from_directory(directory))

    def _chosen(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        if self._metrics is None:
            return dict(logs)
        pairs = (
            self._metrics.items() if isinstance(self._metrics, Mapping) else ((n, n) for n in self._metrics)
        )
        return {new: logs[old] for new, old in pairs}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("epoch_begin", logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("epoch_end", logs)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("train_batch_begin", logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("train_batch_end", logs)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("test_batch_begin", logs)

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("test_batch_end", logs)

    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("predict_batch_begin", logs)

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("predict_batch_end", logs)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("train_begin", logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("train_end", logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("test_begin", logs)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("test_end", logs)

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("predict_begin", logs)

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._at("predict_end", logs)


def _events(argument: str, given: str | list[str]) -> set[str]:
    events = {given} if isinstance(given, str) else set(given)
    unknown = sorted(events - set(_EVENTS))
    if unknown:
        raise ValueError(f"ReportCheckpointCallback: {argument} has {unknown}; events are {list(_EVENTS)}")
    return events
