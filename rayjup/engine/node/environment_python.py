"""The Python of an environment: a virtual environment that sees the node's packages, or one of conda."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import site
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rayjup.base.runtime_env import digest
from rayjup.engine.node import environment_cache as cache

_LAST_LINES = 25
_POLL_S = 0.02
_DAY_S = 86400
_WORKING_DIR = "RAY_RUNTIME_ENV_CREATE_WORKING_DIR"


@dataclass(frozen=True)
class Python:
    """A command that starts Python, and the variables that go with it."""

    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


class Tools:
    """Runs programs, with their output in a log; what fails is an error with its last lines."""

    def __init__(self, check: Callable[[], None], log_path: str) -> None:
        self.check = check
        self.log_path = log_path

    def note(self, text: str) -> None:
        """A line in the log."""
        with open(self.log_path, "a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    def run(self, command: list[str], **variables: str) -> str:
        """Run ``command`` to its end; what it printed."""
        self.note(" ".join(command))
        with open(self.log_path, "ab+") as log:
            begin = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **variables},
                start_new_session=True,  # to end it with all that it has started
            )
            try:
                while process.poll() is None:
                    self.check()
                    time.sleep(_POLL_S)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            log.seek(begin)
            output = log.read().decode(errors="replace")
        if process.returncode:
            lines = "\n".join(output.splitlines()[-_LAST_LINES:])
            raise OSError(
                f"{' '.join(command)}\nended with code {process.returncode}. Its last lines:\n{lines}\n"
                f"The whole output is in {self.log_path}."
            )
        return output


def venv_python(
    tool: str, wanted: Mapping[str, Any], working_dir: str, tools: Tools, held: list[cache.Held]
) -> Python:
    """The Python of a virtual environment with what ``wanted`` names (built once per machine)."""
    packages = list(wanted["packages"])
    if working_dir:
        packages = [p.replace(f"${{{_WORKING_DIR}}}", working_dir) for p in packages]
    key: dict[str, Any] = {"tool": tool, **wanted, "packages": packages, "base": _base()}
    key["files"] = [_state_of(p) for p in packages]
    if not all("==" in p or state for p, state in zip(packages, key["files"], strict=True)):
        key["day"] = int(time.time() // _DAY_S)  # not pinned: what is newest changes
    path = f"{cache.environments_dir()}/{digest(key)}"
    entry = cache.obtain(
        path, lambda target: _make_venv(target, tool, wanted, packages, tools), tools.check, directory=True
    )
    held.append(entry)
    return _python_in(path, "VIRTUAL_ENV")


def _python_in(path: str, name: str) -> Python:
    search = os.environ.get("PATH", os.defpath)
    return Python((f"{path}/bin/python",), {name: path, "PATH": f"{path}/bin{os.pathsep}{search}"})


def _base() -> list[str]:
    """What tells Pythons apart on which environments are based."""
    return [sys.executable, ".".join(map(str, sys.version_info[:3])), *_site_directories()]


def _site_directories() -> list[str]:
    found = site.getsitepackages()
    if site.ENABLE_USER_SITE:
        found = [*found, site.getusersitepackages()]
    return [path for path in found if os.path.isdir(path)]


def _state_of(requirement: str) -> list[Any] | None:
    """Changes with the file or directory that a requirement names; None where it names none."""
    path = requirement.removeprefix("file://").partition("[")[0]
    if not os.path.exists(path):
        return None
    if os.path.isfile(path):
        info = os.stat(path)
        return [info.st_size, info.st_mtime_ns]
    newest = [0, 0]
    for directory, _, files in os.walk(path):
        for name in files:
            info = os.lstat(f"{directory}/{name}")
            newest = [newest[0] + info.st_size, max(newest[1], info.st_mtime_ns)]
    return newest


def _make_venv(path: str, tool: str, wanted: Mapping[str, Any], packages: list[str], tools: Tools) -> None:
    tools.note(f"making {path}")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(path)
    python = f"{path}/bin/python"
    share_site_packages(path)
    requirements = f"{path}/requirements.txt"
    with open(requirements, "w", encoding="utf-8") as file:
        file.writelines(f"{os.path.expandvars(line)}\n" for line in packages)
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    if tool == "uv":
        uv = _uv(wanted, pip, python, tools)
        if uv is not None:
            options = list(wanted.get("uv_pip_install_options", ()))
            tools.run([*uv, "pip", "install", "--python", python, *options, "-r", requirements])
            if wanted.get("uv_check"):
                tools.run([*uv, "pip", "check", "--python", python])
            return
    _have_pip(python, tools)
    if wanted.get("pip_version"):
        tools.run([*pip, "install", f"pip{wanted['pip_version']}"])
    tools.run([*pip, "install", *wanted.get("pip_install_options", ()), "-r", requirements])
    if wanted.get("pip_check") or wanted.get("uv_check"):
        tools.run([*pip, "check"])


def _have_pip(python: str, tools: Tools) -> None:
    if importlib.util.find_spec("pip") is None:  # else the node's own is seen
        tools.run([python, "-m", "ensurepip"])


def _uv(wanted: Mapping[str, Any], pip: list[str], python: str, tools: Tools) -> list[str] | None:
    """How uv is called; None when pip has to do its work because it is not installed."""
    version = wanted.get("uv_version")
    if version is None:
        found = shutil.which("uv")
        if found:
            return [found]
        if importlib.util.find_spec("uv") is not None:
            return [sys.executable, "-m", "uv"]
        if not wanted.get("uv_pip_install_options"):
            tools.note("uv is not installed on this node: pip is used")
            return None
    _have_pip(python, tools)
    tools.run([*pip, "install", f"uv{version or ''}"])
    return [python, "-m", "uv"]


def share_site_packages(path: str) -> None:
    """Have the environment at ``path`` see the packages of this Python after its own."""
    lib = f"{path}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    if not os.path.isdir(lib):
        raise OSError(
            f"{path} has no Python {sys.version_info[0]}.{sys.version_info[1]}: an environment needs the "
            "Python of "
            "the cluster, so that values and functions can travel."
        )
    with open(f"{lib}/_rayjup_base.pth", "w", encoding="utf-8") as file:
        for directory in _site_directories():
            file.write(f"import site; site.addsitedir({directory!r})\n")


def conda_python(wanted: str | Mapping[str, Any], tools: Tools, held: list[cache.Held]) -> Python:
    """The Python of an environment of conda: one there is, or one made from a description."""
    conda = os.environ.get("CONDA_EXE") or shutil.which("conda") or shutil.which("mamba")
    if conda is None:
        raise FileNotFoundError(
            "'conda' needs the program conda (or mamba) on this node, and there is none on the PATH. "
            "Install it on "
            "the nodes, or use 'pip' or 'uv'."
        )
    if isinstance(wanted, str):
        path = os.path.expanduser(wanted)
        if not os.path.isdir(path):
            known = json.loads(tools.run([conda, "env", "list", "--json"]))["envs"]
            matching = [prefix for prefix in known if os.path.basename(prefix) == wanted]
            if not matching:
                names = ", ".join(sorted(os.path.basename(prefix) for prefix in known)) or "none"
                raise FileNotFoundError(
                    f"conda has no environment {wanted!r} on this node (it has: {names})."
                )
            path = matching[0]
        return _python_in(path, "CONDA_PREFIX")
    target = f"{cache.environments_dir()}/{digest({'conda': wanted, 'base': _base()})}"

    def make(path: str) -> None:
        description = f"{path}.yml"
        with open(description, "w", encoding="utf-8") as file:
            json.dump(wanted, file)  # JSON is YAML
        try:
            tools.run([conda, "env", "create", "--yes", "--prefix", path, "--file", description])
        finally:
            os.unlink(description)
        share_site_packages(path)

    held.append(cache.obtain(target, make, tools.check, directory=True))
    return _python_in(target, "CONDA_PREFIX")
