"""Which arguments a method takes, so that a wrong call fails where it is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Accepted:
    """The parameters of a method, without ``self``, in a form that travels.

    A positional-only call needs nothing but ``least <= len(args) <= most``.
    """

    names: tuple[str, ...]
    required: frozenset[str]
    keywords: frozenset[str]
    least: float
    most: float
    any_keyword: bool

    def check(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError for a call that the method would not take."""
        if len(args) > self.most:
            raise TypeError(
                f"{name}() takes {int(self.most)} positional arguments but {len(args)} were given"
            )
        given = set(self.names[: len(args)])
        for keyword in kwargs:
            if keyword in given:
                raise TypeError(f"{name}() got multiple values for argument {keyword!r}")
            if not self.any_keyword and keyword not in self.keywords:
                raise TypeError(f"{name}() got an unexpected keyword argument {keyword!r}")
        missing = sorted(self.required - given - set(kwargs))
        if missing:
            raise TypeError(f"{name}() missing required argument(s): {', '.join(missing)}")


def accepted(function: Callable[..., Any], bound: bool = False) -> Accepted | None:
    """What ``function`` takes after its first parameter (all, if ``bound``); None if unknown."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if not bound and not inspect.ismethod(function):
        if not parameters or parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
            return None
        parameters = parameters[1:]
    names = []
    required = set()
    keywords = set()
    most, any_keyword, hidden = 0.0, False, 0
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            most = float("inf")
        elif p.kind is p.VAR_KEYWORD:
            any_keyword = True
        else:
            if p.kind is not p.KEYWORD_ONLY:
                names.append(p.name)
                most += 1
            if p.kind is not p.POSITIONAL_ONLY:
                keywords.add(p.name)
            if p.default is p.empty:
                required.add(p.name)
                hidden += p.kind is p.KEYWORD_ONLY
    least = float("inf") if hidden else sum(n in required for n in names)
    return Accepted(tuple(names), frozenset(required), frozenset(keywords), least, most, any_keyword)
