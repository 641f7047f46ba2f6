"""Mirrors the part of ``ray._private.internal_api`` that programs use."""

from __future__ import annotations

from collections.abc import Sequence

from rayjup.core import session as sessions
from rayjup.engine.ownership.object_ref import ObjectRef

__all__ = ["free", "memory_summary"]


def memory_summary(
    address: str | None = None,
    redis_password: str | None = None,
    group_by: str = "NODE_ADDRESS",
    sort_by: str = "OBJECT_SIZE",
    units: str = "B",
    line_wrap: bool = True,
    stats_only: bool = False,
    num_entries: int | None = None,
) -> str:
    """A table of who refers to which objects of the cluster, and how large these are.

    Parameters
    ----------
    address
        Of another cluster than the one this process is connected to.
    redis_password, line_wrap
        Accepted as in Ray.
    group_by
        ``"NODE_ADDRESS"`` or ``"STACK_TRACE"`` (where refs were made, with RAY_record_ref_creation_sites=1).
    sort_by
        ``"OBJECT_SIZE"`` (largest first), ``"PID"`` or ``"REFERENCE_TYPE"``.
    units
        ``"B"``, ``"KB"``, ``"MB"`` or ``"GB"``.
    stats_only
        Sums only.
    num_entries
        So many lines of each group.

    Raises
    ------
    ValueError
        For an unknown unit, group or order.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup._private.internal_api import memory_summary
    >>> ref = ray.put([1, 2, 3])
    >>> ref.hex() in memory_summary()
    True
    """
    from rayjup._private.memory_text import table
    from rayjup.util.state import list_objects

    rows = list_objects(address=address, limit=10_000, detail=True, raise_on_missing_output=False)
    return table(list(rows), group_by, sort_by, units, num_entries, stats_only)


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
