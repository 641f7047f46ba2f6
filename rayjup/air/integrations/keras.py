"""The report callback for Keras (under its path of Ray 2.0 and later)."""

from __future__ import annotations

from rayjup.runs.keras import ReportCheckpointCallback

__all__ = ["ReportCheckpointCallback"]
