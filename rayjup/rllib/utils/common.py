"""Small functions that programs for RLlib import."""

from __future__ import annotations

from typing import Any

import numpy as np


class NullContextManager:
    """A ``with`` block around nothing."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        return None


def add_mixins(base: type, mixins: list[type], reversed: bool = False) -> type:
    """A class with mixins before (``reversed``: behind) its base."""
    for mixin in mixins or []:
        bases = (base, mixin) if reversed else (mixin, base)
        base = type(base.__name__, bases, {})
    return base


def check(
    x: Any,
    y: Any,
    decimals: int = 5,
    atol: float | None = None,
    rtol: float | None = None,
    false: bool = False,
) -> None:
    """Raise an AssertionError unless structures are (``false``: are not) equal, numbers nearly.

    Examples
    --------
    >>> from rayjup.rllib.utils import check
    >>> check({"a": 1.0000001}, {"a": 1.0})
    """
    if isinstance(x, dict) and isinstance(y, dict):
        assert (set(x) == set(y)) or false, f"keys {sorted(x)} and {sorted(y)} differ"
        for key in x:
            check(x[key], y[key], decimals, atol, rtol, false)
        return
    if isinstance(x, (list, tuple)) and isinstance(y, (list, tuple)):
        assert len(x) == len(y) or false, f"lengths {len(x)} and {len(y)} differ"
        for a, b in zip(x, y, strict=False):
            check(a, b, decimals, atol, rtol, false)
        return
    if x is None or isinstance(x, (str, bool)) or callable(x):
        assert (x == y) is not false, f"{x!r} and {y!r}"
        return
    from rayjup.rllib.utils.numpy import convert_to_numpy

    a, b = (np.asarray(convert_to_numpy(v)) for v in (x, y))
    if atol is None and rtol is None:
        atol = 1.5 * 10.0**-decimals
    close = a.shape == b.shape or a.size == 1 or b.size == 1
    close = close and bool(np.allclose(a, b, atol=atol or 0.0, rtol=1e-7 if rtol is None else rtol))
    assert close is not false, f"{a} and {b} are {'equal' if false else 'not equal'}"


def deprecation_warning(
    old: str, new: str | None = None, *, help: str | None = None, error: Any = None, stacklevel: int = 2
) -> None:
    """Say that something is older spelling; raise it with ``error``."""
    import warnings

    text = f"{old} is an older spelling." + (f" Say {new}." if new else "") + (f" {help}" if help else "")
    if error:
        raise (error if isinstance(error, type) else ValueError)(text)
    warnings.warn(text, FutureWarning, stacklevel=stacklevel + 1)


def flatten_dict(nested: dict[str, Any], sep: str = "/", env_steps: int = 0) -> dict[str, Any]:
    """Nested dicts as one with paths for keys."""
    flat = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update({f"{key}{sep}{k}": v for k, v in flatten_dict(value, sep).items()})
        else:
            flat[key] = value
    return flat


def unflatten_dict(flat: dict[str, Any], sep: str = "/") -> dict[str, Any]:
    """A dict with paths for keys as nested ones."""
    whole: dict[str, Any] = {}
    for path, value in flat.items():
        *parts, last = path.split(sep)
        node = whole
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return whole


def force_list(elements: Any = None, to_tuple: bool = False) -> Any:
    """A list (or tuple) of what may be one, or nothing."""
    kind = tuple if to_tuple else list
    if elements is None:
        return kind()
    return kind(elements) if isinstance(elements, (list, set, tuple)) else kind([elements])


def force_tuple(elements: Any = None) -> tuple:
    """A tuple of what may be one, or nothing."""
    return force_list(elements, to_tuple=True)
