"""The contract of stoppers, and the plain ones."""

from __future__ import annotations

import collections
import datetime
import inspect
import time
from collections.abc import Callable
from typing import Any

from rayjup.runs.errors import must_define


class Stopper:
    """Decides after each result whether the trial ends, and whether all do.

    Examples
    --------
    >>> from rayjup import tune
    >>> class Good(tune.Stopper):
    ...     def __call__(self, trial_id, result):
    ...         return result["score"] > 0.9
    ...     def stop_all(self):
    ...         return False
    >>> Good()("a", {"score": 1})
    True
    """

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends with this result."""
        raise must_define(self, "__call__(trial_id, result)")

    def stop_all(self) -> bool:
        """Whether the whole experiment ends."""
        raise must_define(self, "stop_all()")


class NoopStopper(Stopper):
    """Ends nothing."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never."""
        return False

    def stop_all(self) -> bool:
        """Never."""
        return False


class CombinedStopper(Stopper):
    """Ends what any of several stoppers ends.

    Examples
    --------
    >>> from rayjup.tune.stopper import CombinedStopper, MaximumIterationStopper, NoopStopper
    >>> CombinedStopper(MaximumIterationStopper(1), NoopStopper())("a", {})
    True
    """

    def __init__(self, *stoppers: Stopper) -> None:
        self._stoppers = stoppers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether one of them ends the trial; all are asked."""
        decisions = [stopper(trial_id, result) for stopper in self._stoppers]
        return any(decisions)

    def stop_all(self) -> bool:
        """Whether one of them ends all."""
        return any(stopper.stop_all() for stopper in self._stoppers)


class FunctionStopper(Stopper):
    """Ends trials for which a function says so."""

    def __init__(self, function: Callable[[str, dict[str, Any]], bool]) -> None:
        self._function = function

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """What the function says."""
        return bool(self._function(trial_id, result))

    def stop_all(self) -> bool:
        """Never."""
        return False

    @classmethod
    def is_valid_function(cls, fn: Any) -> bool:
        """Whether it is a function of trial id and result."""
        if not callable(fn) or isinstance(fn, (type, Stopper)):
            return False
        try:
            inspect.signature(fn).bind("trial", {})
        except TypeError as error:
            raise ValueError(
                f"stop={getattr(fn, '__name__', fn)!r}: the function must take trial id and result ({error})"
            ) from error
        return True


class MaximumIterationStopper(Stopper):
    """Ends each trial after so many results."""

    def __init__(self, max_iter: int) -> None:
        self._max_iter = max_iter
        self._iterations: collections.Counter[str] = collections.Counter()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Count the result."""
        self._iterations[trial_id] += 1
        return self._iterations[trial_id] >= self._max_iter

    def stop_all(self) -> bool:
        """Never."""
        return False


class TimeoutStopper(Stopper):
    """Ends the experiment after some time, counted over all its restarts."""

    def __init__(self, timeout: float | datetime.timedelta) -> None:
        self._timeout = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else float(timeout)
        if self._timeout <= 0:
            raise ValueError(f"the timeout must be above 0 s, not {timeout!r}")
        self._used = 0.0
        self._since: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Never by itself: the whole experiment ends."""
        return False

    def start(self) -> None:
        """The experiment runs from now on."""
        if self._since is None:
            self._since = time.monotonic()

    def used(self) -> float:
        """Seconds that were used so far."""
        return self._used + (time.monotonic() - self._since if self._since is not None else 0.0)

    def set_used(self, seconds: float) -> None:
        """Take over what was used before a restart."""
        self._used = seconds

    def stop_all(self) -> bool:
        """Whether the time is over."""
        self.start()
        return self.used() >= self._timeout

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_used": self.used(), "_since": None}
