"""What ``init`` takes under private names and hands to the node that it starts."""

from __future__ import annotations

import json
from typing import Any

from rayjup.base.paths import usable_directory


def settings_of(private: dict[str, Any]) -> dict[str, Any] | None:
    """The settings of a new cluster, from ``init``'s keyword arguments that begin with an underscore.

    ``_system_config`` is a dict; ``_object_spilling_directory`` and ``_plasma_directory`` win over what
    it says. Settings that rayjup doesn't have are taken and have no effect.

    Raises
    ------
    TypeError, ValueError
        ``_system_config`` is no dict, or the ``object_spilling_config`` in it can't be understood.
    RaySystemError
        A directory that is named can't be used.
    """
    given = private.get("_system_config")
    if given is not None and not isinstance(given, dict):
        raise TypeError(f"init(_system_config=…) must be a dict, not {type(given).__name__}")
    settings = dict(given or {})
    spilling = settings.pop("object_spilling_config", None)
    if spilling:
        settings.setdefault("object_spilling_directory", _directory_in(spilling))
    for name in ("object_spilling_directory", "plasma_directory"):
        if private.get(f"_{name}") is not None:
            settings[name] = str(private[f"_{name}"])
        if settings.get(name):
            settings[name] = usable_directory(name, str(settings[name]))
    return settings or None


def _directory_in(spilling: Any) -> str:
    """The directory that Ray's older way of saying it names."""
    try:
        config = json.loads(spilling) if isinstance(spilling, str) else spilling
        kind, path = config["type"], config["params"]["directory_path"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "object_spilling_config must be JSON with the keys type and params, such as "
            '{"type": "filesystem", "params": {"directory_path": "/data/spill"}}'
        ) from error
    if kind != "filesystem":
        raise ValueError(f"objects go to a directory only (type 'filesystem'), not to {kind!r}")
    return str(path[0] if isinstance(path, list) else path)
