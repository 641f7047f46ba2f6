"""What all channels have in common."""

from __future__ import annotations

import abc
from typing import Any


class ChannelOutputType:
    """How a value travels through a channel: here, as any Python object."""

    device = "default"

    def requires_accelerator(self) -> bool:
        """Whether the channel needs a transport between GPUs."""
        return False

    def __repr__(self) -> str:
        return type(self).__name__


class ChannelInterface(abc.ABC):
    """One writer, one or more readers; each reader gets each value, in order."""

    @abc.abstractmethod
    def write(self, value: Any, timeout: float | None = None) -> None:
        """Send a value; waits while the channel is full."""

    @abc.abstractmethod
    def read(self, timeout: float | None = None) -> Any:
        """The next value; waits for it."""

    @abc.abstractmethod
    def close(self) -> None:
        """End the channel: its readers get what was sent before, then a ``RayChannelError``."""
