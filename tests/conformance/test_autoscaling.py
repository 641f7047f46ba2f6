"""``ray.cluster_utils.AutoscalingCluster`` and ``ray.autoscaler.sdk.request_resources``."""

from __future__ import annotations

import time

import pytest
import ray
from ray.autoscaler.sdk import request_resources
from ray.cluster_utils import AutoscalingCluster

WAIT_S = 60


@pytest.fixture(scope="module")
def scaled():
    types = {
        "cpu": {"resources": {"CPU": 2, "wide": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
        "gpu": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    }
    cluster = AutoscalingCluster(head_resources={"CPU": 0}, worker_node_types=types, idle_timeout_minutes=5)
    cluster.start()
    ray.init("auto")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_a_task_gets_a_node_that_has_what_it_needs(scaled):
    @ray.remote(resources={"wide": 1}, num_cpus=2)
    def here():
        return ray.get_runtime_context().get_node_id()

    assert "wide" not in ray.cluster_resources()
    node = ray.get(here.remote(), timeout=WAIT_S)
    assert node != ray.get_runtime_context().get_node_id()
    assert ray.cluster_resources()["wide"] == 1


def test_requested_resources_come_without_being_used(scaled):
    assert "GPU" not in ray.cluster_resources()
    request_resources(bundles=[{"GPU": 1}])
    deadline = time.monotonic() + WAIT_S
    while ray.cluster_resources().get("GPU", 0) < 1:
        assert time.monotonic() < deadline, ray.cluster_resources()
        time.sleep(0.1)
    request_resources(num_cpus=0)
