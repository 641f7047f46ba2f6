"""Runtime environments: what a job, a task or an actor runs in. Pure; nothing is built here.

An environment travels as one string, its *key*: the canonical JSON of what is in it. Equal keys are
equal environments, so calls of one environment share executors and nothing else does.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from rayjup.base.runtime_env_fields import ALONE, FIELDS, INSTALLERS

logger = logging.getLogger(__name__)

SETUP_TIMEOUT_S = 600
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_KNOWN = (*FIELDS, "config", "java_jars", "_nsight", "_rocprof_sys")


class RuntimeEnvConfig(dict[str, Any]):
    """How an environment is built. It does not tell environments apart.

    Parameters
    ----------
    setup_timeout_seconds
        How long building may take; -1 for ever.
    eager_install
        Build when the job begins (on the driver's node), not when the first call needs it.
    log_files
        Accepted for compatibility.

    Examples
    --------
    >>> from rayjup.runtime_env import RuntimeEnvConfig
    >>> RuntimeEnvConfig(setup_timeout_seconds=60)["eager_install"]
    True
    """

    known_fields = frozenset({"setup_timeout_seconds", "eager_install", "log_files"})

    def __init__(
        self,
        setup_timeout_seconds: int = SETUP_TIMEOUT_S,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(setup_timeout_seconds, int) or isinstance(setup_timeout_seconds, bool):
            raise TypeError(
                f"setup_timeout_seconds must be a whole number, got {setup_timeout_seconds!r} "
                f"({type(setup_timeout_seconds).__name__})."
            )
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(
                f"setup_timeout_seconds must be above 0, or -1 for no limit, got {setup_timeout_seconds}."
            )
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be True or False, got {eager_install!r}.")
        files = [] if log_files is None else log_files
        if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
            raise TypeError(f"log_files must be a list of strings, got {log_files!r}.")
        self.update(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=list(files)
        )

    @staticmethod
    def parse_and_validate_runtime_env_config(config: Mapping[str, Any]) -> RuntimeEnvConfig:
        """From a dict; what it has besides is left out with a warning."""
        if isinstance(config, RuntimeEnvConfig):
            return config
        if not isinstance(config, Mapping):
            raise TypeError(
                f"runtime_env['config'] must be a dict or a RuntimeEnvConfig, got {type(config).__name__}."
            )
        known = RuntimeEnvConfig.known_fields
        unknown = sorted(map(str, set(config) - known))
        if unknown:
            logger.warning(
                "runtime_env['config'] has %s, not %s; that is left out.",
                ", ".join(sorted(known)),
                ", ".join(unknown),
            )
        return RuntimeEnvConfig(**{name: value for name, value in config.items() if name in known})

    @classmethod
    def default_config(cls) -> RuntimeEnvConfig:
        """What holds where nothing is said."""
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict."""
        return copy.deepcopy(dict(self))


class RuntimeEnv(dict[str, Any]):
    """The environment of a job, a task or an actor; a dict with checks. Mirrors Ray's ``RuntimeEnv``.

    Parameters
    ----------
    env_vars
        Environment variables. ``${NAME}`` stands for the value on the node.
    working_dir
        A directory or archive, copied to the nodes, or the URI of an archive. Calls run in it.
    py_modules
        Directories, wheels, archives, modules or URIs that calls can import.
    pip, uv
        Requirements (a list, a file, or a dict with ``packages``), installed on top of the node's Python.
    conda
        An environment of the nodes, or the description of one.
    py_executable
        The command that starts Python.
    worker_process_setup_hook
        A function called in each process before its first call.
    config
        A :class:`RuntimeEnvConfig` or dict.
    container, image_uri, nsight, rocprof_sys
        Not offered: building such an environment fails with the reason.
    kwargs
        ``excludes``, and fields of others, which are kept and mean nothing here.

    Raises
    ------
    TypeError, ValueError
        A field is of the wrong type, or breaks its rule.

    Examples
    --------
    >>> from rayjup.runtime_env import RuntimeEnv
    >>> RuntimeEnv(env_vars={"MODE": "fast"}, pip=["requests"]).pip_config()["packages"]
    ['requests']
    """

    known_fields = frozenset(_KNOWN)

    def __init__(
        self,
        *,
        py_modules: list[Any] | None = None,
        py_executable: str | None = None,
        working_dir: str | None = None,
        pip: list[str] | str | dict[str, Any] | None = None,
        conda: dict[str, Any] | str | None = None,
        container: dict[str, Any] | None = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Any = None,
        nsight: Any = None,
        rocprof_sys: Any = None,
        config: dict[str, Any] | RuntimeEnvConfig | None = None,
        _validate: bool = True,
        image_uri: str | None = None,
        uv: list[str] | str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        given = {
            "py_modules": py_modules,
            "py_executable": py_executable,
            "working_dir": working_dir,
            "pip": pip,
            "conda": conda,
            "container": container,
            "env_vars": env_vars,
            "worker_process_setup_hook": worker_process_setup_hook,
            "_nsight": nsight,
            "_rocprof_sys": rocprof_sys,
            "config": config,
            "image_uri": image_uri,
            "uv": uv,
            **kwargs,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if not _validate:
            self.update(given)
            return
        _check_together(given)
        for name, value in given.items():
            self[name] = value

    def __setitem__(self, key: str, value: Any) -> None:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if key == "config":
            value = RuntimeEnvConfig.parse_and_validate_runtime_env_config(value)
        elif key in FIELDS:
            value = FIELDS[key](key, value)
            if value is None:
                return
        super().__setitem__(key, value)

    def set(self, name: str, value: Any) -> None:
        """Same as ``env[name] = value``."""
        self[name] = value

    def get(self, name: str, default: Any = None, data_class: Any = None) -> Any:
        """The field, made into a ``data_class`` if one is given."""
        value = super().get(name, default)
        if data_class is None or name not in self:
            return value
        return data_class(**value) if isinstance(value, Mapping) else data_class(value)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """From what :meth:`serialize` gave."""
        return cls(_validate=False, **json.loads(serialized_runtime_env))

    def serialize(self) -> str:
        """As JSON."""
        return json.dumps(type(self)(**self), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict."""
        out = copy.deepcopy(dict(self))
        if "config" in out:
            out["config"] = dict(out["config"])
        return out

    # Readers of one field each, as Ray has them.

    def has_working_dir(self) -> bool:
        return self.get("working_dir") is not None

    def working_dir(self) -> str:
        return str(self.get("working_dir", ""))

    def working_dir_uri(self) -> str | None:
        return self.get("working_dir")  # type: ignore[no-any-return]

    def py_modules(self) -> list[str]:
        return list(self.get("py_modules", ()))

    def py_modules_uris(self) -> list[str]:
        return self.py_modules()

    def py_executable(self) -> str | None:
        return self.get("py_executable")  # type: ignore[no-any-return]

    def java_jars(self) -> list[str]:
        return list(self.get("java_jars", ()))

    def env_vars(self) -> dict[str, str]:
        return dict(self.get("env_vars", {}))

    def nsight(self) -> Any:
        return self.get("_nsight")

    def rocprof_sys(self) -> Any:
        return self.get("_rocprof_sys")

    def has_conda(self) -> bool:
        return bool(self.get("conda"))

    def conda_env_name(self) -> str | None:
        conda = self.get("conda")
        return conda if isinstance(conda, str) else None

    def conda_config(self) -> str | None:
        conda = self.get("conda")
        return json.dumps(conda, sort_keys=True) if isinstance(conda, dict) and conda else None

    def conda_uri(self) -> str | None:
        return _uri_of(self, "conda")

    def has_pip(self) -> bool:
        return bool(self.get("pip"))

    def pip_config(self) -> dict[str, Any]:
        return dict(self.get("pip") or {})

    def pip_uri(self) -> str | None:
        return _uri_of(self, "pip")

    def virtualenv_name(self) -> str | None:
        pip = self.get("pip")  # as it was given, when nothing was checked
        return pip if isinstance(pip, str) else None

    def has_uv(self) -> bool:
        return bool(self.get("uv"))

    def uv_config(self) -> dict[str, Any]:
        return dict(self.get("uv") or {})

    def uv_uri(self) -> str | None:
        return _uri_of(self, "uv")

    def plugin_uris(self) -> list[str]:
        return []

    def get_extension(self, key: str) -> str | None:
        """A private field of Ray's own releases; there are none here."""
        if key not in ("_ray_release", "_ray_commit", "_inject_current_ray"):
            raise ValueError(f"{key!r} is not the name of an extension of runtime environments.")
        return self.get(key)  # type: ignore[no-any-return]

    def has_py_container(self) -> bool:
        return bool(self.get("container"))

    def py_container_image(self) -> str | None:
        return self._container("image", "")  # type: ignore[no-any-return]

    def py_container_worker_path(self) -> str | None:
        return self._container("worker_path", "")  # type: ignore[no-any-return]

    def py_container_run_options(self) -> list[str] | None:
        return self._container("run_options", [])  # type: ignore[no-any-return]

    def _container(self, name: str, default: Any) -> Any:
        container = self.get("container")
        return container.get(name, default) if container else None

    def image_uri(self) -> str | None:
        return self.get("image_uri")  # type: ignore[no-any-return]

    def plugins(self) -> list[tuple[str, Any]]:
        """Fields that mean nothing here."""
        return [(name, value) for name, value in self.items() if name not in self.known_fields]


def _check_together(given: Mapping[str, Any]) -> None:
    several = [name for name in INSTALLERS if given.get(name)]
    if len(several) > 1:
        raise ValueError(
            f"runtime_env has {' and '.join(several)}: there can be one of pip, uv and conda. Requirements "
            "of pip "
            'go into conda as {"dependencies": ["pip", {"pip": [...]}]}.'
        )
    for name, allowed in ALONE.items():
        others = sorted(set(given) - allowed)
        if given.get(name) and others:
            raise ValueError(
                f"runtime_env[{name!r}] goes only with config and env_vars, but there is "
                f"{', '.join(others)} too: "
                "put that into the image."
            )


def _uri_of(env: RuntimeEnv, field: str) -> str | None:
    value = env.get(field)
    if not value:
        return None
    if isinstance(value, str) and field == "conda":
        return value
    return f"{field}://{digest(value)}"


def checked(name: str, value: Any) -> RuntimeEnv:
    """The option ``runtime_env`` as given by a user (``name`` is for the error)."""
    if isinstance(value, RuntimeEnv):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(
            f"Option `{name}` must be a dict or a RuntimeEnv, got {value!r} ({type(value).__name__})."
        )
    private = {"_nsight": "nsight", "_rocprof_sys": "rocprof_sys"}
    return RuntimeEnv(**{private.get(field, str(field)): content for field, content in value.items()})


def merged(parent: Mapping[str, Any] | None, child: Mapping[str, Any] | None) -> dict[str, Any]:
    """A child's environment: its own fields over its parent's, variables one by one."""
    if not parent:
        return dict(child or {})
    if not child:
        return dict(parent)
    out = {**parent, **child}
    for field in INSTALLERS:
        if child.get(field):  # the child's way to install replaces the parent's
            out = {name: value for name, value in out.items() if name == field or name not in INSTALLERS}
    variables = {**parent.get("env_vars", {}), **child.get("env_vars", {})}
    if variables:
        out["env_vars"] = variables
    return out


def key_of(env: Mapping[str, Any] | None) -> str:
    """The canonical form of a resolved environment; "" for an empty one."""
    kept = {name: value for name, value in (env or {}).items() if name != "excludes"}
    if not kept or set(kept) == {"config"}:
        return ""
    return json.dumps(kept, sort_keys=True, separators=(",", ":"))


def expanded(value: str, variables: Mapping[str, str]) -> str:
    """``value`` with ``${NAME}`` and ``$NAME`` replaced; "" stands for what is not set."""
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), value)


def digest(value: Any) -> str:
    """The content hash of something JSON can hold."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
