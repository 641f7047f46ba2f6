"""Disk and shared memory fill up and empty again under a pipeline whose data is larger than the store.

Both are small file systems of their own, mounted for the run; something else takes the room in them, at
random by a seed. Executors are killed meanwhile, too. A call may fail because all is full, and is then made
again by the program; an answer is never wrong, nothing hangs, and nothing is left on either of them.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from chaos.workloads import TIMEOUT_S, Tally
from support.clusters import executor_pids
from support.disks import small_disk

MB = 1 << 20
STORE_MB, SHM_MB, DISK_MB = 40, 64, 160
BLOCK = 4 * MB
FAULTS = ("disk full", "/dev/shm full", "executor")


class Filler(threading.Thread):
    """Takes room in the two file systems, gives it back, and kills executors."""

    def __init__(self, seed: int, places: dict[str, Path], pause_s: float = 0.15) -> None:
        super().__init__(name="filler", daemon=True)
        self.random = random.Random(seed)
        self.places = places
        self.pause_s = pause_s
        self.faults: Counter[str] = Counter()
        self.stop = threading.Event()

    def run(self) -> None:
        """Do so until told to stop; then all room is free."""
        kinds = {"disk full": 3, "/dev/shm full": 3, "executor": 3, "free": 5}
        while not self.stop.wait(self.random.expovariate(1 / self.pause_s)):
            (kind,) = self.random.choices(list(kinds), list(kinds.values()))
            if kind == "free":
                self.free()
            elif kind == "executor":
                self.kill_executor()
            else:
                self.fill(kind)
        self.free()

    def ballast(self, kind: str) -> Path:
        """The file that takes the room."""
        return self.places[kind] / "ballast"

    def fill(self, kind: str) -> None:
        """Take all room that is left."""
        with open(self.ballast(kind), "ab", buffering=0) as file:
            try:
                while True:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), MB)
            except OSError:
                self.faults[kind] += 1

    def free(self) -> None:
        """Give it back."""
        for kind in self.places:
            self.ballast(kind).unlink(missing_ok=True)

    def kill_executor(self) -> None:
        """Kill one of them, if there is one."""
        pids = executor_pids()
        if pids:
            try:
                os.kill(self.random.choice(sorted(pids)), signal.SIGKILL)
                self.faults["executor"] += 1
            except ProcessLookupError:
                pass  # it has ended by itself


def pipeline(ray: Any, rng: random.Random, tally: Tally) -> None:
    """Blocks are made, changed and summed by tasks; three times what the store holds is kept meanwhile."""

    @ray.remote(max_retries=-1)
    def make(value):
        return np.full(BLOCK, value, np.uint8)

    @ray.remote(max_retries=-1)
    def change(block, by):
        return block ^ np.uint8(by)

    @ray.remote(max_retries=-1)
    def total(block):
        return int(block[0]), int(block.sum(dtype=np.int64))

    full = (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError)
    values = [rng.randrange(256) for _ in range(STORE_MB * MB // BLOCK)]
    by = rng.randrange(1, 256)
    left = set(range(len(values)))
    held = []
    deadline = time.monotonic() + TIMEOUT_S
    while left and time.monotonic() < deadline:
        changed = {}
        for i in left:
            block = make.remote(values[i])
            changed[i] = (block, change.remote(block, by))
        held = list(changed.values())
        sums = {i: total.remote(ref) for i, (_, ref) in changed.items()}
        for i, ref in sums.items():
            try:
                got = ray.get(ref, timeout=TIMEOUT_S)
            except full:
                tally.made("refused", 1)
                continue  # made again in the next turn
            tally.check("pipeline", got, (values[i] ^ by, (values[i] ^ by) * BLOCK))
            tally.made("pipeline", 3)
            left.discard(i)
        try:
            own = ray.put(np.full(BLOCK, by, np.uint8))
            tally.check("pipeline", int(ray.get(own, timeout=TIMEOUT_S)[-1]), by)
        except full:
            tally.made("refused", 1)
    del held


def run(seed: int, seconds: float, directory: Path) -> tuple[Tally, Counter[str]]:
    """One run on a cluster of its own."""
    import rayjup as ray

    tally = Tally()
    with small_disk(directory / "shm", SHM_MB) as shm, small_disk(directory / "disk", DISK_MB) as disk:
        filler = Filler(seed, {"/dev/shm full": shm, "disk full": disk})
        ray.init(
            num_cpus=2,
            object_store_memory=STORE_MB * MB,
            _plasma_directory=str(shm),
            _object_spilling_directory=str(disk),
            _system_config={"local_fs_capacity_threshold": 1.0},
            log_to_driver=False,
        )
        try:
            filler.start()
            rng = random.Random(f"{seed} pipeline")
            until = time.monotonic() + seconds
            while not tally.hangs and (
                time.monotonic() < until
                # On a busy machine it takes longer until all has been tried out.
                or (time.monotonic() < until + TIMEOUT_S and not _all_tried(tally, filler.faults))
            ):
                try:
                    pipeline(ray, rng, tally)
                except ray.exceptions.GetTimeoutError as error:
                    tally.hangs.append(f"pipeline: {error}")
                except Exception as error:  # noqa: BLE001 - no other exception is an answer
                    tally.wrong.append(f"pipeline: {type(error).__name__}: {error}")
            filler.stop.set()
            filler.join()
            pipeline(ray, rng, tally)  # with all room free again it goes through
        finally:
            filler.stop.set()
            ray.shutdown()
        deadline = time.monotonic() + 10
        while (left := _files(shm, disk)) and time.monotonic() < deadline:
            time.sleep(0.05)
        tally.wrong += [f"left behind: {path}" for path in left]
    return tally, filler.faults


def _all_tried(tally: Tally, faults: Counter[str]) -> bool:
    return bool(tally.calls["pipeline"] and tally.calls["refused"]) and all(faults[kind] for kind in FAULTS)


def _files(*places: Path) -> list[str]:
    return [str(path.relative_to(place)) for place in places for path in place.rglob("*")]
