"""A node that is short of memory ends the task that uses most, before the kernel ends something else."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from support.clusters import T, poll


@pytest.fixture
def ray(own, monkeypatch):
    monkeypatch.setenv("RAYJUP_memory_limit_bytes", str(800_000_000))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    own.init(num_cpus=3)
    return own


def test_a_task_that_uses_too_much_fails(ray):
    @ray.remote(max_retries=0)
    def greedy():
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1) * 20_000_000))
            time.sleep(0.02)

    @ray.remote(max_retries=0)
    def modest():
        time.sleep(3)
        return 1

    other = modest.remote()
    with pytest.raises(ray.exceptions.OutOfMemoryError) as caught:
        ray.get(greedy.remote(), timeout=T)
    text = str(caught.value)
    assert (
        "greedy()" in text and "low on memory" in text and "GB)" in text and "memory_usage_threshold" in text
    )
    assert ray.get(other, timeout=T) == 1, "who uses little is spared"


def test_its_task_is_run_again(ray, tmp_path):
    path = tmp_path / "runs"

    @ray.remote(max_retries=2)
    def greedy_once(path):
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
            first = file.tell() == 1
        if first:
            kept = bytearray(b"x" * 900_000_000)
            time.sleep(60)
            return len(kept)
        return 7

    assert ray.get(greedy_once.remote(str(path)), timeout=T) == 7
    assert path.read_bytes() == b".."


def test_actors_that_can_be_restarted_go_first(ray):
    @ray.remote(num_cpus=0)
    class Keeper:
        def __init__(self):
            self.kept = []

        def fill(self, nbytes):
            self.kept.append(np.ones(nbytes, np.uint8))
            return os.getpid()

        def pid(self):
            return os.getpid()

    precious = Keeper.remote()
    spare = Keeper.options(max_restarts=-1, max_task_retries=-1).remote()
    pid = ray.get(precious.fill.remote(300_000_000), timeout=T)
    other = ray.get(spare.fill.remote(200_000_000), timeout=T)
    ray.get(precious.fill.remote(250_000_000), timeout=T)
    poll(lambda: not os.path.exists(f"/proc/{other}"))
    assert ray.get(precious.pid.remote(), timeout=T) == pid


def test_an_actor_says_why_it_died(ray):
    @ray.remote(num_cpus=0)
    class Keeper:
        def fill(self):
            self.kept = bytearray(b"x" * 900_000_000)
            time.sleep(60)

    with pytest.raises(ray.exceptions.RayActorError, match="low on memory"):
        ray.get(Keeper.remote().fill.remote(), timeout=T)


@pytest.fixture
def two_nodes(own, monkeypatch):
    """The driver's node has no CPU, so its calls run on the other one."""
    from rayjup.cluster_utils import Cluster

    monkeypatch.setenv("RAYJUP_memory_limit_bytes", str(800_000_000))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=3)
    own.init(address=cluster.address)
    yield own
    own.shutdown()
    cluster.shutdown()


@pytest.mark.parametrize("place", ["ray", "two_nodes"])
def test_calls_without_retries_are_spared(request, place, tmp_path):
    ray = request.getfixturevalue(place)
    ready, runs = tmp_path / "ready", tmp_path / "runs"

    @ray.remote
    def hold(nbytes, path, until):
        with open(path, "ab", buffering=0) as file:
            file.write(b"r")
            if file.tell() > 1:
                return 7
            kept = np.ones(nbytes, np.uint8)
            file.write(b"h")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if os.path.exists(until):
                with open(until, "rb") as file:
                    if file.read().count(b"r") == 2:  # the other one was ended, and runs again
                        break
            time.sleep(0.05)
        return len(kept)

    precious = hold.options(max_retries=0).remote(450_000_000, str(ready), str(runs))
    poll(lambda: ready.exists() and ready.read_bytes() == b"rh")
    spare = hold.options(max_retries=1).remote(370_000_000, str(runs), str(tmp_path / "never"))
    assert ray.get(precious, timeout=T) == 450_000_000
    assert ray.get(spare, timeout=T) == 7
