"""Work for a fixed set of actors (mirrors ``ray.util.actor_pool``)."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import rayjup as ray

V = TypeVar("V")


class ActorPool:
    """Hands values to whichever actor of a set is idle.

    Parameters
    ----------
    actors
        Handles of actors.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.util import ActorPool
    >>> @ray.remote(num_cpus=0)
    ... class Doubler:
    ...     def double(self, x):
    ...         return 2 * x
    >>> pool = ActorPool([Doubler.remote(), Doubler.remote()])
    >>> list(pool.map(lambda actor, x: actor.double.remote(x), [1, 2, 3]))
    [2, 4, 6]
    """

    def __init__(self, actors: list[Any]) -> None:
        self._idle: list[Any] = list(actors)
        self._waiting: deque[tuple[int, Callable[[Any, Any], Any], Any]] = deque()
        # By number of submission, oldest first: the refs of the call and the actor that runs it.
        self._running: OrderedDict[int, tuple[Any, Any]] = OrderedDict()
        self._submitted = 0

    def map(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """Apply ``fn(actor, value)`` to all values; the results in their order.

        Earlier submissions whose results nobody took are forgotten.
        """
        self._forget_all()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: Callable[[Any, V], Any], values: Iterable[V]) -> Iterator[Any]:
        """As :meth:`map`, but the results as they become ready."""
        self._forget_all()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def submit(self, fn: Callable[[Any, V], Any], value: V) -> None:
        """Call ``fn(actor, value)``, which must return a ref, on an idle actor, now or when there is one."""
        number = self._submitted
        self._submitted += 1
        self._waiting.append((number, fn, value))
        self._start()

    def has_next(self) -> bool:
        """Whether there are results that nobody took."""
        return bool(self._running or self._waiting)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result of the oldest submission whose result nobody took.

        Parameters
        ----------
        timeout
            Seconds to wait at most.
        ignore_if_timedout
            Whether a result that is late is given up, so that the next call gives the one after it.

        Raises
        ------
        StopIteration
            There are no more results.
        TimeoutError
            The result was not there in time.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        self._check_actors()
        # Calls start in the order of submission, so the oldest one is running.
        number, (refs, _) = next(iter(self._running.items()))
        late = False
        if timeout is not None:
            wanted = _as_list(refs)
            ready, _ = ray.wait(wanted, num_returns=len(wanted), timeout=timeout)
            late = len(ready) < len(wanted)
            if late and not ignore_if_timedout:
                raise TimeoutError("Timed out waiting for result")
        self._ended(number)
        if late:
            raise TimeoutError(f"Timed out waiting for result. The task {refs} has been ignored.")
        return ray.get(refs)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Any result that is ready, the first one that becomes so.

        Raises
        ------
        StopIteration
            There are no more results.
        TimeoutError
            None was ready in time.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        self._check_actors()
        owner = {_as_list(refs)[-1]: number for number, (refs, _) in self._running.items()}
        ready, _ = ray.wait(list(owner), num_returns=1, timeout=timeout)
        if not ready:
            if not ignore_if_timedout:
                raise TimeoutError("Timed out waiting for result")
            number, (refs, _) = next(iter(self._running.items()))
            self._ended(number)
            raise TimeoutError(f"Timed out waiting for result. The task {refs} has been ignored.")
        number = owner[ready[0]]
        refs, _ = self._running[number]
        self._ended(number)
        return ray.get(refs)

    def has_free(self) -> bool:
        """Whether an actor is idle and nothing waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an idle actor out of the pool; None when there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Add an actor.

        Raises
        ------
        ValueError
            It is in the pool already.
        """
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._idle.append(actor)
        self._start()

    # -- inside

    def _start(self) -> None:
        while self._waiting and self._idle:
            number, fn, value = self._waiting.popleft()
            actor = self._idle.pop()
            try:
                self._running[number] = (fn(actor, value), actor)
            except BaseException:
                self._idle.append(actor)
                raise

    def _check_actors(self) -> None:
        if not self._running:
            raise ValueError(
                f"{len(self._waiting)} submissions wait for an actor and the pool has none: push() one."
            )

    def _ended(self, number: int) -> None:
        _, actor = self._running.pop(number)
        self._idle.append(actor)
        self._start()

    def _forget_all(self) -> None:
        self._waiting.clear()
        while self._running:
            self._ended(next(iter(self._running)))

    def _results(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()


def _as_list(refs: Any) -> list[Any]:
    return list(refs) if isinstance(refs, (list, tuple)) else [refs]
