"""The option ``max_calls``: a process ends after so many calls of a function."""

import os

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_process_runs_the_function_so_often():
    @ray.remote(max_calls=2)
    def pid():
        return os.getpid()

    pids = [ray.get(pid.remote(), timeout=60) for _ in range(12)]
    # Which of the idle processes gets a call is not promised.
    assert max(pids.count(p) for p in pids) == 2


def test_the_process_is_gone_afterwards(ended):
    @ray.remote(max_calls=1)
    def pid():
        return os.getpid()

    ended(ray.get(pid.remote(), timeout=60))


def test_no_call_is_lost_and_none_is_made_twice(counted):
    @ray.remote(max_calls=3, max_retries=0)
    def call(i):
        counted()
        return i

    assert ray.get([call.remote(i) for i in range(60)], timeout=50) == list(range(60))
    assert counted() == 61


def test_other_functions_do_not_count():
    @ray.remote
    def pid():
        return os.getpid()

    @ray.remote(max_calls=5)
    def limited():
        return os.getpid()

    # As many processes as there are idle ones may take turns, but none ends after five calls.
    assert len({ray.get(pid.remote(), timeout=60) for _ in range(60)}) <= 8
    assert ray.get(limited.remote(), timeout=60) > 0


def test_what_the_process_owns_outlives_the_call():
    @ray.remote(max_calls=1)
    def puts():
        return [ray.put("owned by a process that is to end")]

    (ref,) = ray.get(puts.remote(), timeout=60)
    assert ray.get(ref, timeout=60) == "owned by a process that is to end"


def test_generators_count_once():
    @ray.remote(max_calls=1)
    def items():
        for _ in range(3):
            yield os.getpid()

    first = [ray.get(ref) for ref in items.remote()]
    second = [ray.get(ref) for ref in items.remote()]
    assert len(set(first)) == len(set(second)) == 1
    assert first[0] != second[0]


def test_wrong_limits():
    with pytest.raises(ValueError, match="max_calls"):
        ray.remote(max_calls=-1)(lambda: None)
    with pytest.raises((TypeError, ValueError), match="max_calls"):
        ray.remote(max_calls="often")(lambda: None)
    with pytest.raises(ValueError, match="max_calls"):
        ray.remote(lambda: None).options(max_calls=1)
