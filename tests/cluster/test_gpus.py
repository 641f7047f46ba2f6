"""Declared GPUs: which one a task sees, and how they are shared."""

from __future__ import annotations

import inspect
import itertools
import threading

import pytest
from support.clusters import T, poll


@pytest.fixture(scope="module")
def ray_cluster():
    """A cluster with two GPUs that are only declared."""
    import rayjup

    rayjup.init(num_cpus=4, num_gpus=2)
    yield rayjup
    rayjup.shutdown()


def seen_gpus():
    import os

    import rayjup

    context = rayjup.get_runtime_context()
    return os.environ.get("CUDA_VISIBLE_DEVICES"), rayjup.get_gpu_ids(), context.get_accelerator_ids()["GPU"]


def where(ray):
    """The function above, by value."""
    namespace = {"__name__": "__main__"}
    exec(inspect.getsource(seen_gpus), namespace)
    return ray.remote(namespace["seen_gpus"])


def test_a_task_sees_its_gpu_and_no_other(ray):
    see = where(ray)
    visible, ids, accelerators = ray.get(see.options(num_gpus=1).remote(), timeout=T)
    assert visible in ("0", "1") and ids == [int(visible)] and accelerators == [visible]


def test_two_gpus_at_once(ray):
    visible, ids, _ = ray.get(where(ray).options(num_gpus=2).remote(), timeout=T)
    assert sorted(visible.split(",")) == ["0", "1"] and sorted(ids) == [0, 1]


def test_a_task_without_gpus_gets_none(ray):
    _, ids, accelerators = ray.get(where(ray).remote(), timeout=T)
    assert ids == [] and accelerators == []


def test_gpus_are_exclusive(ray):
    @ray.remote(num_gpus=1)
    class Holder:
        def gpu(self):
            return ray.get_gpu_ids()

    holders = [Holder.remote() for _ in range(2)]
    assert sorted(itertools.chain(*ray.get([h.gpu.remote() for h in holders], timeout=T))) == [0, 1]
    assert "GPU" not in ray.available_resources()
    third = where(ray).options(num_gpus=1).remote()
    assert ray.wait([third], timeout=0.3)[0] == []
    del holders
    assert ray.get(third, timeout=T)[1] in ([0], [1])
    poll(lambda: ray.available_resources().get("GPU") == 2)


def test_fractions_share_a_gpu(ray):
    @ray.remote(num_gpus=0.5, num_cpus=0)
    class Half:
        def gpu(self):
            return ray.get_gpu_ids()

    halves = [Half.remote() for _ in range(4)]
    ids = sorted(itertools.chain(*ray.get([h.gpu.remote() for h in halves], timeout=T)))
    assert ids == [0, 0, 1, 1]
    del halves
    poll(lambda: ray.available_resources().get("GPU") == 2)


def test_fractions_that_do_not_fit_on_one_gpu_wait(ray):
    """0.6 + 0.6 + 0.6 of two GPUs: in sum there would be room, on no single GPU there is."""

    @ray.remote(num_gpus=0.6, num_cpus=0)
    class Part:
        def gpu(self):
            return ray.get_gpu_ids()

    two = [Part.remote() for _ in range(2)]
    assert sorted(itertools.chain(*ray.get([p.gpu.remote() for p in two], timeout=T))) == [0, 1]
    third = Part.remote()
    answer = third.gpu.remote()
    assert ray.wait([answer], timeout=0.3)[0] == []
    del two
    assert len(ray.get(answer, timeout=T)) == 1


def test_threads_of_a_driver_share_the_supply(ray):
    see = where(ray).options(num_gpus=1)
    results = []

    def use():
        for _ in range(10):
            results.append(ray.get(see.remote(), timeout=T)[1])

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40 and all(r in ([0], [1]) for r in results)
