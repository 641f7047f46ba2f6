"""Functions and classes as bytes for other processes, with what they captured."""

from __future__ import annotations

import pickle
from typing import Any

from rayjup.base.serialization import Packed, unpack
from rayjup.core.session import Session


class _Late:
    """Pickles to the function or class itself, restored with its buffers and refs."""

    def __init__(self, packed: Packed) -> None:
        self.parts = (packed.data, [bytes(b) for b in packed.buffers], list(packed.refs))

    def __reduce__(self) -> Any:
        return unpack, self.parts


def blob_of(packed: Packed, session: Session) -> bytes:
    """A packed function or class as one pickle.

    Refs that it captured stay pinned for the session (rule 3 of ownership).
    """
    if packed.refs:
        session.extra.setdefault("captured", []).extend(packed.refs)
    elif not packed.buffers:
        return packed.data
    return pickle.dumps(_Late(packed))
