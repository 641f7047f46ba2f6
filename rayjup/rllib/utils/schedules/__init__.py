"""Schedules of hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class PiecewiseSchedule:
    """Values between end points, by an interpolation of one's own.

    Examples
    --------
    >>> from rayjup.rllib.utils.schedules import PiecewiseSchedule
    >>> PiecewiseSchedule([(0, 0.0), (10, 1.0)], outside_value=1.0).value(5)
    0.5
    """

    def __init__(
        self,
        endpoints: list[tuple[int, float]],
        framework: str | None = None,
        interpolation: Callable[[Any, Any, Any], Any] | None = None,
        outside_value: float | None = None,
    ) -> None:
        times = [t for t, _ in endpoints]
        if times != sorted(times):
            raise ValueError(f"endpoints {endpoints}: their times must grow.")
        self.endpoints, self.outside_value = endpoints, outside_value
        self.interpolation = interpolation or (lambda left, right, alpha: left + alpha * (right - left))

    def value(self, t: Any) -> Any:
        """The value at time t."""
        for (t0, v0), (t1, v1) in zip(self.endpoints, self.endpoints[1:], strict=False):
            if t0 <= t < t1:
                return self.interpolation(v0, v1, float(t - t0) / (t1 - t0))
        if self.outside_value is None:
            raise ValueError(f"t={t} lies outside of {self.endpoints}: give outside_value.")
        return self.outside_value

    __call__ = value


__all__ = ["PiecewiseSchedule"]
