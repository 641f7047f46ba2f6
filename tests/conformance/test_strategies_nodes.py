"""Placement groups, affinity, labels and spreading on a cluster of three nodes."""

import pytest
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import (
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

Cluster = pytest.importorskip("ray.cluster_utils").Cluster


@pytest.fixture(scope="module")
def cluster():
    """Nodes of two CPUs in the zones a (the head), b and c."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "labels": {"zone": "a"}})
    for zone in "bc":
        made.add_node(num_cpus=2, labels={"zone": zone})
    made.wait_for_nodes()
    ray.init(address=made.address)
    yield made
    ray.shutdown()
    made.shutdown()


pytestmark = [
    pytest.mark.usefixtures("cluster"),
    pytest.mark.leaks("the cluster is shared by the tests of the file, which is checked as a whole"),
]


def zones():
    return {row["NodeID"]: row["Labels"]["zone"] for row in ray.nodes() if row["Alive"]}


@pytest.fixture
def made():
    groups = []

    def make(*args, **kwargs):
        groups.append(placement_group(*args, **kwargs))
        return groups[-1]

    yield make
    for group in groups:
        remove_placement_group(group)


@pytest.fixture
def where():
    @ray.remote(num_cpus=1)
    def where():
        return ray.get_runtime_context().get_node_labels()["zone"]

    return where


def places(group):
    known = zones()
    return [known[node] for _, node in sorted(placement_group_table(group)["bundles_to_node_id"].items())]


@pytest.mark.parametrize(
    ("strategy", "bundles", "nodes"),
    [
        ("STRICT_PACK", 2, 1),
        ("PACK", 2, 1),
        ("SPREAD", 3, 3),
        ("STRICT_SPREAD", 3, 3),
        ("STRICT_SPREAD", 2, 2),
    ],
)
def test_where_bundles_lie(made, eventually, strategy, bundles, nodes):
    eventually(lambda: ray.available_resources().get("CPU", 0) == 6)
    group = made([{"CPU": 1}] * bundles, strategy=strategy)
    assert group.wait(30)
    assert len(set(places(group))) == nodes


@pytest.mark.parametrize(
    ("strategy", "bundles"), [("STRICT_PACK", [{"CPU": 2}, {"CPU": 1}]), ("STRICT_SPREAD", [{"CPU": 1}] * 4)]
)
def test_strict_strategies_that_cannot_be_met_wait(made, strategy, bundles):
    assert made(bundles, strategy=strategy).wait(0.5) is False


def test_tasks_run_where_their_bundle_lies(made, where):
    group = made([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert group.wait(30)
    found = [
        where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, index)).remote()
        for index in range(3)
    ]
    assert ray.get(found, timeout=60) == places(group)


def test_bundles_by_labels(made):
    group = made([{"CPU": 1}] * 2, bundle_label_selector=[{"zone": "c"}, {"zone": "b"}])
    assert group.wait(30)
    assert places(group) == ["c", "b"]


def test_actors_of_a_group(made):
    @ray.remote(num_cpus=1)
    class Inside:
        def zone(self):
            return ray.get_runtime_context().get_node_labels()["zone"]

    group = made([{"CPU": 1}] * 3, strategy="STRICT_SPREAD")
    assert group.wait(30)
    actors = [
        Inside.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, index)).remote()
        for index in range(3)
    ]
    assert ray.get([actor.zone.remote() for actor in actors], timeout=60) == places(group)


@pytest.mark.parametrize("zone", ["a", "b", "c"])
def test_affinity_selectors_and_label_strategies(where, zone):
    node = next(node for node, its in zones().items() if its == zone)
    soft = NodeLabelSchedulingStrategy({"zone": In(*"abc")}, soft={"zone": In(zone)})
    for options in (
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)},
        {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True)},
        {"scheduling_strategy": NodeLabelSchedulingStrategy({"zone": In(zone)})},
        {"scheduling_strategy": soft},
        {"label_selector": {"zone": zone}},
        {"label_selector": {"zone": "x"}, "fallback_strategy": [{"label_selector": {"zone": zone}}]},
    ):
        assert ray.get(where.options(**options).remote(), timeout=60) == zone, options


def test_spread_does_not_fill_one_node_first(eventually):
    eventually(lambda: ray.available_resources().get("CPU", 0) == 6, 60)

    @ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
    class Here:
        def zone(self):
            return ray.get_runtime_context().get_node_labels()["zone"]

    actors = [Here.remote() for _ in range(3)]
    assert len(set(ray.get([actor.zone.remote() for actor in actors], timeout=60))) > 1


def test_a_group_that_loses_a_node_is_placed_again(cluster, made, eventually):
    extra = cluster.add_node(num_cpus=2, resources={"spare": 2}, labels={"zone": "d"})
    group = made([{"CPU": 1}, {"spare": 1}], strategy="STRICT_SPREAD")
    assert group.wait(30)
    assert places(group)[1] == "d"
    cluster.remove_node(extra)
    eventually(lambda: placement_group_table(group)["state"] == "RESCHEDULING", 60)
    again = cluster.add_node(num_cpus=2, resources={"spare": 2}, labels={"zone": "e"})
    try:
        eventually(lambda: placement_group_table(group)["state"] == "CREATED", 60)
        assert places(group)[1] == "e"
    finally:
        cluster.remove_node(again)
