"""Dask collections on the cluster's tasks."""

import os

import pytest

dask = pytest.importorskip("dask")


def test_a_graph_of_tuples(ray_cluster):
    from ray.util.dask import ray_dask_get

    graph = {"a": 1, "b": (abs, -2), "c": (sum, ["a", "b"]), "d": "c"}
    assert ray_dask_get(graph, "c") == 3
    assert ray_dask_get(graph, [["c"], "d"]) == ((3,), 3)


def test_delayed_functions_run_as_tasks(ray_cluster):
    from ray.util.dask import ray_dask_get

    pid = dask.delayed(os.getpid)()
    assert pid.compute(scheduler=ray_dask_get) != os.getpid()
    total = dask.delayed(sum)([dask.delayed(abs)(-n) for n in range(20)])
    assert total.compute(scheduler=ray_dask_get) == 190


def test_collections(ray_cluster):
    from ray.util.dask import ray_dask_get

    array = pytest.importorskip("dask.array")
    assert (array.ones((30, 30), chunks=10) + 1).sum().compute(scheduler=ray_dask_get) == 1800


def test_errors_come_out(ray_cluster):
    from ray.util.dask import ray_dask_get

    with pytest.raises(ZeroDivisionError):
        dask.delayed(divmod)(1, 0).compute(scheduler=ray_dask_get)


@pytest.mark.filterwarnings("ignore:Dask configuration key:FutureWarning")
def test_enabling_for_all(ray_cluster):
    from ray.util.dask import disable_dask_on_ray, enable_dask_on_ray

    enable_dask_on_ray()
    try:
        assert dask.delayed(os.getpid)().compute() != os.getpid()
    finally:
        disable_dask_on_ray()
    with enable_dask_on_ray():
        assert dask.delayed(os.getpid)().compute() != os.getpid()
    assert dask.delayed(os.getpid)().compute(scheduler="sync") == os.getpid()


def test_persisted_collections_can_be_used_again(ray_cluster):
    from ray.util.dask import ray_dask_get, ray_dask_persist

    array = pytest.importorskip("dask.array")
    (kept,) = ray_dask_persist(array.ones((8, 8), chunks=4) + 1)
    assert kept.sum().compute(scheduler=ray_dask_get) == 128
    assert kept.compute(scheduler=ray_dask_get).shape == (8, 8)


def test_callbacks_are_called_where_they_belong(ray_cluster):
    from ray.util.dask import RayDaskCallback, ray_dask_get

    here, ended = [], []

    class Callback(RayDaskCallback):
        def _ray_presubmit(self, task, key, deps):
            here.append(("pre", key))

        def _ray_postsubmit(self, task, key, deps, object_ref):
            here.append(("post", key))

        def _ray_pretask(self, key, object_refs):
            return os.getpid()

        def _ray_posttask(self, key, result, pre_state):
            assert pre_state == os.getpid()

        def _ray_finish(self, result):
            ended.append(result)

    with Callback():
        dask.delayed(abs)(-4).compute(scheduler=ray_dask_get)
    assert [kind for kind, _ in here] == ["pre", "post"]
    assert len(ended) == 1
    dask.delayed(abs)(-4).compute(scheduler=ray_dask_get)
    assert len(ended) == 1


def test_presubmit_may_give_the_result(ray_cluster):
    ray = ray_cluster
    from ray.util.dask import RayDaskCallback, ray_dask_get

    seven = ray.put(7)
    with RayDaskCallback(ray_presubmit=lambda task, key, deps: seven):
        assert ray_dask_get({"a": (abs, -1)}, "a") == 7


def test_options_of_tasks(ray_cluster):
    ray = ray_cluster
    from ray.util.dask import ray_dask_get

    def held():
        return ray.get_runtime_context().get_assigned_resources()["CPU"]

    assert dask.delayed(held)().compute(scheduler=ray_dask_get, ray_remote_args={"num_cpus": 2}) == 2
    with dask.annotate(ray_remote_args={"num_cpus": 3}):
        value = dask.delayed(held)()
    assert value.compute(scheduler=ray_dask_get) == 3
