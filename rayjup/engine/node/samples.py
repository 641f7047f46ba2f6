"""What a node measures of its machine: CPU, memory, GPUs."""

from __future__ import annotations

import os
from typing import Any

import psutil


class Sampler:
    """Takes a sample at a time; the CPU figure is the mean since the sample before."""

    def __init__(self) -> None:
        psutil.cpu_percent(None)
        self._gpus = _Gpus()

    def sample(self) -> dict[str, Any]:
        """Percentages and bytes, as JSON-able values."""
        memory = psutil.virtual_memory()
        return {
            "cpu_percent": psutil.cpu_percent(None),
            "load": os.getloadavg()[0],
            "mem_used": memory.total - memory.available,
            "mem_total": memory.total,
            "gpus": self._gpus.sample(),
        }

    @property
    def gpu_count(self) -> int:
        """Number of GPUs the driver of this machine reports."""
        return self._gpus.count


class _Gpus:
    """NVIDIA GPUs through NVML, where the library is there."""

    def __init__(self) -> None:
        self.count = 0
        self._nvml: Any = None
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
            self.count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            return  # no driver on this machine
        self._nvml = pynvml

    def sample(self) -> list[dict[str, Any]]:
        out = []
        for index in range(self.count):
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            slices = self._slices(handle)
            out.append({"index": index, **self._measured(handle, busy=not slices), "slices": slices})
        return out

    def _measured(self, handle: Any, *, busy: bool) -> dict[str, Any]:
        """What a GPU, or a slice of one, says of itself; None for what it does not measure."""
        nvml = self._nvml
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        name = self._ask(nvml.nvmlDeviceGetName, handle) or "GPU"
        rates = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle) if busy else None
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        return {
            "name": name if isinstance(name, str) else name.decode(),
            "utilization": rates.gpu if rates is not None else None,
            "mem_used": int(memory.used) if memory is not None else None,
            "mem_total": int(memory.total) if memory is not None else None,
            "temperature": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            "processes": [{"pid": p.pid, "mem_used": int(p.usedGpuMemory or 0)} for p in processes],
        }

    def _slices(self, handle: Any) -> list[dict[str, Any]]:
        """The parts into which a GPU has been divided (MIG); none where it is whole."""
        nvml = self._nvml
        mode = self._ask(nvml.nvmlDeviceGetMigMode, handle)
        if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return []
        found = []
        for place in range(self._ask(nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            part = self._ask(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
            if part is not None:  # not every place is taken
                found.append({"index": place, **self._measured(part, busy=False)})
        return found

    def _ask(self, question: Any, *arguments: Any) -> Any:
        """What the driver answers; None where it cannot say that of this GPU."""
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None
