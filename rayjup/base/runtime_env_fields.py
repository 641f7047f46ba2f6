"""The fields of runtime environments: the rule of each, and its canonical form.

A wrong type is a ``TypeError``, anything else that is wrong a ``ValueError``; both name the field.
Whether a local directory exists is looked up here too, so that a typing error shows where it is made.
"""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.xz")
STORED = "gcs"  # scheme of what the cluster itself keeps; Ray's name for it
WHEEL = ".whl"
_PIP = ("packages", "pip_check", "pip_install_options", "pip_version")
_UV = ("packages", "uv_check", "uv_pip_install_options", "uv_version")


def _wrong_type(field: str, rule: str, value: Any) -> NoReturn:
    raise TypeError(f"runtime_env[{field!r}] must be {rule}, got {value!r} ({type(value).__name__}).")


def _texts(field: str, value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        _wrong_type(field, "a list of strings", value)
    return list(value)


def scheme_of(path: str) -> str:
    """The scheme of a URI; "" for a path of this machine."""
    scheme, colon, _ = path.partition("://")
    return scheme if colon and scheme.replace("+", "").isalnum() else ""


def _uri(field: str, value: str, endings: tuple[str, ...]) -> None:
    if not value.split("?", 1)[0].endswith(endings):
        raise ValueError(
            f"runtime_env[{field!r}]: {value!r} must end with {', '.join(endings)}: what lies elsewhere is "
            "fetched as one archive."
        )


def env_vars(field: str, value: Any) -> dict[str, str] | None:
    """Names and values, both strings; None when there are none."""
    if not isinstance(value, Mapping):
        _wrong_type(field, "a dict of strings", value)
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(
                f"runtime_env[{field!r}] must map strings to strings, but has {name!r}: {text!r} "
                f"({type(name).__name__}: {type(text).__name__}). Write str(value)."
            )
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(
                f"runtime_env[{field!r}]: {name!r} cannot be the name of an environment variable."
            )
    return dict(value) or None


def working_dir(field: str, value: Any) -> str:
    """A directory or archive of this machine, or the URI of an archive."""
    if not isinstance(value, (str, os.PathLike)):
        _wrong_type(field, "a string", value)
    path = os.fspath(value)
    if scheme_of(path):
        _uri(field, path, ARCHIVES)
        return path
    full = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(full) and not (os.path.isfile(full) and full.endswith(ARCHIVES)):
        raise ValueError(
            f"runtime_env[{field!r}]: {path!r} is neither a directory nor an archive "
            f"({', '.join(ARCHIVES)}) of this machine. Paths are relative to {os.getcwd()}."
        )
    return full


def py_modules(field: str, value: Any) -> list[Any]:
    """Directories, files, wheels, archives, module objects, or URIs of archives and wheels."""
    if not isinstance(value, (list, tuple)):
        _wrong_type(field, "a list of paths, URIs and modules", value)
    return [_py_module(field, item) for item in value]


def _py_module(field: str, item: Any) -> str:
    if isinstance(item, types.ModuleType):
        return _path_of(item)
    if not isinstance(item, (str, os.PathLike)):
        _wrong_type(field, "a list of paths, URIs and modules", item)
    path = os.fspath(item)
    if scheme_of(path):
        _uri(field, path, (*ARCHIVES, WHEEL))
        return path
    full = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(full) and not (
        os.path.isfile(full) and full.endswith((*ARCHIVES, WHEEL, ".py", ".so"))
    ):
        raise ValueError(
            f"runtime_env[{field!r}]: {path!r} is neither a directory, a module file, a wheel nor an "
            "archive of "
            f"this machine. Paths are relative to {os.getcwd()}."
        )
    return full


def _path_of(module: types.ModuleType) -> str:
    """Where the code of a module lies: the package's directory, or its file."""
    paths = list(getattr(module, "__path__", ()))
    if len(paths) == 1:
        return os.path.abspath(str(paths[0]))
    file = getattr(module, "__file__", None)
    if paths or file is None:
        raise ValueError(
            f"runtime_env['py_modules']: the module {module.__name__!r} lies in "
            f"{len(paths) or 'no'} directories, so it cannot be packed: give its path."
        )
    return os.path.abspath(str(file))


def excludes(field: str, value: Any) -> list[str]:
    """Patterns as in a file ``.gitignore``."""
    return _texts(field, value)


def _requirements(field: str, path: str) -> list[str]:
    """The lines of a requirements file."""
    full = os.path.expanduser(path)
    if not os.path.isfile(full):
        raise ValueError(f"runtime_env[{field!r}]: there is no requirements file {path!r}.")
    with open(full, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith("#")]


def _packages(field: str, value: Any, known: tuple[str, ...], check: str) -> dict[str, Any] | None:
    if isinstance(value, (str, list, tuple)):
        value = {"packages": value}
    elif not isinstance(value, Mapping):
        _wrong_type(field, "a list of requirements, the path of a requirements file, or a dict", value)
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(
            f"runtime_env[{field!r}] has {', '.join(known)}, but not {', '.join(map(repr, unknown))}."
        )
    if "packages" not in value:
        raise ValueError(f"runtime_env[{field!r}] needs 'packages', a list of requirements.")
    packages = value["packages"]
    if isinstance(packages, str):
        packages = _requirements(field, packages)
    out: dict[str, Any] = {"packages": list(dict.fromkeys(_texts(f"{field}.packages", packages)))}
    out[check] = value.get(check, False)
    if not isinstance(out[check], bool):
        _wrong_type(f"{field}.{check}", "True or False", out[check])
    for key in known[2:]:
        given = value.get(key)
        if given is None:
            continue
        if key.endswith("_version"):
            if not isinstance(given, str):
                _wrong_type(f"{field}.{key}", "a string such as '==24.0'", given)
            out[key] = given
        else:
            out[key] = _texts(f"{field}.{key}", given)
    return out if out["packages"] else None


def pip(field: str, value: Any) -> dict[str, Any] | None:
    """What pip installs: always ``{"packages": [...], "pip_check": bool, ...}``."""
    return _packages(field, value, _PIP, "pip_check")


def uv(field: str, value: Any) -> dict[str, Any] | None:
    """What uv installs: always ``{"packages": [...], "uv_check": bool, ...}``."""
    return _packages(field, value, _UV, "uv_check")


def conda(field: str, value: Any) -> str | dict[str, Any]:
    """The name or directory of an environment of the nodes, or what a new one is made from."""
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, (str, os.PathLike)):
        _wrong_type(field, "a name, the path of a YAML file, or a dict", value)
    name = os.fspath(value)
    if not name.endswith((".yaml", ".yml")):
        return name
    if not os.path.isfile(os.path.expanduser(name)):
        raise ValueError(f"runtime_env[{field!r}]: there is no YAML file {name!r}.")
    import yaml

    with open(os.path.expanduser(name), encoding="utf-8") as file:
        read = yaml.safe_load(file)
    if not isinstance(read, dict):
        raise ValueError(
            f"runtime_env[{field!r}]: {name!r} does not hold a mapping such as 'dependencies: …'."
        )
    return read


def py_executable(field: str, value: Any) -> str:
    """A command that starts Python."""
    if not isinstance(value, str):
        _wrong_type(field, "a string", value)
    if not value.strip():
        raise ValueError(f"runtime_env[{field!r}] must not be empty.")
    return value


def setup_hook(field: str, value: Any) -> Any:
    """A function, or the import path of one."""
    if not isinstance(value, str) and not callable(value):
        _wrong_type(field, "a function, or its import path such as 'package.module.function'", value)
    return value


def mapping(field: str, value: Any) -> dict[str, Any]:
    """Any dict."""
    if not isinstance(value, Mapping):
        _wrong_type(field, "a dict", value)
    return dict(value)


def text(field: str, value: Any) -> str:
    """Any string."""
    if not isinstance(value, str):
        _wrong_type(field, "a string", value)
    return value


FIELDS: dict[str, Callable[[str, Any], Any]] = {
    "env_vars": env_vars,
    "working_dir": working_dir,
    "py_modules": py_modules,
    "excludes": excludes,
    "pip": pip,
    "uv": uv,
    "conda": conda,
    "py_executable": py_executable,
    "worker_process_setup_hook": setup_hook,
    "container": mapping,
    "image_uri": text,
}
"""By name: the check of a field, which gives its canonical form, or None for nothing."""

ALONE = {"container": {"container", "config", "env_vars"}, "image_uri": {"image_uri", "config", "env_vars"}}
"""Fields that only go with these."""

INSTALLERS = ("pip", "uv", "conda")
"""Of these there may be one."""
