"""What a run came to."""

from __future__ import annotations

from rayjup.runs.result import (
    Result,
)

__all__ = [
    "Result",
]
