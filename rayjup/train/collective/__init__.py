"""Meetings of all workers of a run, for small things that need no process group."""

from __future__ import annotations

from typing import Any, TypeVar

from rayjup.train.functions import train_session

__all__ = ["barrier", "broadcast_from_rank_zero"]

T = TypeVar("T")
_LARGE = 100_000


def barrier() -> None:
    """Wait until all ranks have come here."""
    train_session("barrier()").meet("barrier", None)


def broadcast_from_rank_zero(data: T) -> T:
    """What rank 0 gives, on all ranks; large values through shared memory.

    Parameters
    ----------
    data
        What rank 0 sends; that of other ranks is not looked at.
    """
    session = train_session("broadcast_from_rank_zero()")
    if session.world_size == 1:
        return data
    if session.world_rank == 0:
        session.meet("broadcast", _packed(data))
        return data
    kind, packed = session.meet("broadcast", None)
    return _unpacked(kind, packed)


def _packed(data: Any) -> tuple[str, Any]:
    import cloudpickle

    pickled = cloudpickle.dumps(data)
    if len(pickled) < _LARGE:
        return ("pickled", pickled)
    import rayjup

    return ("object", [rayjup.put(data)])


def _unpacked(kind: str, packed: Any) -> Any:
    if kind == "pickled":
        import pickle

        return pickle.loads(packed)
    import rayjup

    return rayjup.get(packed[0])
