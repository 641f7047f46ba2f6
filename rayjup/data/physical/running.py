"""What steps know of the task in which they run."""

from __future__ import annotations

from contextvars import ContextVar

task_index: ContextVar[int] = ContextVar("rayjup_data_task_index", default=0)
"""The number of the task among those of its stage."""
