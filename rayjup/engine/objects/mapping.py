"""Mapping a file without keeping a descriptor of it.

``mmap.mmap`` duplicates the descriptor it is given and keeps it for as long as the mapping lives
(until Python 3.13, where it can be told not to). A process that holds some thousand large objects
would run out of descriptors: the usual limit is 1024. Here a mapping without a file reserves the
addresses, and the file is then mapped over it; the object still unmaps them when its last view ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from functools import cache
from typing import Any

_MAP_FIXED = 0x10  # the same number on Linux and macOS; the mmap module does not name it


@cache
def _libc_mmap() -> Any:
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    return function


def map_file(fd: int, size: int, writable: bool) -> mmap.mmap:
    """Map the first ``size`` bytes of a file, shared; ``fd`` can be closed afterwards.

    Raises
    ------
    OSError
        As ``mmap`` does: most of all ENOMEM, where the process has as many mappings as the
        kernel allows (``vm.max_map_count``).
    """
    if sys.version_info >= (3, 13):
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        return mmap.mmap(fd, size, prot=access, trackfd=False)
    mapped = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    first = ctypes.c_char.from_buffer(mapped)
    address = ctypes.addressof(first)
    del first
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    if _libc_mmap()(address, size, access, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) != address:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return mapped
