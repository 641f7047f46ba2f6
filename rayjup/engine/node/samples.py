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
            nvml = self._nvml
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            name = nvml.nvmlDeviceGetName(handle)
            out.append(
                {
                    "index": index,
                    "name": name if isinstance(name, str) else name.decode(),
                    "utilization": nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
                    "mem_used": int(memory.used),
                    "mem_total": int(memory.total),
                    "temperature": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
                }
            )
        return out
