"""What a client may ask for when it starts a cluster or adds a node, checked field by field."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any

from rayjup_lab.services.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_UNITS = 100_000
_MIN_STORE = 1 << 20

_UNITS: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": _MAX_UNITS}
_NODE_PROPERTIES: dict[str, Any] = {
    "num_cpus": {**_UNITS, "title": "CPUs", "description": "all of the machine where left out"},
    "num_gpus": {**_UNITS, "title": "GPUs", "description": "all of the machine where left out"},
    "object_store_memory": {
        "type": "integer",
        "minimum": _MIN_STORE,
        "title": "Object store",
        "description": "Bytes of shared memory for objects",
        "format": "bytes",
    },
    "resources": {
        "type": "object",
        "additionalProperties": _UNITS,
        "title": "Resources",
        "description": "Further resources by name, as license=2",
    },
}
_NAME_PROPERTY: dict[str, Any] = {
    "type": "string",
    "pattern": f"^{_NAME.pattern}$",
    "title": "Name",
    "description": "chosen for you",
}
START_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Options of a cluster",
    "additionalProperties": False,
    "properties": {
        "name": _NAME_PROPERTY,
        **_NODE_PROPERTIES,
        "linger_s": {
            "type": "number",
            "minimum": 0,
            "title": "Stops after",
            "description": "Seconds it lives on after its last driver has gone",
            "format": "seconds",
        },
        "profile": {
            "type": "string",
            "title": "Profile",
            "description": "Where and how it is started, as configured for this server or in rayjup.json",
        },
    },
}
"""The body of ``POST /rayjup/clusters``."""

NODE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Options of a node",
    "additionalProperties": False,
    "properties": {"name": _NAME_PROPERTY, **_NODE_PROPERTIES},
}
"""The body of ``POST /rayjup/clusters/ID/added_nodes``."""


ADAPT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "How many nodes there may be",
    "required": ["min", "max"],
    "additionalProperties": False,
    "properties": {
        "min": {"type": "integer", "minimum": 1, "title": "Nodes at least"},
        "max": {"type": "integer", "minimum": 1, "maximum": 1000, "title": "Nodes at most"},
    },
}
"""The body of ``PUT /rayjup/clusters/ID/adapt``."""


def nodes_between(body: Any) -> tuple[int, int]:
    """How many nodes there may be, at least and at most.

    Raises
    ------
    BadRequest
        Naming the field and the rule it breaks.
    """
    if not isinstance(body, dict) or set(body) != {"min", "max"}:
        raise BadRequest('The body must be a JSON object such as {"min": 1, "max": 4}.')
    for field in ("min", "max"):
        value = body[field]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:
            raise BadRequest(
                f"{field} must be a whole number from 1 to 1000; got {_short(value)}.", field=field
            )
    if body["min"] > body["max"]:
        raise BadRequest(f"max must be at least min, {body['min']}; got {body['max']}.", field="max")
    return body["min"], body["max"]


@dataclass(frozen=True)
class NodeOptions:
    """Options of a node; None leaves a value to the node's own default."""

    name: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    object_store_memory: int | None = None
    resources: dict[str, float] | None = None

    @classmethod
    def from_json(cls, body: Any) -> NodeOptions:
        """Check a decoded JSON body.

        Raises
        ------
        BadRequest
            Naming the field and the rule it breaks.
        """
        return cls(**_checked(body, NODE_SCHEMA))


@dataclass(frozen=True)
class StartOptions(NodeOptions):
    """Options of ``POST /rayjup/clusters``; None leaves a value to the cluster's own default."""

    linger_s: float | None = None
    profile: str | None = None

    @classmethod
    def from_json(cls, body: Any) -> StartOptions:
        """Check a decoded JSON body.

        Raises
        ------
        BadRequest
            Naming the field and the rule it breaks.
        """
        return cls(**_checked(body, START_SCHEMA))

    @property
    def given(self) -> dict[str, Any]:
        """What was said, by the names of the fields; without the profile."""
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "profile"}
        return {name: value for name, value in said.items() if value is not None}


def _checked(body: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """The fields that say something."""
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BadRequest('The body must be a JSON object such as {"num_cpus": 2}.')
    known = schema["properties"]
    for field in body:
        if field not in known:
            raise BadRequest(f"Unknown field {field!r}; known are {', '.join(known)}.", field=str(field))
    found = {field: _CHECKS[field](field, value) for field, value in body.items() if value is not None}
    return {field: value for field, value in found.items() if value is not None}


def _name(field: str, value: Any) -> str | None:
    if value == "":
        return None
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise BadRequest(
            f"{field} must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or a digit; "
            f"got {_short(value)}.",
            field=field,
        )
    return value


def _units(field: str, value: Any) -> float:
    """A number of CPUs or GPUs: whole where it is whole, as Ray's own options are."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRequest(f"{field} must be a number; got {_short(value)}.", field=field)
    if not 0 <= value <= _MAX_UNITS:
        raise BadRequest(f"{field} must be between 0 and {_MAX_UNITS}; got {_short(value)}.", field=field)
    return int(value) if value == int(value) else float(value)


def _seconds(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadRequest(f"{field} must be a number of seconds, 0 or more; got {_short(value)}.", field=field)
    return float(value)


def _bytes(field: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{field} must be a whole number of bytes; got {_short(value)}.", field=field)
    if value < _MIN_STORE:
        raise BadRequest(
            f"{field} must be at least {_MIN_STORE} bytes (1 MiB); got {_short(value)}.", field=field
        )
    return value


def _resources(field: str, value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise BadRequest(f"{field} must be an object of names and numbers; got {_short(value)}.", field=field)
    for name in value:
        if not _NAME.fullmatch(str(name)) or name in ("CPU", "GPU"):
            raise BadRequest(f"{field} has {_short(name)}, which is no name for a resource.", field=field)
    try:
        return {str(name): _units(str(name), number) for name, number in value.items()}
    except BadRequest as error:
        raise BadRequest(f"{field}: {error.message}", field=field) from error


_CHECKS = {
    "name": _name,
    "profile": _name,
    "num_cpus": _units,
    "num_gpus": _units,
    "object_store_memory": _bytes,
    "resources": _resources,
    "linger_s": _seconds,
}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
