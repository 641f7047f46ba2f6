"""Where a node keeps objects: in shared memory, or in mapped files where that is too small; and on which disk
it puts those for which there is no room.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from rayjup.base.paths import usable_directory
from rayjup.engine.objects.spilling import PREFIX

SHM = "/dev/shm"
ENOUGH = 1 << 30
"""A default store smaller than this, for want of shared memory, is put into mapped files instead."""
_FALSE = ("0", "false", "no", "")


def default_capacity(memory: float, shm_free: float | None) -> float:
    """Bytes of a store whose size nobody has chosen: 30 % of ``memory``, or what shared memory has for it."""
    wanted = 0.3 * memory
    if shm_free is None or 0.9 * shm_free < min(wanted, ENOUGH):
        return wanted
    return min(wanted, 0.9 * shm_free)


def shm_free() -> float | None:
    """Bytes free in shared memory; None where there is none."""
    if not os.path.isdir(SHM):
        return None
    disk = os.statvfs(SHM)
    return float(disk.f_bavail * disk.f_frsize)


@dataclass
class StorePlace:
    """The directories of one node's objects.

    Parameters
    ----------
    store
        Where objects lie while there is room.
    spill
        Where those go for which there is no room; None: nowhere.
    threshold
        How full that disk may get.
    warnings
        What whoever connects should know.
    """

    store: str
    spill: str | None
    threshold: float = 0.95
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def choose(cls, node_id: str, session_dir: str, capacity: int, settings: dict[str, Any]) -> StorePlace:
        """The place for a store of ``capacity`` bytes.

        Raises
        ------
        RaySystemError
            A directory that was named does not exist or can't be written to.
        """
        uid = os.getuid()
        warnings = []
        base = _directory("plasma_directory", settings)
        if base is None:
            free = shm_free()
            base = SHM
            if free is None or free < capacity:
                base = session_dir
                there = "there is no /dev/shm" if free is None else f"/dev/shm has {free / 1e6:,.0f} MB free"
                warnings.append(
                    f"The object store of {capacity / 1e6:,.0f} MB lies in files in {session_dir}, not in "
                    f"shared memory: {there}. Large objects will be slower. Give the machine or container "
                    "more shared memory (docker run --shm-size), or choose a smaller object_store_memory."
                )
        spill_base = _directory("object_spilling_directory", settings) or session_dir
        spills = str(_setting("automatic_object_spilling_enabled", settings, "1")).lower() not in _FALSE
        return cls(
            f"{base}/rayjup-{uid}-{node_id[:12]}",
            f"{spill_base}/{PREFIX}{uid}-{node_id[:12]}" if spills else None,
            float(_setting("local_fs_capacity_threshold", settings, 0.95)),
            warnings,
        )

    @property
    def disk(self) -> tuple[str, float] | None:
        """Directory and threshold, as other processes are told of them."""
        return (self.spill, self.threshold) if self.spill is not None else None

    def directories(self) -> list[str]:
        """All that belong to the node."""
        return [self.store] + ([self.spill] if self.spill is not None else [])

    def on_disk(self) -> dict[str, int]:
        """Bytes and number of the objects that lie on disk now."""
        sizes = []
        for entry in os.scandir(self.spill) if self.spill is not None else ():
            if "-" in entry.name:
                try:
                    sizes.append(entry.stat().st_size)
                except FileNotFoundError:
                    continue  # just freed
        return {"store_spilled": sum(sizes), "store_spilled_objects": len(sizes)}


def _setting(name: str, settings: dict[str, Any], default: Any) -> Any:
    if settings.get(name) is not None:
        return settings[name]
    return os.environ.get(f"RAY_{name}", default)


def _directory(name: str, settings: dict[str, Any]) -> str | None:
    path = _setting(name, settings, None)
    if not path:
        return None
    return usable_directory(name, str(path))
