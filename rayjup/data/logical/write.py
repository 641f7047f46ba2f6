"""Rows handed to a sink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.data.logical.base import NOTHING, Op, Remote


@dataclass(frozen=True, eq=False)
class Write(Op):
    """Give the blocks to a sink; what comes out is one row per task with what it returned."""

    sink: Any
    write_uuid: str
    remote: Remote = NOTHING
    size: int | None = None

    @property
    def name(self) -> str:
        return f"Write{self.sink.get_name()}"
