"""What a client may ask for when it starts a cluster, checked field by field."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from rayjup_lab.services.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_UNITS = 100_000
_MIN_STORE = 1 << 20


@dataclass(frozen=True)
class StartOptions:
    """Options of ``POST /rayjup/clusters``; None leaves a value to the cluster's own default."""

    name: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    object_store_memory: int | None = None

    @classmethod
    def from_json(cls, body: Any) -> StartOptions:
        """Check a decoded JSON body.

        Raises
        ------
        BadRequest
            Naming the field and the rule it breaks.
        """
        if body is None:
            return cls()
        if not isinstance(body, dict):
            raise BadRequest('The body must be a JSON object such as {"num_cpus": 2}.')
        known = ("name", "num_cpus", "num_gpus", "object_store_memory")
        for field in body:
            if field not in known:
                raise BadRequest(f"Unknown field {field!r}; known are {', '.join(known)}.", field=str(field))
        return cls(
            name=_name(body.get("name")),
            num_cpus=_units("num_cpus", body.get("num_cpus")),
            num_gpus=_units("num_gpus", body.get("num_gpus")),
            object_store_memory=_bytes("object_store_memory", body.get("object_store_memory")),
        )


def _name(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BadRequest(
            "name must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or a digit; "
            f"got {_short(value)}.",
            field="name",
        )
    return value


def _units(field: str, value: Any) -> float | None:
    """A number of CPUs or GPUs: whole where it is whole, as Ray's own options are."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{field} must be a number; got {_short(value)}.", field=field)
    if not 0 <= value <= _MAX_UNITS:
        raise BadRequest(f"{field} must be between 0 and {_MAX_UNITS}; got {_short(value)}.", field=field)
    return int(value) if value == int(value) else float(value)


def _bytes(field: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{field} must be a whole number of bytes; got {_short(value)}.", field=field)
    if value < _MIN_STORE:
        raise BadRequest(
            f"{field} must be at least {_MIN_STORE} bytes (1 MiB); got {_short(value)}.", field=field
        )
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
