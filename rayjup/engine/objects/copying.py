"""Copying large buffers with several threads.

One core does not saturate the memory of today's machines, and filling fresh shared-memory pages
is mostly page faults, which threads take in parallel.
"""

from __future__ import annotations

import os
import threading

_THREADED_FROM = 4 << 20  # bytes; below this starting threads costs more than it saves
_MAX_THREADS = 4


def copy_threads(size: int) -> int:
    """How many threads to use for so many bytes."""
    return min(_MAX_THREADS, len(os.sched_getaffinity(0))) if size >= _THREADED_FROM else 1


def copy(target: memoryview, source: memoryview) -> None:
    """Copy ``source`` into ``target`` (both flat byte views of the same length)."""
    size = source.nbytes
    threads = copy_threads(size)
    if threads == 1:
        target[:] = source
        return
    import numpy as np

    into = np.frombuffer(target, np.uint8)
    from_ = np.frombuffer(source, np.uint8)
    step = (-(-size // threads) + 4095) & ~4095  # whole pages, and together not less than all

    def part(start: int) -> None:
        np.copyto(into[start : start + step], from_[start : start + step])

    helpers = [threading.Thread(target=part, args=(start,)) for start in range(step, size, step)]
    for helper in helpers:
        helper.start()
    part(0)
    for helper in helpers:
        helper.join()
