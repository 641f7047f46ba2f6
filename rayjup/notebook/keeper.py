"""The actor that owns kept values; see `rayjup.notebook.keeping`."""

from __future__ import annotations

import time
from typing import Any

import rayjup
from rayjup.notebook.refs import facts


class Keeper:
    """Owns values under names until they are forgotten or the cluster ends."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, dict[str, Any]]] = {}

    def keep(self, name: str, box: list[Any], overwrite: bool) -> dict[str, Any]:
        """Own a copy of the value of the ref in ``box``; its facts."""
        if name in self._kept and not overwrite:
            raise ValueError(
                f"there is a kept value {name!r} already: choose another name, give overwrite=True, or "
                f"forget({name!r}) first"
            )
        value = rayjup.get(box[0])
        ref = rayjup.put(value)
        note = {"name": name, "type": _type_name(value), "size": facts(ref).size, "since": time.time()}
        self._kept[name] = (ref, note)
        return note

    def find(self, name: str) -> list[Any]:
        """The ref of this name in a list (a bare ref would be resolved); empty when there is none."""
        return [self._kept[name][0]] if name in self._kept else []

    def forget(self, name: str) -> bool:
        """Let the value go; False when there is none of this name."""
        return self._kept.pop(name, None) is not None

    def notes(self) -> list[dict[str, Any]]:
        """What is kept, in the order in which it came."""
        return [note for _, note in self._kept.values()]


def _type_name(value: Any) -> str:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__.partition('.')[0]}.{name}"
    shape = getattr(value, "shape", None)
    return f"{name} {tuple(shape)}" if isinstance(shape, tuple) else name
