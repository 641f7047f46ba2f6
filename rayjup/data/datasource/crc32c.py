"""CRC-32C (Castagnoli), as TFRecord files use it."""

from __future__ import annotations

import struct
from collections.abc import Callable

_POLYNOMIAL = 0x82F63B78


def _make_tables() -> list[list[int]]:
    """Eight tables, so that eight bytes are taken in one step."""
    first = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        first.append(value)
    tables = [first]
    for _ in range(7):
        before = tables[-1]
        tables.append([value >> 8 ^ first[value & 0xFF] for value in before])
    return tables


_tables: list[list[int]] = []


def _in_python(data: bytes) -> int:
    if not _tables:
        _tables.extend(_make_tables())
    t0, t1, t2, t3, t4, t5, t6, t7 = _tables
    crc = 0xFFFFFFFF
    whole = len(data) // 8 * 8
    for low, high in struct.iter_unpack("<II", data[:whole]):
        crc ^= low
        crc = (
            t7[crc & 0xFF]
            ^ t6[crc >> 8 & 0xFF]
            ^ t5[crc >> 16 & 0xFF]
            ^ t4[crc >> 24]
            ^ t3[high & 0xFF]
            ^ t2[high >> 8 & 0xFF]
            ^ t1[high >> 16 & 0xFF]
            ^ t0[high >> 24]
        )
    for byte in data[whole:]:
        crc = crc >> 8 ^ t0[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


_function: Callable[[bytes], int] | None = None


def crc32c(data: bytes) -> int:
    """The check sum; by ``google_crc32c`` or ``crc32c`` where one is installed."""
    global _function
    if _function is None:
        _function = _find()
    return _function(data)


def _find() -> Callable[[bytes], int]:
    from importlib import import_module

    for module, name in (("google_crc32c", "value"), ("crc32c", "crc32c")):
        try:
            return getattr(import_module(module), name)
        except ImportError:
            continue
    return _in_python


def masked_crc32c(data: bytes) -> int:
    """The check sum as it is stored, rotated and shifted so that sums of sums differ."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
