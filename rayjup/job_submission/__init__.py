"""Submitting programs to a cluster (mirrors ``ray.job_submission``)."""

from rayjup.jobs.client import JobSubmissionClient
from rayjup.jobs.models import DriverInfo, JobDetails, JobErrorType, JobInfo, JobStatus, JobType

__all__ = [
    "DriverInfo",
    "JobDetails",
    "JobErrorType",
    "JobInfo",
    "JobStatus",
    "JobSubmissionClient",
    "JobType",
]
