"""PyTorch Lightning inside of trials; Lightning is imported when the class is."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import base_class

_base: Any = base_class(
    ("lightning.pytorch.callbacks", "pytorch_lightning.callbacks"),
    "Callback",
    "TuneReportCheckpointCallback",
    "lightning",
)
_PAIRS = (
    "fit",
    "sanity_check",
    "train",
    "train_epoch",
    "train_batch",
    "validation",
    "validation_epoch",
    "validation_batch",
    "test",
    "test_epoch",
    "test_batch",
    "predict",
    "predict_epoch",
    "predict_batch",
)
_EVENTS = (
    *(f"{what}_{when}" for what in _PAIRS for when in ("start", "end")),
    "exception",
    "before_backward",
    "after_backward",
    "before_optimizer_step",
    "before_zero_grad",
    "save_checkpoint",
    "load_checkpoint",
)


class TuneReportCheckpointCallback(_base):  # type: ignore[misc]
    """Reports Lightning's metrics, with its checkpoint; for ``Trainer(callbacks=[…])``.

    Parameters
    ----------
    metrics
        Which: a name, names, or a dictionary of reported and logged names. All by default.
    filename
        Name of Lightning's file in checkpoints.
    save_checkpoints
        Whether checkpoints are made.
    on
        The events at which it reports, such as ``"validation_end"``.
    """

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = "checkpoint",
        save_checkpoints: bool = True,
        on: str | list[str] = "validation_end",
    ) -> None:
        super().__init__()
        self._metrics = [metrics] if isinstance(metrics, str) else metrics
        self._filename = filename
        self._save = save_checkpoints
        self._on = frozenset(name.removeprefix("on_") for name in ([on] if isinstance(on, str) else on))
        unknown = sorted(self._on - set(_EVENTS))
        if unknown:
            raise ValueError(f"Lightning has no events {unknown}; there are {sorted(_EVENTS)}")

    def _handle(self, trainer: Any, event: str) -> None:
        if event not in self._on or getattr(trainer, "sanity_checking", False):
            return
        logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
        if self._metrics:
            names = self._metrics if isinstance(self._metrics, dict) else {n: n for n in self._metrics}
            values = {reported: logged[name] for reported, name in names.items() if name in logged}
        else:
            values = logged
        if not values:
            return
        if not self._save:
            session.report(values)
            return
        with tempfile.TemporaryDirectory() as local:
            trainer.save_checkpoint(os.path.join(local, self._filename))
            session.report(values, checkpoint=Checkpoint.from_directory(local))


def _hook(event: str) -> Any:
    def hook(self: Any, trainer: Any, *args: Any, pl_module: Any = None, **kwargs: Any) -> None:
        self._handle(trainer, event)

    hook.__name__ = hook.__qualname__ = f"on_{event}"
    hook.__doc__ = f"Called by Lightning at ``{event}``."
    return hook


for _event in _EVENTS:
    setattr(TuneReportCheckpointCallback, f"on_{_event}", _hook(_event))

TuneReportCallback = TuneReportCheckpointCallback
