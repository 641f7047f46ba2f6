"""What tests on real clusters share; see ``tests/cluster/conftest.py`` for the fixtures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

T = 20.0
"""Seconds after which a get that does not return is a failure."""


def poll(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return as soon as ``condition`` is true; fail when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def store_dir() -> Path:
    """The directory in shared memory of the node to which this process is connected."""
    from rayjup.core import session

    current = session.current()
    assert current is not None
    return Path(current.runtime.store.directory)


def objects() -> list[str]:
    """Files of objects in that directory."""
    return sorted(name for name in os.listdir(store_dir()) if name != "owner")


def trim() -> None:
    """Make all processes return the room they keep: a request for everything does that."""
    import rayjup
    from rayjup.core import session

    current = session.current()
    assert current is not None
    capacity = int(rayjup.cluster_resources()["object_store_memory"])
    granted = current.runtime.link.request("store_reserve", capacity, True)
    if granted:
        current.runtime.link.send(("store_give_back", granted))


def check_freed(before: frozenset[str] = frozenset(), timeout_s: float = 2.0) -> None:
    """Fail unless the store holds only ``before`` in time; segments kept for reuse count as free."""
    deadline = time.monotonic() + timeout_s
    while True:
        trim()
        left = [name for name in objects() if name not in before]
        if not left:
            return
        assert time.monotonic() < deadline, f"still there after {timeout_s} s: {left}"
        time.sleep(0.02)


def node_pid() -> int:
    """The node process of the cluster to which this process is connected."""
    from rayjup.core import session

    current = session.current()
    assert current is not None
    return int(current.cluster.extra["node_pid"])


def zygote_pid() -> int:
    """The process from which executors are forked, as soon as there is one."""
    deadline = time.monotonic() + 30.0
    while not (pids := zygotes()):  # killed ones are replaced, and between the two there is none
        assert time.monotonic() < deadline, "the node has no zygote"
        time.sleep(0.01)
    return pids[0]  # later ones are of runtime environments


def zygotes() -> list[int]:
    """The zygotes of the node, oldest first, as they are now."""
    found = []
    for process in psutil.Process(node_pid()).children():
        try:
            if "zygote" in " ".join(process.cmdline()):
                found.append((process.create_time(), process.pid))
        except psutil.NoSuchProcess:  # it has just ended (a zombie is one of these, too)
            continue
    return [pid for _, pid in sorted(found)]


def executor_pids() -> list[int]:
    """The executors of the node."""
    try:
        return [child.pid for child in psutil.Process(zygote_pid()).children()]
    except psutil.NoSuchProcess:  # the zygote has just ended, and they end with it
        return []


def node_children() -> int:
    """How many zygotes the node has."""
    return len(zygotes())
