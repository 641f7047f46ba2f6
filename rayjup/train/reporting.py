"""The arguments and answers of ``report``: how checkpoints travel, how they are validated, what became of
them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rayjup.runs.checkpoint import Checkpoint


class CheckpointUploadMode(Enum):
    """How a reported checkpoint gets to the run's storage.

    ``SYNC``: before ``report`` returns. ``ASYNC``: in the background, while training goes on.
    ``NO_UPLOAD``: it
    lies where it is to stay already.
    """

    ASYNC = "ASYNC"
    SYNC = "SYNC"
    NO_UPLOAD = "NO_UPLOAD"

    def default_delete_local_checkpoint_after_upload(self) -> bool:
        """Whether the local directory is removed when nothing else is said: yes for ``ASYNC``, as nobody else
        could know when."""
        return self is CheckpointUploadMode.ASYNC


class CheckpointConsistencyMode(Enum):
    """What ``get_all_reported_checkpoints`` waits for: uploads (``COMMITTED``), or validations as well
    (``VALIDATED``)."""

    COMMITTED = "COMMITTED"
    VALIDATED = "VALIDATED"


class ReportedCheckpointStatus(Enum):
    """What became of a reported checkpoint."""

    COMMITTED = "COMMITTED"
    PENDING_VALIDATION = "PENDING_VALIDATION"
    VALIDATED = "VALIDATED"
    VALIDATION_TIMEOUT = "VALIDATION_TIMEOUT"
    VALIDATION_FAILED = "VALIDATION_FAILED"


@dataclass
class ReportedCheckpoint:
    """A checkpoint that was reported, its metrics and what became of it."""

    checkpoint: Checkpoint
    metrics: dict[str, Any]
    status: ReportedCheckpointStatus = ReportedCheckpointStatus.COMMITTED


class ValidationFn(Protocol):
    """A function that takes a checkpoint and returns metrics."""

    def __call__(self, checkpoint: Checkpoint, **kwargs: Any) -> dict[str, Any]:
        """Validate ``checkpoint``."""
        ...


@dataclass
class ValidationTaskConfig:
    """Settings of one validation.

    Parameters
    ----------
    fn_kwargs
        Given to the validation function beside the checkpoint.
    timeout_s
        Seconds it may take; None for any time.
    """

    fn_kwargs: dict[str, Any] | None = field(default_factory=dict)
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.fn_kwargs is None:
            self.fn_kwargs = {}
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ValueError(
                f"ValidationTaskConfig: timeout_s is {self.timeout_s!r}; it must be positive, or None "
                f"for any time"
            )


class ValidationConfig:
    """How checkpoints reported with ``validation=`` are validated, beside training.

    Parameters
    ----------
    fn
        Called with the checkpoint; returns metrics, which are added to the checkpoint's.
    task_config
        Settings for every validation; a `ValidationTaskConfig` given to ``report`` is merged on top.
    ray_remote_kwargs
        Options of the task that it runs in (``num_cpus``, ``num_gpus``, …).
    """

    def __init__(
        self,
        fn: ValidationFn,
        task_config: ValidationTaskConfig | None = None,
        ray_remote_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"ValidationConfig: fn must be a function of a checkpoint, not {fn!r}")
        self.fn = fn
        self.task_config = task_config or ValidationTaskConfig()
        self.ray_remote_kwargs = dict(ray_remote_kwargs or {})

    def task(self, asked: bool | ValidationTaskConfig) -> ValidationTaskConfig:
        """The settings for one validation, as ``report`` asked for it."""
        if not isinstance(asked, ValidationTaskConfig):
            return self.task_config
        return ValidationTaskConfig(
            {**(self.task_config.fn_kwargs or {}), **(asked.fn_kwargs or {})},
            asked.timeout_s if asked.timeout_s is not None else self.task_config.timeout_s,
        )
