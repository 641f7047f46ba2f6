"""Deployments over several nodes: placement groups per replica, replicas per node, and the loss of a node."""

from __future__ import annotations

import time

import pytest
import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.exceptions import RayServeException
from ray.util import placement_group_table

# What a call may raise whose replica is lost with its node.
LOST = (ray.exceptions.RayError, RayServeException, TimeoutError)


@pytest.fixture
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 4})
    made.add_node(num_cpus=2, resources={"side": 4})
    ray.init(address=made.address)
    yield made
    serve.shutdown()
    ray.shutdown()
    made.shutdown()


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


@serve.deployment(health_check_period_s=1, health_check_timeout_s=5)
class Where:
    def __call__(self):
        return ray.get_runtime_context().get_node_id()

    def groups(self):
        group = ray.util.get_current_placement_group()
        return None if group is None else group.bundle_specs


def test_a_placement_group_for_each_replica(cluster):
    bundles = [{"CPU": 1}, {"CPU": 1}]
    app = Where.options(
        num_replicas=2,
        ray_actor_options={"num_cpus": 1},
        placement_group_bundles=bundles,
        placement_group_strategy="STRICT_PACK",
    ).bind()
    handle = serve.run(app, route_prefix=None)
    assert handle.groups.remote().result() == bundles

    def created():
        table = placement_group_table().values()
        return [one for one in table if one["state"] == "CREATED"]

    assert len(created()) == 2
    assert all(one["strategy"] == "STRICT_PACK" for one in created())
    serve.delete("default")
    wait_for(lambda: not created())


def test_a_lost_node_costs_its_replicas_only(cluster):
    side = next(n["NodeID"] for n in ray.nodes() if n["Resources"].get("side"))
    head = next(n["NodeID"] for n in ray.nodes() if not n["Resources"].get("side"))
    app = Where.options(num_replicas=4, max_replicas_per_node=2, ray_actor_options={"num_cpus": 0.5}).bind()
    handle = serve.run(app, route_prefix=None)

    def places():
        return {handle.remote().result(timeout_s=30) for _ in range(10)}

    wait_for(lambda: places() == {side, head})
    lost = next(n for n in cluster.list_all_nodes() if n.node_id == side)
    cluster.remove_node(lost, allow_graceful=False)

    def answers():
        try:
            return places() == {head}
        except LOST:
            return False

    wait_for(answers)
    cluster.add_node(num_cpus=2, resources={"side": 4})

    def healed():
        try:
            return len(places()) == 2
        except LOST:
            return False

    wait_for(healed)

    def running():
        deployment = serve.status().applications["default"].deployments["Where"]
        return deployment.replica_states.get("RUNNING") == 4

    wait_for(running)
