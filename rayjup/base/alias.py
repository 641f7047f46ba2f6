"""One set of modules under two names: ``ray.x.y`` is ``rayjup.x.y``."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
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


def install(in_executor: bool = False) -> None:
    """Install the alias; does nothing the second time.

    Executors do without the look for Ray itself: their driver has made it, and it means reading
    all directories of the path.

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
    if not in_executor:
        _warn_of_ray()
    sys.meta_path.insert(0, _AliasFinder())
    sys.modules.update(_prepared if in_executor else _aliases())


_prepared: dict[str, ModuleType] = {}


def prepare() -> None:
    """Note what :func:`install` is going to do in executors, before they are forked.

    Looking at all modules makes a megabyte of pages the process's own.
    """
    _prepared.update(_aliases())


def _aliases() -> dict[str, ModuleType]:
    return {
        _THEIRS + name[len(_OURS) :]: module
        for name, module in list(sys.modules.items())
        if name == _OURS or (name.startswith(f"{_OURS}.") and name != f"{_OURS}.as_ray")
    }


def _warn_of_ray() -> None:
    real = importlib.machinery.PathFinder.find_spec(_THEIRS)
    if real is not None and real.origin is not None:
        warnings.warn(
            f"Ray is installed here as well ({os.path.dirname(real.origin)}); rayjup.as_ray is active, so "
            "`import ray` means rayjup. Leave out rayjup.as_ray to use Ray itself.",
            RuntimeWarning,
            stacklevel=4,
        )
