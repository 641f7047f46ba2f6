"""What a trial's code finds of its trial: `report`, `get_checkpoint`, `get_context`."""

from __future__ import annotations

from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.placement import PlacementGroupFactory


class TuneContext:
    """What a trial knows of itself; made by `get_context`."""

    def __init__(self, run: session.RunSession | None = None) -> None:
        self._run = run

    def _of(self) -> session.RunSession:
        return self._run or session.require("tune.get_context()")

    def get_experiment_name(self) -> str | None:
        """Name of the experiment."""
        return self._of().experiment_name

    def get_trial_name(self) -> str | None:
        """Name of the trial."""
        return self._of().trial_name

    def get_trial_id(self) -> str | None:
        """Id of the trial."""
        return self._of().trial_id

    def get_trial_resources(self) -> PlacementGroupFactory | None:
        """What the trial asked for."""
        found: PlacementGroupFactory | None = self._of().trial_resources
        return found

    def get_trial_dir(self) -> str | None:
        """The trial's directory."""
        return self._of().trial_dir

    # Trials have no ranks; code that is also used in training asks all the same.

    def get_world_size(self) -> int:
        """Number of workers: 1, unless a trainer runs in the trial."""
        return self._of().world_size

    def get_world_rank(self) -> int:
        """Rank among the workers."""
        return self._of().world_rank

    def get_local_rank(self) -> int:
        """Rank on this node."""
        return self._of().local_rank

    def get_local_world_size(self) -> int:
        """Number of workers on this node."""
        return self._of().local_world_size

    def get_node_rank(self) -> int:
        """Rank of the node."""
        return self._of().node_rank


def get_context() -> TuneContext:
    """What the running trial knows of itself.

    Examples
    --------
    >>> from rayjup import tune
    >>> def train(config):
    ...     tune.report({"directory": tune.get_context().get_trial_dir()})
    """
    return TuneContext(session.current())


def get_checkpoint() -> Checkpoint | None:
    """The checkpoint to go on from; None when the trial begins anew."""
    return session.get_checkpoint()


def report(metrics: Any = None, *, checkpoint: Checkpoint | None = None, **named: Any) -> None:
    """Report metrics (and a checkpoint) of the running trial.

    Parameters
    ----------
    metrics
        A dictionary; or give metrics as keyword arguments.
    checkpoint
        A directory from which the trial can go on.

    Examples
    --------
    >>> from rayjup import tune
    >>> def train(config):
    ...     for epoch in range(3):
    ...         tune.report({"loss": 1 / (epoch + 1)})
    """
    session.report(metrics, checkpoint=checkpoint, **named)
