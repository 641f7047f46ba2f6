"""Where functions run: in tasks, or in a pool of actors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class ComputeStrategy:
    """Base class: tasks or actors."""


@dataclass(frozen=True, eq=True)
class TaskPoolStrategy(ComputeStrategy):
    """Run in tasks.

    Parameters
    ----------
    size : int, optional
        At most so many at a time.
    """

    size: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"TaskPoolStrategy(size={self.size}): the size must be at least 1.")


TASKS = TaskPoolStrategy()
"""As many tasks as the cluster runs."""


class ActorPoolStrategy(ComputeStrategy):
    """Run in actors, each of which makes the class of the function once.

    Parameters
    ----------
    size : int, optional
        A pool of fixed size.
    min_size, max_size, initial_size : int, optional
        A pool that grows while work waits and shrinks when actors idle.
    max_tasks_in_flight_per_actor : int, optional
        Calls sent to an actor before the first has come back (2).
    max_concurrent_calls_per_actor : int, optional
        Calls that one actor runs at the same time, in threads.
    """

    def __init__(
        self,
        *,
        size: int | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        initial_size: int | None = None,
        max_tasks_in_flight_per_actor: int | None = None,
        max_concurrent_calls_per_actor: int | None = None,
        enable_true_multi_threading: bool | None = None,
    ) -> None:
        if size is not None:
            if size < 1:
                raise ValueError(f"ActorPoolStrategy(size={size}): a pool has at least one actor.")
            if min_size is not None or max_size is not None or initial_size is not None:
                raise ValueError(
                    "ActorPoolStrategy: give either size (fixed) or min_size, max_size and initial_size."
                )
            min_size = max_size = initial_size = size
        if min_size is not None and min_size < 1:
            raise ValueError(f"ActorPoolStrategy(min_size={min_size}): the least size is 1.")
        low = min_size or 1
        if max_size is not None and max_size < low:
            raise ValueError(f"ActorPoolStrategy: max_size={max_size} is less than min_size={low}.")
        first = initial_size if initial_size is not None else low
        if first < low or (max_size is not None and first > max_size):
            raise ValueError(
                f"ActorPoolStrategy: initial_size={first} must lie between min_size={low} and "
                f"max_size={max_size}."
            )
        for label, value in (
            ("max_tasks_in_flight_per_actor", max_tasks_in_flight_per_actor),
            ("max_concurrent_calls_per_actor", max_concurrent_calls_per_actor),
        ):
            if value is not None and value < 1:
                raise ValueError(f"ActorPoolStrategy({label}={value}): must be at least 1.")
        self.min_size = low
        self.max_size = max_size if max_size is not None else float("inf")
        self.initial_size = first
        self.max_tasks_in_flight_per_actor = max_tasks_in_flight_per_actor
        self.max_concurrent_calls_per_actor = max_concurrent_calls_per_actor or (
            2 if enable_true_multi_threading else 1
        )
        self._threads = bool(enable_true_multi_threading)

    @property
    def enable_true_multi_threading(self) -> bool:
        """Whether one actor runs several calls at the same time."""
        return self._threads

    def _key(self) -> tuple[Any, ...]:
        return (
            self.min_size,
            self.max_size,
            self.initial_size,
            self.max_tasks_in_flight_per_actor,
            self.max_concurrent_calls_per_actor,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorPoolStrategy) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return (
            f"ActorPoolStrategy(min_size={self.min_size}, max_size={self.max_size}, "
            f"initial_size={self.initial_size})"
        )


def strategy_for(
    is_class: bool, compute: Any, concurrency: int | tuple[int, ...] | None, what: str
) -> TaskPoolStrategy | ActorPoolStrategy:
    """The strategy that ``compute`` and ``concurrency`` ask for.

    Raises
    ------
    ValueError
        They contradict each other, or the kind of function.
    """
    if isinstance(compute, str):
        if compute not in ("tasks", "actors"):
            raise ValueError(f"{what}: compute={compute!r}; it must be 'tasks', 'actors' or a strategy.")
        compute = ActorPoolStrategy() if compute == "actors" else TaskPoolStrategy()
    if compute is not None:
        if concurrency is not None and not (isinstance(compute, TaskPoolStrategy) and compute.size is None):
            raise ValueError(f"{what}: give compute or concurrency, not both.")
        if is_class and isinstance(compute, TaskPoolStrategy):
            raise ValueError(
                f"{what}: a class runs in actors: give concurrency=n or compute=ActorPoolStrategy(size=n)."
            )
        if not isinstance(compute, ComputeStrategy):
            raise ValueError(f"{what}: compute={compute!r} is no ActorPoolStrategy or TaskPoolStrategy.")
        if concurrency is None:
            return compute  # type: ignore[return-value]
    if isinstance(concurrency, bool) or not (
        concurrency is None or isinstance(concurrency, (int, tuple, list))
    ):
        raise ValueError(f"{what}: concurrency={concurrency!r}; it must be a number or a tuple of numbers.")
    if not is_class:
        if concurrency is not None and not isinstance(concurrency, int):
            raise ValueError(
                f"{what}: concurrency={concurrency!r} of a function must be one number; ranges are for "
                "classes."
            )
        return TaskPoolStrategy(concurrency)
    if concurrency is None:
        return ActorPoolStrategy(min_size=1, max_size=None)
    if isinstance(concurrency, int):
        if concurrency < 1:
            raise ValueError(f"{what}: concurrency={concurrency} must be at least 1.")
        return ActorPoolStrategy(size=concurrency)
    if len(concurrency) == 2:
        return ActorPoolStrategy(min_size=concurrency[0], max_size=concurrency[1])
    if len(concurrency) == 3:
        return ActorPoolStrategy(
            min_size=concurrency[0], max_size=concurrency[1], initial_size=concurrency[2]
        )
    raise ValueError(f"{what}: concurrency={concurrency!r} must be n, (min, max) or (min, max, initial).")
