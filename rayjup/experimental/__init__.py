"""Parts of Ray's API that may still change."""

from __future__ import annotations

from typing import Any

__all__ = ["wait_tensor_freed"]


def wait_tensor_freed(tensor: Any, timeout: float | None = None) -> None:
    """Wait until no ref is left to an object that holds ``tensor``, so that it may be changed.

    For an actor that goes on with a tensor which it has returned from a method with a ``tensor_transport``.

    Parameters
    ----------
    tensor
        The tensor itself, or another one on the same memory.
    timeout
        Seconds; None: without end.

    Raises
    ------
    TimeoutError
        There are still refs after ``timeout`` seconds.
    """
    from rayjup.engine.objects import on_device

    on_device.wait_freed(tensor, timeout)
