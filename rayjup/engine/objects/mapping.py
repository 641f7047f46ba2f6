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
import threading
from functools import cache
from typing import Any

from rayjup.base.tensors import PrivateMap
from rayjup.engine.objects.copying import copy_threads

_MAP_FIXED = 0x10  # the same number on Linux and macOS; the mmap module does not name it
_MADV_POPULATE_WRITE = 23  # since Linux 5.14
_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0  # nearly no page will be written to


def allocated(fd: int, size: int) -> mmap.mmap:
    """Make a new file so long and map it, to be written; there is room for all of it.

    A hole that can't be filled would be a SIGBUS. Making the pages takes most of the time that writing
    a large object does; several threads make them faster than one ``fallocate``.

    Raises
    ------
    OSError
        There is no room (ENOSPC).
    """
    threads = copy_threads(size)
    if threads > 1 and sys.platform == "linux":
        os.ftruncate(fd, size)
        mapped = map_file(fd, size, writable=True)
        if _populate(mapped, size, threads):
            return mapped
        del mapped  # an old kernel, or no room: the next call says which
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)
    return map_file(fd, size, writable=True)


def _populate(mapped: mmap.mmap, size: int, threads: int) -> bool:
    """Make all pages of a mapping; False where that is not possible."""
    first = ctypes.c_char.from_buffer(mapped)
    start = ctypes.addressof(first)
    step = (-(-size // threads) + 4095) & -4096
    results: list[int] = []

    def part(offset: int) -> None:
        results.append(_libc_madvise()(start + offset, min(step, size - offset), _MADV_POPULATE_WRITE))

    helpers = [threading.Thread(target=part, args=(offset,)) for offset in range(step, size, step)]
    for helper in helpers:
        helper.start()
    part(0)
    for helper in helpers:
        helper.join()
    return not any(results)


@cache
def _libc_madvise() -> Any:
    function = ctypes.CDLL(None, use_errno=True).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function


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
    """Map the first ``size`` bytes of a file; ``fd`` can be closed afterwards.

    ``writable``: what is written goes into the file. Otherwise a page that is written to becomes this
    process's own: the file is never changed, and code that writes where it should not does not crash.

    Raises
    ------
    OSError
        As ``mmap`` does: most of all ENOMEM, where the process has as many mappings as the
        kernel allows (``vm.max_map_count``).
    """
    kind = mmap.mmap if writable else PrivateMap
    flags = mmap.MAP_SHARED if writable else mmap.MAP_PRIVATE | _MAP_NORESERVE
    access = mmap.PROT_READ | mmap.PROT_WRITE
    if sys.version_info >= (3, 13):
        return kind(fd, size, flags=flags, prot=access, trackfd=False)
    mapped = kind(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    first = ctypes.c_char.from_buffer(mapped)
    address = ctypes.addressof(first)
    del first
    if _libc_mmap()(address, size, access, flags | _MAP_FIXED, fd, 0) != address:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return mapped
