"""wait: which references are ready."""

import time

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def held(gate):
    """A task that is not ready before the gate opens."""

    @ray.remote(num_cpus=0)
    def task(wait):
        wait()
        return "held"

    yield lambda: task.remote(gate.wait)
    gate.open()


@pytest.fixture
def quick():
    @ray.remote(num_cpus=0)
    def task(x=None):
        return x

    return task.remote


def test_wait_returns_one_ready_reference_and_the_others():
    refs = [ray.put(i) for i in range(3)]
    ready, rest = ray.wait(refs)
    assert (len(ready), len(rest)) == (1, 2)
    assert set(ready) | set(rest) == set(refs)
    assert isinstance(ready, list)
    assert isinstance(rest, list)


def test_wait_never_returns_more_ready_than_asked_for():
    refs = [ray.put(i) for i in range(5)]
    ready, rest = ray.wait(refs, num_returns=3)
    # Which three is not promised, but both lists are in the order of the call.
    assert len(ready) == 3
    assert ready == [r for r in refs if r in ready]
    assert rest == [r for r in refs if r not in ready]


def test_order_is_kept_on_both_sides(held, quick):
    slow1, slow2 = held(), held()
    fast = [quick(i) for i in range(3)]
    ray.get(fast)
    refs = [fast[0], slow1, fast[1], slow2, fast[2]]
    ready, rest = ray.wait(refs, num_returns=3, timeout=60)
    assert ready == fast
    assert rest == [slow1, slow2]


def test_wait_returns_when_the_first_is_ready(held, quick):
    slow = held()
    fast = quick(1)
    ready, rest = ray.wait([slow, fast], timeout=60)
    assert (ready, rest) == ([fast], [slow])


def test_timeout_returns_what_is_ready(held, quick):
    fast = quick()
    ray.get(fast)
    slow = held()
    start = time.monotonic()
    ready, rest = ray.wait([slow, fast], num_returns=2, timeout=0.1)
    assert 0.05 < time.monotonic() - start < 30
    assert (ready, rest) == ([fast], [slow])


def test_timeout_zero_only_looks(held):
    slow = held()
    start = time.monotonic()
    assert ray.wait([slow], timeout=0) == ([], [slow])
    assert time.monotonic() - start < 30


def test_a_failed_task_is_ready():
    @ray.remote
    def fail():
        raise ValueError("no")

    ref = fail.remote()
    assert ray.wait([ref], timeout=60) == ([ref], [])
    with pytest.raises(ValueError):
        ray.get(ref)


def test_work_is_taken_as_it_is_finished(quick):
    waiting = [quick(i) for i in range(100)]
    seen = []
    while waiting:
        ready, waiting = ray.wait(waiting)
        seen += ray.get(ready)
    assert sorted(seen) == list(range(100))


def test_wait_without_fetching(quick):
    ref = quick(1)
    assert ray.wait([ref], fetch_local=False, timeout=60) == ([ref], [])


def test_an_object_that_is_gone_through_a_task_counts(quick):
    refs = [ray.put(1), quick(2)]
    ready, rest = ray.wait(refs, num_returns=2, timeout=60)
    assert (ready, rest) == (refs, [])


def test_wrong_calls_are_refused():
    ref = ray.put(1)
    with pytest.raises(TypeError):
        ray.wait(ref)
    with pytest.raises(TypeError):
        ray.wait([1])
    with pytest.raises(ValueError):
        ray.wait([ref, ref])
    with pytest.raises(ValueError):
        ray.wait([ref], num_returns=0)
    with pytest.raises(ValueError):
        ray.wait([ref], num_returns=2)
    with pytest.raises(ValueError):
        ray.wait([ref], timeout=-1)


def test_nothing_to_wait_for_is_quickly_answered():
    assert ray.wait([]) == ([], [])
