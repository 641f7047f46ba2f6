"""Comet."""

from __future__ import annotations

from rayjup.runs.loggers.comet import CometLoggerCallback

__all__ = ["CometLoggerCallback"]
