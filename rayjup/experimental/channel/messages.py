"""How values lie in a channel's memory.

A message is a head (kind, length of the data, number of buffers, length of each), the data and the
buffers. Values that plain pickle handles as well are not given to cloudpickle, which costs several
microseconds more.
"""

from __future__ import annotations

import pickle
import struct
import sys
from typing import Any

import cloudpickle

from rayjup.base import serialization

RAW = 1  # the data is the value, of type bytes
PICKLE = 2
SPILLED = 4  # the data is the path of a file that holds the message
FAILED = 8  # the value is an error that stands for a result

_HEAD = struct.Struct("<QQQ")
HEAD_BYTES = _HEAD.size
_ALIGN = 64
_SCALARS = frozenset({int, float, str, bool, complex, bytes, type(None)})
_MANY = 64  # containers of more items are left to cloudpickle rather than looked through


def encode(value: Any, failed: bool) -> tuple[int, bytes, list[memoryview]]:
    """Kind, data and buffers of a value. Raises what pickling raises."""
    flag = FAILED if failed else 0
    if type(value) is bytes:
        return RAW | flag, value, []
    if failed or not _is_simple(value, 3):
        packed = serialization.pack(value)
        if not packed.refs:
            return PICKLE | flag, packed.data, packed.buffers
        # Refs pickled on their own stay alive for the session: nobody tells when the copy is gone.
        return PICKLE | flag, cloudpickle.dumps(value, protocol=5), []
    buffers: list[memoryview] = []

    def keep_apart(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if not raw.nbytes:
            return True
        buffers.append(raw)
        return False

    return PICKLE | flag, pickle.dumps(value, protocol=5, buffer_callback=keep_apart), buffers


def _is_simple(value: Any, depth: int) -> bool:
    """Whether nothing in ``value`` is pickled by name, which may be unknown in the reader."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is list or kind is tuple:
        return depth > 0 and len(value) <= _MANY and all(_is_simple(item, depth - 1) for item in value)
    if kind is dict:
        items = (*value.keys(), *value.values()) if len(value) <= _MANY else None
        return depth > 0 and items is not None and all(_is_simple(item, depth - 1) for item in items)
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray and value.dtype.kind in "biufcSU"


def size_of(data: bytes, buffers: list[memoryview]) -> int:
    """Room that a message takes."""
    size = HEAD_BYTES + 8 * len(buffers) + len(data)
    for buffer in buffers:
        size = ((size + _ALIGN - 1) & -_ALIGN) + buffer.nbytes
    return size


def put(target: Any, start: int, kind: int, data: bytes, buffers: list[memoryview]) -> None:
    """Write a message into mapped memory at ``start``."""
    count = len(buffers)
    _HEAD.pack_into(target, start, kind, len(data), count)
    position = start + HEAD_BYTES
    if count:
        struct.pack_into(f"<{count}Q", target, position, *(b.nbytes for b in buffers))
        position += 8 * count
    target[position : position + len(data)] = data
    position += len(data) - start  # buffers are aligned within the message
    for buffer in buffers:
        position = (position + _ALIGN - 1) & -_ALIGN
        end = position + buffer.nbytes
        target[start + position : start + end] = buffer.cast("B") if buffer.format != "B" else buffer
        position = end


def head(source: Any, start: int) -> tuple[int, int, int]:
    """Kind, length of the data and number of buffers."""
    return _HEAD.unpack_from(source, start)


def data_of(source: Any, start: int, length: int, count: int) -> bytes:
    """The data of a message."""
    position = start + HEAD_BYTES + 8 * count
    found: bytes = source[position : position + length]
    return found


def take(source: Any, start: int, kind: int, length: int, count: int) -> Any:
    """The value of a message; what it holds is copied out, so that the memory may be used again."""
    data = data_of(source, start, length, count)
    if kind & RAW:
        return data
    if not count:
        return pickle.loads(data)
    lengths = struct.unpack_from(f"<{count}Q", source, start + HEAD_BYTES)
    position = HEAD_BYTES + 8 * count + length
    buffers = []
    with memoryview(source) as view:
        for nbytes in lengths:
            position = (position + _ALIGN - 1) & -_ALIGN
            buffers.append(bytearray(view[start + position : start + position + nbytes]))
            position += nbytes
    return pickle.loads(data, buffers=buffers)
