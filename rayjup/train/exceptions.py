"""What ``fit()`` raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rayjup.base.exceptions import RayError

if TYPE_CHECKING:
    from rayjup.train.preemption import PreemptionInfo


class RayTrainError(RayError):
    """Base of the errors of Train."""


class TrainingFailedError(RayTrainError):
    """Training has failed: a `WorkerGroupError`, a `ControllerError` or a `PreemptionError`."""


class WorkerGroupError(TrainingFailedError):
    """Workers have failed, and more often than ``FailureConfig(max_failures)`` allows.

    Parameters
    ----------
    error_message
        Which rank failed where, with the traceback of the user's code.
    worker_failures
        What each failed rank raised.
    """

    def __init__(self, error_message: str, worker_failures: dict[int, Exception]) -> None:
        super().__init__(error_message)
        self._error_message = error_message
        self.worker_failures = worker_failures

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return (type(self), (self._error_message, self.worker_failures))


class NCCLHangError(WorkerGroupError):
    """A collective operation has timed out since some ranks did not take part."""


class ControllerError(TrainingFailedError):
    """The run could not be started or led; ``controller_failure`` says why."""

    def __init__(self, controller_failure: Exception) -> None:
        super().__init__(f"training could not be run: {controller_failure}")
        self.controller_failure = controller_failure
        self.with_traceback(controller_failure.__traceback__)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return (type(self), (self.controller_failure,))


class PreemptionError(TrainingFailedError):
    """Nodes were taken away more often than ``FailureConfig(max_preemption_failures)`` allows.

    Parameters
    ----------
    preemption_info
        Which nodes and ranks.
    drain_timed_out
        Whether workers were still running when the time was over.
    """

    def __init__(self, preemption_info: PreemptionInfo, drain_timed_out: bool = False) -> None:
        self.preemption_info = preemption_info
        self.drain_timed_out = drain_timed_out
        late = ", and some were still running when its time was over" if drain_timed_out else ""
        super().__init__(
            f"training lost the ranks {preemption_info.preempted_ranks} because their nodes were "
            f"taken away{late}; FailureConfig(max_preemption_failures=...) says how often it may go on"
        )

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return (type(self), (self.preemption_info, self.drain_timed_out))


class SessionMisuseError(RayTrainError):
    """A function of training workers was called where there is no training."""
