"""multiprocessing.Pool over the cluster."""

import os
import time

import pytest


@pytest.fixture
def pool(ray_cluster):
    from ray.util.multiprocessing import Pool

    with Pool(2) as pool:
        yield pool


def test_map_and_starmap_keep_the_order(pool):
    assert pool.map(lambda x: x * x, range(10)) == [x * x for x in range(10)]
    assert pool.map(abs, [-1, 2], chunksize=1) == [1, 2]
    assert pool.map(abs, []) == []
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]


def test_apply(pool):
    assert pool.apply(divmod, (7, 2)) == (3, 1)
    assert pool.apply(lambda a, b=0: a - b, (5,), {"b": 2}) == 3


def test_imap_is_ordered_and_lazy(pool):
    taken = []

    def items():
        for n in range(1000):
            taken.append(n)
            yield n

    results = pool.imap(lambda x: x + 1, items(), chunksize=2)
    assert [next(results) for _ in range(4)] == [1, 2, 3, 4]
    assert len(taken) < 100
    assert list(pool.imap(abs, range(7), chunksize=3)) == list(range(7))


def test_imap_unordered_gives_what_is_ready_first(pool, gate):
    wait = gate.wait

    def work(x):
        if x == 0:
            wait()
        return x

    results = pool.imap_unordered(work, [0, 1])
    assert next(results) == 1
    gate.open()
    assert next(results) == 0
    with pytest.raises(StopIteration):
        next(results)


def test_imap_next_with_a_timeout(pool, gate):
    from ray.util.multiprocessing import TimeoutError

    wait = gate.wait
    results = pool.imap(lambda x: wait(), [1])
    with pytest.raises(TimeoutError):
        results.next(timeout=0.05)
    gate.open()
    assert results.next(timeout=60) is None


def test_async_results(pool, gate):
    from ray.util.multiprocessing import TimeoutError

    wait = gate.wait
    result = pool.apply_async(wait)
    assert not result.ready()
    with pytest.raises(ValueError):
        result.successful()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)
    gate.open()
    result.wait(60)
    assert result.ready() and result.successful()
    assert result.get() is None
    assert pool.map_async(abs, [-1, -2]).get(timeout=60) == [1, 2]
    assert pool.starmap_async(pow, [(2, 2)]).get(timeout=60) == [4]


def test_errors_are_raised_as_they_were(pool):
    def fail(x):
        raise KeyError(x)

    with pytest.raises(KeyError):
        pool.apply(fail, (1,))
    with pytest.raises(KeyError):
        pool.map(fail, [1, 2])
    result = pool.apply_async(fail, (1,))
    result.wait(60)
    assert not result.successful()


def test_callbacks_get_results_and_errors(pool, eventually):
    results, errors = [], []
    pool.apply_async(abs, (-3,), callback=results.append, error_callback=errors.append)
    eventually(lambda: results == [3])
    pool.map_async(abs, [-1, 2], callback=results.append)
    eventually(lambda: results[1:] == [[1, 2]])
    pool.apply_async(lambda: 1 / 0, callback=results.append, error_callback=errors.append)
    eventually(lambda: len(errors) == 1)
    assert isinstance(errors[0], Exception)
    assert len(results) == 2


def test_the_initializer_runs_in_each_process(ray_cluster):
    from ray.util.multiprocessing import Pool

    def set_up(value):
        os.environ["POOL_TEST"] = value

    with Pool(2, initializer=set_up, initargs=("there",)) as pool:
        assert pool.map(lambda _: os.environ["POOL_TEST"], range(4)) == ["there"] * 4


def test_processes_are_replaced_after_their_batches(ray_cluster):
    from ray.util.multiprocessing import Pool

    with Pool(1, maxtasksperchild=1) as pool:
        pids = [pool.apply(os.getpid) for _ in range(3)]
    assert len(set(pids)) == 3


def test_both_processes_are_used(pool, tmp_path):
    def meet(i):
        (tmp_path / str(i)).touch()
        deadline = time.monotonic() + 60
        while not (tmp_path / str(1 - i)).exists():
            assert time.monotonic() < deadline, "the other one does not run at the same time"
            time.sleep(0.005)
        return os.getpid()

    assert len(set(pool.map(meet, range(2), chunksize=1))) == 2


def test_a_closed_pool_finishes_and_takes_nothing_new(ray_cluster, gate):
    from ray.util.multiprocessing import Pool

    wait = gate.wait
    pool = Pool(1)
    result = pool.apply_async(lambda: wait() or "done")
    with pytest.raises(ValueError):
        pool.join()
    pool.close()
    with pytest.raises(ValueError):
        pool.apply_async(abs, (1,))
    gate.open()
    pool.join()
    assert result.get(timeout=60) == "done"


def test_terminate_does_not_wait(ray_cluster, gate):
    from ray.util.multiprocessing import Pool

    wait = gate.wait
    pool = Pool(1)
    pool.apply_async(wait)
    began = time.monotonic()
    pool.terminate()
    with pytest.raises(ValueError):
        pool.map(abs, [1])
    pool.join()
    assert time.monotonic() - began < 60  # the call would have waited longer


def test_wrong_numbers_of_processes(ray_cluster):
    from ray.util.multiprocessing import Pool

    with pytest.raises(ValueError):
        Pool(0)
    with pytest.raises(ValueError, match="only 4 CPUs"):
        Pool(100)


def test_a_pool_inside_a_task(ray_cluster):
    ray = ray_cluster

    @ray.remote
    def work():
        from ray.util.multiprocessing import Pool

        with Pool(1) as pool:
            return pool.map(abs, [-1, -2])

    assert ray.get(work.remote()) == [1, 2]
