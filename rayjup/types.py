"""Types for annotations (mirrors ``ray.types``)."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

__all__ = ["ObjectRef"]


class ObjectRef(Generic[T]):
    """Says of a parameter or result that it is a ref to a value of type ``T``.

    Examples
    --------
    >>> from rayjup.types import ObjectRef
    >>> def total(parts: list[ObjectRef[int]]) -> int: ...
    """
