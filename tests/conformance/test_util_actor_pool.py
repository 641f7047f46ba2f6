"""ActorPool, as_completed and map_unordered."""

import pytest


def make_pool(ray, actors=2):
    @ray.remote(num_cpus=0)
    class Worker:
        def double(self, x):
            return 2 * x

        def wait_if(self, wait, x):
            if x == 0:
                wait()
            return x

        def fail(self, x):
            raise KeyError(x)

    handles = [Worker.remote() for _ in range(actors)]
    return ray.util.ActorPool(handles), handles


def test_map_keeps_the_order(ray_cluster):
    pool, _ = make_pool(ray_cluster)
    assert list(pool.map(lambda a, x: a.double.remote(x), range(7))) == [0, 2, 4, 6, 8, 10, 12]
    assert not pool.has_next()


def test_map_unordered_gives_what_is_ready_first(ray_cluster, gate):
    pool, _ = make_pool(ray_cluster)
    wait = gate.wait
    results = pool.map_unordered(lambda a, x: a.wait_if.remote(wait, x), range(4))
    first = [next(results) for _ in range(3)]
    gate.open()
    assert sorted(first) == [1, 2, 3]
    assert list(results) == [0]


def test_submit_and_get_next(ray_cluster):
    pool, _ = make_pool(ray_cluster)
    for x in range(5):
        pool.submit(lambda a, x: a.double.remote(x), x)
    assert [pool.get_next() for _ in range(5)] == [0, 2, 4, 6, 8]
    with pytest.raises(StopIteration):
        pool.get_next()


def test_get_next_unordered_takes_each_once(ray_cluster):
    pool, _ = make_pool(ray_cluster)
    for x in range(5):
        pool.submit(lambda a, x: a.double.remote(x), x)
    got = []
    while pool.has_next():
        got.append(pool.get_next_unordered())
    assert sorted(got) == [0, 2, 4, 6, 8]


def test_a_late_result_is_a_timeout_and_can_be_ignored(ray_cluster, gate):
    pool, _ = make_pool(ray_cluster, actors=1)
    wait = gate.wait
    pool.submit(lambda a, x: a.wait_if.remote(wait, x), 0)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05)
    assert pool.has_next()
    with pytest.raises(TimeoutError, match="ignored"):
        pool.get_next(timeout=0.05, ignore_if_timedout=True)
    assert not pool.has_next()
    gate.open()


def test_errors_come_out_where_results_are_taken(ray_cluster):
    pool, _ = make_pool(ray_cluster)
    pool.submit(lambda a, x: a.fail.remote(x), 1)
    with pytest.raises(KeyError):
        pool.get_next()
    pool.submit(lambda a, x: a.double.remote(x), 4)
    assert pool.get_next() == 8


def test_idle_actors_can_be_taken_out_and_put_back(ray_cluster, gate):
    pool, handles = make_pool(ray_cluster, actors=1)
    assert pool.has_free()
    actor = pool.pop_idle()
    assert actor == handles[0]
    assert pool.pop_idle() is None
    pool.push(actor)
    with pytest.raises(ValueError, match="already belongs"):
        pool.push(actor)
    wait = gate.wait
    pool.submit(lambda a, x: a.wait_if.remote(wait, x), 0)
    assert not pool.has_free()
    gate.open()
    assert pool.get_next() == 0


def test_map_forgets_results_nobody_took(ray_cluster):
    pool, _ = make_pool(ray_cluster)
    pool.submit(lambda a, x: a.double.remote(x), 100)
    assert list(pool.map(lambda a, x: a.double.remote(x), [1, 2])) == [2, 4]


def test_as_completed_gives_values_or_refs(ray_cluster):
    ray = ray_cluster
    refs = [ray.put(n) for n in range(12)]
    assert sorted(ray.util.as_completed(refs, chunk_size=5)) == list(range(12))
    assert set(ray.util.as_completed(refs, yield_obj_refs=True)) == set(refs)
    assert list(ray.util.as_completed([])) == []


def test_as_completed_gives_what_is_ready_first(ray_cluster, gate):
    ray = ray_cluster
    wait = gate.wait

    @ray.remote
    def slow():
        wait()
        return "slow"

    late, soon = slow.remote(), ray.put("soon")
    results = ray.util.as_completed([late, soon], chunk_size=1)
    assert next(results) == "soon"
    gate.open()
    assert next(results) == "slow"


def test_map_unordered_applies_a_remote_function(ray_cluster):
    ray = ray_cluster

    @ray.remote
    def square(x):
        return x * x

    assert sorted(ray.util.map_unordered(square, range(30), chunk_size=4)) == [x * x for x in range(30)]
    assert list(ray.util.map_unordered(square, [])) == []


def test_map_unordered_takes_items_only_as_it_goes(ray_cluster):
    ray = ray_cluster
    taken = []

    @ray.remote
    def same(x):
        return x

    def items():
        for n in range(100):
            taken.append(n)
            yield n

    results = ray.util.map_unordered(same, items(), backpressure_size=3, chunk_size=1)
    next(results)
    assert len(taken) <= 4
    assert len(list(results)) == 99
