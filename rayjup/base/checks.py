"""Checks of option values: each takes the option's name and value and gives the value to keep.

A wrong value gives one error that names the option, the rule and the value: ``TypeError`` where
its type is wrong, ``ValueError`` otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NoReturn

Check = Callable[[str, Any], Any]

PRECISION = 10_000  # resources are accounted in units of 1/10000
RESERVED_RESOURCES = {
    "CPU": "num_cpus",
    "GPU": "num_gpus",
    "memory": "memory",
    "object_store_memory": "object_store_memory",
}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?/)?{_LABEL}")
_LABEL_TEXT = re.compile(rf"(?:{_LABEL})?")
_LABEL_VALUE = re.compile(rf"!?{_LABEL}|!?in\(\s*{_LABEL}\s*(?:,\s*{_LABEL}\s*)*\)")


def _wrong(error: type[Exception], name: str, rule: str, value: Any) -> NoReturn:
    raise error(f"Option `{name}` {rule}, got {value!r} ({type(value).__name__}).")


def optional(check: Check) -> Check:
    """The same check, but None is kept as it is."""

    def checked(name: str, value: Any) -> Any:
        return None if value is None else check(name, value)

    return checked


def boolean(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        _wrong(TypeError, name, "must be True or False", value)
    return value


def text(name: str, value: Any) -> str:
    """A string that is not empty."""
    if not isinstance(value, str):
        _wrong(TypeError, name, "must be a string", value)
    if not value:
        _wrong(ValueError, name, "must not be empty (leave it out, or give None)", value)
    return value


def dictionary(name: str, value: Any) -> dict[Any, Any]:
    """Any mapping."""
    if not isinstance(value, Mapping):
        _wrong(TypeError, name, "must be a dict", value)
    return value if isinstance(value, dict) else dict(value)


def one_of(*allowed: Any) -> Check:
    """A check for one of a few values."""
    names = ", ".join(repr(a) for a in allowed)

    def checked(name: str, value: Any) -> Any:
        if not isinstance(value, str):
            _wrong(TypeError, name, f"must be one of {names}", value)
        if value not in allowed:
            _wrong(ValueError, name, f"must be one of {names}", value)
        return value

    return checked


def count(minimum: int, meaning: str = "") -> Check:
    """A check for a whole number of at least ``minimum``."""
    rule = f"must be a whole number >= {minimum}{meaning}"

    def checked(name: str, value: Any) -> int:
        if not isinstance(value, Integral) or isinstance(value, bool):
            _wrong(TypeError, name, rule, value)
        if value < minimum:
            _wrong(ValueError, name, rule, value)
        return int(value)

    return checked


def count_or_infinite(name: str, value: Any) -> int:
    """0, a positive number, or -1 for "without limit"."""
    return int(count(-1, " (-1: without limit)")(name, value))


def quantity(name: str, value: Any) -> float:
    """An amount of a resource: a number >= 0 in steps of 1/10000.

    True and False count as 1 and 0: ``num_gpus=torch.cuda.is_available()`` is a common way to write it.
    """
    if not isinstance(value, Real):
        _wrong(TypeError, name, "must be a number >= 0", value)
    number = float(value)
    if not 0 <= number < float("inf"):
        _wrong(ValueError, name, "must be a number >= 0 (never negative)", value)
    if 0 < number < 1 / PRECISION:
        _wrong(
            ValueError, name, f"must be 0 or at least {1 / PRECISION} (the finest share of a resource)", value
        )
    return number


def gpu_quantity(name: str, value: Any) -> float:
    """An amount of GPUs: a share of one, or whole ones."""
    number = quantity(name, value)
    if number > 1 and number != int(number):
        _wrong(ValueError, name, "must be whole when it is above 1 (only one GPU can be shared)", value)
    return number


def custom_resources(name: str, value: Any) -> dict[str, float]:
    """Resources with names of the user's choice."""
    checked = {}
    for key, amount in dictionary(name, value).items():
        if not isinstance(key, str) or not key:
            _wrong(TypeError, name, "must have non-empty strings as resource names", key)
        if key in RESERVED_RESOURCES:
            raise ValueError(
                f"Option `{name}` must not contain {key!r}: use option `{RESERVED_RESOURCES[key]}` for it, "
                f"got {value!r}."
            )
        checked[key] = quantity(f"{name}[{key!r}]", amount)
    return checked


def returns(name: str, value: Any) -> int | str:
    """How many values a call gives."""
    rule = "must be a whole number >= 0, 'dynamic' or 'streaming'"
    if isinstance(value, str):
        if value not in ("dynamic", "streaming"):
            _wrong(ValueError, name, rule, value)
        return value
    if not isinstance(value, Integral) or isinstance(value, bool):
        _wrong(TypeError, name, rule, value)
    if value < 0:
        _wrong(ValueError, name, rule, value)
    return int(value)


def exception_classes(name: str, value: Any) -> bool | tuple[type[BaseException], ...]:
    """Whether, or on which exceptions, a call is made again."""
    rule = "must be True, False or a list of exception classes"
    if isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple)):
        _wrong(TypeError, name, rule, value)
    for item in value:
        if not (isinstance(item, type) and issubclass(item, BaseException)):
            _wrong(ValueError, name, rule, value)
    return tuple(value)


def label_selector(name: str, value: Any) -> dict[str, str]:
    """Conditions on the labels of a node: key to ``"v"``, ``"!v"``, ``"in(a,b)"`` or ``"!in(a,b)"``."""
    for key, condition in dictionary(name, value).items():
        for part, what, pattern in ((key, "key", _LABEL_KEY), (condition, "value", _LABEL_VALUE)):
            if not isinstance(part, str):
                _wrong(TypeError, name, f"must map strings to strings; its {what} is not", part)
            if not pattern.fullmatch(part):
                _wrong(
                    ValueError,
                    name,
                    f"has a {what} that is no label (up to 63 letters, digits, '-', '_', '.', a letter or "
                    "digit at both ends; values may be written 'v', '!v', 'in(v, w)' or '!in(v, w)')",
                    part,
                )
    return dict(value)


def node_labels(name: str, value: Any) -> dict[str, str]:
    """Labels of a node: key to value."""
    for key, label in dictionary(name, value).items():
        for part, what, pattern in ((key, "key", _LABEL_KEY), (label, "value", _LABEL_TEXT)):
            if not isinstance(part, str) or not pattern.fullmatch(part):
                _wrong(
                    ValueError,
                    name,
                    f"has a {what} that is no label (up to 63 letters, digits, '-', '_', '.', a letter or "
                    "digit at both ends; keys may have a prefix such as 'example.com/')",
                    part,
                )
        if key == "ray.io/node-id":
            raise ValueError(f"Option `{name}` must not contain {key!r}: each node gets that by itself.")
    return dict(value)


def fallbacks(name: str, value: Any) -> list[dict[str, Any]]:
    """What to try when the label selector cannot be met: a list of options, in order."""
    if not isinstance(value, list):
        _wrong(TypeError, name, "must be a list of dicts with the key 'label_selector'", value)
    checked = []
    for entry in value:
        if set(dictionary(name, entry)) != {"label_selector"}:
            _wrong(ValueError, name, "must be a list of dicts with the key 'label_selector'", entry)
        checked.append({"label_selector": label_selector(f"{name}: label_selector", entry["label_selector"])})
    return checked


def concurrency_groups(name: str, value: Any) -> dict[str, int]:
    """Threads or coroutines per named group of methods; also accepts Ray's list of dicts."""
    if isinstance(value, list):
        try:
            value = {entry["name"]: entry["max_concurrency"] for entry in value}
        except (TypeError, KeyError):
            _wrong(
                ValueError,
                name,
                "must be a dict, or a list of dicts with 'name' and 'max_concurrency'",
                value,
            )
    at_least_one = count(1)
    groups = dictionary(name, value).items()
    return {text(f"{name} (a group's name)", k): at_least_one(f"{name}[{k!r}]", v) for k, v in groups}


def strategy(name: str, value: Any) -> Any:
    """``"DEFAULT"``, ``"SPREAD"`` or one of the strategy objects of ``util.scheduling_strategies``."""
    rule = (
        "must be 'DEFAULT', 'SPREAD', a PlacementGroupSchedulingStrategy, a NodeAffinitySchedulingStrategy "
        "or a NodeLabelSchedulingStrategy"
    )
    if isinstance(value, str):
        if value not in ("DEFAULT", "SPREAD"):
            _wrong(ValueError, name, rule, value)
    elif not type(value).__name__.endswith("SchedulingStrategy"):
        # Known by name: the classes belong to a layer above this one.
        _wrong(TypeError, name, rule, value)
    return value


def placement_group(name: str, value: Any) -> Any:
    """A placement group, ``"default"`` (that of the parent, if it captures children) or None."""
    rule = "must be a PlacementGroup, None or 'default'"
    if isinstance(value, str):
        if value != "default":
            _wrong(ValueError, name, rule, value)
    elif value is not None and not hasattr(value, "bundle_specs"):
        _wrong(TypeError, name, rule, value)
    return value
