"""joblib on the cluster."""

import os

import pytest

joblib = pytest.importorskip("joblib")


@pytest.fixture
def backend(ray_cluster):
    from ray.util.joblib import register_ray

    register_ray()
    return "ray"


def test_results_keep_the_order(backend):
    with joblib.parallel_backend(backend):
        results = joblib.Parallel(n_jobs=2)(joblib.delayed(pow)(n, 2) for n in range(20))
    assert results == [n * n for n in range(20)]


def test_calls_run_in_other_processes(backend):
    with joblib.parallel_backend(backend):
        pids = joblib.Parallel(n_jobs=-1)(joblib.delayed(os.getpid)() for _ in range(8))
    assert os.getpid() not in pids


def test_errors_come_out(backend):
    with joblib.parallel_backend(backend), pytest.raises(ZeroDivisionError):
        joblib.Parallel(n_jobs=2)(joblib.delayed(divmod)(1, n) for n in (1, 0))


def test_large_arguments(backend):
    numpy = pytest.importorskip("numpy")
    big = numpy.ones((500, 500))
    with joblib.parallel_backend(backend):
        sums = joblib.Parallel(n_jobs=2)(joblib.delayed(numpy.sum)(big) for _ in range(10))
    assert sums == [250_000.0] * 10
