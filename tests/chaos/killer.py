"""Kills processes of a cluster at random, by a seed: executors, zygotes, nodes, drivers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter

import psutil

from rayjup.cluster_utils import Cluster

STORE_BYTES = 48 << 20
"""Of each node."""

# What another driver does meanwhile: it ends with code 17 when an answer is wrong.
DRIVER = """
    import os, sys
    import numpy as np
    import rayjup as ray

    ray.init(address={address!r}, log_to_driver=False)

    @ray.remote(max_retries=-1)
    def block(i):
        return np.full(30_000, i, np.int64)

    @ray.remote(max_retries=-1)
    def total(*blocks):
        return int(sum(b.sum() for b in blocks))

    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Echo:
        def echo(self, x):
            return x

    echo = Echo.remote()
    while True:
        kept = [ray.put(np.arange(30_000)) for _ in range(3)]
        got = ray.get(total.remote(*[block.remote(i) for i in range(8)]), timeout=100)
        same = ray.get(echo.echo.remote(5), timeout=100)
        if got != 30_000 * 28 or same != 5:
            os._exit(17)
"""


class Killer(threading.Thread):
    """Injects a fault now and then until told to stop, and repairs what does not repair itself.

    Parameters
    ----------
    cluster
        Nodes beyond the first are killed and replaced.
    seed
        Of the choice of faults, victims and pauses.
    pause_s
        Mean time between two faults.
    """

    def __init__(self, cluster: Cluster, seed: int, pause_s: float = 0.5) -> None:
        super().__init__(name="killer", daemon=True)
        self.cluster = cluster
        self.random = random.Random(seed)
        self.pause_s = pause_s
        self.faults: Counter[str] = Counter()
        self.problems: list[str] = []
        self.stop = threading.Event()
        self.driver: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Kill until told to stop."""
        kinds = {"executor": 10, "zygote": 2, "node": 1, "driver": 2}
        try:
            self._start_driver()
            while not self.stop.wait(self.random.expovariate(1 / self.pause_s)):
                (kind,) = self.random.choices(list(kinds), list(kinds.values()))
                getattr(self, f"_kill_{kind}")()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run is to fail by it
            self.problems.append(f"the killer ended with {type(error).__name__}: {error}")
        finally:
            if self.driver is not None:
                self.driver.kill()
                self.driver.communicate()

    def _kill(self, kind: str, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it has ended meanwhile
        self.faults[kind] += 1

    def _zygotes(self) -> list[psutil.Process]:
        found = []
        for node in self.cluster.list_all_nodes():
            try:
                children = psutil.Process(node.info.pid).children()
                found += [p for p in children if "zygote" in " ".join(p.cmdline())]
            except psutil.NoSuchProcess:
                continue
        return found

    def _kill_executor(self) -> None:
        pids = []
        for zygote in self._zygotes():
            try:
                pids += [p.pid for p in zygote.children()]
            except psutil.NoSuchProcess:
                continue
        if pids:
            self._kill("executor", self.random.choice(sorted(pids)))

    def _kill_zygote(self) -> None:
        pids = [p.pid for p in self._zygotes()]
        if pids:
            self._kill("zygote", self.random.choice(sorted(pids)))

    def _kill_node(self) -> None:
        others = [node for node in self.cluster.list_all_nodes() if not node.is_head()]
        node = self.random.choice(others)
        self._kill("node", node.info.pid)
        self.cluster.remove_node(node, allow_graceful=False)
        self.cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)

    def _start_driver(self) -> None:
        program = textwrap.dedent(DRIVER).format(address=self.cluster.address)
        self.driver = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)

    def _kill_driver(self) -> None:
        assert self.driver is not None
        if self.driver.poll() is not None:
            last = self.driver.communicate()[1].decode(errors="replace")[-2000:]
            self.problems.append(f"a driver ended by itself with {self.driver.returncode}: {last}")
        else:
            self._kill("driver", self.driver.pid)
            self.driver.communicate()
        self._start_driver()
