"""A cluster that grows and shrinks: real nodes, started for what waits and ended when nothing needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.clusters import poll

import rayjup as ray
from rayjup.autoscaler.sdk import request_resources
from rayjup.cli.clusters import status_text
from rayjup.cluster import descriptors
from rayjup.cluster.scaling import monitor
from rayjup.cluster_utils import AutoscalingCluster
from rayjup.observe import ClusterView
from rayjup.util.placement_group import placement_group, remove_placement_group

TYPES = {
    "cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    "a10": {"resources": {"CPU": 1, "GPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 1},
}
IDLE_S = 0.4


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, nodes do not come up: they wait where Python starts."""
    return tmp_path_factory.mktemp("python") / "held"


@pytest.fixture(scope="module")
def scaled(held: Path) -> Iterator[AutoscalingCluster]:
    (held.parent / "sitecustomize.py").write_text(
        f"import os, time\nwhile os.path.exists({str(held)!r}):\n    time.sleep(0.01)\n"
    )
    cluster = AutoscalingCluster({"CPU": 0}, TYPES, idle_timeout_minutes=IDLE_S / 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(held.parent), os.environ.get("PYTHONPATH", "")]))
        cluster.start()
    ray.init(cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


pytestmark = pytest.mark.leaks("one cluster for the file; the check per file sees what is left")


def workers() -> list[str]:
    rows = [row for row in ray.nodes() if row["Alive"] and row["NodeName"] != "node-0"]
    return sorted(row["Labels"]["ray.io/node-group"] for row in rows)


def alone() -> bool:
    return workers() == []


@ray.remote
def where() -> str:
    return ray.get_runtime_context().get_node_labels()["ray.io/node-group"]


@ray.remote
def ones(n: int) -> np.ndarray:
    return np.ones(n)


def at_rest(shown: str) -> bool:
    """Whether it is told that there is nothing to do."""
    return "a10: 0 up (0 idle), 0 starting, of 0 to 1" in shown and "waiting for" not in shown


def test_nodes_come_for_what_waits_and_go_when_nothing_does(scaled, held):
    held.touch()
    refs = [where.options(num_gpus=1).remote(), where.remote(), where.options(num_cpus=2).remote()]
    view = ClusterView(descriptors.find(scaled._descriptor.cluster_id))
    try:
        poll(lambda: "2 GPU of type a10; 1 node starting" in status_text(view.snapshot()), 30)
        held.unlink()
        gpu, any_cpu, cpu = ray.get(refs, timeout=60)
        assert (gpu, cpu) == ("a10", "cpu")
        assert any_cpu in ("a10", "cpu")
        poll(alone, 60)
        poll(lambda: at_rest(status_text(view.snapshot())), 30)
    finally:
        view.close()


def test_a_node_with_the_only_copy_of_an_object_stays(scaled):
    ref = ones.remote(1 << 20)
    ray.wait([ref], fetch_local=False)
    time.sleep(5 * IDLE_S)  # far longer than it may be idle
    assert workers() == ["cpu"]
    assert ray.get(ref).sum() == 1 << 20
    del ref
    poll(alone, 60)


def test_a_node_with_an_actor_stays_until_that_ends(scaled):
    @ray.remote(num_cpus=1)
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    counter = Counter.remote()
    assert ray.get(counter.add.remote()) == 1
    time.sleep(4 * IDLE_S)
    assert ray.get(counter.add.remote()) == 2
    ray.kill(counter)
    poll(alone, 60)


def test_a_placement_group_gets_its_nodes(scaled):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert group.wait(60)
    assert len(workers()) == 2
    remove_placement_group(group)
    poll(alone, 60)


def test_resources_that_are_requested_are_there_before_they_are_used(scaled):
    request_resources(bundles=[{"GPU": 2}])
    poll(lambda: workers() == ["a10"], 60)
    time.sleep(2 * IDLE_S)
    assert workers() == ["a10"]
    request_resources(num_cpus=0)
    poll(alone, 60)
    for wrong in (
        {"num_cpus": -1},
        {"bundles": [{"CPU": -1}]},
        {"bundles": [], "bundle_label_selectors": [{}]},
    ):
        with pytest.raises(ValueError, match="request_resources"):
            request_resources(**wrong)


def test_what_cannot_be_had_is_said(scaled):
    ref = where.options(num_cpus=64).remote()
    view = ClusterView(descriptors.find(scaled._descriptor.cluster_id))
    try:
        poll(lambda: "1 × 64 CPU cannot be had: no type of node is large" in status_text(view.snapshot()), 30)
        ray.cancel(ref)
        poll(lambda: "cannot be had" not in status_text(view.snapshot()), 30)
    finally:
        view.close()


def test_the_next_head_goes_on_with_the_nodes_there_are(scaled):
    cluster = scaled._descriptor

    @ray.remote(num_cpus=1)
    class Stays:
        def where(self) -> str:
            return ray.get_runtime_context().get_node_id()

    actor = Stays.remote()
    node = ray.get(actor.where.remote(), timeout=60)
    os.kill(descriptors.read_head(cluster.session_dir)[0], signal.SIGKILL)
    assert ray.get(where.options(num_gpus=1).remote(), timeout=60) == "a10"
    assert monitor.running(cluster.session_dir) is not None
    assert ray.get(actor.where.remote(), timeout=60) == node
    ray.kill(actor)
    poll(alone, 60)
    assert node not in {row["NodeID"] for row in ray.nodes() if row["Alive"]}


def test_a_cluster_of_a_program_grows_by_itself(tmp_path):
    script = """
import os, sys, time
import rayjup as ray
ray.init(num_cpus=1, adaptive=(1, 2), object_store_memory=100 << 20)

@ray.remote
def meet(directory):
    open(f"{directory}/{os.getpid()}", "w").close()
    while len(os.listdir(directory)) < 2:  # the other one needs another node
        time.sleep(0.02)
    return ray.get_runtime_context().get_node_id()

print(len(set(ray.get([meet.remote(sys.argv[1]) for _ in range(2)]))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["2"], done.stderr
