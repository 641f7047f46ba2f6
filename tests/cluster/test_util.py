"""What rayjup's util does beyond Ray's: serializers in executors, the debugger, pools that lose processes."""

from __future__ import annotations

import io
import os
import threading

import pytest
from support.clusters import T, poll


def test_serializers_are_known_to_tasks_and_actors(ray_cluster):
    ray = ray_cluster

    class Guarded:
        def __init__(self, x):
            self.x = x
            self.lock = threading.Lock()

    @ray.remote
    def make(x):
        return Guarded(x)

    @ray.remote(num_cpus=0)
    class Maker:
        def make(self, x):
            return Guarded(x)

        def same(self, value):
            return value

    @ray.remote
    def through_another(x):
        return ray.get(make.remote(x))

    older = Maker.remote()
    with pytest.raises(TypeError):
        ray.get(make.remote(1))
    ray.util.register_serializer(Guarded, serializer=lambda v: v.x, deserializer=lambda x: Guarded(x))
    try:
        assert ray.get(make.remote(1)).x == 1
        assert ray.get(through_another.remote(2)).x == 2
        newer = Maker.remote()
        assert ray.get(newer.make.remote(3)).x == 3
        assert ray.get(older.same.remote(Guarded(4))).x == 4
    finally:
        ray.util.deregister_serializer(Guarded)


def test_plain_pickle_within_the_standalone_context(ray_cluster):
    import pickle

    from rayjup.util import serialization

    serialization.register_serializer(memoryview, serializer=bytes, deserializer=memoryview)
    try:
        with serialization.StandaloneSerializationContext():
            data = pickle.dumps(memoryview(b"abc"))
        assert pickle.loads(data) == b"abc"
        with pytest.raises(TypeError):
            pickle.dumps(memoryview(b"abc"))
    finally:
        serialization.deregister_serializer(memoryview)


def test_the_debugger_of_a_task_is_a_socket_of_the_user(ray_cluster):
    ray = ray_cluster
    from rayjup.util import rpdb

    @ray.remote
    def stops():
        x = 41
        ray.util.rpdb.set_trace(b"test")
        return x

    ref = stops.remote()
    path = os.path.join(ray.get_runtime_context().get_temp_dir(), "pdb-test.sock")
    poll(lambda: os.path.exists(path) and os.stat(path).st_mode & 0o777 == 0o600)
    out = io.StringIO()
    poll(lambda: _connected(rpdb, path, out))
    assert "42" in out.getvalue()
    assert ray.get(ref, timeout=T) == 7


def _connected(rpdb, path, out):
    try:
        rpdb.connect(path, io.StringIO("p x + 1\nx = 7\nc\n"), out)
    except ConnectionRefusedError:  # it is there, and does not listen yet
        return False
    return True


def test_a_pool_goes_on_without_the_process_that_died(ray_cluster):
    ray = ray_cluster
    from rayjup.util.multiprocessing import Pool

    with Pool(2) as pool:
        died = pool.apply_async(os._exit, (1,))
        others = pool.map_async(abs, range(-20, 0), chunksize=1)
        with pytest.raises(ray.exceptions.RayActorError):
            died.get(timeout=60)
        assert others.get(timeout=60) == list(range(20, 0, -1))
        assert pool.map(abs, [-1]) == [1]


def test_errors_of_a_pool_are_those_of_the_standard_library(ray_cluster):
    from rayjup.util.multiprocessing import Pool

    errors = []
    with Pool(2) as pool:
        results = pool.imap(lambda x: 1 / x, [1, 0, 2])
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError) as caught:
            next(results)
        assert "lambda" in str(caught.value.__cause__)
        assert next(results) == 0.5
        pool.apply_async(lambda: 1 / 0, error_callback=errors.append)
        poll(lambda: errors)
    assert isinstance(errors[0], ZeroDivisionError)


def test_what_a_pool_had_to_do_when_terminated_is_an_error(ray_cluster, tmp_path):
    from rayjup.util.multiprocessing import Pool

    path = str(tmp_path / "never")

    def wait():
        poll(lambda: os.path.exists(path), 60)

    pool = Pool(1)
    result = pool.apply_async(wait)
    pool.terminate()
    with pytest.raises(RuntimeError, match="terminated"):
        result.get(timeout=40)
    pool.join()


def test_a_result_that_cannot_be_pickled_is_an_error(ray_cluster):
    from rayjup.util.multiprocessing import Pool

    with Pool(1) as pool:
        with pytest.raises(TypeError, match="pickle"):
            pool.apply(threading.Lock)
        assert pool.apply(abs, (-1,)) == 1


def test_large_arguments_of_joblib_are_stored_once(ray_cluster):
    joblib = pytest.importorskip("joblib")
    numpy = pytest.importorskip("numpy")
    from rayjup.util.joblib import register_ray

    register_ray()
    big = numpy.ones(100_000)
    with joblib.parallel_backend("ray"):
        flags = joblib.Parallel(n_jobs=2)(joblib.delayed(_is_mapped)(big) for _ in range(4))
    assert flags == [True] * 4


def test_dask_graphs_one_task_after_the_other(ray_cluster):
    from rayjup.util.dask import RayDaskCallback, ray_dask_get, ray_dask_get_sync

    graph = {"a": 1, "b": (abs, -2), "c": (sum, ["a", "b"])}
    assert ray_dask_get_sync(graph, [["c"], "b"]) == ((3,), 2)
    with pytest.raises(ZeroDivisionError):
        ray_dask_get_sync({"a": (divmod, 1, 0)}, "a")
    with RayDaskCallback(ray_presubmit=lambda task, key, deps: 7 if key == "b" else None):
        assert ray_dask_get(graph, "c") == 8


def test_dasks_own_callbacks_hear_of_tasks(ray_cluster):
    import dask
    from dask.callbacks import Callback

    from rayjup.util.dask import ray_dask_get

    heard = []
    with Callback(
        pretask=lambda key, dsk, state: heard.append("pre"),
        posttask=lambda key, result, dsk, state, worker: heard.append(result),
        finish=lambda dsk, state, failed: heard.append(failed),
    ):
        dask.delayed(abs)(-4).compute(scheduler=ray_dask_get)
    assert heard == ["pre", 4, False]


def _is_mapped(array):
    return not array.flags.writeable
