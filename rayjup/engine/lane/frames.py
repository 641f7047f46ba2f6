"""The lane's wire format: length-prefixed frames, each a pickled list of messages.

A message is a tuple whose first item is a small integer from :mod:`.messages`. Many messages
travel in one frame, so that a burst of calls costs one system call on either side. Values above
``INLINE_LIMIT`` never travel here: they are files in shared memory, named by a descriptor.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any

HEADER = struct.Struct("<I")
MAX_FRAME = 1 << 30
"""Longest accepted frame in bytes: a stray client must not make us allocate without bound."""

_dumps = pickle.dumps
_loads = pickle.loads


class FrameError(ConnectionError):
    """The peer sent bytes that are no frame of ours."""


def encode(messages: list[tuple[Any, ...]]) -> bytes:
    """One frame holding ``messages``."""
    body = _dumps(messages, 5)
    return HEADER.pack(len(body)) + body


class FrameReader:
    """Cuts a byte stream into messages; keeps what is incomplete for the next call."""

    __slots__ = ("_needed", "_partial")

    def __init__(self) -> None:
        self._partial: bytearray | None = None
        self._needed = 0  # length from which on the partial frame is worth looking at

    def feed(self, data: memoryview) -> list[tuple[Any, ...]]:
        """All messages completed by ``data`` (which may be reused by the caller afterwards)."""
        partial = self._partial
        if partial is not None:
            partial += data
            if len(partial) < self._needed:
                return []
            data = memoryview(partial)
        size = len(data)
        position = 0
        messages: list[tuple[Any, ...]] = []
        self._needed = 4
        while size - position >= 4:
            length = HEADER.unpack_from(data, position)[0]
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes was announced; the limit is {MAX_FRAME}")
            end = position + 4 + length
            if end > size:
                self._needed = end - position
                break
            try:
                decoded = _loads(data[position + 4 : end])
            except Exception as error:  # whatever bytes that are no pickle of ours make it raise
                raise FrameError(f"a frame of {length} bytes is not a list of messages: {error}") from error
            if type(decoded) is not list:
                raise FrameError(f"a frame of {length} bytes is not a list of messages")
            if messages:
                messages += decoded
            else:
                messages = decoded
            position = end
        self._partial = bytearray(data[position:]) if position < size else None
        return messages
