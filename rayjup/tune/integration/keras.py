"""Keras inside of trials."""

from __future__ import annotations

from typing import Any

from rayjup.runs.keras import ReportCheckpointCallback


class TuneReportCheckpointCallback(ReportCheckpointCallback):
    """Reports what Keras logs, with the model as checkpoint; see `ReportCheckpointCallback`."""


class TuneReportCallback:
    """The older callback that only reported; it is gone, as in Ray."""

    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:
        """Say what took its place."""
        raise DeprecationWarning(
            "TuneReportCallback is now TuneReportCheckpointCallback(checkpoint_on=[], metrics=...), of "
            "the same module"
        )
