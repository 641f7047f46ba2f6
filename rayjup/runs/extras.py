"""Optional packages: imported when used, with an error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any


def load(module: str, used_by: str, install: str) -> Any:
    """Import an optional module.

    Parameters
    ----------
    module
        Dotted name of the module.
    used_by
        What needs it, for the error.
    install
        What ``pip install`` has to be given: an extra of rayjup or a package.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        if missing.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there and fails for want of another one
        raise ImportError(
            f"{used_by} needs the package {module.partition('.')[0]!r}, which is not installed. "
            f"Install it with: pip install {install!r}",
            name=error.name,
        ) from error


def pandas(used_by: str) -> Any:
    """Import pandas for ``used_by``."""
    return load("pandas", used_by, "rayjup[tune]")


def base_class(modules: tuple[str, ...], name: str, used_by: str, install: str) -> Any:
    """A class of an optional package to derive from; without the package, one that says so when it is
    made."""
    for module in modules:
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError:
            continue

    class Missing:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            load(modules[0], used_by, install)

    return Missing
