"""``num_returns`` as the engine wants it."""

from __future__ import annotations

from rayjup.engine.runtime.streams import DYNAMIC, STREAMING


def returns_of(wanted: int | str | None, is_generator: bool) -> int:
    """The number of returns; ``STREAMING`` or ``DYNAMIC`` for generators.

    None means one, or streaming where the function is a generator.
    """
    if wanted is None:
        return STREAMING if is_generator else 1
    if isinstance(wanted, str):
        return DYNAMIC if wanted == "dynamic" else STREAMING
    return wanted
