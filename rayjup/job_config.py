"""The configuration of a job (mirrors ``ray.job_config``)."""

from rayjup.base.logging_config import LoggingConfig
from rayjup.core.job_config import JobConfig

__all__ = ["JobConfig", "LoggingConfig"]
