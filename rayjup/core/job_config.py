"""``JobConfig``: what holds for all tasks and actors of a job."""

from __future__ import annotations

import os
from typing import Any

from rayjup.base.logging_config import LoggingConfig

_LIFETIMES = ("detached", "non_detached")


class JobConfig:
    """The configuration of a job, for ``rayjup.init(job_config=…)``.

    Parameters
    ----------
    jvm_options
        Kept, and not used: only Python runs here.
    code_search_path
        Directories on the import path of the job's processes.
    runtime_env
        The runtime environment of the job.
    metadata
        Whatever is to be noted down with the job: names and texts.
    ray_namespace
        The namespace for named actors.
    default_actor_lifetime
        ``"detached"`` or ``"non_detached"``, for actors that don't say.

    Raises
    ------
    ValueError
        For another lifetime.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.job_config import JobConfig
    >>> config = JobConfig(ray_namespace="experiments", metadata={"owner": "me"})
    >>> context = ray.init(job_config=config, ignore_reinit_error=True)
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | None = None,
        runtime_env: dict[str, Any] | None = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _disable_job_level_lineage_reconstruction: bool = False,
        _py_driver_sys_path: list[str] | None = None,
    ) -> None:
        self.jvm_options = list(jvm_options or [])
        self.code_search_path = list(code_search_path or [])
        self.metadata = dict(metadata or {})
        self.ray_namespace = ray_namespace
        self.runtime_env: Any = {}
        self.py_logging_config: LoggingConfig | None = None
        self._client_job = _client_job
        self._disable_job_level_lineage_reconstruction = _disable_job_level_lineage_reconstruction
        self._py_driver_sys_path = list(_py_driver_sys_path or [])
        self.set_runtime_env(runtime_env)
        self.set_default_actor_lifetime(default_actor_lifetime)

    def set_metadata(self, key: str, value: str) -> None:
        """Note ``value`` down under ``key``; a value that is there already is replaced."""
        self.metadata[key] = value

    def set_ray_namespace(self, ray_namespace: str) -> None:
        """Set the namespace for named actors."""
        self.ray_namespace = ray_namespace

    def set_runtime_env(self, runtime_env: Any, validate: bool = False) -> None:
        """Set the runtime environment; with ``validate`` a wrong one is refused here, not by ``init``."""
        if validate and runtime_env is not None and not isinstance(runtime_env, dict):
            raise TypeError(
                f"JobConfig.set_runtime_env() takes a dict or RuntimeEnv, not {type(runtime_env).__name__}"
            )
        self.runtime_env = runtime_env if runtime_env is not None else {}

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Set the lifetime of actors that don't say: ``"detached"`` or ``"non_detached"``."""
        if default_actor_lifetime not in _LIFETIMES:
            raise ValueError(
                f"the default actor lifetime must be 'detached' or 'non_detached', not "
                f"{default_actor_lifetime!r}"
            )
        self.default_actor_lifetime = default_actor_lifetime

    def set_py_logging_config(self, logging_config: LoggingConfig | None = None) -> None:
        """Set how the job's processes log."""
        self.py_logging_config = logging_config

    def ensure_logging_config(self, logging_config: dict[str, Any] | LoggingConfig | None = None) -> None:
        """:meth:`set_py_logging_config`, unless that was done already."""
        if logging_config is not None and self.py_logging_config is None:
            if isinstance(logging_config, dict):
                logging_config = LoggingConfig.from_dict(logging_config)
            self.set_py_logging_config(logging_config)

    @classmethod
    def from_json(cls, job_config_json: dict[str, Any]) -> JobConfig:
        """The configuration described by a dict with the keys of the parameters (``namespace``, too)."""
        given = job_config_json
        return cls(
            jvm_options=given.get("jvm_options"),
            code_search_path=given.get("code_search_path"),
            runtime_env=given.get("runtime_env"),
            metadata=given.get("metadata"),
            ray_namespace=given.get("ray_namespace", given.get("namespace")),
            default_actor_lifetime=given.get("default_actor_lifetime", "non_detached"),
            _client_job=given.get("client_job", False),
            _py_driver_sys_path=given.get("py_driver_sys_path"),
        )

    def import_paths(self) -> list[str]:
        """The directories that the job's processes need on their import path."""
        return [os.path.abspath(path) for path in (*self.code_search_path, *self._py_driver_sys_path)]
