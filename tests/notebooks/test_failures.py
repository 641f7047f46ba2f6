"""What a user does to a kernel: interrupting it, killing it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rayjup.cluster import descriptors
from rayjup.cluster.descriptors import Descriptor

Clusters = Callable[[], list[Descriptor]]


def left_of(descriptor: Descriptor, processes: list[psutil.Process]) -> list[str]:
    """What still exists of a cluster."""
    left = [f"process {p.pid} {p.name()}" for p in processes if alive(p)]
    for path in (descriptor.path, Path(descriptor.session_dir), Path(descriptor.agent_socket)):
        left += [str(path)] if path.exists() else []
    left += [str(path) for path in Path("/dev/shm").glob(f"*{descriptor.cluster_id}*")]
    return left


def processes_of(descriptor: Descriptor) -> list[psutil.Process]:
    """The head, the node and what the node has started."""
    head, node = psutil.Process(descriptor.head_pid), psutil.Process(descriptor.extra["node_pid"])
    return list({head, node, *head.children(recursive=True), *node.children(recursive=True)})


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def poll(seconds: float, look: Callable[[], Any]) -> Any:
    """What ``look`` still returns when the time is over; nothing, as soon as it is nothing."""
    deadline = time.monotonic() + seconds
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_interrupting_get_leaves_a_usable_connection(kernel: Any, tmp_path: Path) -> None:
    kernel.ok("%ray_init --num-cpus 2")
    kernel.ok(
        "import pathlib, rayjup as ray, time\n"
        "@ray.remote\ndef forever(path):\n    pathlib.Path(path).touch()\n    time.sleep(1000)\n"
        "@ray.remote\ndef quick(x):\n    return x * 2\n"
        "@ray.remote\nclass Tally:\n    def __init__(self): self.n = 0\n"
        "    def add(self):\n        self.n += 1\n        return self.n\n"
        "tally = Tally.remote()\nprint(ray.get(tally.add.remote()))"
    )
    cell = kernel.send(f"ray.get(forever.remote({str(tmp_path / 'begun')!r}))")
    assert poll(30.0, lambda: not (tmp_path / "begun").exists()) is False
    kernel.manager.interrupt_kernel()
    assert kernel.collect(cell, timeout_s=40).ename == "KeyboardInterrupt"
    # Tasks, actors and the display are still there.
    assert kernel.ok("print(ray.get([quick.remote(i) for i in range(50)])[-1])").text == "98\n"
    assert kernel.ok("print(ray.get(tally.add.remote()))").text == "2\n"
    kernel.until("%ray_status --text", "forever")  # processes report their counts about once a second
    assert "Stopped cluster" in kernel.ok("%ray_shutdown").text


@pytest.mark.parametrize("how", ["kill", "shutdown"])
def test_a_kernel_that_ends_leaves_nothing(kernel: Any, clusters: Clusters, how: str) -> None:
    kernel.ok("%ray_init --num-cpus 2 --linger 1")
    kernel.ok(
        "import rayjup as ray, numpy as np, time\n"
        "kept = ray.put(np.ones(5_000_000))\n"
        "@ray.remote\ndef forever(a):\n    time.sleep(1000)\n"
        "running = forever.remote(kept)\n"
        "@ray.remote\nclass A:\n    def f(self): return 1\n"
        "a = A.remote()\nray.get(a.f.remote())"
    )
    (descriptor,) = clusters()
    # Head, node, zygote, the task's executor, the actor; the task may just be starting.
    assert poll(30.0, lambda: len(processes_of(descriptor)) < 5) is False
    processes = processes_of(descriptor)
    if how == "kill":
        os.kill(kernel.pid, signal.SIGKILL)
    else:
        kernel.manager.shutdown_kernel(now=False)
    assert poll(50.0, lambda: left_of(descriptor, processes)) == []
    assert descriptors.list_clusters() == []


def test_a_kernel_killed_while_it_starts_a_cluster_leaves_nothing(kernel: Any, clusters: Clusters) -> None:
    kernel.send("%ray_init --num-cpus 1 --linger 1")
    # Whenever the descriptor appears, no driver may be connected yet.
    found: list[Descriptor] = []
    assert poll(40.0, lambda: not found and not found.extend(clusters())) is False
    (descriptor,) = found
    processes = processes_of(descriptor)  # what starts later is found by the leak check
    os.kill(kernel.pid, signal.SIGKILL)
    assert poll(50.0, lambda: left_of(descriptor, processes)) == []
