"""Makes ``import ray`` mean rayjup.

``python -m rayjup.as_ray program.py args`` (or ``-m module``, ``-c code``) runs an unmodified Ray
program; ``import rayjup.as_ray`` does the same for the imports after it. ``ray.x.y`` and
``rayjup.x.y`` are the same module objects, in the driver and in all executors, so classes are the
same and pickles may name either.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_OURS = "rayjup"
_THEIRS = "ray"


class _AliasLoader(importlib.abc.Loader):
    """Gives the module of rayjup for a name of Ray."""

    def __init__(self, target: str) -> None:
        self.target = target
        self._spec: Any = None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.target)
        self._spec = module.__spec__  # the import system is about to replace it by the alias's
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


class _AliasFinder(importlib.abc.MetaPathFinder):
    """Finds ``ray`` and everything below it in rayjup."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _THEIRS and not fullname.startswith(f"{_THEIRS}."):
            return None
        name = _OURS + fullname[len(_THEIRS) :]
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: this program runs on rayjup (rayjup.as_ray), "
                f"which has no {name!r}.",
                name=fullname,
            )
        return importlib.machinery.ModuleSpec(fullname, _AliasLoader(name), is_package=True)


def install() -> None:
    """Install the alias; does nothing the second time.

    Raises
    ------
    RuntimeError
        The real Ray is imported already.
    """
    if any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
        return
    loaded = sys.modules.get(_THEIRS)
    if loaded is not None and loaded.__name__ != _OURS:
        raise RuntimeError(
            f"the real Ray ({getattr(loaded, '__file__', '?')}) is imported already, so `ray` cannot mean "
            "rayjup any more. Import rayjup.as_ray before ray, or start the program with "
            "`python -m rayjup.as_ray`."
        )
    real = importlib.machinery.PathFinder.find_spec(_THEIRS)
    if real is not None and real.origin is not None and "RAYJUP_EXECUTOR" not in os.environ:
        warnings.warn(
            f"Ray is installed here as well ({os.path.dirname(real.origin)}); rayjup.as_ray is active, so "
            "`import ray` means rayjup. Leave out rayjup.as_ray to use Ray itself.",
            RuntimeWarning,
            stacklevel=3,
        )
    sys.meta_path.insert(0, _AliasFinder())
    for name, module in list(sys.modules.items()):
        if name == _OURS or (name.startswith(f"{_OURS}.") and name != __name__):
            sys.modules[_THEIRS + name[len(_OURS) :]] = module


def main(argv: list[str]) -> None:
    """Run a program as ``python`` would, with ``ray`` meaning rayjup."""
    if not argv or argv[0] in ("-h", "--help"):
        sys.stdout.write(
            "usage: python -m rayjup.as_ray program.py [args]  |  -m module [args]  |  -c code [args]\n"
        )
        raise SystemExit(0 if argv else 2)
    install()
    if argv[0] == "-m":
        if len(argv) < 2:
            raise SystemExit("rayjup.as_ray: -m needs the name of a module")
        sys.argv = argv[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        if len(argv) < 2:
            raise SystemExit("rayjup.as_ray: -c needs code")
        sys.argv = ["-c", *argv[2:]]
        sys.path[0] = ""
        main_module = _fresh_main()
        exec(compile(argv[1], "<string>", "exec"), main_module.__dict__)
    else:
        sys.argv = argv
        path = argv[0]
        if not os.path.exists(path):
            raise SystemExit(f"rayjup.as_ray: can't open file {path!r}: no such file")
        if os.path.isdir(path):
            runpy.run_path(path, run_name="__main__")
            return
        sys.path[0] = os.path.dirname(os.path.abspath(path))
        main_module = _fresh_main()
        main_module.__file__ = path
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
        exec(code, main_module.__dict__)


def _fresh_main() -> ModuleType:
    """A new ``__main__`` that stays there until the interpreter ends."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    return module


if __name__ == "__main__":
    # This module runs under the name __main__ now; the alias must live in the importable one.
    importlib.import_module("rayjup.as_ray").main(sys.argv[1:])
else:
    install()
