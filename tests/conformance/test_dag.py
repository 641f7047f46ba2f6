"""Graphs of bound calls, executed by making the calls."""

import os
import pickle

import pytest
import ray
from ray.dag import (
    ClassMethodNode,
    ClassNode,
    DAGContext,
    FunctionNode,
    InputAttributeNode,
    InputNode,
    MultiOutputNode,
)

ENGINE = os.environ.get("RAYJUP_CONFORMANCE_ENGINE", "rayjup")

pytestmark = [
    pytest.mark.usefixtures("ray_cluster"),
    # Ray announces the end of DAGNode.execute() with each call.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def add():
    @ray.remote
    def add(a, b=1):
        return a + b

    return add


@pytest.fixture
def counter_class():
    @ray.remote
    class Counter:
        def __init__(self, start=0):
            self.n = start

        def add(self, by=1):
            self.n += by
            return self.n

        def get(self):
            return self.n

    return Counter


def test_a_bound_function_runs_only_when_executed(add, counted):
    @ray.remote
    def noted(x):
        counted()
        return x

    node = noted.bind(3)
    assert isinstance(node, FunctionNode)
    assert ray.get(node.execute()) == 3
    assert counted() == 2
    assert ray.get(add.bind(1, b=5).execute()) == 6


def test_nodes_are_arguments_of_nodes(add):
    left = add.bind(1, 2)
    right = add.bind(left, 10)
    assert ray.get(add.bind(left, b=right).execute()) == 16


def test_nodes_may_lie_inside_of_containers(add):
    @ray.remote
    def total(parts):
        return sum(ray.get(parts["list"])) + ray.get(parts["one"])

    node = total.bind({"list": [add.bind(1), add.bind(2)], "one": add.bind(3)})
    assert ray.get(node.execute()) == 2 + 3 + 4


def test_a_shared_node_runs_once_in_an_execution(add, counted):
    @ray.remote
    def source():
        return counted()

    shared = source.bind()
    graph = add.bind(shared, shared)
    assert ray.get(graph.execute()) == 2
    assert ray.get(graph.execute()) == 4  # and again in the next one


def test_input_of_one_value(add):
    with InputNode() as x:
        graph = add.bind(x, add.bind(x, 10))
    assert ray.get(graph.execute(1)) == 12
    assert ray.get(graph.execute(5)) == 20


def test_input_of_several_values(add):
    with InputNode() as x:
        assert isinstance(x[0], InputAttributeNode)
        assert x[0] is x[0]
        graph = add.bind(x[0], x.more)
    assert ray.get(graph.execute(1, more=2)) == 3
    with InputNode() as x:
        graph = add.bind(x[0], x[1])
    assert ray.get(graph.execute(4, 5)) == 9


def test_parts_of_a_single_input(add):
    class Both:
        def __init__(self, a, b):
            self.a, self.b = a, b

    with InputNode() as x:
        items, keys, attributes = add.bind(x[0], x[1]), add.bind(x["a"], x["b"]), add.bind(x.a, x.b)
    assert ray.get(items.execute([1, 2])) == 3
    assert ray.get(keys.execute({"a": 3, "b": 4})) == 7
    with InputNode() as x:
        attributes = add.bind(x.a, x.b)
    assert ray.get(attributes.execute(Both(5, 6))) == 11


def test_input_rules(add, counter_class):
    with pytest.raises(ValueError, match="should not take any args"):
        InputNode(1)
    with pytest.raises(AssertionError, match="context manager"):
        add.bind(InputNode()).execute(1)
    with InputNode() as x:
        with pytest.raises(ValueError, match="InputNode"):
            counter_class.bind(x)
        with pytest.raises(AssertionError, match="int index or str"):
            x[1.5]
    with InputNode() as one, InputNode() as two:
        pass
    with pytest.raises(AssertionError, match="one unique InputNode"):
        add.bind(one, two).execute(1)


def test_an_actor_of_the_graph_is_made_by_each_execution(counter_class):
    counter = counter_class.bind(10)
    assert isinstance(counter, ClassNode)
    counter.add.bind()
    counter.add.bind(5)
    graph = counter.get.bind()
    assert isinstance(graph, ClassMethodNode)
    assert graph.get_method_name() == "get"
    assert ray.get(graph.execute()) == 16  # the calls bound before come first
    assert ray.get(graph.execute()) == 16


def test_executing_a_class_node_gives_its_actor(counter_class):
    actor = counter_class.bind(3).execute()
    assert ray.get(actor.get.remote()) == 3


def test_arguments_of_actors_may_be_nodes(add, counter_class):
    counter = counter_class.bind(add.bind(1, 2))
    with InputNode() as x:
        graph = counter.add.bind(add.bind(x, 1))
    assert ray.get(graph.execute(10)) == 14


def test_methods_of_an_actor_that_exists(counter_class):
    counter = counter_class.remote()
    with InputNode() as x:
        graph = counter.add.bind(x)
    assert ray.get(graph.execute(2)) == 2
    assert ray.get(graph.execute(3)) == 5
    assert ray.get(counter.get.remote()) == 5


def test_several_outputs(add, counter_class):
    counter = counter_class.remote(100)
    with InputNode() as x:
        graph = MultiOutputNode([add.bind(x), counter.add.bind(x)])
    refs = graph.execute(1)
    assert ray.get(refs) == [2, 101]
    with pytest.raises(ValueError, match="Invalid input type"):
        MultiOutputNode(3)


def test_a_method_with_several_values():
    @ray.remote
    class Pair:
        @ray.method(num_returns=2)
        def both(self, x):
            return x, 2 * x

    pair = Pair.remote()
    with InputNode() as x:
        one, two = pair.both.bind(x)
        assert one.is_class_method_output and two.output_idx == 1
        assert one.class_method_call is two.class_method_call
        graph = MultiOutputNode([two, one])
    assert ray.get(graph.execute(4)) == [8, 4]


def test_options_go_with_a_node(add):
    node = add.options(num_cpus=0.5, name="half").bind(1, 2)
    assert node.get_options()["num_cpus"] == 0.5
    assert ray.get(node.execute()) == 3


def test_errors_go_through_a_graph(add):
    @ray.remote
    def fail(x):
        raise ValueError(f"no {x}")

    with InputNode() as x:
        graph = add.bind(fail.bind(x))
    with pytest.raises(ValueError, match="no 7"):
        ray.get(graph.execute(7))


def test_what_nodes_refuse(add, counter_class):
    node = add.bind(1)
    with pytest.raises(AttributeError, match="bind"):
        node.bind(1)
    with pytest.raises(AttributeError, match="execute"):
        node.remote()
    with pytest.raises(AttributeError):
        counter_class.bind().missing
    with pytest.raises(AttributeError, match="bind"):
        counter_class.bind().add.remote()


def test_looking_at_nodes(add):
    child = add.bind(1)
    node = add.bind(child, b=2)
    assert list(node.get_args()) == [child]
    assert node.get_kwargs() == {"b": 2}
    assert node.get_stable_uuid() != child.get_stable_uuid()
    seen = []
    node.traverse_and_apply(seen.append)
    assert set(seen) == {node, child}
    assert node.apply_recursive(lambda n: 1 + sum(a for a in n.get_args() if isinstance(a, int))) == 3
    found = node.apply_functional([child, {"x": child}], lambda n: True, lambda n: "found")
    assert found == ["found", {"x": "found"}]


def test_graphs_can_be_pickled(add, counter_class):
    counter = counter_class.bind(1)
    with InputNode() as x:
        graph = add.bind(counter.add.bind(x[0]), x[1])
    # Ray brings a cloudpickle of its own.
    dumps = pytest.importorskip("ray.cloudpickle" if ENGINE == "ray" else "cloudpickle").dumps
    again = pickle.loads(dumps(graph))
    assert again.get_stable_uuid() == graph.get_stable_uuid()
    assert ray.get(again.execute(2, 3)) == 6


def test_results_of_nodes_can_be_kept(add):
    import asyncio

    child = add.bind(1)
    graph = add.bind(child, 5)
    graph.execute(_ray_cache_refs=True)
    refs = asyncio.run(graph.get_object_refs_from_last_execute())
    assert ray.get(refs[child.get_stable_uuid()]) == 2
    assert ray.get(refs[graph.get_stable_uuid()]) == 7
    graph.clear_cache()
    assert asyncio.run(graph.get_object_refs_from_last_execute()) == {}


def test_the_settings_of_the_process():
    context = DAGContext.get_current()
    assert context is DAGContext.get_current()
    assert context.buffer_size_bytes == 1_000_000 and context.max_inflight_executions == 10
    with pytest.raises(ValueError, match="read_iteration_timeout"):
        DAGContext(read_iteration_timeout=5, get_timeout=1)
