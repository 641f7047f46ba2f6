"""Values that change with the time steps: a number, or points with straight lines between them."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from typing import Any


class Scheduler:
    """A hyperparameter over time.

    Parameters
    ----------
    fixed_value_or_schedule
        A number, or ``[[time step, value], …]`` beginning at step 0.
    framework
        ``"torch"`` keeps the value in a tensor that optimizers can share.

    Examples
    --------
    >>> from rayjup.rllib.utils.schedules.scheduler import Scheduler
    >>> epsilon = Scheduler([[0, 1.0], [100, 0.0]], framework=None)
    >>> epsilon.update(25), epsilon.update(500)
    (0.75, 0.0)
    """

    def __init__(
        self, fixed_value_or_schedule: Any, *, framework: str | None = None, device: str | None = None
    ) -> None:
        self.validate(
            fixed_value_or_schedule=fixed_value_or_schedule, setting_name="schedule", description="the value"
        )
        self.points = None if not isinstance(fixed_value_or_schedule, (list, tuple)) else [
            (int(t), float(v)) for t, v in fixed_value_or_schedule
        ]  # fmt: skip
        self.value = float(fixed_value_or_schedule) if self.points is None else self.points[0][1]
        self._tensor: Any = None
        if framework == "torch":
            import torch

            self._tensor = torch.tensor(self.value, device=device)

    def get_current_value(self) -> Any:
        """The value now."""
        return self.value if self._tensor is None else self._tensor

    def update(self, timestep: int) -> float:
        """The value at a time step; it is the current one from then on."""
        if self.points is not None:
            place = bisect_right([t for t, _ in self.points], timestep)
            if place == len(self.points):
                self.value = self.points[-1][1]
            else:
                (t0, v0), (t1, v1) = self.points[place - 1], self.points[place]
                self.value = v0 + (v1 - v0) * (timestep - t0) / (t1 - t0)
            if self._tensor is not None:
                self._tensor.fill_(self.value)
        return self.value

    @staticmethod
    def validate(*, fixed_value_or_schedule: Any, setting_name: str, description: str) -> None:
        """Raise when this is no number and no schedule."""
        given = fixed_value_or_schedule
        if given is None or isinstance(given, (int, float)):
            return
        good = (
            isinstance(given, (list, tuple))
            and len(given) >= 2
            and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in given)
        )
        if not good:
            raise ValueError(
                f"{setting_name}={given!r}: {description} is a number, or [[0, value], [step, value], …]."
            )
        if given[0][0] != 0:
            raise ValueError(f"{setting_name}={given!r}: the first point must be at time step 0.")
        if any(a[0] >= b[0] for a, b in itertools.pairwise(given)):
            raise ValueError(f"{setting_name}={given!r}: time steps must grow.")
