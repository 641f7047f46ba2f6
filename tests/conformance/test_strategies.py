"""Where tasks and actors run: node affinity, labels with fallbacks, spreading."""

import pytest
import ray
from ray.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
)


@pytest.fixture(scope="module")
def labelled(engine):
    """A cluster of one node with labels."""
    module = engine()
    module.init(num_cpus=4, labels={"zone": "a", "example.com/tier": "gold"})
    yield module
    module.shutdown()


pytestmark = [
    pytest.mark.usefixtures("labelled"),
    pytest.mark.leaks("the cluster is shared by the tests of the file, which is checked as a whole"),
]

GONE = "ab" * 28  # a node that is not there


@pytest.fixture
def where():
    @ray.remote
    def where():
        return ray.get_runtime_context().get_node_id()

    return where


@pytest.fixture
def node():
    return ray.nodes()[0]["NodeID"]


@pytest.fixture
def runs(where, node):
    """Whether a task with these options runs; one that does not is cancelled."""

    def run(**options):
        ref = where.options(**options).remote()
        if ray.wait([ref], timeout=60)[0]:
            return ray.get(ref) == node
        ray.cancel(ref)
        return False

    return run


@pytest.fixture
def waits(where):
    """Whether a task with these options waits, as far as can be told in a moment."""

    def run(**options):
        ref = where.options(**options).remote()
        ready, _ = ray.wait([ref], timeout=0.3)
        ray.cancel(ref)
        return not ready

    return run


# -- labels of nodes


def test_a_node_has_the_labels_it_was_given(node):
    labels = ray.nodes()[0]["Labels"]
    assert labels["zone"] == "a"
    assert labels["example.com/tier"] == "gold"
    assert labels["ray.io/node-id"] == node


def test_tasks_know_the_labels_of_their_node():
    @ray.remote
    def ask():
        return ray.get_runtime_context().get_node_labels()

    assert ray.get(ask.remote()) == ray.nodes()[0]["Labels"]
    assert ray.get_runtime_context().get_node_labels()["zone"] == "a"


# -- label selectors


@pytest.mark.parametrize(
    "selector",
    [
        {"zone": "a"},
        {"zone": "!b"},
        {"zone": "in(a,b)"},
        {"zone": "!in(b,c)"},
        {"example.com/tier": "gold", "zone": "a"},
        {"absent": "!x"},
    ],
)
def test_selectors_that_the_node_meets(runs, selector):
    assert runs(label_selector=selector)


@pytest.mark.parametrize(
    "selector", [{"zone": "b"}, {"zone": "!a"}, {"zone": "in(b,c)"}, {"zone": "a", "absent": "x"}]
)
def test_selectors_that_no_node_meets_wait(waits, selector):
    assert waits(label_selector=selector)


def test_selectors_for_actors():
    @ray.remote(num_cpus=0)
    class Here:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    fitting = Here.options(label_selector={"zone": "a"}).remote()
    assert ray.get(fitting.node.remote(), timeout=60) == ray.nodes()[0]["NodeID"]
    unfit = Here.options(label_selector={"zone": "b"}).remote()
    assert ray.wait([unfit.node.remote()], timeout=0.3)[0] == []
    ray.kill(unfit)


def test_the_node_id_is_a_label(runs, waits, node):
    assert runs(label_selector={"ray.io/node-id": node})
    assert waits(label_selector={"ray.io/node-id": f"!{node}"})


@pytest.mark.parametrize("selector", [{"zone": "in()"}, {"a b": "c"}, {"zone": "a b"}, {1: "a"}, "zone"])
def test_wrong_selectors(where, selector):
    with pytest.raises((ValueError, TypeError)):
        where.options(label_selector=selector).remote()


# -- fallbacks


def test_a_fallback_is_taken_where_the_selector_is_not_met(runs):
    fallback = [{"label_selector": {"zone": "c"}}, {"label_selector": {"zone": "a"}}]
    assert runs(label_selector={"zone": "b"}, fallback_strategy=fallback)


def test_what_meets_no_fallback_either_waits(waits):
    assert waits(label_selector={"zone": "b"}, fallback_strategy=[{"label_selector": {"zone": "c"}}])


# -- node labels as a strategy


@pytest.mark.parametrize(
    "hard",
    [
        {"zone": In("a", "b")},
        {"zone": NotIn("b")},
        {"zone": Exists()},
        {"absent": DoesNotExist()},
        {"zone": In("a"), "example.com/tier": Exists()},
    ],
)
def test_hard_label_conditions_that_the_node_meets(runs, hard):
    assert runs(scheduling_strategy=NodeLabelSchedulingStrategy(hard))


@pytest.mark.parametrize(
    "hard", [{"zone": In("b")}, {"zone": NotIn("a")}, {"zone": DoesNotExist()}, {"absent": Exists()}]
)
def test_hard_label_conditions_that_no_node_meets(waits, hard):
    assert waits(scheduling_strategy=NodeLabelSchedulingStrategy(hard))


def test_soft_label_conditions_are_a_preference(runs):
    strategy = NodeLabelSchedulingStrategy({"zone": Exists()}, soft={"zone": In("b")})
    assert runs(scheduling_strategy=strategy)
    assert runs(scheduling_strategy=NodeLabelSchedulingStrategy({}, soft={"zone": In("b")}))


@pytest.mark.parametrize("operator", [In, NotIn])
def test_operators_need_values(operator):
    with pytest.raises(ValueError):
        operator()
    with pytest.raises(ValueError):
        operator(1)


def test_a_label_strategy_needs_conditions():
    with pytest.raises(ValueError):
        NodeLabelSchedulingStrategy({})
    with pytest.raises(ValueError):
        NodeLabelSchedulingStrategy({"zone": "a"})


# -- node affinity


@pytest.mark.parametrize("soft", [False, True])
def test_affinity_to_a_node(runs, node, soft):
    assert runs(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=soft))


def test_soft_affinity_to_a_node_that_is_gone(runs):
    assert runs(scheduling_strategy=NodeAffinitySchedulingStrategy(GONE, soft=True))


def test_hard_affinity_to_a_node_that_is_gone(where):
    @ray.remote(num_cpus=0)
    class Here:
        def ping(self):
            return "pong"

    strategy = NodeAffinitySchedulingStrategy(GONE, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=60)
    with pytest.raises(ray.exceptions.ActorUnschedulableError):
        ray.get(Here.options(scheduling_strategy=strategy).remote().ping.remote(), timeout=60)


def test_hard_affinity_to_a_node_that_has_too_little(where, node):
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        ray.get(where.options(scheduling_strategy=strategy, num_cpus=100).remote(), timeout=60)


def test_hard_affinity_waits_for_what_is_in_use(where, node, gate, eventually):
    @ray.remote(num_cpus=4)
    def hold(wait):
        wait()

    holding = hold.remote(gate.wait)
    eventually(lambda: ray.available_resources().get("CPU", 0) == 0)
    ref = where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()
    assert ray.wait([ref], timeout=0.3)[0] == []
    gate.open()
    assert ray.get(ref, timeout=60) == node
    ray.get(holding)


@pytest.mark.parametrize("node_id", ["not hexadecimal", "abc"])
def test_what_is_no_node_id(node_id):
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(node_id, soft=False)


# -- strategies by name


@pytest.mark.parametrize("name", ["DEFAULT", "SPREAD"])
def test_strategies_by_name(runs, name):
    assert runs(scheduling_strategy=name)


def test_actors_may_be_spread():
    @ray.remote(scheduling_strategy="SPREAD")
    class Here:
        def ping(self):
            return "pong"

    assert ray.get(Here.remote().ping.remote(), timeout=60) == "pong"


def test_unknown_strategies(where):
    with pytest.raises((ValueError, TypeError)):
        where.options(scheduling_strategy="SOMEHOW").remote()
