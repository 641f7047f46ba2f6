"""Settings of compiled graphs, for the whole process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Any, ClassVar


def _setting(name: str, default: Any) -> Any:
    kind = type(default)

    def read() -> Any:
        text = os.environ.get(f"RAY_CGRAPH_{name}")
        if text is None:
            return default
        if kind is bool:
            return text.lower() in ("1", "true")
        return kind(float(text)) if kind is int else kind(text)

    return field(default_factory=read)


@dataclass
class DAGContext:
    """Settings of compiled graphs; the environment's ``RAY_CGRAPH_<name>`` gives the first values.

    Parameters
    ----------
    submit_timeout
        Seconds that ``execute()`` waits for room in the input channel.
    get_timeout
        Seconds that ``get()`` waits for a result: more than the whole graph takes.
    teardown_timeout
        Seconds that ``teardown()`` waits for the methods under way.
    read_iteration_timeout
        At most ``get_timeout``; kept for compatibility, readers here wait on one channel at a time.
    buffer_size_bytes
        Room for one message in a channel; larger ones get a buffer of their own.
    max_inflight_executions
        Executions under way before ``execute()`` raises ``RayCgraphCapacityExceeded``.
    max_buffered_results
        Results kept for refs that were not asked for yet.
    overlap_gpu_communication
        Accepted and without effect: tensors travel through shared memory.

    Examples
    --------
    >>> from rayjup.dag import DAGContext
    >>> DAGContext.get_current().buffer_size_bytes
    1000000
    """

    submit_timeout: int = _setting("submit_timeout", 10)
    get_timeout: int = _setting("get_timeout", 10)
    teardown_timeout: int = _setting("teardown_timeout", 30)
    read_iteration_timeout: float = _setting("read_iteration_timeout_s", 0.1)
    buffer_size_bytes: int = _setting("buffer_size_bytes", 1_000_000)
    max_inflight_executions: int = _setting("max_inflight_executions", 10)
    max_buffered_results: int = _setting("max_buffered_results", 1000)
    overlap_gpu_communication: bool = _setting("overlap_gpu_communication", False)

    _current: ClassVar[DAGContext | None] = None
    _lock: ClassVar[Any] = threading.Lock()

    def __post_init__(self) -> None:
        if self.read_iteration_timeout > self.get_timeout:
            raise ValueError(
                f"read_iteration_timeout ({self.read_iteration_timeout}) must not be above get_timeout "
                f"({self.get_timeout}): lower RAY_CGRAPH_read_iteration_timeout_s or raise "
                "RAY_CGRAPH_get_timeout."
            )

    @staticmethod
    def get_current() -> DAGContext:
        """The settings of this process."""
        with DAGContext._lock:
            if DAGContext._current is None:
                DAGContext._current = DAGContext()
            return DAGContext._current
