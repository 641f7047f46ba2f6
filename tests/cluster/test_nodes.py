"""Several nodes in one cluster: what is lost with a node, what is done again, and that nothing leaks."""

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
from support.clusters import poll as eventually

import rayjup as ray
from rayjup.cluster import manager
from rayjup.cluster.descriptors import Descriptor, process_start_time
from rayjup.cluster.nodes import NodeInfo
from rayjup.observe import ClusterView

BIG = 1 << 20  # numbers of 8 bytes: far more than travels inside a message


@pytest.fixture
def cluster() -> Iterator[Descriptor]:
    descriptor = manager.start(num_cpus=1, owner_pid=os.getpid(), object_store_memory=256 << 20)
    yield descriptor
    ray.shutdown()
    manager.stop(descriptor)
    descriptor.remove()  # of a head that was killed


def join(cluster: Descriptor, **resources: float) -> NodeInfo:
    return manager.add_node(cluster, num_cpus=2, resources=resources, object_store_memory=256 << 20)


def kill(node: NodeInfo) -> None:
    assert manager.remove_node(node, graceful=False)


def alive() -> dict[str, bool]:
    return {row["NodeID"]: row["Alive"] for row in ray.nodes()}


@ray.remote
def node_of_task(*_: object) -> str:
    return ray.get_runtime_context().get_node_id()


@ray.remote(max_retries=0)
def ones() -> np.ndarray:
    return np.ones(BIG)


def test_a_node_offers_what_it_was_given(cluster):
    node = manager.add_node(
        cluster, num_cpus=3, num_gpus=2, resources={"disk": 4}, labels={"zone": "b"}, name="second"
    )
    ray.init(address=cluster.address)
    (row,) = [r for r in ray.nodes() if r["NodeID"] == node.node_id]
    assert row["NodeName"] == "second"
    assert row["Labels"]["zone"] == "b"
    assert {k: row["Resources"][k] for k in ("CPU", "GPU", "disk")} == {"CPU": 3, "GPU": 2, "disk": 4}
    assert ray.cluster_resources()["CPU"] == 4
    assert ray.get(node_of_task.options(resources={"disk": 1}).remote()) == node.node_id


def test_a_node_that_is_told_to_end_leaves_nothing(cluster):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)
    assert ray.get(ones.options(resources={"extra": 1}).remote()).sum() == BIG
    assert manager.remove_node(node)
    eventually(lambda: alive()[node.node_id] is False)
    eventually(lambda: not os.path.exists(node.store_dir))
    eventually(lambda: not os.path.exists(os.path.dirname(node.agent_socket)))
    assert "extra" not in ray.cluster_resources()
    assert not manager.remove_node(node)
    assert ray.get(node_of_task.remote()) != node.node_id


def test_the_head_tidies_up_after_a_node_that_was_killed(cluster):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)
    ray.get(ones.options(resources={"extra": 1}).remote())
    kill(node)
    eventually(lambda: alive()[node.node_id] is False)
    eventually(lambda: not os.path.exists(node.store_dir))
    eventually(lambda: not list(Path(cluster.session_dir).glob("n-*")))


def test_objects_of_another_node_are_read_in_place_and_freed_there(cluster):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)
    ref = ones.options(resources={"extra": 1}).remote()
    array = ray.get(ref)
    assert not array.flags.writeable
    assert [f for f in os.listdir(node.store_dir) if f != "owner"]
    view = ClusterView(cluster)

    def used() -> dict[str, int]:
        return {row["node_id"]: row.get("store_used", 0) for row in view.snapshot()["nodes"]}

    head_id = ray.get_runtime_context().get_node_id()
    eventually(lambda: used()[node.node_id] > 0)
    # A second reader on the head's node: the owner has to unlink it, since two have seen it.
    total = ray.remote(lambda a: float(a.sum()))
    assert ray.get(total.remote(ref)) == BIG
    del ref, array
    eventually(lambda: not [f for f in os.listdir(node.store_dir) if f != "owner"], 40)
    # The room comes back to the node that gave it.
    eventually(lambda: used()[node.node_id] <= 64 << 20)
    assert used()[head_id] >= 0
    view.close()


def test_many_objects_of_another_node_do_not_fill_its_store(cluster):
    join(cluster, extra=1)
    ray.init(address=cluster.address)
    task = ones.options(resources={"extra": 1})
    keep = ray.remote(lambda a: float(a[0]))
    for _ in range(60):  # 480 MB through a store of 256 MB, each seen by two processes
        ref = task.remote()
        assert ray.get(keep.remote(ref)) == 1.0
        del ref


def test_an_object_is_lost_with_the_node_that_keeps_it(cluster):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)
    ref = ones.options(resources={"extra": 1}).remote()
    ray.wait([ref])
    kill(node)
    eventually(lambda: not os.path.exists(node.store_dir))
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(ref)
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(node_of_task.remote(ref))


def test_what_was_written_for_a_process_that_dies_is_removed_on_other_nodes(cluster):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)

    @ray.remote(num_cpus=0)
    class Owner:
        def make(self, task):
            self.ref = task.options(resources={"extra": 1}).remote()
            ray.wait([self.ref])
            return os.getpid()

    owner = Owner.remote()
    pid = ray.get(owner.make.remote(ones))
    files = [f for f in os.listdir(node.store_dir) if f != "owner"]
    assert files
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not set(files) & set(os.listdir(node.store_dir)))


def test_tasks_run_again_on_another_node(cluster, tmp_path):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)

    @ray.remote(num_cpus=2, max_retries=1)
    def slow(path: str) -> str:
        with open(path, "a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\n")
        while not os.path.exists(path + ".go"):
            time.sleep(0.01)
        return ray.get_runtime_context().get_node_id()

    path = str(tmp_path / "runs")
    ref = slow.remote(path)
    eventually(lambda: os.path.exists(path) and Path(path).read_text().endswith("\n"))
    kill(node)
    other = join(cluster)
    Path(path + ".go").touch()
    assert ray.get(ref, timeout=60) == other.node_id
    assert Path(path).read_text().split() == [node.node_id, other.node_id]


def test_tasks_without_retries_fail_with_their_node(cluster, tmp_path):
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)

    @ray.remote(resources={"extra": 1}, max_retries=0)
    def stay(path: str) -> None:
        Path(path).touch()
        time.sleep(60)

    path = str(tmp_path / "started")
    ref = stay.remote(path)
    eventually(lambda: os.path.exists(path))
    kill(node)
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ref, timeout=60)


def test_many_tasks_survive_the_loss_of_nodes(cluster):
    nodes = [join(cluster) for _ in range(2)]
    ray.init(address=cluster.address)

    @ray.remote(max_retries=-1)
    def work(i: int) -> int:
        time.sleep(0.005)
        return i

    refs = [work.remote(i) for i in range(400)]
    ray.wait(refs, num_returns=40)
    kill(nodes[0])
    ray.wait(refs, num_returns=120)
    kill(nodes[1])
    assert ray.get(refs, timeout=60) == list(range(400))


def test_actors_are_made_again_on_another_node(cluster):
    first = join(cluster, home=1)
    ray.init(address=cluster.address)

    @ray.remote(num_cpus=2, max_restarts=1, max_task_retries=-1)
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n, ray.get_runtime_context().get_node_id()

    counter = Counter.remote()
    assert ray.get(counter.add.remote()) == (1, first.node_id)
    kill(first)
    second = join(cluster, home=1)
    assert ray.get(counter.add.remote(), timeout=60) == (1, second.node_id)
    kill(second)
    eventually(lambda: alive()[second.node_id] is False)
    with pytest.raises(ray.exceptions.ActorDiedError, match="node is gone"):
        ray.get(counter.add.remote(), timeout=60)


def test_a_task_goes_where_its_data_lies(cluster):
    node = join(cluster, extra=1)
    join(cluster)
    ray.init(address=cluster.address)
    ref = ones.options(resources={"extra": 1}).remote()
    ray.wait([ref])
    for _ in range(3):
        eventually(lambda: ray.available_resources().get("CPU") == 5)
        assert ray.get(node_of_task.remote(ref)) == node.node_id


def running(pids: dict[int, float]) -> list[int]:
    return [pid for pid, started in pids.items() if process_start_time(pid) == started != 0.0]


def test_nodes_end_when_the_head_and_its_node_are_killed(cluster):
    nodes = [join(cluster) for _ in range(2)]
    os.kill(cluster.extra["node_pid"], signal.SIGSTOP)  # it would start another head
    os.kill(cluster.head_pid, signal.SIGKILL)
    os.kill(cluster.extra["node_pid"], signal.SIGKILL)
    pids = {n.pid: n.start_time for n in nodes}
    eventually(lambda: not running(pids))
    eventually(lambda: not os.path.exists(cluster.session_dir))


def test_nodes_end_when_the_head_node_is_killed(cluster):
    nodes = [join(cluster) for _ in range(2)]
    os.kill(cluster.extra["node_pid"], signal.SIGKILL)
    eventually(lambda: not running({n.pid: n.start_time for n in nodes}))
    eventually(lambda: not cluster.is_alive())
    eventually(lambda: not os.path.exists(cluster.session_dir))


def test_everything_killed_at_once_is_swept_by_the_next_cluster(cluster):
    node = join(cluster)
    store = node.store_dir
    for pid in (cluster.head_pid, cluster.extra["node_pid"], node.pid):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not running({node.pid: node.start_time}))
    again = manager.start(num_cpus=1)
    try:
        eventually(lambda: not os.path.exists(store))
    finally:
        manager.stop(again)
    eventually(lambda: not os.path.exists(cluster.session_dir))


def test_a_cluster_ends_with_the_process_that_owns_it(tmp_path):
    program = (
        "import os, sys, time\n"
        "from rayjup.cluster import manager\n"
        "d = manager.start(num_cpus=1, owner_pid=os.getpid())\n"
        "n = manager.add_node(d, num_cpus=1)\n"
        "print(d.head_pid, n.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as out:
        pids = {int(word): process_start_time(int(word)) for word in out.readline().split()}
        process.kill()
        process.wait()
    assert len(pids) == 2 and all(pids.values())
    eventually(lambda: not running(pids))


def test_nothing_can_be_added_to_a_cluster_that_has_ended(cluster):
    manager.stop(cluster)
    with pytest.raises(ray.exceptions.RaySystemError, match="no running cluster"):
        manager.add_node(cluster)
    with pytest.raises(ray.exceptions.RaySystemError, match="'nobody'"):
        manager.add_node("nobody")


def test_a_node_that_cannot_start_says_why(cluster, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(60)\n")
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(ray.exceptions.RaySystemError, match="did not start"),
    ):
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
        manager.add_node(cluster, num_cpus=1, timeout_s=0.05)
    node = join(cluster)
    assert node.is_alive()


def test_objects_of_owners_on_other_nodes_spill(cluster):
    """The store of one node fills up; who can move the objects lives on another one."""
    node = manager.add_node(cluster, num_cpus=2, resources={"extra": 1}, object_store_memory=48 << 20)
    ray.init(address=cluster.address)

    @ray.remote(resources={"extra": 0.1})
    def full(i):
        return np.full(8 << 20, i, np.uint8)

    @ray.remote(resources={"extra": 0.1})
    def total(*arrays):
        return [int(array[-1]) for array in arrays]

    refs = [full.remote(i) for i in range(20)]
    assert ray.get(total.remote(*refs), timeout=60) == list(range(20))
    assert [int(ray.get(ref, timeout=60)[0]) for ref in refs] == list(range(20))
    files = [os.path.join(node.store_dir, name) for name in os.listdir(node.store_dir)]
    assert any(os.path.islink(path) for path in files), "nothing was moved"
    view = ClusterView(cluster)
    rows = {row["node_id"]: row for row in view.snapshot()["nodes"]}
    view.close()
    assert rows[node.node_id]["store_used"] <= 48 << 20
    del refs
    eventually(lambda: [f for f in os.listdir(node.store_dir) if f != "owner"] == [], 40)


def test_puts_and_large_arguments_of_a_node_that_ends(cluster):
    """They are not made again: whoever needs them is told so, and nothing waits for ever."""
    node = join(cluster, extra=1)
    ray.init(address=cluster.address)

    @ray.remote(resources={"extra": 0.1}, num_cpus=0)
    class Owner:
        def put(self):
            return [ray.put(np.ones(BIG))]

        def hand_on(self, task):
            return [task.remote(np.ones(BIG))]

    @ray.remote(max_retries=3)
    def long_first(array):
        return float(array.sum())

    owner = Owner.remote()
    (put,) = ray.get(owner.put.remote())
    (result,) = ray.get(owner.hand_on.remote(long_first.options(num_cpus=1)))
    assert ray.get(result, timeout=60) == BIG
    waiting = ray.get(owner.hand_on.remote(long_first.options(num_cpus=1, resources={"nowhere": 1})))
    kill(node)
    eventually(lambda: not os.path.exists(node.store_dir))
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(put, timeout=60)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(waiting[0], timeout=60)
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(long_first.remote(put), timeout=60)
