"""What a training function can ask about its run."""

from __future__ import annotations

from typing import Any

from rayjup.runs import session


class TrainContext:
    """Ranks, sizes and names of the run, for the worker that asks. `get_context` gives it.

    Outside of training it describes a run of one worker, so that a function can be tried out by hand.
    """

    def __init__(self) -> None:
        self._session = session.current() or session.RunSession()

    def get_world_size(self) -> int:
        """Number of workers."""
        return self._session.world_size

    def get_world_rank(self) -> int:
        """This worker's number among all."""
        return self._session.world_rank

    def get_local_rank(self) -> int:
        """This worker's number on its node."""
        return self._session.local_rank

    def get_local_world_size(self) -> int:
        """Number of workers on this node."""
        return self._session.local_world_size

    def get_node_rank(self) -> int:
        """This node's number."""
        return self._session.node_rank

    def get_experiment_name(self) -> str:
        """Name of the run."""
        return self._session.experiment_name or ""

    def get_metadata(self) -> dict[str, Any]:
        """What the trainer was given as ``metadata`` (older API)."""
        return dict(self._session.metadata)

    def get_trial_name(self) -> str | None:
        """Name of the Tune trial that the run is (older API)."""
        return self._session.trial_name

    def get_trial_id(self) -> str | None:
        """Id of the trial (older API)."""
        return self._session.trial_id

    def get_trial_resources(self) -> Any:
        """What the trial has asked for (older API)."""
        return self._session.trial_resources

    def get_trial_dir(self) -> str | None:
        """Directory of the trial (older API)."""
        return self._session.trial_dir

    def get_run_id(self) -> str | None:
        """Id of the run."""
        return self._session.run_id

    def __repr__(self) -> str:
        found = self._session
        return f"TrainContext(rank {found.world_rank} of {found.world_size}, {found.experiment_name!r})"


def get_context() -> TrainContext:
    """The context of the training function that asks.

    Examples
    --------
    >>> from rayjup import train
    >>> train.get_context().get_world_size()
    1
    """
    return TrainContext()
