"""The report callback for Keras, shared by Train and Tune; Keras is imported when the class is."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import base_class

_base: Any = base_class(
    ("keras.callbacks", "tensorflow.keras.callbacks"), "Callback", "ReportCheckpointCallback", "keras"
)

_EVENTS = frozenset(
    f"{what}_{when}"
    for what in ("epoch", "train_batch", "test_batch", "predict_batch", "train", "test", "predict")
    for when in ("begin", "end")
)


class ReportCheckpointCallback(_base):  # type: ignore[misc]
    """Reports what Keras logs, with the model as checkpoint; for ``model.fit(callbacks=[…])``.

    Parameters
    ----------
    checkpoint_on
        The events at which a checkpoint is made, such as ``"epoch_end"``.
    report_metrics_on
        The events at which metrics are reported.
    metrics
        Which: a name, names, or a dictionary of reported and logged names. All by default.
    """

    FILENAME = "model.keras"

    def __init__(
        self,
        checkpoint_on: str | list[str] = "epoch_end",
        report_metrics_on: str | list[str] = "epoch_end",
        metrics: str | list[str] | dict[str, str] | None = None,
    ) -> None:
        super().__init__()  # raises where Keras is not installed
        self._checkpoint_on = _events(checkpoint_on)
        self._report_on = _events(report_metrics_on)
        self._metrics = [metrics] if isinstance(metrics, str) else metrics

    def _handle(self, logs: dict[str, Any] | None, when: str) -> None:
        if when not in self._checkpoint_on and when not in self._report_on:
            return
        logs = logs or {}
        if not self._metrics:
            values = dict(logs)
        else:
            names = self._metrics if isinstance(self._metrics, dict) else {n: n for n in self._metrics}
            values = {reported: logs[name] for reported, name in names.items()}
        if when not in self._checkpoint_on:
            session.report(values)
            return
        run = session.current()
        if run is not None and run.world_rank not in (0, None):
            session.report(values)
            return
        with tempfile.TemporaryDirectory() as local:
            self.model.save(os.path.join(local, self.FILENAME))
            session.report(values, checkpoint=Checkpoint.from_directory(local))

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "epoch_begin")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "epoch_end")

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "train_batch_begin")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "train_batch_end")

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "test_batch_begin")

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "test_batch_end")

    def on_predict_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "predict_batch_begin")

    def on_predict_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "predict_batch_end")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "train_begin")

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "train_end")

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "test_begin")

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "test_end")

    def on_predict_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "predict_begin")

    def on_predict_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._handle(logs, "predict_end")


def _events(given: str | list[str]) -> frozenset[str]:
    events = frozenset([given] if isinstance(given, str) else given)
    unknown = sorted(events - _EVENTS)
    if unknown:
        raise ValueError(f"Keras has no events {unknown}; there are {sorted(_EVENTS)}")
    return events
