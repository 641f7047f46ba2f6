"""Functions and classes as bytes for other processes, with what they captured."""

from __future__ import annotations

import pickle
from typing import Any

from rayjup.base.serialization import Packed, unpack
from rayjup.core.session import Session
from rayjup.core.sources import show_sources, sources_of


class _Late:
    """Pickles to the function or class itself, restored with its buffers, refs and source lines."""

    def __init__(self, packed: Packed, sources: dict[str, list[str]]) -> None:
        self.parts = (packed.data, [bytes(b) for b in packed.buffers], list(packed.refs), sources)

    def __reduce__(self) -> Any:
        return _restored, self.parts


def _restored(data: bytes, buffers: list[bytes], refs: list[Any], sources: dict[str, list[str]]) -> Any:
    show_sources(sources)
    return unpack(data, buffers, refs)


def blob_of(packed: Packed, session: Session, code: Any) -> bytes:
    """A packed function or class as one pickle.

    Refs that it captured stay pinned for the session (rule 3 of ownership). ``code`` is what was packed.
    """
    sources = sources_of(code)
    if packed.refs:
        session.extra.setdefault("captured", []).extend(packed.refs)
    elif not packed.buffers and not sources:
        return packed.data
    return pickle.dumps(_Late(packed, sources))
