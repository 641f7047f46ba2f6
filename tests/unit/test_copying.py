"""Copies by several threads are whole, whatever the size."""

from __future__ import annotations

import mmap
import os

import pytest

from rayjup.engine.objects import copying, mapping

FROM = copying._THREADED_FROM
SIZES = [
    0,
    1,
    *(
        size + off
        for size in (FROM, 3 * FROM // 2, 2 * FROM, 4 * FROM)
        for off in (-1, 0, 1, 2, 3, 4095, 4096, 4097)
    ),
]


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 7])
def test_every_byte_arrives(monkeypatch: pytest.MonkeyPatch, cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    longest = os.urandom(max(SIZES))
    for size in SIZES:
        source, target = memoryview(longest)[:size], bytearray(size)
        copying.copy(memoryview(target), source)
        assert target == source, f"{size} bytes by {copying.copy_threads(size)} threads"


@pytest.mark.parametrize("cpus", [1, 2, 3])
def test_new_files_are_as_long_as_asked(monkeypatch: pytest.MonkeyPatch, cpus: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)))
    for size in SIZES[1::5]:
        file = os.memfd_create("test")
        try:
            mapped = mapping.allocated(file, size)
            assert os.fstat(file).st_size == size
            # Pages that were not made would show as a hole.
            pages = -(-size // mmap.PAGESIZE)
            assert os.fstat(file).st_blocks * 512 == pages * mmap.PAGESIZE
            del mapped
        finally:
            os.close(file)
