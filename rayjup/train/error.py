"""Errors of Train under their older path."""

from __future__ import annotations

from rayjup.train.exceptions import SessionMisuseError, TrainingFailedError

__all__ = ["SessionMisuseError", "TrainingFailedError"]
