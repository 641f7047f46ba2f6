"""The session: through which ``report``, ``get_checkpoint`` and ``get_context`` find the run they belong to.

Who runs a user's code makes a `RunSession` and runs the code inside of ``use(session)``. The code calls
``train.report``, ``tune.report`` or the older ``air.session.report``; all of them end in `report` here.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.runs.checkpoint import Checkpoint

_current: ContextVar[RunSession | None] = ContextVar("rayjup_run_session", default=None)
# The session of this process, for threads that user code starts: they don't inherit context variables.
_of_process: list[RunSession] = []
_lock = threading.Lock()


class RunSession:
    """What user code finds of its run. Subclasses say what a report does.

    Attributes are what the contexts and the older ``session.get_…`` functions give; None where a kind of
    run has nothing of the sort.
    """

    kind = "run"
    experiment_name: str | None = None
    run_id: str | None = None
    trial_name: str | None = None
    trial_id: str | None = None
    trial_dir: str | None = None
    trial_resources: Any = None
    world_size: int = 1
    world_rank: int = 0
    local_rank: int = 0
    local_world_size: int = 1
    node_rank: int = 0
    storage: Any = None
    metadata: Mapping[str, Any] = {}

    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, **options: Any) -> None:
        """Take what user code reports; ``options`` are the further arguments of ``train.report``."""
        raise NotImplementedError(f"{type(self).__name__} does not take reports")

    def get_checkpoint(self) -> Checkpoint | None:
        """The checkpoint that the run goes on from."""
        return None

    def at_end(self, cleanup: Callable[[], Any]) -> None:
        """Have something called when the run's code has ended (that of tracking services, for example)."""
        self.__dict__.setdefault("cleanups", []).append(cleanup)

    def get_dataset_shard(self, dataset_name: str | None = None) -> Any:
        """This worker's share of a data set."""
        raise RuntimeError(
            f"a {self.kind} session has no data sets (asked for {dataset_name!r}): "
            "pass datasets={...} to the trainer"
        )


def current() -> RunSession | None:
    """The session of the code that asks, or None outside of runs."""
    found = _current.get()
    if found is not None:
        return found
    return _of_process[-1] if _of_process else None


def require(what: str) -> RunSession:
    """The current session; RuntimeError naming ``what`` outside of runs."""
    found = current()
    if found is None:
        raise RuntimeError(
            f"{what} works only inside of a training function or trial, where a Trainer or Tuner runs it"
        )
    return found


@contextlib.contextmanager
def use(session: RunSession) -> Iterator[RunSession]:
    """Run the block with ``session`` as the current one.

    Examples
    --------
    >>> from rayjup.runs import session
    >>> with session.use(session.RunSession()) as mine:
    ...     session.current() is mine
    True
    """
    token = _current.set(session)
    with _lock:
        _of_process.append(session)
    try:
        yield session
    finally:
        for cleanup in session.__dict__.pop("cleanups", ()):
            cleanup()
        with _lock:
            _of_process.remove(session)
        _current.reset(token)


def report(
    metrics: Any = None,
    *,
    checkpoint: Checkpoint | None = None,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> None:
    """What all spellings of ``report`` do: give metrics and a checkpoint to the run.

    Metrics come as one dictionary (today's spelling) or as keyword arguments (the older one). Outside of a
    run, where user code is tried out by hand, nothing is reported and one warning says so.
    """
    values = as_metrics(metrics, named)
    session = current()
    if session is None:
        warn_outside("report")
        return
    session.report(values, checkpoint, **(options or {}))


def as_metrics(metrics: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """One dictionary of what was given to ``report``."""
    if metrics is None:
        return dict(named)
    if isinstance(metrics, Mapping):
        return {**metrics, **named} if named else dict(metrics)
    import numbers

    if isinstance(metrics, numbers.Number):  # what the oldest spelling called the metric without a name
        return {"_metric": metrics, **named}
    raise TypeError(f"report() needs a dictionary of metrics, such as {{'loss': 0.1}}, not {metrics!r}")


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from, or None at the first start."""
    session = current()
    if session is None:
        warn_outside("get_checkpoint")
        return None
    return session.get_checkpoint()


_warned: set[str] = set()


def warn_outside(what: str) -> None:
    """Say once that something was called outside of a run and did nothing."""
    if what not in _warned:
        _warned.add(what)
        warnings.warn(
            f"{what}() was called outside of a training function or trial and does nothing there",
            stacklevel=4,
        )
