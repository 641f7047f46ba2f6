"""Classes whose base belongs to an optional package: it is imported when the first object is made."""

from __future__ import annotations

from typing import Any


class LateBase:
    """Derive from it and say in `late_base` which class is the base as well.

    Objects are instances of both: methods of the subclass come before those of the base, and ``super()``
    reaches it.

    Examples
    --------
    >>> from rayjup.runs.late import LateBase
    >>> class Counter(LateBase):
    ...     @classmethod
    ...     def late_base(cls):
    ...         import collections
    ...         return collections.Counter
    >>> isinstance(Counter("aab"), dict), Counter("aab")["a"]
    (True, 2)
    """

    @classmethod
    def late_base(cls) -> type:
        """Import and return the base; raises ImportError with what to install."""
        raise TypeError(f"{cls.__name__} must define late_base()")

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        whole = joined(cls)
        base = cls.late_base()
        if base.__new__ is object.__new__:
            return object.__new__(whole)
        return base.__new__(whole, *args, **kwargs)

    def __reduce__(self) -> Any:
        return (_again, (_declared(type(self)),), self.__dict__)


_known: dict[type, type] = {}


def joined(cls: type[LateBase]) -> type:
    """The class together with its base."""
    if (known := _known.get(cls)) is not None:
        return known
    base = cls.late_base()
    if issubclass(cls, base):
        return cls
    space = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    _known[cls] = made = type(cls.__name__, (cls, base), {**space, "_declared": cls})
    return made


def _declared(cls: type) -> type:
    return getattr(cls, "_declared", cls)


def _again(cls: type[LateBase]) -> Any:
    whole: Any = joined(cls)
    return whole.__new__(whole)
