"""Mirrors the part of ``ray._private.internal_api`` that programs use."""

from __future__ import annotations

from collections.abc import Sequence

from rayjup.core import session as sessions
from rayjup.engine.ownership.object_ref import ObjectRef

__all__ = ["free"]


def free(object_refs: ObjectRef | Sequence[ObjectRef], local_only: bool = False) -> None:
    """Drop the values of refs now, although refs are left; reading one raises ObjectFreedError.

    Rarely needed: a value goes by itself with the last ref to it. Refs that this process got from
    another one lose their value here only.

    Parameters
    ----------
    object_refs
        One ref or several. Those without a value yet are passed over.
    local_only
        Accepted as in Ray; objects lie on one node only.

    Raises
    ------
    TypeError
        For what is no ref.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup._private.internal_api import free
    >>> ref = ray.put([1, 2, 3])
    >>> free(ref)
    """
    refs = [object_refs] if isinstance(object_refs, ObjectRef) else object_refs
    if not isinstance(refs, (list, tuple)):
        raise TypeError(f"free() takes an ObjectRef or a list of them, not {type(object_refs)}")
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"free() takes a list of ObjectRefs; this one also holds {type(ref)}")
    sessions.require().runtime.free(refs)
