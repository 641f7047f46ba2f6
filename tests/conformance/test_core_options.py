"""Options and shapes of tasks and actors that other files of this folder do not cover."""

import asyncio
import threading
import time

import pytest
import ray
from ray.util import ActorPool, as_completed, map_unordered

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_variadic_and_keyword_only_arguments():
    @ray.remote
    def task(a, *rest, b, c=3, **others):
        return a, rest, b, c, others

    assert ray.get(task.remote(1, 2, 3, b=4, d=5)) == (1, (2, 3), 4, 3, {"d": 5})
    assert ray.get(task.remote(a=1, b=ray.put(2))) == (1, (), 2, 3, {})
    with pytest.raises(TypeError, match="b"):
        task.remote(1)


def test_a_chain_of_ten_thousand():
    @ray.remote
    def next_(x):
        return x + 1

    ref = 0
    for _ in range(10_000):
        ref = next_.remote(ref)
    assert ray.get(ref, timeout=50) == 10_000


def test_a_thousand_results_into_one_call():
    @ray.remote
    def one(i):
        return i

    @ray.remote
    def total(*values):
        return sum(values)

    assert ray.get(total.remote(*[one.remote(i) for i in range(1000)]), timeout=50) == sum(range(1000))


def test_the_name_of_a_call():
    @ray.remote(name="by decorator")
    def task():
        return ray.get_runtime_context().get_task_name()

    assert ray.get(task.remote()) == "by decorator"
    assert ray.get(task.options(name="by options").remote()) == "by options"


def test_memory_is_an_amount_like_others(gate):
    total = ray.cluster_resources()["memory"]

    @ray.remote(num_cpus=0)
    def held():
        gate.wait()

    first = held.options(memory=int(total * 0.7)).remote()
    second = held.options(memory=int(total * 0.7)).remote()
    assert ray.wait([first, second], num_returns=2, timeout=0.5)[0] == []
    gate.open()
    ray.get([first, second], timeout=30)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_cpus": -1},
        {"num_gpus": -1},
        {"num_gpus": 1.5},
        {"memory": -1},
        {"resources": {"CPU": 1}},
        {"resources": {"GPU": 1}},
        {"resources": {"x": -1}},
        {"num_returns": -1},
        {"max_retries": -2},
        {"scheduling_strategy": "EVERYWHERE"},
        {"placement_group_bundle_index": 3},
        {"label_selector": {"a": "!!"}},
        {"nothing": 1},
    ],
)
def test_wrong_values_are_refused_at_once(wrong):
    @ray.remote
    def task():
        pass

    with pytest.raises((ValueError, TypeError)):
        task.options(**wrong).remote()


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_cpus": -1},
        {"max_restarts": -2},
        {"max_concurrency": -1},
        {"max_pending_calls": -2},
        {"lifetime": "for ever"},
        {"get_if_exists": True},
        {"scheduling_strategy": "EVERYWHERE"},
        {"nothing": 1},
    ],
)
def test_wrong_values_for_actors_are_refused_at_once(wrong):
    @ray.remote
    class Actor:
        pass

    with pytest.raises((ValueError, TypeError)):
        Actor.options(**wrong).remote()


def test_as_completed_and_map_unordered(gate):
    @ray.remote(num_cpus=0)
    def task(i):
        if i == 0:
            gate.wait()
        return i

    seen = []
    for value in as_completed([task.remote(i) for i in range(4)], chunk_size=1):
        seen.append(value)
        if len(seen) == 3:
            gate.open()
    assert sorted(seen) == [0, 1, 2, 3] and seen[-1] == 0
    assert sorted(map_unordered(task, [0, 1, 2])) == [0, 1, 2]


def test_pools_of_actors_in_the_order_of_completion():
    @ray.remote(num_cpus=0)
    class Worker:
        def double(self, x):
            return 2 * x

    pool = ActorPool([Worker.remote() for _ in range(2)])
    assert sorted(pool.map_unordered(lambda w, x: w.double.remote(x), range(6))) == [0, 2, 4, 6, 8, 10]


# -- drivers with threads and loops


def test_many_threads_of_a_driver():
    @ray.remote(num_cpus=0.1)
    def task(i):
        return i

    @ray.remote(num_cpus=0)
    class Actor:
        def f(self, i):
            return i

    actor = Actor.remote()
    wrong = []

    def work(k):
        got = ray.get([task.remote(k + i) for i in range(20)] + [actor.f.remote(k + i) for i in range(20)])
        if got != [k + i for i in range(20)] * 2:
            wrong.append(got)

    threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not any(thread.is_alive() for thread in threads) and not wrong


def test_loops_of_a_driver():
    @ray.remote(num_cpus=0)
    def task(i):
        if i < 0:
            raise ValueError("below zero")
        return i

    async def main():
        assert await task.remote(1) == 1
        assert await asyncio.gather(*[task.remote(i) for i in range(10)]) == list(range(10))
        futures = [asyncio.wrap_future(task.remote(i).future()) for i in range(5)]
        done, pending = await asyncio.wait(futures)
        assert not pending and sorted(f.result() for f in done) == list(range(5))
        values = [await f for f in asyncio.as_completed([task.remote(i).as_future() for i in range(5)])]
        assert sorted(values) == list(range(5))
        results = await asyncio.gather(task.remote(-1), task.remote(2), return_exceptions=True)
        assert isinstance(results[0], ValueError) and results[1] == 2
        return await asyncio.wait_for(task.remote(7).as_future(), 20)

    assert asyncio.run(main()) == 7


# -- actors


def test_the_special_methods_of_every_actor():
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            self.n = 3

    actor = Actor.remote()
    ray.get(actor.__ray_ready__.remote(), timeout=30)
    assert ray.get(actor.__ray_call__.remote(lambda self, by: self.n * by, 2), timeout=30) == 6
    actor.__ray_terminate__.remote()
    with pytest.raises(ray.exceptions.RayActorError):
        for _ in range(1000):
            ray.get(actor.__ray_ready__.remote(), timeout=30)
            time.sleep(0.01)


def test_more_actors_than_cpus():
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self, i):
            self.i = i

        def read(self):
            return self.i

    count = 12
    actors = [Actor.remote(i) for i in range(count)]
    assert ray.get([a.read.remote() for a in actors], timeout=55) == list(range(count))


def test_what_no_node_has_is_waited_for():
    @ray.remote(resources={"no such thing": 1})
    def task():
        return 1

    @ray.remote(num_cpus=10_000)
    class Actor:
        def f(self):
            return 1

    refs = [task.remote(), Actor.remote().f.remote()]
    assert ray.wait(refs, timeout=0.5)[0] == []
    ray.cancel(refs[0])


def test_a_restarted_actor_that_was_killed_with_restart(tmp_path, eventually):
    @ray.remote(max_restarts=1, max_task_retries=-1, num_cpus=0)
    class Actor:
        def __init__(self):
            with open(tmp_path / "starts", "a") as file:
                file.write(".")

        def f(self):
            return (tmp_path / "starts").read_text()

    actor = Actor.remote()
    assert ray.get(actor.f.remote(), timeout=30) == "."
    ray.kill(actor, no_restart=False)
    eventually(lambda: ray.get(actor.f.remote(), timeout=30) == "..", timeout_s=60)
    ray.kill(actor)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.f.remote(), timeout=30)
    ray.kill(actor)  # of a dead one: nothing happens
