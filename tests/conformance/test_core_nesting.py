"""Tasks that start tasks: waiting parents lend their CPU, references and handles travel."""

import os

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_nesting_deeper_than_there_are_cpus():
    @ray.remote
    def down(n):
        return 0 if n == 0 else 1 + ray.get(down.remote(n - 1))

    assert ray.get(down.remote(7)) == 7


def test_more_waiting_parents_than_cpus():
    @ray.remote
    def leaf(i):
        return i

    @ray.remote
    def parent(i):
        return sum(ray.get([leaf.remote(10 * i + j) for j in range(3)]))

    expected = [sum(10 * i + j for j in range(3)) for i in range(8)]
    assert ray.get([parent.remote(i) for i in range(8)]) == expected


def test_a_tree_of_tasks():
    @ray.remote
    def leaves(depth):
        if depth == 0:
            return 1
        return sum(ray.get([leaves.remote(depth - 1) for _ in range(2)]))

    assert ray.get(leaves.remote(3)) == 8


def test_a_parent_that_waits_lends_its_cpu():
    @ray.remote
    def leaf():
        return os.getpid()

    @ray.remote
    def parent():
        refs = [leaf.remote() for _ in range(2)]
        ready, _ = ray.wait(refs, num_returns=2)
        return len(ready), os.getpid() not in ray.get(refs)

    assert ray.get([parent.remote() for _ in range(6)]) == [(2, True)] * 6


def test_a_task_may_return_the_reference_of_its_child():
    @ray.remote
    def child():
        return "from the child"

    @ray.remote
    def parent():
        return child.remote()

    inner = ray.get(parent.remote())
    assert isinstance(inner, ray.ObjectRef)
    assert ray.get(inner) == "from the child"


def test_a_chain_handed_down_by_reference():
    @ray.remote
    def add_one(refs):
        return ray.get(refs[0]) + 1

    ref = ray.put(0)
    for _ in range(6):
        ref = add_one.remote([ref])
    assert ray.get(ref) == 6


def test_a_task_uses_an_actor_it_was_given():
    @ray.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    @ray.remote
    def use(counter, times):
        for _ in range(times):
            ray.get(counter.add.remote())

    counter = Counter.remote()
    ray.get([use.remote(counter, 5) for _ in range(3)])
    assert ray.get(counter.add.remote()) == 16


def test_a_task_creates_an_actor_and_returns_its_handle():
    @ray.remote
    class Keeper:
        def __init__(self, value):
            self.value = value

        def read(self):
            return self.value

    @ray.remote
    def make():
        keeper = Keeper.remote("kept")
        ray.get(keeper.read.remote())
        return keeper

    keeper = ray.get(make.remote())
    assert ray.get(keeper.read.remote()) == "kept"


def test_an_actor_starts_tasks_and_calls_actors():
    @ray.remote
    def square(x):
        return x * x

    @ray.remote
    class Inner:
        def plus(self, x):
            return x + 1

    @ray.remote
    class Outer:
        def __init__(self):
            self.inner = Inner.remote()

        def run(self, x):
            return ray.get(self.inner.plus.remote(square.remote(x)))

    outer = Outer.remote()
    assert ray.get([outer.run.remote(i) for i in range(4)]) == [1, 2, 5, 10]


def test_an_error_passes_through_every_level():
    @ray.remote
    def fail():
        raise LookupError("at the bottom")

    @ray.remote
    def middle():
        return ray.get(fail.remote())

    @ray.remote
    def top():
        return ray.get(middle.remote())

    with pytest.raises(LookupError, match="at the bottom"):
        ray.get(top.remote())


def test_put_inside_a_task_is_readable_by_the_driver():
    @ray.remote
    def store():
        return [ray.put(b"x" * 500_000), ray.put("small")]

    large, small = ray.get(ray.get(store.remote()))
    assert len(large) == 500_000
    assert small == "small"
