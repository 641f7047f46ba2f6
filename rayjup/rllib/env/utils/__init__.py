"""What environments need: their context, errors, the columns of episodes."""

from __future__ import annotations

from typing import Any

from rayjup.base.exceptions import RayError
from rayjup.rllib.env.env_context import EnvContext


class EnvError(RayError, RuntimeError):
    """An environment breaks the rules of its interface."""


def try_import_pyspiel(error: bool = False) -> Any:
    """The module pyspiel, or None (an ImportError with ``error=True``)."""
    try:
        import pyspiel  # type: ignore[import-not-found]
    except ImportError:
        if error:
            raise ImportError("games of OpenSpiel need a package: pip install open_spiel") from None
        return None
    return pyspiel


def try_import_open_spiel(error: bool = False) -> Any:
    """The module open_spiel, or None (an ImportError with ``error=True``)."""
    try:
        import open_spiel  # type: ignore[import-not-found]
    except ImportError:
        if error:
            raise ImportError("games of OpenSpiel need a package: pip install open_spiel") from None
        return None
    return open_spiel


__all__ = ["EnvContext", "EnvError", "try_import_open_spiel", "try_import_pyspiel"]
