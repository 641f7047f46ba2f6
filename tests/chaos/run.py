"""Runs the workloads while the killer is at work, and tells what came of it.

``python -m chaos.run [where to write the table]`` in ``tests`` (``make chaos``); CHAOS_SECONDS (600),
CHAOS_SEED (by the clock).
"""

from __future__ import annotations

import faulthandler
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import full, network, workloads
from chaos.killer import STORE_BYTES, Killer
from chaos.workloads import Tally
from support import leaks
from support.disks import can_mount
from support.machines import why_not

import rayjup as ray
from rayjup.cluster_utils import Cluster


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    seconds: float
    faults: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    def add(self, tally: Tally, faults: Counter[str]) -> None:
        """Count what came of another run, too."""
        self.faults = dict(Counter(self.faults) + faults)
        self.calls = dict(Counter(self.calls) + tally.calls)
        self.wrong += tally.wrong
        self.hangs += tally.hangs

    @property
    def good(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.wrong or self.hangs or self.leaks)

    def table(self) -> str:
        """As markdown."""
        rows = [("seed", self.seed), ("seconds", round(self.seconds))]
        rows += [(f"faults: {kind}", self.faults[kind]) for kind in sorted(self.faults)]
        rows += [(f"calls: {name}", self.calls[name]) for name in sorted(self.calls)]
        rows += [("wrong answers", len(self.wrong)), ("hangs", len(self.hangs)), ("leaks", len(self.leaks))]
        return "\n".join(
            ["| what | count |", "|---|---|", *(f"| {what} | {count} |" for what, count in rows)]
        )


def run(seed: int, seconds: float) -> Outcome:
    """One run on a cluster of its own; the caller looks for leaks."""
    # So small a store that the blocks of the pipeline go to disk.
    size = {"num_cpus": 2, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, connect=True, head_node_args=size)
    for _ in range(2):
        cluster.add_node(**size)
    tally = Tally()
    killer = Killer(cluster, seed)
    began = time.monotonic()
    try:
        bank, hands = workloads.Bank(ray), workloads.Hands(ray)
        rounds = {
            "sums": workloads.sums,
            "shuffle": workloads.shuffle,
            "bank": bank.round,
            "hands": hands.round,
            "pipeline": full.pipeline,
        }
        killer.start()
        threads = [
            threading.Thread(target=_repeat, args=(name, play, seed, began + seconds, tally), daemon=True)
            for name, play in rounds.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 2 * workloads.TIMEOUT_S - (time.monotonic() - began))
            if thread.is_alive():
                tally.hangs.append(f"the thread of {thread.name} does not end")
        if tally.hangs:
            faulthandler.dump_traceback(all_threads=True)
        killer.stop.set()
        killer.join(60)
        if killer.is_alive():
            tally.hangs.append("starting or ending a node took more than a minute")
        tally.wrong += killer.problems
        del bank, hands, rounds
    finally:
        killer.stop.set()
        ray.shutdown()
        cluster.shutdown()
    return Outcome(seed, time.monotonic() - began, killer.faults, tally.calls, tally.wrong, tally.hangs)


def _repeat(name: str, play: Callable[..., Any], seed: int, until: float, tally: Tally) -> None:
    rng = random.Random(f"{seed} {name}")
    while time.monotonic() < until and not tally.hangs:
        try:
            play(ray, rng, tally)
        except ray.exceptions.GetTimeoutError as error:
            tally.hangs.append(f"{name}: {error}")
            return
        except Exception as error:  # noqa: BLE001 - no exception is an answer that the workload expects
            tally.wrong.append(f"{name}: {type(error).__name__}: {error}")
            time.sleep(0.1)  # not to fill the report with the consequences of one thing


def alone(seed: int, seconds: float) -> Outcome:
    """A run in directories of its own, with a look at what it leaves behind."""
    place = Path(tempfile.mkdtemp(prefix="rjc-", dir="/tmp"))
    for variable, name in (("JUPYTER_RUNTIME_DIR", "run"), ("TMPDIR", "tmp"), ("RAYJUP_CACHE_DIR", "cache")):
        (place / name).mkdir(mode=0o700)
        os.environ[variable] = str(place / name)
    tempfile.tempdir = None
    os.environ[leaks.MARKER] = uuid.uuid4().hex
    try:
        before = leaks.take(place)
        outcome = run(seed, seconds)
        why = can_mount(place / "try")
        if why:
            print(f"disk and shared memory are not filled: {why}")
        else:
            outcome.add(*full.run(seed, seconds / 5, place))
        if why_not():
            print(f"the network is not cut: {why_not()}")
        else:
            outcome.add(*network.run(seed, seconds / 5))
        outcome.leaks += leaks.wait_clean(before, place, 10.0)
        return outcome
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> int:
    """Run as long as CHAOS_SECONDS says, and print the table."""
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))
    seconds = float(os.environ.get("CHAOS_SECONDS", 600))
    print(f"seed {seed}, {seconds:g} s", flush=True)
    outcome = alone(seed, seconds)
    print(outcome.table())
    for problem, count in Counter([*outcome.wrong, *outcome.hangs, *outcome.leaks]).most_common(10):
        print(f"{count}x {problem}")
    if len(sys.argv) > 1:
        text = (
            "# Chaos\n\nWhat `make chaos` has counted: processes killed at random under programs whose "
            "answers are known.\nWritten by `tests/chaos/run.py`.\n\n"
        )
        Path(sys.argv[1]).write_text(text + outcome.table() + "\n", encoding="utf-8")
    return 0 if outcome.good else 1


if __name__ == "__main__":
    sys.exit(main())
