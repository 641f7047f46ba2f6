"""Backends by name: the built-in ones and those that programs add."""

from __future__ import annotations

from rayjup.util.collective.collective_group.base_collective_group import BaseGroup
from rayjup.util.collective.types import Backend

_classes: dict[str, type[BaseGroup]] = {}


def register_collective_backend(name: str, group_cls: type[BaseGroup]) -> None:
    """Make a backend known to this process; every member of a group has to do so.

    Parameters
    ----------
    name
        What ``backend=…`` says, in any case; becomes an attribute of ``Backend``.
    group_cls
        A subclass of ``collective_group.base_collective_group.BaseGroup``.

    Raises
    ------
    TypeError
        It is not such a class.
    ValueError
        The name is taken.
    """
    if not (isinstance(group_cls, type) and issubclass(group_cls, BaseGroup)):
        raise TypeError(f"{group_cls} is not a subclass of BaseGroup: a backend has to be one.")
    key = name.upper()
    if key in _classes:
        raise ValueError(f"Backend {key} already registered, as {_classes[key].__name__}: use another name.")
    _classes[key] = group_cls
    if not hasattr(Backend, key):
        setattr(Backend, key, key)


def backend_class(name: str) -> type[BaseGroup]:
    """The class registered as ``name``; ValueError when there is none."""
    key = name.upper()
    if key not in _classes:
        known = ", ".join(sorted(_classes))
        raise ValueError(
            f"Backend {key} not registered (registered: {known}). register_collective_backend() has to "
            "be called "
            "in every process that uses it."
        )
    return _classes[key]


def usable(name: str) -> bool:
    """Whether the backend is registered and says that it works here."""
    return name.upper() in _classes and _classes[name.upper()].check_backend_availability()
