"""What a node measures of GPUs, with a stand-in for NVIDIA's library where there is no GPU."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rayjup.engine.node.samples import Sampler

GIB = 2**30


class Declared(ModuleType):
    """A machine with a whole GPU, and one that is divided into two slices (as NVML answers)."""

    NVML_TEMPERATURE_GPU = 0
    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        """What the library raises."""

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"gpu{index}"

    def nvmlDeviceGetName(self, handle: str) -> Any:
        return b"Declared GPU" if handle == "gpu0" else f"Declared {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(used=GIB, total=8 * GIB)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        if handle != "gpu0":
            raise self.NVMLError("not supported")
        return SimpleNamespace(gpu=70)

    def nvmlDeviceGetTemperature(self, handle: str, kind: int) -> int:
        if "slice" in handle:
            raise self.NVMLError("not supported")
        return 55

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> Any:
        return [SimpleNamespace(pid=42, usedGpuMemory=GIB), SimpleNamespace(pid=43, usedGpuMemory=None)]

    def nvmlDeviceGetMigMode(self, handle: str) -> Any:
        if handle == "gpu0":
            raise self.NVMLError("not supported")
        return (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, place: int) -> str:
        if place not in (0, 3):
            raise self.NVMLError("not found")
        return f"slice{place}"


def test_whole_and_divided_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Declared("pynvml"))
    sampler = Sampler()
    assert sampler.gpu_count == 2
    whole, divided = sampler.sample()["gpus"]
    assert whole == {
        "index": 0,
        "name": "Declared GPU",
        "utilization": 70,
        "mem_used": GIB,
        "mem_total": 8 * GIB,
        "temperature": 55,
        "processes": [{"pid": 42, "mem_used": GIB}, {"pid": 43, "mem_used": 0}],
        "slices": [],
    }
    assert divided["utilization"] is None, "nobody knows how busy a divided GPU is"
    assert [(part["index"], part["name"], part["temperature"]) for part in divided["slices"]] == [
        (0, "Declared slice0", None),
        (3, "Declared slice3", None),
    ]
