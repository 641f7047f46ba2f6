"""Nodes declared to be on hosts of their own: they share neither sockets nor memory, and speak by TCP."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.clusters import T, check_freed, objects, poll

import rayjup as ray
from rayjup.cluster_utils import Cluster, ClusterNode
from rayjup.core import session
from rayjup.engine.lane.addresses import worker_of

BIG = 1 << 22
STORE = 200 << 20


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Cluster, ClusterNode, ClusterNode]]:
    """Hosts a (with the driver), b and c."""
    settings = {"fetch_fail_timeout_milliseconds": 3000}
    options = {"num_cpus": 2, "object_store_memory": STORE, "_system_config": settings}
    cluster = Cluster(initialize_head=True, head_node_args={"host": "a", **options})
    b, c = (cluster.add_node(host=name, resources={name: 100}, **options) for name in "bc")
    ray.init(address=cluster.address)
    yield cluster, b, c
    ray.shutdown()
    cluster.shutdown()


pytestmark = pytest.mark.leaks("the hosts of a file run until its end; the check per file sees what is left")


@ray.remote
def ones(n: int = BIG) -> np.ndarray:
    return np.ones(n, np.uint8)


@ray.remote
def total(a: np.ndarray) -> int:
    return int(a.sum())


@ray.remote
def put_there(n: int = BIG) -> list[ray.ObjectRef]:
    return [ray.put(np.ones(n, np.uint8))]


@ray.remote
class Keeper:
    def __init__(self, value=None):
        self.value = value

    def keep(self, refs):
        self.refs = refs
        return self.sum()

    def make(self, n=BIG):
        self.refs = [ray.put(np.ones(n, np.uint8))]
        return self.refs

    def sum(self):
        return [int(ray.get(ref).sum()) for ref in self.refs]

    def value_sum(self):
        return int(self.value.sum())

    async def later(self, refs):
        return int((await refs[0]).sum())

    def drop(self):
        self.refs = []

    def items(self, n):
        for i in range(n):
            yield np.full(BIG, i, np.uint8)


def on(task, name: str):
    return task.options(resources={name: 1}, num_cpus=0)


def files(node: ClusterNode) -> list[str]:
    return sorted(f for f in os.listdir(node.info.store_dir) if f != "owner")


def test_processes_of_two_hosts_do_not_use_each_others_sockets(hosts):
    runtime = session.connected().runtime
    actor = on(Keeper, "b").remote()
    ray.get(actor.drop.remote())
    (peer,) = [p for address, p in runtime.peers.items() if f"/{hosts[1].node_id[:8]}/" in address]
    assert peer.sock.family.name == "AF_INET"
    assert peer.sock.getpeername()[0] == "127.0.0.1"


def test_one_copy_is_made_per_node_however_many_wait(hosts):
    _, b, _ = hosts
    ref = ray.put(np.ones(BIG, np.uint8))
    assert ray.get([on(total, "b").remote(ref) for _ in range(6)], timeout=T) == [BIG] * 6
    name = os.path.basename(ref._data.path)
    assert [f for f in files(b) if f == name]
    poll(lambda data=ref._data: [copy[0] for copy in data.copies or ()] == [b.node_id[:12]])  # b tells it
    # Where there is a copy, a call that may run anywhere is at home as well.
    assert set(session.connected().runtime.tasks._locality(_call(ref))) == {
        b.node_id[:12],
        session.connected().runtime.node_id[:12],
    }
    del ref
    gc.collect()
    poll(lambda: name not in files(b) and name not in objects(), 20)


def _call(ref):
    from rayjup.engine.runtime.arguments import encode
    from rayjup.engine.runtime.functions import Function
    from rayjup.engine.runtime.pools import Task

    return Task(0, Function("f", b""), encode(session.connected().runtime, (ref,), {}, "f()"), None)


def test_results_arguments_and_nested_refs(hosts):
    made = on(ones, "b").remote()
    assert ray.get(on(total, "c").remote(made), timeout=T) == BIG  # from b to c, not by way of us
    assert not [f for f in objects() if f == os.path.basename(made._data.path)]
    assert int(ray.get(made, timeout=T).sum()) == BIG
    (nested,) = ray.get(on(put_there, "c").remote(), timeout=T)
    assert int(ray.get(nested, timeout=T).sum()) == BIG
    actor = on(Keeper, "b").remote(np.ones(BIG, np.uint8))
    assert ray.get(actor.value_sum.remote(), timeout=T) == BIG
    assert ray.get(actor.keep.remote([made, nested]), timeout=T) == [BIG, BIG]
    del made, nested
    gc.collect()
    assert ray.get(actor.sum.remote(), timeout=T) == [BIG, BIG]  # borrowed there, owned here and on c


def test_generators_stream_large_items_from_another_host(hosts):
    actor = on(Keeper, "b").remote()
    seen = [
        int(ray.get(item, timeout=T)[0]) for item in actor.items.options(num_returns="streaming").remote(5)
    ]
    assert seen == list(range(5))


@contextmanager
def stopped(node: ClusterNode) -> Iterator[None]:
    """Nothing comes from a node that is stopped, until it goes on; at the latest after five seconds."""
    goes_on = threading.Timer(5.0, os.kill, (node.info.pid, signal.SIGCONT))
    os.kill(node.info.pid, signal.SIGSTOP)
    goes_on.start()
    try:
        yield
    finally:
        goes_on.cancel()
        os.kill(node.info.pid, signal.SIGCONT)


def test_what_is_awaited_comes_without_holding_up_the_loop(hosts):
    ref = on(ones, "b").remote(40_000_000)
    ray.wait([ref])

    async def both() -> int:
        with stopped(hosts[1]):
            coming = asyncio.ensure_future(ref.as_future())
            for _ in range(5):
                await asyncio.sleep(0.001)
            assert not coming.done(), "the loop has turned only when it was there"
        return int((await coming).sum())

    assert asyncio.run(both()) == 40_000_000
    assert ray.get(on(Keeper, "c").remote().later.remote([ref]), timeout=T) == 40_000_000


def test_an_object_that_is_on_its_way_when_the_time_is_over_comes_later(hosts):
    ref = on(ones, "b").remote(50_000_000)
    ray.wait([ref])
    with stopped(hosts[1]), pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.0001)
    assert int(ray.get(ref, timeout=T).sum()) == 50_000_000


def test_copies_go_when_room_is_needed(hosts):
    refs = [ray.put(np.full(40 << 20, i, np.uint8)) for i in range(4)]
    for i, ref in enumerate(refs * 2):  # 160 MB of copies, then again, in a store that others use as well
        assert ray.get(on(total, "b").remote(ref), timeout=T) == (i % 4) * (40 << 20)
    mine = on(put_there, "b").remote(100 << 20)
    (made,) = ray.get(mine, timeout=T)
    poll(lambda: sum(len(ref._data.copies or ()) for ref in refs) < 4)
    assert ray.get(on(total, "b").remote(refs[0]), timeout=T) == 0
    assert ray.get(on(total, "b").remote(made), timeout=T) == 100 << 20


def test_an_object_larger_than_the_store_is_copied_to_disk(hosts):
    ref = ray.put(np.ones(STORE + (1 << 20), np.uint8))
    assert ray.get(on(total, "b").remote(ref), timeout=T) == STORE + (1 << 20)


def test_a_call_on_another_host_is_cancelled_by_force(hosts):
    @ray.remote(max_retries=0)
    def for_ever():
        while True:
            time.sleep(0.1)

    ref = on(for_ever, "b").remote()
    ray.wait([ref], timeout=0.3)
    ray.cancel(ref, force=True)
    with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=T)


def test_the_death_of_an_owner_on_another_host(hosts):
    c = hosts[2]
    actor = on(Keeper, "b").remote()
    (ref,) = ray.get(actor.make.remote(), timeout=T)
    assert ray.get(on(total, "c").remote(ref), timeout=T) == BIG
    owner = worker_of(ref.owner_address()).hex()
    assert [f for f in files(c) if f.startswith(owner)]
    ray.kill(actor)
    poll(lambda: not [f for f in files(c) if f.startswith(owner)], 30)  # copies go with the owner
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(on(total, "c").remote(ref), timeout=T)


def test_lost_nodes_cost_nothing_that_others_have_or_that_can_be_made_again(hosts):
    cluster, _, c = hosts
    d = cluster.add_node(
        num_cpus=1, host="d", resources={"d": 100}, object_store_memory=STORE, _system_config={}
    )
    runs = Path(session.connected().runtime.session_dir, "runs")

    @ray.remote(max_retries=2)
    def made_once(path):
        with open(path, "a") as log:
            log.write("x")
        return np.ones(BIG, np.uint8)

    near_d = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(d.node_id, soft=True)
    task = made_once.options(scheduling_strategy=near_d)
    copied, only = task.remote(f"{runs}1"), task.remote(f"{runs}2")
    ray.wait([copied, only], num_returns=2)
    assert ray.get(on(total, "c").remote(copied), timeout=T) == BIG
    poll(lambda: copied._data.copies)
    cluster.remove_node(d, allow_graceful=False)
    assert ray.get(on(total, "b").remote(copied), timeout=T) == BIG  # from c
    assert Path(f"{runs}1").read_text() == "x"
    assert copied._data.path.startswith(c.info.store_dir)
    assert ray.get(on(total, "b").remote(only), timeout=T) == BIG  # made again
    assert Path(f"{runs}2").read_text() == "xx"


def test_nothing_is_left_when_all_refs_are_gone(hosts):
    _, b, c = hosts
    gc.collect()
    check_freed(timeout_s=30)
    # What has come of objects that were lost meanwhile is kept a while, should they be found.
    poll(lambda: not [f for f in files(b) + files(c) if not f.endswith(".part")], 30)
