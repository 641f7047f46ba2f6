"""``ray.cluster_utils.Cluster``: several nodes on one machine."""

from __future__ import annotations

import os
import time

import pytest
import ray
from ray.cluster_utils import Cluster


@pytest.fixture
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    ray.shutdown()
    made.shutdown()


def alive() -> list[str]:
    return [row["NodeID"] for row in ray.nodes() if row["Alive"]]


def test_head_alone(cluster):
    ray.init(address=cluster.address)
    assert ray.is_initialized()
    assert alive() == [cluster.head_node.node_id]
    assert ray.cluster_resources()["CPU"] == 1
    assert cluster.address == cluster.gcs_address
    assert cluster.list_all_nodes() == [cluster.head_node]


def test_no_head_no_address():
    empty = Cluster()
    assert empty.address is None
    assert empty.list_all_nodes() == []
    with pytest.raises(RuntimeError, match="Cannot connect to uninitialized cluster"):
        Cluster(connect=True)


def test_the_first_node_added_is_the_head():
    cluster = Cluster()
    try:
        node = cluster.add_node(num_cpus=3)
        assert cluster.head_node is node
        cluster.connect(namespace="here")
        assert cluster.connected
        assert ray.cluster_resources()["CPU"] == 3
        assert ray.get_runtime_context().namespace == "here"
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_connect_at_once():
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2})
    try:
        assert ray.is_initialized()
        assert ray.cluster_resources()["CPU"] == 2
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_nodes_are_added(cluster):
    second = cluster.add_node(num_cpus=2, resources={"special": 1})
    third = cluster.add_node(resources={"other": 2})
    cluster.wait_for_nodes()
    ray.init(address=cluster.address)
    assert set(alive()) == {cluster.head_node.node_id, second.node_id, third.node_id}
    assert set(cluster.list_all_nodes()) == {cluster.head_node, second, third}
    assert cluster.worker_nodes == {second, third}
    assert ray.cluster_resources()["CPU"] == 4
    assert ray.cluster_resources()["other"] == 2
    assert cluster.remaining_processes_alive()


def test_tasks_and_actors_go_to_the_node_that_has_what_they_need(cluster):
    node = cluster.add_node(num_cpus=2, resources={"special": 2})
    ray.init(address=cluster.address)

    @ray.remote(resources={"special": 1})
    def where():
        return ray.get_runtime_context().get_node_id()

    @ray.remote(resources={"special": 1})
    class Place:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    assert ray.get(where.remote()) == node.node_id
    assert ray.get(Place.remote().node.remote()) == node.node_id


def test_large_objects_travel_between_nodes(cluster):
    cluster.add_node(num_cpus=1, resources={"a": 1})
    cluster.add_node(num_cpus=1, resources={"b": 1})
    ray.init(address=cluster.address)

    @ray.remote
    def make():
        import numpy as np

        return np.arange(500_000)

    @ray.remote
    def total(array):
        return int(array.sum())

    ref = make.options(resources={"a": 1}).remote()
    expected = sum(range(500_000))
    assert ray.get(total.options(resources={"b": 1}).remote(ref)) == expected
    assert int(ray.get(ref).sum()) == expected
    there = ray.put(ray.get(ref))
    assert ray.get(total.options(resources={"b": 1}).remote(there)) == expected


@pytest.mark.parametrize("allow_graceful", [True, False])
def test_a_removed_node_is_gone(cluster, allow_graceful, eventually):
    node = cluster.add_node(num_cpus=2, resources={"special": 1})
    ray.init(address=cluster.address)
    cluster.remove_node(node, allow_graceful=allow_graceful)
    eventually(lambda: node.node_id not in alive(), timeout_s=60)
    rows = {row["NodeID"]: row["Alive"] for row in ray.nodes()}
    assert rows[node.node_id] is False
    assert cluster.list_all_nodes() == [cluster.head_node]
    cluster.wait_for_nodes()
    eventually(lambda: "special" not in ray.cluster_resources(), timeout_s=60)


def test_a_task_waits_for_a_node_that_can_run_it(cluster):
    ray.init(address=cluster.address)

    @ray.remote(resources={"late": 1})
    def task():
        return ray.get_runtime_context().get_node_id()

    ref = task.remote()
    assert ray.wait([ref], timeout=0.3) == ([], [ref])
    node = cluster.add_node(resources={"late": 1})
    assert ray.get(ref, timeout=60) == node.node_id


def test_a_task_is_retried_on_another_node(cluster, tmp_path, eventually, ended):
    first = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address)
    started, go = tmp_path / "started", tmp_path / "go"

    @ray.remote(num_cpus=2, max_retries=2)
    def task(started, go):
        (started / str(os.getpid())).touch()
        while not go.exists():
            time.sleep(0.01)
        return ray.get_runtime_context().get_node_id()

    started.mkdir()
    ref = task.remote(started, go)
    eventually(lambda: list(started.iterdir()))
    (process,) = started.iterdir()
    cluster.remove_node(first, allow_graceful=False)
    ended(int(process.name))  # it may outlive its node by a moment
    second = cluster.add_node(num_cpus=2)
    go.touch()
    assert ray.get(ref, timeout=60) == second.node_id


def test_an_actor_is_restarted_on_another_node(cluster, ended):
    first = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address)

    @ray.remote(num_cpus=2, max_restarts=1, max_task_retries=-1)
    class Place:
        def node(self):
            return ray.get_runtime_context().get_node_id(), os.getpid()

    place = Place.remote()
    node, pid = ray.get(place.node.remote())
    assert node == first.node_id
    cluster.remove_node(first, allow_graceful=False)
    ended(pid)  # it may outlive its node by a moment
    second = cluster.add_node(num_cpus=2)
    assert ray.get(place.node.remote(), timeout=60)[0] == second.node_id


def test_an_actor_without_restarts_dies_with_its_node(cluster):
    node = cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address)

    @ray.remote(num_cpus=2)
    class Place:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    place = Place.remote()
    assert ray.get(place.node.remote()) == node.node_id
    cluster.remove_node(node, allow_graceful=False)
    with pytest.raises(ray.exceptions.RayActorError):
        for _ in range(300):  # its process may outlive the node by a moment
            ray.get(place.node.remote(), timeout=60)
            time.sleep(0.1)


def test_waiting_for_a_node_that_died_times_out(cluster):
    node = cluster.add_node()
    cluster.wait_for_nodes()
    node.kill_raylet()
    with pytest.raises(TimeoutError, match="Timed out while waiting for nodes to join"):
        for _ in range(100):  # the death may take a moment to show
            cluster.wait_for_nodes(timeout=0.3)
            time.sleep(0.3)


def test_the_node_of_the_driver_cannot_be_removed(cluster):
    ray.init(address=cluster.address)
    with pytest.raises(ValueError, match="connected to this Ray client"):
        cluster.remove_node(cluster.head_node)
    assert not ray.is_initialized()


def test_shutdown_ends_everything():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    head = cluster.head_node
    cluster.shutdown()
    assert not node.any_processes_alive()
    assert not head.any_processes_alive()
    assert cluster.list_all_nodes() == []
