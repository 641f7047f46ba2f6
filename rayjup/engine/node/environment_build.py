"""Builds one environment on a node. Everything here blocks: it runs in a thread of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rayjup.base.runtime_env import digest
from rayjup.base.runtime_env_fields import ARCHIVES, STORED, WHEEL, scheme_of
from rayjup.engine.node import environment_cache as cache
from rayjup.engine.node.environment_python import Python, Tools, conda_python, venv_python

# Read by the interpreter, the dynamic linker or a library while it is loaded: too late after a fork.
_EARLY = (
    *("PYTHON", "LD_", "DYLD_", "MALLOC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "NPY_"),
    "RAYJUP_PRELOAD",  # modules that a zygote of this environment imports, for all that is forked from it
)

_REFUSED = {
    "container": "executors are forked from a warm Python of the node, which a container cannot be. Build "
    "the "
    "environment with pip, uv or conda, or start the nodes themselves in that image",
    "image_uri": "executors are forked from a warm Python of the node, which a container cannot be. Build "
    "the "
    "environment with pip, uv or conda, or start the nodes themselves in that image",
    "_nsight": "the profiler would have to start each executor, and executors are forked. Start it inside "
    "the "
    "task, or run the whole node under it",
    "_rocprof_sys": "the profiler would have to start each executor, and executors are forked. Start it "
    "inside "
    "the task, or run the whole node under it",
    "java_jars": "there are no Java workers here",
}


@dataclass(frozen=True)
class Zygote:
    """What a zygote is started with; executors of the node's own Python need none of their own."""

    command: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()


@dataclass
class Built:
    """An environment as an executor enters it."""

    variables: dict[str, str] = field(default_factory=dict)
    cwd: str = ""
    paths: list[str] = field(default_factory=list)
    hook: str = ""  # an import path, or the path of a pickle
    fixed_threads: bool = False  # OMP_NUM_THREADS is one of the variables
    zygote: Zygote | None = None
    held: list[cache.Held] = field(default_factory=list)

    def wire(self, key: str) -> dict[str, Any]:
        """What the executor is told."""
        return {
            "key": key,
            "variables": self.variables,
            "cwd": self.cwd,
            "paths": self.paths,
            "hook": self.hook,
            "fixed_threads": self.fixed_threads,
        }

    def release(self) -> None:
        """Nobody uses it any more."""
        for held in self.held:
            held.release()
        self.held.clear()


def is_light(spec: Mapping[str, Any]) -> bool:
    """Whether nothing has to be built: the executor sets variables and that is all."""
    return all(
        name in ("env_vars", "config") or (name == "worker_process_setup_hook" and not scheme_of(value))
        for name, value in spec.items()
    )


def light(spec: Mapping[str, Any]) -> Built:
    """An environment for which nothing has to be built."""
    built = Built(dict(spec.get("env_vars", {})), hook=spec.get("worker_process_setup_hook", ""))
    _choose_zygote(built, None)
    return built


def _choose_zygote(built: Built, python: Python | None) -> None:
    """Which zygote the executors come from; it sets the variables that are too late for them."""
    variables = built.variables
    early = {n: v for n, v in variables.items() if n.startswith(_EARLY) and n != "PYTHONPATH"}
    built.fixed_threads = "OMP_NUM_THREADS" in early
    built.variables = {n: v for n, v in variables.items() if n not in early}
    if python is None and early:
        python = Python((sys.executable,))
    if python is not None:
        built.zygote = Zygote(python.command, tuple(sorted({**python.variables, **early}.items())))


class Build:
    """The building of one environment.

    Parameters
    ----------
    spec
        The environment, resolved: no paths of the driver's machine.
    directory
        The node's own directory for it, of mode 0700; gone with the node.
    packages
        Directories in which stored packages may lie, in this order.
    check
        Raises when it is to be given up.
    log_path
        Where the output of tools goes.
    fetch
        ``fetch(name, target, check)`` writes a stored package that another machine has; False if none has.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        directory: str,
        packages: tuple[str, ...],
        check: Callable[[], None],
        log_path: str,
        fetch: Callable[[str, str, Callable[[], None]], bool],
    ) -> None:
        self.spec = spec
        self.directory = directory
        self.packages = packages
        self.check = check
        self.tools = Tools(check, log_path)
        self.fetch = fetch
        self._held: list[cache.Held] = []  # packages that were fetched

    def run(self) -> Built:
        """Do it.

        Raises
        ------
        Exception
            Whatever goes wrong, with a text that says what.
        """
        spec = self.spec
        for name, why in _REFUSED.items():
            if spec.get(name):
                raise ValueError(f"{name!r} is not offered: {why}.")
        built = Built(dict(spec.get("env_vars", {})))
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory, mode=0o700)
        built.held = self._held
        try:
            self._run(built)
        except BaseException:
            built.release()
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        return built

    def _run(self, built: Built) -> None:
        spec = self.spec
        if spec.get("working_dir"):
            built.cwd = self._unpacked(spec["working_dir"], f"{self.directory}/working_dir")
            built.paths.append(built.cwd)
        for number, uri in enumerate(spec.get("py_modules", ())):
            built.paths.append(self._unpacked(uri, f"{self.directory}/module-{number}"))
        hook = spec.get("worker_process_setup_hook", "")
        if scheme_of(hook):
            target = f"{self.directory}/hook.pkl"
            shutil.copyfile(self._fetched(hook), target)
            hook = target
        built.hook = hook
        _choose_zygote(built, self._python(built))

    def _python(self, built: Built) -> Python | None:
        spec = self.spec
        python = None
        for tool in ("pip", "uv"):
            if spec.get(tool):
                python = venv_python(tool, spec[tool], built.cwd, self.tools, built.held)
        if spec.get("conda"):
            python = conda_python(spec["conda"], self.tools, built.held)
        if spec.get("py_executable"):
            command = tuple(shlex.split(os.path.expandvars(spec["py_executable"])))
            if shutil.which(command[0]) is None:
                raise FileNotFoundError(
                    f"'py_executable': there is no program {command[0]!r} on this node. Give a path that "
                    "exists "
                    "on all nodes."
                )
            python = Python(command, python.variables if python else {})
        return python

    # -- archives

    def _fetched(self, uri: str) -> str:
        """The path of the file behind ``uri``."""
        name = uri.partition("://")[2]
        if scheme_of(uri) == STORED:
            for place in self.packages:
                path = os.path.join(place, os.path.basename(name))
                if os.path.isfile(path):
                    return path
            held = cache.obtain(f"{cache.packages_dir()}/{os.path.basename(name)}", self._bring, self.check)
            self._held.append(held)
            return held.path
        ending = next(e for e in (*ARCHIVES, WHEEL) if uri.split("?", 1)[0].endswith(e))
        target = f"{self.directory}/{digest(uri)}{ending}"
        if not os.path.exists(target):
            self._download(uri, f"{target}.part")
            os.replace(f"{target}.part", target)
        return target

    def _bring(self, part: str) -> None:
        """Fetch a stored package from another machine, to the temporary file ``part``."""
        name = os.path.basename(part).removesuffix(".part")
        self.tools.note(f"fetching {name} from another node")
        if not self.fetch(name, part, self.check):
            raise FileNotFoundError(
                f"the package {name} is on no machine of the cluster: it was removed from the cache of its "
                "driver's. Submit the call again from its driver, or put the archive where nodes can read it "
                "and give its URI."
            )

    def _download(self, uri: str, target: str) -> None:
        self.tools.note(f"fetching {uri}")
        try:
            if scheme_of(uri) in ("http", "https"):
                request = urllib.request.Request(uri, headers={"User-Agent": "rayjup"})
                token = os.environ.get("RAY_RUNTIME_ENV_BEARER_TOKEN")
                if token:
                    request.add_header("Authorization", f"Bearer {token}")
                with urllib.request.urlopen(request, timeout=60) as source, open(target, "wb") as file:
                    self._copy(source, file)
                return
            import fsspec

            with fsspec.open(uri, "rb") as source, open(target, "wb") as file:
                self._copy(source, file)
        except (OSError, ValueError, ImportError) as error:
            raise OSError(f"{uri} cannot be fetched on this node: {type(error).__name__}: {error}") from error

    def _copy(self, source: Any, target: Any) -> None:
        while block := source.read(1 << 20):
            self.check()
            target.write(block)

    def _unpacked(self, uri: str, target: str) -> str:
        path = self._fetched(uri)
        os.mkdir(target)
        if path.endswith((".zip", WHEEL)):
            _unzip(path, target, self.check)
        else:
            _untar(path, target)
        if path.endswith(WHEEL):
            _spread_wheel(target)
        elif scheme_of(uri) != STORED:
            _strip_top(target)
        return target


def _unzip(path: str, target: str, check: Callable[[], None]) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            check()
            out = archive.extract(member, target)  # leaves out drives, roots and ".."
            mode = member.external_attr >> 16 & 0o777
            if mode & 0o100:
                os.chmod(out, 0o755 if not member.is_dir() else 0o700)


def _untar(path: str, target: str) -> None:
    with tarfile.open(path) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(target, filter="data")
            return
        root = os.path.realpath(target)
        for member in archive.getmembers():
            if (
                not os.path.realpath(os.path.join(root, member.name)).startswith(root + os.sep)
                and member.name != "."
            ):
                raise ValueError(f"{path}: the member {member.name!r} lies outside of the archive.")
            if not (member.isfile() or member.isdir()):
                raise ValueError(f"{path}: the member {member.name!r} is neither a file nor a directory.")
        archive.extractall(target)


def _strip_top(target: str) -> None:
    """Archives from elsewhere have one directory at their top, whose content is meant."""
    inside = os.listdir(target)
    if len(inside) == 1 and os.path.isdir(f"{target}/{inside[0]}"):
        os.rename(target, f"{target}.outer")
        os.rename(f"{target}.outer/{inside[0]}", target)
        shutil.rmtree(f"{target}.outer")


def _spread_wheel(target: str) -> None:
    """What a wheel keeps apart for the library directories belongs beside the rest."""
    for data in Path(target).glob("*.data"):
        for part in ("purelib", "platlib"):
            for item in (data / part).glob("*"):
                os.rename(item, f"{target}/{item.name}")
