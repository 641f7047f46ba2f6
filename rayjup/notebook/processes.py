"""CPU, memory and GPU memory of the processes of a local cluster, measured from the kernel."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import psutil


class Meter:
    """Measures executors of the cluster on this machine, whose node process is ``node_pid``."""

    def __init__(self, node_pid: int | None) -> None:
        self._node_pid = node_pid
        self._known: dict[int, psutil.Process] = {}
        self._gpus = _GpuMemory()

    def pids(self) -> set[int]:
        """The executors: children of the node's zygotes."""
        if self._node_pid is None:
            return set()
        return {pid for zygote in children(self._node_pid) for pid in children(zygote)}

    def measure(self, pids: set[int]) -> dict[int, dict[str, Any]]:
        """CPU in per cent since the last call (of one CPU), resident memory and GPU memory by pid."""
        for gone in set(self._known) - pids:
            del self._known[gone]
        gpus = self._gpus.by_pid()
        found = {}
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process = self._known.get(pid)
                if process is None:
                    process = self._known[pid] = psutil.Process(pid)
                with process.oneshot():
                    found[pid] = {
                        "cpu": process.cpu_percent(None),
                        "memory": process.memory_info().rss,
                        "gpu_memory": gpus.get(pid),
                    }
        return found


def children(pid: int) -> list[int]:
    """The child processes of ``pid``; none when it is gone."""
    if sys.platform == "linux":
        # Asking the kernel for them; looking at every process of the machine takes far longer.
        try:
            lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
        except OSError:
            return []
        if lists:
            return [int(word) for text in lists for word in text.split()]
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


class _GpuMemory:
    """GPU memory by process, through NVML where there is a driver."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except pynvml.NVMLError:
            return  # no driver on this machine
        self._nvml = pynvml

    def by_pid(self) -> dict[int, int]:
        """Bytes by pid, over all GPUs."""
        found: dict[int, int] = {}
        for handle in self._handles:
            try:
                running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLError:
                continue  # not told inside of some containers
            for process in running:
                found[process.pid] = found.get(process.pid, 0) + (process.usedGpuMemory or 0)
        return found
