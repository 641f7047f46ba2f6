"""What the leader of a run calls at its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.runs.checkpoint import Checkpoint
    from rayjup.runs.config import RunConfig, ScalingConfig
    from rayjup.train.backend import BackendConfig


@dataclass
class TrainRunContext:
    """What a run was started with."""

    run_config: RunConfig
    train_loop_config: dict[str, Any] | None
    scaling_config: ScalingConfig
    backend_config: BackendConfig
    dataset_config: Any = None
    run_id: str = ""
    datasets: list[str] = field(default_factory=list)

    def get_run_config(self) -> RunConfig:
        """The run's configuration."""
        return self.run_config


class RayTrainCallback:
    """Base of callbacks of Train."""


class UserCallback(RayTrainCallback):
    """Called where the run is led (not on the workers); override what you need.

    Examples
    --------
    >>> from rayjup import train
    >>> class Losses(train.UserCallback):
    ...     def after_report(self, run_context, metrics, checkpoint):
    ...         print([one["loss"] for one in metrics])
    """

    def after_report(
        self, run_context: TrainRunContext, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Called when all workers have reported: their metrics by rank, and the checkpoint in its storage."""

    def after_exception(self, run_context: TrainRunContext, worker_exceptions: dict[int, Exception]) -> None:
        """Called when workers have failed, with what each failed rank raised."""
