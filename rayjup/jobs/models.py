"""What is known of a job."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, fields
from typing import Any

from rayjup.util.state.common import DriverInfo, JobStatus, JobType

__all__ = ["DriverInfo", "JobDetails", "JobErrorType", "JobInfo", "JobStatus", "JobType"]


class JobErrorType(str, enum.Enum):
    """Why a job failed."""

    RUNTIME_ENV_SETUP_FAILURE = "RUNTIME_ENV_SETUP_FAILURE"
    JOB_SUPERVISOR_ACTOR_START_TIMEOUT = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
    JOB_SUPERVISOR_ACTOR_START_FAILURE = "JOB_SUPERVISOR_ACTOR_START_FAILURE"
    JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE = "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
    JOB_SUPERVISOR_ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
    JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE = "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"
    JOB_ENTRYPOINT_COMMAND_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
    JOB_ENTRYPOINT_COMMAND_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"

    def __str__(self) -> str:
        return self.value


@dataclass
class JobInfo:
    """One job in the cluster's table.

    Times are milliseconds since the epoch, memory is in bytes.

    Examples
    --------
    >>> from rayjup.job_submission import JobInfo, JobStatus
    >>> info = JobInfo(status=JobStatus.PENDING, entrypoint="python train.py")
    >>> JobInfo.from_json(info.to_json()) == info
    True
    """

    status: JobStatus
    entrypoint: str
    message: str | None = None
    error_type: JobErrorType | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    entrypoint_num_cpus: int | float | None = None
    entrypoint_num_gpus: int | float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None
    entrypoint_label_selector: dict[str, str] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.status, str):
            self.status = JobStatus(self.status)
        if self.error_type is not None:
            self.error_type = JobErrorType(self.error_type)
        if self.message is None:
            self.message = _FIRST_MESSAGES.get(self.status)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON-able values."""
        return {name: str(v) if isinstance(v, enum.Enum) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, json_dict: dict[str, Any]) -> JobInfo:
        """The job from such a dict; fields of other versions are passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json_dict.items() if name in known})


_FIRST_MESSAGES = {
    JobStatus.PENDING: "The job has not started yet: its resources or its environment are being waited for.",
    JobStatus.RUNNING: "The job is running.",
    JobStatus.STOPPED: "The job was stopped on request.",
    JobStatus.SUCCEEDED: "The job has finished successfully.",
}


@dataclass(kw_only=True)
class JobDetails:
    """One job as the SDK and the REST API show it: submitted, or a driver that connected itself."""

    type: JobType
    job_id: str | None = None
    submission_id: str | None = None
    driver_info: DriverInfo | None = None
    status: JobStatus
    entrypoint: str
    message: str | None = None
    error_type: str | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    runtime_env: dict[str, Any] | None = None
    driver_agent_http_address: str | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None

    def __post_init__(self) -> None:
        self.type = JobType(self.type)
        self.status = JobStatus(self.status)
        if isinstance(self.driver_info, dict):
            self.driver_info = DriverInfo(**self.driver_info)

    def dict(self) -> dict[str, Any]:
        """All fields as JSON-able values."""
        return {name: v.value if isinstance(v, enum.Enum) else v for name, v in asdict(self).items()}
