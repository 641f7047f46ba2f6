"""Calling a training function: with the config or without, and whether it returns or yields."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from rayjup.runs import session
from rayjup.runs.function_trainable import yield_all


def check_signature(function: Any, name: str = "train_loop_per_worker") -> bool:
    """Whether a training function takes the config; an error if it can't be called with it or without."""
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {function!r}")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return True
    called = getattr(function, "__name__", repr(function))
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
    ]
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if len(needed) > 1 or any(p.kind is p.KEYWORD_ONLY and p.name in needed for p in parameters):
        raise ValueError(
            f"{name}={called} needs the arguments {needed}; it may take none, or one: the dictionary "
            f"given as "
            "train_loop_config. What else it needs goes into that, or is bound with functools.partial."
        )
    return bool(positional)


def call_train_function(
    function: Callable[..., Any],
    config: dict[str, Any] | None,
    around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Any:
    """Run the function in the present session. What a generator yields is reported."""
    takes_config = check_signature(function)
    with around():
        returned = function(dict(config or {})) if takes_config else function()
        if inspect.isgenerator(returned):
            run = session.require("a training function")
            return yield_all(returned, run)
        return returned
