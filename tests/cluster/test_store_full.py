"""A small object store without a disk: what does not fit is an error, what is freed can be used again."""

from __future__ import annotations

import numpy as np
import pytest
from support.clusters import T, check_freed, poll

MB = 1 << 20


@pytest.fixture(scope="module")
def ray_cluster():
    """Four CPUs and an object store of 50 MB that doesn't spill."""
    import rayjup

    rayjup.init(
        num_cpus=4,
        object_store_memory=50 * MB,
        _system_config={"automatic_object_spilling_enabled": False},
    )
    yield rayjup
    rayjup.shutdown()


def array(megabytes: int) -> np.ndarray:
    return np.ones(megabytes * MB, np.uint8)


def test_more_than_the_store_holds(ray):
    with pytest.raises(ray.exceptions.ObjectStoreFullError) as caught:
        ray.put(array(60))
    text = str(caught.value)
    assert "object store" in text and "Drop references" in text and "object_store_memory" in text
    assert len(ray.get(ray.put(array(40)))) == 40 * MB


def test_put_until_full_and_recover(ray):
    for _ in range(3):
        refs = []
        with pytest.raises(ray.exceptions.ObjectStoreFullError):
            for _ in range(100):
                refs.append(ray.put(array(4)))
        assert 9 <= len(refs) <= 12, "a store of 50 MB takes about twelve objects of 4 MB"
        assert all(ray.get(ref)[0] == 1 for ref in refs)
        del refs
    check_freed()


def test_room_freed_by_one_process_is_there_for_others(ray):
    @ray.remote
    def make(n):
        return np.ones(n, np.uint8)

    @ray.remote
    def put_and_drop(n):
        return int(ray.get(ray.put(np.ones(n, np.uint8))).sum())

    for _ in range(4):
        kept = ray.put(array(40))
        del kept
        assert ray.get(put_and_drop.remote(40 * MB), timeout=T) == 40 * MB
        assert len(ray.get(make.remote(40 * MB), timeout=T)) == 40 * MB
    check_freed()


def test_results_that_do_not_fit_are_the_error_of_the_call(ray):
    @ray.remote
    def make(n):
        return np.ones(n, np.uint8)

    kept = ray.put(array(30))
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.get(make.remote(40 * MB), timeout=T)
    del kept
    assert len(ray.get(make.remote(40 * MB), timeout=T)) == 40 * MB


def test_arguments_that_do_not_fit_are_refused_at_once(ray):
    @ray.remote
    def size(x):
        return x.size

    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        size.remote(array(60))
    assert ray.get(size.remote(array(20)), timeout=T) == 20 * MB


def test_executors_that_are_killed_lose_no_room(ray):
    @ray.remote(max_retries=0)
    def make_and_die():
        import os

        refs = [ray.put(np.ones(10 * MB, np.uint8)) for _ in range(3)]
        os._exit(len(refs))

    for _ in range(3):
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(make_and_die.remote(), timeout=T)

    def fits():
        try:
            return ray.put(array(45))
        except ray.exceptions.ObjectStoreFullError:
            return False

    poll(fits, 20.0)
    check_freed()


def test_what_is_used_is_what_is_reported(ray):
    ref = ray.put(array(20))

    def used():
        from rayjup.core import session

        (node,) = session.current().runtime.link.request("snapshot")["nodes"]
        return node["store_used"], node["store_capacity"]

    poll(lambda: 20 * MB <= used()[0] <= used()[1] == 50 * MB, 20.0)
    del ref
