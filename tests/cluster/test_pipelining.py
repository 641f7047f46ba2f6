"""Short calls are queued at their executors; that must never make one wait for a long call."""

from __future__ import annotations

import os
import time

import pytest
from support.clusters import T


def test_short_calls_do_not_wait_behind_a_long_one_while_an_executor_is_free(ray, tmp_path):
    """Two functions share the leases of their shape: short calls go where the long one is not."""
    gate = str(tmp_path / "gate")

    @ray.remote
    def long():
        deadline = time.monotonic() + 60
        while not os.path.exists(gate) and time.monotonic() < deadline:
            time.sleep(0.002)
        return os.getpid()

    @ray.remote
    def short(i):
        return i

    assert ray.get([short.remote(i) for i in range(2000)], timeout=T) == list(range(2000))
    running = long.remote()
    for _ in range(20):
        started = time.monotonic()
        assert ray.get([short.remote(i) for i in range(200)], timeout=T) == list(range(200))
        assert time.monotonic() - started < 30
    open(gate, "w").close()
    assert ray.get(running, timeout=T) > 0


def test_calls_that_turn_out_long_leave_those_behind_them_to_others(ray, tmp_path):
    """A function measured in microseconds suddenly waits: what was queued behind it moves."""

    @ray.remote
    def work(place):
        if not place:
            return True
        open(f"{place}/{os.getpid()}", "w").close()
        deadline = time.monotonic() + 15
        while len(os.listdir(place)) < 4 and time.monotonic() < deadline:
            time.sleep(0.002)
        return len(os.listdir(place)) == 4

    ray.get([work.remote("") for _ in range(1000)], timeout=T)
    place = str(tmp_path)
    refs = [work.remote(place if i % 50 == 0 else "") for i in range(200)]  # four long ones on four CPUs
    assert all(ray.get(refs, timeout=4 * T)), "long calls ran one after the other"


def test_what_was_queued_behind_a_call_that_blocks_moves_on(ray):
    """The second call makes what the first waits for; both were sent to one executor."""

    @ray.remote(num_cpus=4)
    def noop():
        return None

    @ray.remote(num_cpus=4)
    def waits(path):
        deadline = time.monotonic() + 60
        while not os.path.exists(path):
            if time.monotonic() > deadline:
                return "nobody came"
            inner = ray.put([1])
            ray.get(inner)
            time.sleep(0.001)
        return "done"

    @ray.remote(num_cpus=0)
    def opens(path):
        open(path, "w").close()

    import tempfile

    path = tempfile.mkdtemp() + "/gate"
    ray.get([noop.remote() for _ in range(300)], timeout=T)
    first = waits.remote(path)
    assert ray.get(opens.remote(path), timeout=T) is None
    assert ray.get(first, timeout=T) == "done"


def test_queued_calls_return_while_the_first_is_long(ray, tmp_path):
    gate = str(tmp_path / "gate")

    @ray.remote(num_cpus=2)
    def work(path):
        while path and not os.path.exists(path):
            time.sleep(0.002)
        return True

    ray.get([work.remote("") for _ in range(500)], timeout=T)
    refs = [work.remote(gate), *[work.remote("") for _ in range(50)]]
    try:
        assert all(ray.get(refs[1:], timeout=T)), "calls waited for the end of the long one"
    finally:
        open(gate, "w").close()
    assert ray.get(refs[0], timeout=T)


@pytest.mark.parametrize("count", [1, 7, 64, 65, 513])
def test_every_call_is_answered_once(ray, count, tmp_path):
    log = str(tmp_path / "log")

    @ray.remote
    def mark(i):
        with open(log, "ab", buffering=0) as file:
            file.write(b".")
        return i

    assert ray.get([mark.remote(i) for i in range(count)], timeout=T) == list(range(count))
    assert os.path.getsize(log) == count


def test_bounced_calls_run_exactly_once(ray, tmp_path):
    log = str(tmp_path / "log")

    @ray.remote
    def mark(i, seconds):
        with open(log, "ab", buffering=0) as file:
            file.write(b".")
        if seconds:
            time.sleep(seconds)
        return i

    ray.get([mark.remote(i, 0) for i in range(500)], timeout=T)
    before = os.path.getsize(log)
    refs = [mark.remote(i, 0.02 if i % 10 == 0 else 0) for i in range(400)]
    assert ray.get(refs, timeout=T) == list(range(400))
    assert os.path.getsize(log) - before == 400
