"""A cluster that grows and shrinks: real nodes, started for what waits and ended when nothing needs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

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
def scaled() -> Iterator[AutoscalingCluster]:
    cluster = AutoscalingCluster({"CPU": 0}, TYPES, idle_timeout_minutes=IDLE_S / 60)
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


def test_nodes_come_for_what_waits_and_go_when_nothing_does(scaled):
    began = time.monotonic()
    refs = [where.options(num_gpus=1).remote(), where.remote(), where.options(num_cpus=2).remote()]
    view = ClusterView(descriptors.find(scaled._descriptor.cluster_id))
    try:
        poll(lambda: "2 GPU of type a10; 1 node starting" in status_text(view.snapshot()), 3)
        decided = time.monotonic() - began
        assert decided < 2.0
        gpu, any_cpu, cpu = ray.get(refs, timeout=30)
        assert (gpu, cpu) == ("a10", "cpu")
        assert any_cpu in ("a10", "cpu")
        poll(alone, 20)
        shown = status_text(view.snapshot())
        assert "a10: 0 up (0 idle), 0 starting, of 0 to 1" in shown
        assert "waiting for" not in shown
    finally:
        view.close()


def test_a_node_with_the_only_copy_of_an_object_stays(scaled):
    ref = ones.remote(1 << 20)
    ray.wait([ref], fetch_local=False)
    time.sleep(5 * IDLE_S)  # far longer than it may be idle
    assert workers() == ["cpu"]
    assert ray.get(ref).sum() == 1 << 20
    del ref
    poll(alone, 20)


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
    poll(alone, 20)


def test_a_placement_group_gets_its_nodes(scaled):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert group.wait(20)
    assert len(workers()) == 2
    remove_placement_group(group)
    poll(alone, 20)


def test_resources_that_are_requested_are_there_before_they_are_used(scaled):
    request_resources(bundles=[{"GPU": 2}])
    poll(lambda: workers() == ["a10"], 20)
    time.sleep(2 * IDLE_S)
    assert workers() == ["a10"]
    request_resources(num_cpus=0)
    poll(alone, 20)
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
        poll(lambda: "1 × 64 CPU cannot be had: no type of node is large" in status_text(view.snapshot()), 5)
        ray.cancel(ref)
        poll(lambda: "cannot be had" not in status_text(view.snapshot()), 5)
    finally:
        view.close()


def test_the_next_head_goes_on_with_the_nodes_there_are(scaled):
    cluster = scaled._descriptor
    ref = where.remote()
    assert ray.get(ref, timeout=20) == "cpu"
    (node,) = [row for row in ray.nodes() if row["Alive"] and row["NodeName"] != "node-0"]
    os.kill(descriptors.read_head(cluster.session_dir)[0], signal.SIGKILL)
    assert ray.get(where.options(num_gpus=1).remote(), timeout=30) == "a10"
    assert monitor.running(cluster.session_dir) is not None
    poll(alone, 30)
    assert node["NodeID"] not in {row["NodeID"] for row in ray.nodes() if row["Alive"]}


def test_a_cluster_of_a_program_grows_by_itself():
    script = """
import rayjup as ray
ray.init(num_cpus=1, adaptive=(1, 2), object_store_memory=100 << 20)

@ray.remote
def node():
    import time
    time.sleep(1)
    return ray.get_runtime_context().get_node_id()

print(len(set(ray.get([node.remote() for _ in range(6)]))))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["2"], done.stderr
