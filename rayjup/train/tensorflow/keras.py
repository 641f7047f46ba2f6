"""Keras in training functions."""

from __future__ import annotations

from rayjup.runs.keras import ReportCheckpointCallback

__all__ = ["ReportCheckpointCallback"]
