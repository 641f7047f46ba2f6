"""What tasks hold, lend out while they wait, and give back."""

from __future__ import annotations

import os
import time

import pytest
from support.clusters import T, poll


def all_free(ray, timeout_s=20.0):
    poll(lambda: ray.available_resources() == ray.cluster_resources(), timeout_s)


def test_nesting_deeper_than_there_are_cpus(ray):
    @ray.remote
    def down(levels):
        return 1 + ray.get(down.remote(levels - 1), timeout=T) if levels else 1

    assert ray.get(down.remote(15), timeout=T) == 16
    all_free(ray)


def test_nesting_wide_and_deep(ray):
    @ray.remote
    def tree(levels):
        if not levels:
            return 1
        return sum(ray.get([tree.remote(levels - 1) for _ in range(3)], timeout=T))

    assert ray.get(tree.remote(3), timeout=T) == 27
    all_free(ray)


def test_waiting_in_wait_lends_the_cpu_too(ray):
    @ray.remote(num_cpus=4)
    def child():
        return 7

    @ray.remote(num_cpus=4)
    def parent():
        ref = child.remote()
        ready, _ = ray.wait([ref], timeout=T)
        return ray.get(ready[0], timeout=T)

    assert ray.get(parent.remote(), timeout=T) == 7
    all_free(ray)


def test_many_blocked_parents(ray):
    @ray.remote
    def child(i):
        time.sleep(0.01)
        return i

    @ray.remote
    def parent(i):
        return ray.get(child.remote(i), timeout=T)

    assert ray.get([parent.remote(i) for i in range(40)], timeout=T) == list(range(40))
    all_free(ray)


def test_a_blocked_actor_method_lets_tasks_run(ray):
    @ray.remote
    def child():
        return 3

    @ray.remote(num_cpus=4)
    class Holder:
        def ask(self):
            return ray.get(child.remote(), timeout=T)

    actor = Holder.remote()
    assert ray.get(actor.ask.remote(), timeout=T) == 3
    del actor
    all_free(ray)


def test_everything_is_free_after_failures_of_all_kinds(ray, tmp_path):
    @ray.remote(max_retries=0)
    def fail(how):
        if how == "raise":
            raise ValueError("x")
        if how == "exit":
            os._exit(1)
        if how == "get":
            ray.get(fail.remote("raise"), timeout=T)
        if how == "timeout":
            ray.get(sleep.remote(), timeout=0.01)

    @ray.remote
    def sleep():
        while not (tmp_path / "over").exists():
            time.sleep(0.01)

    for how in ("raise", "exit", "get", "timeout"):
        with pytest.raises(Exception):  # noqa: B017 - which one is not what this is about
            ray.get(fail.remote(how), timeout=T)
    (tmp_path / "over").touch()
    all_free(ray)


def test_amounts_are_respected(ray, tmp_path):
    """Never do more tasks run at once than the CPUs allow, also with fractions."""

    @ray.remote(num_cpus=0.5)
    def track(directory, i):
        path = f"{directory}/{i}"
        open(path, "w").close()
        seen = len(os.listdir(directory))
        deadline = time.monotonic() + 15
        while seen < 2 and not os.path.exists(f"{directory}.met") and time.monotonic() < deadline:
            time.sleep(0.002)  # the first one waits for company: other processes may take a while to come up
            seen = len(os.listdir(directory))
        open(f"{directory}.met", "w").close()
        time.sleep(0.02)
        os.unlink(path)
        return seen

    directory = tmp_path / "running"
    directory.mkdir()
    seen = ray.get([track.remote(str(directory), i) for i in range(40)], timeout=T)
    assert max(seen) <= 8
    assert max(seen) >= 2


def test_calls_that_need_what_is_not_there_wait_and_are_served_in_the_end(ray):
    @ray.remote(num_cpus=3)
    def hold(path):
        poll(lambda: os.path.exists(path), 60)

    @ray.remote(num_cpus=2)
    def other():
        return 1

    import tempfile

    path = tempfile.mkdtemp() + "/gate"
    held = hold.remote(path)
    waiting = other.remote()
    ready, _ = ray.wait([waiting], timeout=0.3)
    assert ready == []
    open(path, "w").close()
    assert ray.get(waiting, timeout=T) == 1
    ray.get(held, timeout=T)
