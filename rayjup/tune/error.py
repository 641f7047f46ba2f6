"""Errors of experiments (under Ray's path)."""

from __future__ import annotations

from rayjup.runs.errors import TuneError

__all__ = ["TuneError"]
