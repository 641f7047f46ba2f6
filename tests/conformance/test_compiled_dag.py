"""Compiled graphs: actors connected by channels."""

import asyncio
import copy
import pickle
import time

import numpy as np
import pytest
import ray
from ray.dag import InputNode, MultiOutputNode
from ray.exceptions import RayActorError, RayCgraphCapacityExceeded, RayChannelError, RayChannelTimeoutError

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def worker_class():
    @ray.remote(num_cpus=0)
    class Worker:
        def __init__(self, start=0):
            self.n = start

        def add(self, x):
            self.n += x
            return self.n

        def get(self):
            return self.n

        def echo(self, x):
            return x

        def join(self, *parts):
            return list(parts)

        def scale(self, x, by):
            return x * by

        @ray.method(num_returns=2)
        def both(self, x):
            return x, 2 * x

        def fail(self, x):
            if x < 0:
                raise ValueError(f"no {x}")
            return x

        def run(self, function):
            return function()

    return Worker


@pytest.fixture
def compiled():
    """Compiles graphs, and tears them down when the test is over."""
    made = []

    def compile(node, **options):
        made.append(node.experimental_compile(**options))
        return made[-1]

    yield compile
    for graph in made:
        graph.teardown()


def test_one_method(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.add.bind(x))
    assert [ray.get(graph.execute(1)) for _ in range(50)] == list(range(1, 51))


def test_values_of_all_kinds(worker_class, compiled):
    class Own:
        def __init__(self, value):
            self.value = value

        def __eq__(self, other):
            return self.value == other.value

    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x))
    for value in (None, True, 3, 2.5, "text", b"bytes", b"", [1, [2]], {"a": (1, None)}, Own([1]), {1, 2}):
        assert ray.get(graph.execute(value)) == value
    array = np.arange(24.0).reshape(2, 3, 4)
    assert np.array_equal(ray.get(graph.execute(array)), array)
    assert np.array_equal(ray.get(graph.execute({"x": [array, array[::2]]}))["x"][1], array[::2])
    words = np.array(["a", None], dtype=object)
    assert ray.get(graph.execute(words)).tolist() == ["a", None]


def test_values_larger_than_the_buffer(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x), _buffer_size_bytes=1000)
    for size in (10, 2_000, 300_000, 50, 5_000_000, 300_000):
        array = np.arange(size, dtype=np.uint8)
        assert np.array_equal(ray.get(graph.execute(array)), array)


def test_a_chain_of_actors(worker_class, compiled):
    workers = [worker_class.remote() for _ in range(3)]
    with InputNode() as x:
        node = x
        for worker in workers:
            node = worker.scale.bind(node, 2)
        graph = compiled(node)
    assert [ray.get(graph.execute(i)) for i in range(5)] == [8 * i for i in range(5)]


def test_several_methods_of_one_actor(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.scale.bind(worker.scale.bind(worker.echo.bind(x), 3), 5))
    assert ray.get(graph.execute(2)) == 30


def test_branches_and_joins(worker_class, compiled):
    a, b, c = (worker_class.remote() for _ in range(3))
    with InputNode() as x:
        first = a.echo.bind(x)
        graph = compiled(c.join.bind(b.scale.bind(first, 10), first, x, "constant"))
    assert ray.get(graph.execute(4)) == [40, 4, 4, "constant"]


def test_going_there_and_back(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote()
    with InputNode() as x:
        graph = compiled(a.scale.bind(b.scale.bind(a.echo.bind(x), 2), 3))
    assert [ray.get(graph.execute(i)) for i in range(3)] == [0, 6, 12]


def test_several_outputs(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote(100)
    with InputNode() as x:
        graph = compiled(MultiOutputNode([a.add.bind(x), b.add.bind(x)]))
    refs = graph.execute(1)
    assert ray.get(refs) == [1, 101]
    one, two = graph.execute(2)
    assert ray.get(two) == 103
    assert ray.get(one) == 3


def test_one_output_in_a_list(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(MultiOutputNode([worker.echo.bind(x)]))
    assert ray.get(graph.execute(1)) == [1]


def test_a_method_with_several_values(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote()
    with InputNode() as x:
        one, two = a.both.bind(x)
        graph = compiled(MultiOutputNode([b.echo.bind(two), one]))
    assert ray.get(graph.execute(4)) == [8, 4]


def test_input_of_several_values(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote()
    with InputNode() as x:
        graph = compiled(MultiOutputNode([a.scale.bind(x[0], x.by), b.echo.bind(x[1])]))
    assert ray.get(graph.execute(2, 7, by=5)) == [10, 7]
    with pytest.raises(ValueError, match="2 positional args"):
        graph.execute(2, by=5)
    with pytest.raises(ValueError, match="kwarg `by`"):
        graph.execute(2, 7)


def test_an_indexed_input_of_one_value(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x[0]))
    assert ray.get(graph.execute([1, 2])) == [1, 2]


def test_executions_overlap(compiled, tmp_path):
    class Stage:
        def first(self, i):
            (tmp_path / str(i)).touch()
            return i

        def second(self, i):
            deadline = time.monotonic() + 60
            while not (tmp_path / str(i + 1)).exists():
                assert time.monotonic() < deadline, "the first does not go on while the second works"
                time.sleep(0.005)
            return i

    workers = [ray.remote(num_cpus=0)(Stage).remote() for _ in range(2)]
    with InputNode() as x:
        graph = compiled(workers[1].second.bind(workers[0].first.bind(x)))
    refs = [graph.execute(i) for i in range(4)]
    assert ray.get(refs[:3], timeout=60) == [0, 1, 2]
    (tmp_path / "4").touch()
    assert ray.get(refs[3], timeout=60) == 3


def test_results_may_be_asked_for_in_any_order(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x))
    refs = [graph.execute(i) for i in range(5)]
    assert [ray.get(ref) for ref in reversed(refs)] == [4, 3, 2, 1, 0]


def test_refs_have_one_value_for_one_get(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x))
    ref = graph.execute(1)
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(ValueError, match="CompiledDAGRef cannot be"):
            attempt(ref)
    assert ray.get(ref) == 1
    with pytest.raises(ValueError, match="once"):
        ray.get(ref)


def test_too_many_executions_under_way(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x), _max_inflight_executions=3)
    refs = [graph.execute(i) for i in range(3)]
    with pytest.raises(RayCgraphCapacityExceeded):
        graph.execute(3)
    assert ray.get(refs[0]) == 0
    refs.append(graph.execute(3))
    assert ray.get(refs[1:]) == [1, 2, 3]


def test_too_many_results_kept(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x), _max_inflight_executions=4, _max_buffered_results=2)
    refs = [graph.execute(i) for i in range(4)]
    with pytest.raises(RayCgraphCapacityExceeded):
        ray.get(refs[3])
    assert ray.get(refs[0]) == 0


def test_results_nobody_asks_for_make_room(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.add.bind(x), _max_inflight_executions=2)
    for _ in range(10):
        graph.execute(1)
    assert ray.get(graph.execute(1)) == 11


def test_errors_are_results(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote()
    with InputNode() as x:
        graph = compiled(b.echo.bind(a.fail.bind(x)))
    assert ray.get(graph.execute(1)) == 1
    with pytest.raises(ValueError, match="no -1"):
        ray.get(graph.execute(-1))
    assert ray.get(graph.execute(2)) == 2  # and the graph goes on


def test_an_error_of_one_of_several_outputs(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote()
    with InputNode() as x:
        graph = compiled(MultiOutputNode([a.fail.bind(x), b.echo.bind(x)]))
    with pytest.raises(ValueError, match="no -3"):
        ray.get(graph.execute(-3))
    assert ray.get(graph.execute(3)) == [3, 3]


def test_a_result_that_takes_too_long(worker_class, compiled, gate):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.run.bind(x))
    assert ray.get(graph.execute(int)) == 0
    ref = graph.execute(gate.wait)
    with pytest.raises(RayChannelTimeoutError):
        ray.get(ref, timeout=0.1)
    gate.open()


def test_the_actors_are_usable_afterwards(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.add.bind(x))
    assert ray.get(graph.execute(5)) == 5
    graph.teardown()
    assert graph.is_teardown
    assert ray.get(worker.add.remote(1), timeout=60) == 6
    with InputNode() as x:
        again = compiled(worker.add.bind(x))
    assert ray.get(again.execute(1)) == 7


def test_ordinary_calls_run_beside_the_graph(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.add.bind(x))
    assert ray.get(graph.execute(5)) == 5
    assert ray.get(worker.get.remote(), timeout=60) == 5
    assert ray.get(graph.execute(5)) == 10


def test_the_death_of_an_actor(worker_class, compiled):
    a, b = worker_class.remote(), worker_class.remote()
    with InputNode() as x:
        graph = compiled(b.echo.bind(a.echo.bind(x)))
    assert ray.get(graph.execute(1)) == 1
    ray.kill(a)
    with pytest.raises((RayActorError, RayChannelError)):
        for _ in range(1000):  # its end may take a moment
            ray.get(graph.execute(2), timeout=60)
            time.sleep(0.01)


def test_awaiting_results(worker_class):
    worker = worker_class.remote()

    async def main():
        with InputNode() as x:
            graph = worker.fail.bind(x).experimental_compile(enable_asyncio=True)
        with pytest.raises(ValueError, match="execute_async"):
            graph.execute(1)
        futures = [await graph.execute_async(i) for i in range(5)]
        assert await asyncio.gather(*futures) == [0, 1, 2, 3, 4]
        bad = await graph.execute_async(-1)
        with pytest.raises(ValueError, match="no -1"):
            await bad
        good = await graph.execute_async(6)
        assert await good == 6
        with pytest.raises(ValueError, match="once"):
            await good
        graph.teardown()

    asyncio.run(main())


def test_awaiting_several_outputs(worker_class):
    a, b = worker_class.remote(), worker_class.remote()

    async def main():
        with InputNode() as x:
            node = MultiOutputNode([a.echo.bind(x), b.scale.bind(x, 2)])
            graph = node.experimental_compile(enable_asyncio=True)
        one, two = await graph.execute_async(4)
        assert (await two, await one) == (8, 4)
        graph.teardown()

    asyncio.run(main())


def test_execute_async_needs_asyncio(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x))
    with pytest.raises(ValueError, match="enable_asyncio"):
        asyncio.run(graph.execute_async(1))


def test_what_cannot_be_compiled(worker_class):
    @ray.remote
    def function(x):
        return x

    worker, other = worker_class.remote(), worker_class.remote()
    with InputNode() as x, pytest.raises(NotImplementedError, match="actor method"):
        function.bind(x).experimental_compile()
    with InputNode() as x, pytest.raises(ValueError, match=r"Actor.remote\(\)"):
        worker_class.bind().echo.bind(x).experimental_compile()
    with InputNode() as x, pytest.raises(ValueError, match="kwargs"):
        worker.scale.bind(x, by=other.echo.bind(x)).experimental_compile()
    with InputNode() as x, pytest.raises(ValueError, match="leaf nodes"):
        other.echo.bind(x)
        worker.echo.bind(x).experimental_compile()
    with InputNode() as x, pytest.raises(ValueError, match="container"):
        worker.echo.bind([x]).experimental_compile()
    with InputNode() as x, pytest.raises(ValueError, match="directly"):
        worker.join.bind(x, x[0]).experimental_compile()


def test_a_node_is_compiled_once(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        node = worker.echo.bind(x)
    compiled(node)
    with pytest.raises(ValueError, match="multiple times"):
        node.experimental_compile()


def test_tensor_transports(worker_class):
    worker = worker_class.remote()
    with InputNode() as x:
        node = worker.echo.bind(x)
        assert node.with_tensor_transport("shm") is node
        with pytest.raises(ValueError, match="Invalid device"):
            node.with_tensor_transport(device="toaster")
        with pytest.raises(ValueError, match="Invalid transport"):
            node.with_tensor_transport("pigeon")


def test_a_graph_as_text(worker_class, compiled):
    worker = worker_class.remote()
    with InputNode() as x:
        graph = compiled(worker.echo.bind(x))
    text = graph.visualize(format="ascii")
    assert "echo" in text and "InputNode" in text
