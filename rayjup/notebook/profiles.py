"""Profiles: sets of options for ``%ray_init``, kept under a name in Jupyter's configuration directory.

``rayjup.json`` (or ``rayjup.toml`` on Python 3.11 and later) holds them::

    {"profiles": {"big": {"num_cpus": 16, "resources": {"license": 1}}}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_config_dir


def files() -> list[Path]:
    """The files that may hold profiles; a later one wins."""
    base = Path(jupyter_config_dir())
    return [base / "rayjup.toml", base / "rayjup.json"]


def load_all() -> dict[str, dict[str, Any]]:
    """All profiles by name.

    Raises
    ------
    ValueError
        A file does not hold what it should.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in files():
        if path.is_file():
            found |= _read(path)
    return found


def load(name: str, allowed: Iterable[str]) -> dict[str, Any]:
    """The options of the profile ``name``.

    Raises
    ------
    ValueError
        There is no such profile, or it sets something that is not in ``allowed``.
    """
    known = load_all()
    if name not in known:
        places = " or ".join(str(path) for path in files())
        has = ", ".join(sorted(known)) or "none"
        raise ValueError(f"there is no profile {name!r} (there are: {has}); define it in {places}")
    options = known[name]
    wrong = sorted(set(options) - set(allowed))
    if wrong:
        raise ValueError(
            f"the profile {name!r} sets {', '.join(wrong)}, which %ray_init does not have; "
            f"it has {', '.join(sorted(allowed))}"
        )
    return options


def _read(path: Path) -> dict[str, dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    try:
        data = _toml(text, path) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"the profiles in {path} cannot be read: {error}") from error
    profiles = data.get("profiles") if isinstance(data, dict) else None
    if not isinstance(profiles, dict) or not all(isinstance(one, dict) for one in profiles.values()):
        raise ValueError(
            f'{path} must hold a table "profiles" with a table of options per name, '
            'such as {"profiles": {"small": {"num_cpus": 2}}}'
        )
    return profiles


def _toml(text: str, path: Path) -> Any:
    try:
        reader = import_module("tomllib")
    except ModuleNotFoundError:  # Python 3.10
        raise ValueError(
            f"this Python has no reader for TOML: write the profiles to {path.with_suffix('.json').name}"
        ) from None
    return reader.loads(text)
