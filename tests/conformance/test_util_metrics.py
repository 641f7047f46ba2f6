"""Metrics and their tags; things said once; small facts about nodes and actors."""

import ipaddress
import pickle

import pytest


def test_info_and_default_tags(ray_cluster):
    from ray.util.metrics import Counter, Gauge, Histogram

    counter = Counter("conformance_count", description="how many", tag_keys=("a", "b"))
    counter.set_default_tags({"a": "1"})
    assert counter.info == {
        "name": "conformance_count",
        "description": "how many",
        "tag_keys": ("a", "b"),
        "default_tags": {"a": "1"},
    }
    histogram = Histogram("conformance_spread", boundaries=[1, 2])
    assert histogram.info["boundaries"] == [1, 2]
    assert Gauge("conformance_level").info["tag_keys"] == ()


def test_recording(ray_cluster):
    from ray.util.metrics import Counter, Gauge, Histogram

    Counter("conformance_a").inc()
    Counter("conformance_b", tag_keys=("k",)).inc(2.5, tags={"k": "v"})
    Counter("conformance_c", tag_keys=("k",)).set_default_tags({"k": "v"})
    Gauge("conformance_d").set(-3)
    Gauge("conformance_d").set(None)
    Histogram("conformance_e", boundaries=[0.5, 5]).observe(0.7)


@pytest.mark.parametrize("value", [0, -1])
def test_counters_only_grow(ray_cluster, value):
    from ray.util.metrics import Counter

    with pytest.raises(ValueError, match="value must be >0"):
        Counter("conformance_grow").inc(value)


def test_wrong_definitions(ray_cluster):
    from ray.util.metrics import Counter, Histogram

    with pytest.raises(ValueError):
        Counter("")
    with pytest.raises(TypeError):
        Counter("conformance_x", tag_keys="k")
    with pytest.raises(TypeError):
        Counter("conformance_x", tag_keys=(1,))
    with pytest.raises(ValueError):
        Histogram("conformance_x")
    with pytest.raises(ValueError):
        Histogram("conformance_x", boundaries=[0, 1])


def test_wrong_tags_and_values(ray_cluster):
    from ray.util.metrics import Counter, Gauge

    counter = Counter("conformance_tags", tag_keys=("k",))
    with pytest.raises(ValueError, match="Missing value for tag key"):
        counter.inc(1)
    with pytest.raises(TypeError):
        counter.inc(1, tags={"k": 5})
    with pytest.raises(ValueError, match="Unrecognized tag key"):
        counter.set_default_tags({"other": "v"})
    with pytest.raises(TypeError):
        counter.set_default_tags({"k": 5})
    with pytest.raises(TypeError):
        counter.inc("x", tags={"k": "v"})
    with pytest.raises(TypeError):
        Gauge("conformance_wrong").set("x")


def test_bad_names_are_discarded_with_a_warning(ray_cluster):
    from ray.util.metrics import Counter

    with pytest.warns(UserWarning, match="Invalid metric name"):
        counter = Counter("not-a-name")
    counter.inc()


def test_metrics_travel_to_tasks(ray_cluster):
    ray = ray_cluster
    from ray.util.metrics import Counter

    counter = Counter("conformance_travels", tag_keys=("k",))

    @ray.remote
    def count():
        counter.inc(2, tags={"k": "v"})
        return counter.info

    assert ray.get(count.remote()) == counter.info


def test_log_once(ray_cluster):
    from ray.util import log_once
    from ray.util.debug import reset_log_once

    assert log_once("conformance") and not log_once("conformance")
    reset_log_once("conformance")
    assert log_once("conformance")


def test_node_facts(ray_cluster):
    ray = ray_cluster
    ipaddress.ip_address(ray.util.get_node_ip_address())
    assert isinstance(ray.util.get_node_instance_id(), str)


def test_named_actors_are_listed(ray_cluster):
    ray = ray_cluster

    @ray.remote(num_cpus=0)
    class A:
        def ready(self):
            return True

    actors = [A.options(name="here").remote(), A.options(name="there", namespace="elsewhere").remote()]
    ray.get([actor.ready.remote() for actor in actors])
    assert ray.util.list_named_actors() == ["here"]
    everywhere = ray.util.list_named_actors(all_namespaces=True)
    assert {"name": "there", "namespace": "elsewhere"} in everywhere
    assert len(everywhere) == 2


def test_accelerator_names():
    from ray.util import accelerators

    assert accelerators.NVIDIA_TESLA_V100 == "V100"
    assert accelerators.GOOGLE_TPU_V6E == "TPU-V6E"


def test_scheduling_strategies_check_what_they_get():
    from ray.util.scheduling_strategies import (
        DoesNotExist,
        Exists,
        In,
        NodeAffinitySchedulingStrategy,
        NodeLabelSchedulingStrategy,
        NotIn,
        PlacementGroupSchedulingStrategy,
    )

    affinity = NodeAffinitySchedulingStrategy("ab" * 28, soft=True)
    assert (affinity.node_id, affinity.soft) == ("ab" * 28, True)
    with pytest.raises(ValueError, match="Invalid node_id"):
        NodeAffinitySchedulingStrategy("xx", soft=False)
    with pytest.raises(ValueError, match="_spill_on_unavailable"):
        NodeAffinitySchedulingStrategy("ab" * 28, soft=False, _spill_on_unavailable=True)
    assert PlacementGroupSchedulingStrategy(None).placement_group_bundle_index == -1
    NodeLabelSchedulingStrategy(
        hard={"a": In("x", "y"), "b": Exists()}, soft={"c": NotIn("z"), "d": DoesNotExist()}
    )
    for wrong in ({}, None, {"a": 1}, {1: In("x")}):
        with pytest.raises(ValueError):
            NodeLabelSchedulingStrategy(wrong)
    with pytest.raises(ValueError):
        In()
    with pytest.raises(ValueError):
        NotIn(1)
    pickle.loads(pickle.dumps(affinity))
