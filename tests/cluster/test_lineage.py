"""Lost objects are made again by the calls that made them, or the error says why that cannot be."""

from __future__ import annotations

import gc
import os
import time

import numpy as np
import pytest
from support.clusters import T, poll

N = 200_000  # bytes: large enough for shared memory


@pytest.fixture
def ray(own):
    own.init(num_cpus=2)
    return own


def path_of(ref) -> str:
    from rayjup.engine.runtime.lineage import descriptor_of

    descriptor = descriptor_of(ref)
    assert descriptor is not None, f"{ref} does not lie in shared memory"
    return descriptor[0]


def lose(*refs) -> None:
    """What the end of a node does to the objects that lie there."""
    for ref in refs:
        os.unlink(path_of(ref))


def made_again() -> int:
    from rayjup.core import session

    return session.current().runtime.lineage.made_again


def maker(ray, tmp_path, **options):
    """A task that makes a large value and counts its runs; and how often it ran."""
    path = str(tmp_path / "runs")

    def make(value, *others):
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
        return np.full(N, value + sum(int(other[0]) for other in others), np.uint8)

    function = ray.remote(**options)(make) if options else ray.remote(make)
    return function, lambda: os.path.getsize(path)


def ready(ray, *refs) -> None:
    assert len(ray.wait(list(refs), num_returns=len(refs), timeout=T)[0]) == len(refs)


def test_a_lost_result_is_made_again(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    ref = make.remote(7)
    ready(ray, ref)
    lose(ref)
    assert (ray.get(ref, timeout=T) == 7).all()
    assert runs() == 2
    assert (ray.get(ref, timeout=T) == 7).all()
    assert runs() == 2


def test_a_lost_argument_is_made_again_first(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    first = make.remote(1)
    second = make.remote(1, first)
    ready(ray, second)
    lose(first, second)
    assert ray.get(second, timeout=T)[0] == 2
    assert runs() == 4


def test_an_argument_that_went_out_of_scope_is_made_again(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    ref = make.remote(1)
    for _ in range(9):
        ref = make.remote(1, ref)
    ready(ray, ref)
    lose(ref)
    assert ray.get(ref, timeout=T)[0] == 10
    assert runs() == 20


def test_what_several_lost_values_need_is_made_again_once(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    base = make.remote(1)
    refs = [make.remote(i, base) for i in range(4)]
    ready(ray, *refs)
    lose(base, *refs)
    del base
    assert [v[0] for v in ray.get(refs, timeout=T)] == [1, 2, 3, 4]
    assert runs() <= 5 + 4 + 4


def test_a_lost_argument_is_noticed_by_the_executor(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    ref = make.remote(5)
    ready(ray, ref)
    lose(ref)

    @ray.remote(max_retries=0)
    def head(array):
        return int(array[0])

    @ray.remote
    class Reader:
        def head(self, array):
            return int(array[0])

        async def later(self, array):
            return int(array[0])

    assert ray.get([head.remote(ref) for _ in range(10)], timeout=T) == [5] * 10
    assert runs() == 2
    lose(ref)
    reader = Reader.remote()
    assert ray.get(reader.head.remote(ref), timeout=T) == 5
    assert runs() == 3


def test_a_lost_argument_of_an_async_actor(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    ref = make.remote(5)

    @ray.remote
    class Reader:
        async def head(self, array):
            return int(array[0])

        async def nested(self, refs):
            return int((await refs[0])[0])

    reader = Reader.remote()
    ready(ray, ref)
    lose(ref)
    assert ray.get([reader.head.remote(ref) for _ in range(5)], timeout=T) == [5] * 5
    lose(ref)
    assert ray.get(reader.nested.remote([ref]), timeout=T) == 5
    assert runs() == 3


def test_a_borrower_has_the_owner_make_it_again(ray, tmp_path):
    make, runs = maker(ray, tmp_path)
    ref = make.remote(5)
    ready(ray, ref)
    lose(ref)

    @ray.remote(max_retries=0)
    def read(refs):
        return int(ray.get(refs[0])[0])

    assert ray.get([read.remote([ref]) for _ in range(5)], timeout=T) == [5] * 5
    assert runs() == 2


def test_an_owner_that_is_an_executor(ray, tmp_path):
    path = str(tmp_path / "runs")

    @ray.remote
    def make(path):
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
        return np.ones(N, np.uint8)

    @ray.remote
    class Owner:
        def __init__(self):
            self.made = make.remote(path)

        def ref(self):
            ray.wait([self.made])
            return [self.made]

        def lose(self):
            from rayjup.engine.runtime.lineage import descriptor_of

            os.unlink(descriptor_of(self.made)[0])

    owner = Owner.remote()
    (ref,) = ray.get(owner.ref.remote(), timeout=T)
    ray.get(owner.lose.remote(), timeout=T)
    assert ray.get(ref, timeout=T).sum() == N
    assert os.path.getsize(path) == 2
    assert made_again() == 0, "the owner makes it, not who reads it"


def test_several_results_of_one_call(ray, tmp_path):
    path = str(tmp_path / "runs")

    @ray.remote(num_returns=3)
    def make():
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
        return np.full(N, 1, np.uint8), 2, np.full(N, 3, np.uint8)

    first, second, third = make.remote()
    ready(ray, first, second, third)
    lose(first, third)
    assert (ray.get(third, timeout=T) == 3).all()
    assert ray.get(second, timeout=T) == 2
    assert (ray.get(first, timeout=T) == 1).all()
    assert os.path.getsize(path) == 2
    lose(third)
    assert (ray.get([third, first], timeout=T)[0] == 3).all()
    assert os.path.getsize(path) == 3


def test_refs_inside_lost_and_kept_values(ray, tmp_path):
    make, _ = maker(ray, tmp_path)

    @ray.remote
    def pair(value):
        return [make.remote(value), value]

    @ray.remote
    def double(pair):
        return 2 * ray.get(pair[0])

    outer = pair.remote(4)
    result = double.remote(outer)
    ready(ray, result)
    lose(result)
    assert ray.get(result, timeout=T)[0] == 8
    del outer
    gc.collect()
    lose(result)
    assert ray.get(result, timeout=T)[0] == 8


def test_futures_and_awaiting(ray, tmp_path):
    import asyncio

    make, runs = maker(ray, tmp_path)
    ref = make.remote(5)
    ready(ray, ref)
    lose(ref)
    assert ref.future().result(T)[0] == 5
    gc.collect()
    lose(ref)

    async def main():
        return int((await asyncio.wait_for(ref.as_future(), T))[0])

    assert asyncio.run(main()) == 5
    assert runs() == 3


@pytest.mark.parametrize("limit", [None, 2])
def test_items_of_a_generator(ray, tmp_path, limit):
    path = str(tmp_path / "runs")
    options = {"_generator_backpressure_num_objects": limit} if limit else {}

    @ray.remote(**options, num_returns="streaming")
    def items(count):
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
        for i in range(count):
            yield np.full(N, i, np.uint8)

    refs = list(items.remote(5))
    lose(refs[1], refs[3])
    assert [int(v[0]) for v in ray.get(refs, timeout=T)] == [0, 1, 2, 3, 4]
    assert os.path.getsize(path) == 2
    gc.collect()
    lose(refs[3])

    @ray.remote
    def head(array):
        return int(array[0])

    assert ray.get(head.remote(refs[3]), timeout=T) == 3
    assert os.path.getsize(path) == 3


def test_an_item_that_is_lost_while_its_generator_runs(ray, tmp_path):
    gate = str(tmp_path / "gate")

    @ray.remote
    def items():
        yield np.full(N, 1, np.uint8)
        while not os.path.exists(gate):
            time.sleep(0.01)
        yield np.full(N, 2, np.uint8)

    generator = items.remote()
    first = next(generator)
    lose(first)
    future = first.future()
    assert not future.done()
    open(gate, "w").close()
    assert future.result(T)[0] == 1
    assert ray.get(next(generator), timeout=T)[0] == 2


def test_a_generator_that_yields_fewer_items_the_second_time(ray, tmp_path):
    path = str(tmp_path / "runs")

    @ray.remote
    def items():
        with open(path, "ab", buffering=0) as file:
            file.write(b".")
            count = 3 if file.tell() == 1 else 1
        for i in range(count):
            yield np.full(N, i, np.uint8)

    refs = list(items.remote())
    lose(refs[2])
    with pytest.raises(ray.exceptions.RayError, match="item 2 was lost"):
        ray.get(refs[2], timeout=T)


def test_arguments_of_a_constructor(ray, tmp_path):
    """They are needed again whenever the actor is restarted."""
    make, runs = maker(ray, tmp_path)

    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Keeper:
        def __init__(self, first, *, second):
            self.total = int(first[0]) + int(second[0])

        def read(self):
            return os.getpid(), self.total

    refs = [make.remote(5), make.remote(6)]
    keeper = Keeper.remote(refs[0], second=refs[1])
    pid, total = ray.get(keeper.read.remote(), timeout=T)
    assert total == 11
    lose(refs[1])
    os.kill(pid, 9)
    poll(lambda: ray.get(keeper.read.remote(), timeout=T)[0] != pid)
    assert ray.get(keeper.read.remote(), timeout=T)[1] == 11
    assert runs() == 3


# -- nodes


@pytest.fixture
def cluster(own):
    from rayjup.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2})
    yield cluster
    own.shutdown()
    cluster.shutdown()


@pytest.mark.parametrize("graceful", [True, False])
def test_results_on_a_node_that_ends(own, cluster, tmp_path, graceful):
    """A chain of results lies on a node that ends; what needs it, here or there, has it made again."""
    make, runs = maker(own, tmp_path, resources={"there": 0.1})
    node = cluster.add_node(num_cpus=2, resources={"there": 1})
    first = make.remote(1)
    second = make.remote(1, first)
    kept = make.options(max_retries=0).remote(1)
    ready(own, second, kept)
    path = path_of(second)
    cluster.remove_node(node, allow_graceful=graceful)
    poll(lambda: not os.path.exists(path))

    @own.remote(num_cpus=0)
    def total(array, refs):
        return int(array[0]) + int(own.get(refs[0])[0])

    result = total.remote(second, [first])
    with pytest.raises(own.exceptions.GetTimeoutError):
        own.get(result, timeout=0.5)
    cluster.add_node(num_cpus=2, resources={"there": 1})
    assert own.get(result, timeout=T) == 3
    assert runs() == 5
    with pytest.raises(own.exceptions.ObjectLostError):
        own.get(kept, timeout=T)


# -- what cannot be made again


def reason(ray, ref) -> str:
    with pytest.raises(ray.exceptions.ObjectReconstructionFailedError) as caught:
        ray.get(ref, timeout=T)
    return str(caught.value)


def test_an_object_made_by_put(ray, tmp_path):
    make, _ = maker(ray, tmp_path)
    ref = ray.put(np.ones(N, np.uint8))
    result = make.remote(1, ref)
    ready(ray, result)
    lose(result)
    assert ray.get(result, timeout=T)[0] == 2, "its argument is still there"
    gc.collect()
    lose(result)
    del ref
    assert "put()" in reason(ray, result)


def test_retries_end(ray, tmp_path):
    make, runs = maker(ray, tmp_path, max_retries=2)
    ref = make.remote(1)
    for expected in (1, 2, 3):
        assert ray.get(ref, timeout=T)[0] == 1
        assert runs() == expected
        lose(ref)
    assert "as often as allowed" in reason(ray, ref)


def test_no_retries(ray, tmp_path):
    make, _ = maker(ray, tmp_path, max_retries=0)
    ref = make.remote(1)
    ready(ray, ref)
    lose(ref)
    assert "max_retries=0" in reason(ray, ref)


def test_large_arguments_by_value(ray, tmp_path):
    @ray.remote
    def double(array):
        return array * 2

    ref = double.remote(np.ones(N, np.uint8))
    ready(ray, ref)
    lose(ref)
    assert "double(), which made it, was given arguments above 100 KiB" in reason(ray, ref)


def test_a_task_that_needs_what_cannot_be_made_again(ray, tmp_path):
    make, _ = maker(ray, tmp_path, max_retries=0)
    ref = make.remote(1)
    ready(ray, ref)
    lose(ref)

    @ray.remote
    def head(array):
        return int(array[0])

    assert "max_retries=0" in reason(ray, head.remote(ref))


@pytest.mark.parametrize("retries", [0, 1, -1])
def test_actor_results(ray, retries):
    @ray.remote(max_task_retries=retries, max_restarts=retries)
    class Maker:
        def make(self):
            return np.ones(N, np.uint8)

    actor = Maker.remote()
    ref = actor.make.remote()
    ready(ray, ref)
    lose(ref)
    if retries:
        assert ray.get(ref, timeout=T).sum() == N
        gc.collect()
        lose(ref)
        ray.kill(actor)

        def dead() -> bool:
            try:
                ray.get(actor.make.remote(), timeout=T)
            except ray.exceptions.ActorDiedError:
                return True
            return False

        poll(dead)
        with pytest.raises(ray.exceptions.RayError):
            ray.get(ref, timeout=T)
    else:
        assert "max_retries=0" in reason(ray, ref)


def test_get_times_out_while_a_value_is_made_again(ray, tmp_path):
    gate = str(tmp_path / "gate")

    @ray.remote
    def make():
        while os.path.exists(gate):
            time.sleep(0.01)
        return np.ones(N, np.uint8)

    ref = make.remote()
    ready(ray, ref)
    lose(ref)
    with open(gate, "w"):
        pass
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    assert ray.wait([ref], timeout=0) == ([], [ref])
    os.unlink(gate)
    assert ray.get(ref, timeout=T).sum() == N


def test_a_value_that_is_made_again_can_be_cancelled(ray, tmp_path):
    gate = str(tmp_path / "gate")

    @ray.remote
    def make():
        while os.path.exists(gate):
            time.sleep(0.01)
        return np.ones(N, np.uint8)

    ref = make.remote()
    ready(ray, ref)
    lose(ref)
    with open(gate, "w"):
        pass
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=T)


# -- what remembering costs


def test_recipes_keep_no_values_and_go_with_the_refs(ray, tmp_path):
    from rayjup.core import session

    make, _ = maker(ray, tmp_path)
    ref = make.remote(0)
    paths = []
    for _ in range(5):
        ready(ray, ref)
        paths.append(path_of(ref))
        ref = make.remote(0, ref)
    ready(ray, ref)
    book = session.current().runtime.lineage.book
    assert len(book) == 6
    assert book.nbytes > 6000
    poll(lambda: sum(map(os.path.exists, paths)) <= 2)  # those may wait to be used again
    del ref
    gc.collect()
    poll(lambda: (len(book), book.nbytes) == (0, 0))


def test_the_oldest_recipes_are_forgotten(ray, tmp_path):
    from rayjup.core import session

    book = session.current().runtime.lineage.book
    book.most_bytes = 10_000
    make, _ = maker(ray, tmp_path)
    refs = [make.remote(i) for i in range(30)]
    ready(ray, *refs)
    assert book.nbytes <= 10_000
    lose(refs[0])
    lose(refs[-1])
    # They are answered in any order, but the last is not among the oldest half.
    assert ray.get(refs[-1], timeout=T)[0] == 29
    assert "forgotten to save memory" in reason(ray, refs[0])


def test_long_chains_of_recipes(ray):
    """Neither making nor freeing them goes as deep into the stack as the chain is long."""
    from rayjup.core import session

    @ray.remote
    def step(array):
        return array + 1

    count = 1500
    ref = step.remote(np.zeros(20_000))
    ref = step.remote(ray.put(np.zeros(20_000)))

    @ray.remote
    def first():
        return np.zeros(20_000)

    ref = first.remote()
    for _ in range(count):
        ref = step.remote(ref)
    assert ray.get(ref, timeout=60)[0] == count
    gc.collect()
    lose(ref)
    assert ray.get(ref, timeout=60)[0] == count
    del ref
    gc.collect()
    poll(lambda: len(session.current().runtime.lineage.book) == 0)
