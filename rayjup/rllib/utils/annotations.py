"""Marks on classes and methods, as Ray's programs put them; they do nothing but say what is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F")


def override(parent_cls: type) -> Callable[[F], F]:
    """Say that a method overrides one of ``parent_cls``; a NameError if there is none.

    Examples
    --------
    >>> from rayjup.rllib.utils import override
    >>> class Loud(dict):
    ...     @override(dict)
    ...     def keys(self):
    ...         return [key.upper() for key in super().keys()]
    >>> Loud(a=1).keys()
    ['A']
    """

    def check(method: Any) -> Any:
        if method.__name__ not in dir(parent_cls):
            raise NameError(
                f"{method.__qualname__} overrides nothing: {parent_cls.__name__} has no such method."
            )
        return method

    return check


def PublicAPI(obj: Any) -> Any:
    """A mark: for everybody."""
    obj._annotated = "PublicAPI"
    return obj


def DeveloperAPI(obj: Any) -> Any:
    """A mark: for developers of algorithms."""
    obj._annotated = "DeveloperAPI"
    return obj


def OverrideToImplementCustomLogic(obj: Any) -> Any:
    """A mark: made to be overridden."""
    obj.__is_overridden__ = False
    return obj


OverrideToImplementCustomLogic_CallToSuperRecommended = OverrideToImplementCustomLogic
