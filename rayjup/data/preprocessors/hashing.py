"""MurmurHash3 (32 bits), the hash that scikit-learn uses for features."""

from __future__ import annotations

import functools
import struct

_MASK = 0xFFFFFFFF


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> (32 - by)) & _MASK


@functools.lru_cache(maxsize=1 << 16)
def murmurhash3(text: str, seed: int = 0) -> int:
    """The hash of a text as a signed integer."""
    data = text.encode()
    value = seed
    whole = len(data) // 4 * 4
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        block = block * 0xCC9E2D51 & _MASK
        value ^= _rotated(block, 15) * 0x1B873593 & _MASK
        value = (_rotated(value, 13) * 5 + 0xE6546B64) & _MASK
    if tail := data[whole:]:
        block = int.from_bytes(tail, "little") * 0xCC9E2D51 & _MASK
        value ^= _rotated(block, 15) * 0x1B873593 & _MASK
    value ^= len(data)
    value = (value ^ value >> 16) * 0x85EBCA6B & _MASK
    value = (value ^ value >> 13) * 0xC2B2AE35 & _MASK
    value ^= value >> 16
    return value - (1 << 32) if value >= 1 << 31 else value


def bucket(text: str, buckets: int) -> int:
    """In which of so many places a text is counted."""
    return abs(murmurhash3(text)) % buckets
