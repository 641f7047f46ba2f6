"""Results of runs (under their path of Ray 2.0 to 2.6)."""

from __future__ import annotations

from rayjup.runs.result import Result

__all__ = ["Result"]
