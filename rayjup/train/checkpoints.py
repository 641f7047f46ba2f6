"""Checkpoints that know what they hold (older API)."""

from __future__ import annotations

from typing import Any, TypeVar

from rayjup.runs.checkpoint import Checkpoint

C = TypeVar("C", bound="FrameworkCheckpoint")


class FrameworkCheckpoint(Checkpoint):
    """Base of checkpoints of one framework, with ``get_model``."""

    @classmethod
    def from_checkpoint(cls: type[C], checkpoint: Checkpoint) -> C:
        """The same checkpoint as one of this class."""
        same: C = object.__new__(cls)
        same.__dict__.update(checkpoint.__dict__)
        same.__dict__["_source"] = checkpoint  # it may remove its directory when it goes
        return same

    def get_model(self) -> Any:
        """What the checkpoint holds."""
        raise NotImplementedError(f"{type(self).__name__} must define get_model()")
