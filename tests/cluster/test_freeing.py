"""Objects go with the last reference to them, wherever that was: the store is empty two seconds later."""

from __future__ import annotations

import contextlib
import gc
import os

import numpy as np
import psutil
import pytest
from support.clusters import T, executor_pids, node_pid, objects, poll

N = 200_000  # bytes: more than travels inside a message


@pytest.fixture(autouse=True)
def no_collector():
    """Freeing must not wait for the cycle collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def big() -> np.ndarray:
    return np.ones(N, np.uint8)


def test_put_and_drop(ray, freed):
    ref = ray.put(big())
    del ref
    freed()


def test_a_value_read_here_keeps_its_memory_not_its_name(ray, freed):
    ref = ray.put(big())
    array = ray.get(ref)
    del ref
    freed()
    assert array.sum() == N


def test_a_result_that_is_read_and_dropped(ray, freed):
    @ray.remote
    def make():
        return np.ones(N, np.uint8)

    ref = make.remote()
    array = ray.get(ref, timeout=T)
    assert array[0] == 1
    del ref, array
    freed()


def test_a_result_that_nobody_reads(ray, freed):
    @ray.remote
    def make(i):
        return np.ones(N, np.uint8)

    refs = [make.remote(i) for i in range(10)]
    ray.wait(refs, num_returns=10, timeout=T)
    del refs
    freed()


def test_a_result_whose_ref_is_dropped_before_it_is_there(ray, freed):
    @ray.remote
    def make():
        return np.ones(N, np.uint8)

    for _ in range(10):
        make.remote()
    poll(lambda: ray.available_resources().get("CPU") == 4)
    freed()


def test_several_results_of_one_call(ray, freed):
    @ray.remote(num_returns=3)
    def make():
        return [np.ones(N, np.uint8) for _ in range(3)]

    a, b, c = make.remote()
    ray.get([a, b, c], timeout=T)
    del a, c
    assert ray.get(b, timeout=T).sum() == N
    del b
    freed()


def test_arguments_by_value_and_by_ref(ray, freed):
    @ray.remote
    def total(x, y):
        return int(x.sum() + y.sum())

    ref = ray.put(big())
    assert ray.get(total.remote(big(), ref), timeout=T) == 2 * N
    assert ray.get(total.remote(ref, y=big()), timeout=T) == 2 * N
    del ref
    freed()


def test_a_ref_dropped_by_its_executor(ray, freed):
    @ray.remote
    def inside():
        ref = ray.put(np.ones(N, np.uint8))
        return int(ray.get(ref).sum())

    assert ray.get(inside.remote(), timeout=T) == N
    freed()


def test_a_ref_inside_an_object(ray, freed):
    inner = ray.put(big())
    outer = ray.put({"ref": inner, "more": big()})
    del inner
    assert ray.get(ray.get(outer)["ref"]).sum() == N
    del outer
    freed()


def test_refs_nested_three_deep(ray, freed):
    ref = ray.put(big())
    for _ in range(3):
        ref = ray.put([ref, big()])
    value = ray.get(ref)
    for _ in range(2):
        value = ray.get(value[0])
    assert ray.get(value[0]).sum() == N
    del ref, value
    freed()


def test_a_ref_returned_by_a_task(ray, freed):
    @ray.remote
    def make():
        return [ray.put(np.ones(N, np.uint8))]

    outer = make.remote()
    (inner,) = ray.get(outer, timeout=T)
    del outer
    assert ray.get(inner, timeout=T).sum() == N
    del inner
    freed()


def test_a_ref_kept_by_an_actor_until_it_is_told_to_drop_it(ray, freed):
    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        def total(self):
            return int(ray.get(self.refs[0]).sum())

        def drop(self):
            self.refs = None

    keeper = Keeper.remote()
    ref = ray.put(big())
    ray.get(keeper.keep.remote([ref]), timeout=T)
    del ref
    assert ray.get(keeper.total.remote(), timeout=T) == N
    ray.get(keeper.drop.remote(), timeout=T)
    freed()


def test_a_ref_kept_by_an_actor_that_is_killed(ray, freed):
    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, refs):
            self.refs = refs
            self.own = ray.put(np.ones(N, np.uint8))

    keeper = Keeper.remote()
    ref = ray.put(big())
    ray.get(keeper.keep.remote([ref]), timeout=T)
    del ref
    ray.kill(keeper)
    freed()


def test_arguments_of_an_actor_constructor(ray, freed):
    @ray.remote(num_cpus=0)
    class Sized:
        def __init__(self, a, b):
            self.size = a.size + b.size

        def get(self):
            return self.size

    ref = ray.put(big())
    actor = Sized.remote(ref, big())
    del ref
    assert ray.get(actor.get.remote(), timeout=T) == 2 * N
    del actor
    freed()


@pytest.mark.parametrize("kind", ["plain", "threaded", "async"])
def test_an_actor_method_that_raises(ray, freed, kind):
    """A traceback refers to the frames, and these to the arguments: it must not outlive the call."""
    if kind == "async":

        @ray.remote(num_cpus=0)
        class Failing:
            async def fail(self, array):
                raise ValueError(array.size)
    else:

        @ray.remote(num_cpus=0, max_concurrency=4 if kind == "threaded" else 1)
        class Failing:
            def __init__(self):
                import gc

                gc.disable()

            def fail(self, array):
                raise ValueError(array.size)

    actor = Failing.remote()
    for _ in range(3):
        ref = actor.fail.remote(big())
        with pytest.raises(ValueError, match=str(N)):
            ray.get(ref, timeout=T)
        del ref
        inside = ray.put([ray.put(big())])
        with contextlib.suppress(AttributeError, ValueError):
            ray.get(actor.fail.remote(inside), timeout=T)
        del inside
    freed()


def test_a_task_that_raises(ray, freed):
    @ray.remote
    def fail(array):
        local = ray.put(np.ones(N, np.uint8))
        raise ValueError(array.size, len([local]))

    ref = fail.remote(big())
    try:
        ray.get(ref, timeout=T)
    except ValueError as error:
        assert error.cause.args == (N, 1)
    del ref
    freed()


def test_the_error_of_a_call_does_not_keep_the_frames_that_saw_it(ray, freed):
    @ray.remote(max_retries=0)
    def die():
        os._exit(1)

    def look():
        held = ray.put(big())
        ref = die.remote()
        try:
            ray.get(ref, timeout=T)
        except ray.exceptions.WorkerCrashedError:
            pass
        assert held is not None

    look()
    freed()


def test_a_ref_inside_an_exception(ray, freed):
    class Carries(Exception):
        def __init__(self, refs):
            super().__init__(refs)
            self.refs = refs

    @ray.remote
    def fail():
        raise Carries([ray.put(np.ones(N, np.uint8))])

    try:
        ray.get(fail.remote(), timeout=T)
    except Carries as error:
        assert ray.get(error.refs[0], timeout=T).sum() == N
    else:
        pytest.fail("nothing was raised")
    freed()


def test_an_array_inside_an_exception(ray, freed):
    class Carries(Exception):
        pass

    @ray.remote
    def fail(n):
        raise Carries(np.arange(n))

    for n in (3, 100_000):
        with pytest.raises(Carries) as caught:
            ray.get(fail.remote(n), timeout=T)
        assert caught.value.cause.args[0].sum() == n * (n - 1) // 2
        del caught
    freed()


def test_a_captured_array_and_a_captured_ref(ray, freed):
    array = np.ones(1000)
    ref = ray.put([1, 2])

    @ray.remote
    def total():
        return array.sum() + sum(ray.get(ref))

    assert ray.get(total.remote(), timeout=T) == 1003


def test_a_lambda_with_a_ref_as_argument(ray, freed):
    ref = ray.put(big())

    @ray.remote
    def call(f):
        return int(f().sum())

    assert ray.get(call.remote(lambda: ray.get(ref)), timeout=T) == N
    ref = None
    freed()


def test_cancelled_calls_let_go_of_their_arguments(ray, freed):
    @ray.remote
    def wait(array):
        import time

        time.sleep(20)

    refs = [wait.remote(big()) for _ in range(8)]
    for ref in refs:
        ray.cancel(ref)
    for ref in refs:
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref, timeout=T)
    del refs, ref
    freed()


def test_a_ref_passed_along_a_chain_of_tasks(ray, freed):
    @ray.remote
    def forward(refs, levels):
        if levels:
            return ray.get(forward.remote(refs, levels - 1), timeout=T)
        return int(ray.get(refs[0]).sum())

    assert ray.get(forward.remote([ray.put(big())], 4), timeout=T) == N
    freed()


def test_a_hundred_thousand_puts_grow_nothing(ray, freed):
    array, small = big(), {"a": [1, 2, 3]}
    me = psutil.Process()
    node = psutil.Process(node_pid())
    for _ in range(500):
        ray.put(array)
        ray.put(small)
    before, descriptors = me.memory_info().rss, (me.num_fds(), node.num_fds())
    for i in range(50_000):
        refs = [ray.put(array), ray.put(small)]
        if i % 1000 == 0:
            assert len(objects()) <= 8  # segments kept for reuse
    del refs
    assert me.memory_info().rss - before < 20 << 20
    assert me.num_fds() <= descriptors[0] + 5
    assert node.num_fds() <= descriptors[1] + 5
    freed()


def resident() -> dict[int, int]:
    """Bytes of memory of each executor; those beyond what is kept may end meanwhile."""
    found = {}
    for pid in executor_pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            found[pid] = psutil.Process(pid).memory_info().rss
    return found


def test_thousands_of_results_grow_nothing(ray, freed):
    @ray.remote
    def make(i):
        return np.full(N, i % 256, np.uint8)

    ray.get([make.remote(i) for i in range(200)], timeout=T)
    before = resident()
    for start in range(0, 2000, 100):
        values = ray.get([make.remote(i) for i in range(start, start + 100)], timeout=T)
        assert [v[0] for v in values] == [i % 256 for i in range(start, start + 100)]
    del values
    grown = {pid: nbytes - before[pid] for pid, nbytes in resident().items() if pid in before}
    assert max(grown.values(), default=0) < 150 << 20, grown  # segments kept for reuse count as resident
    freed()


def test_a_ref_inside_the_exception_of_a_constructor(ray, freed):
    class Carries(Exception):
        def __init__(self, refs):
            super().__init__(refs)
            self.refs = refs

    @ray.remote
    class Fails:
        def __init__(self, refs):
            raise Carries(refs)

        def f(self):
            return 1

    ref = ray.put(np.ones(N, np.uint8))
    actor = Fails.remote([ref])
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.f.remote(), timeout=T)
    assert ray.get(ref, timeout=T).sum() == N
    del ref, actor
    freed()


def test_memory_of_large_arguments_is_used_again(ray, freed):
    """And is not, while the executor still looks at it."""

    @ray.remote(num_cpus=0)
    class Keeper:
        def __init__(self):
            self.kept = []

        def total(self, array):
            return int(array.sum())

        def keep(self, array):
            self.kept.append(array)

        def totals(self):
            return [int(array.sum()) for array in self.kept]

        def fail(self, array):
            raise ValueError("no")

    keeper = Keeper.remote()
    for i in range(10):
        assert ray.get(keeper.total.remote(np.full(N, i, np.uint8)), timeout=T) == N * i
    assert len(objects()) <= 3, "segments pile up"
    for i in range(10):
        ray.get(keeper.keep.remote(np.full(N, i, np.uint8)), timeout=T)
        with pytest.raises(ValueError, match="no"):
            ray.get(keeper.fail.remote(np.full(N, 99, np.uint8)), timeout=T)
        ray.put(np.full(N, 77, np.uint8))
    assert ray.get(keeper.totals.remote(), timeout=T) == [N * i for i in range(10)]
    del keeper
    freed()
