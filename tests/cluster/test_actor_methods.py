"""Methods of actors: what is refused, and what goes on beside it."""

from __future__ import annotations

import time

import pytest

T = 20


def test_unknown_groups_are_refused_where_they_are_written(ray):
    @ray.remote(concurrency_groups={"io": 2})
    class Worker:
        @ray.method(concurrency_group="disk")
        def f(self):
            return 1

    with pytest.raises(ValueError, match=r"Worker\.f .*'disk'.*it has: io") as error:
        Worker.remote()
    assert "concurrency_groups={'disk': 2}" in str(error.value)

    @ray.remote
    class Plain:
        def f(self):
            return 1

    plain = Plain.remote()
    with pytest.raises(ValueError, match=r"Plain\.f .*'io'.*it has: none"):
        plain.f.options(concurrency_group="io")
    assert ray.get(plain.f.remote(), timeout=T) == 1


@pytest.mark.parametrize("groups", [{"io": 0}, {"io": "two"}, {"": 1}, [{"name": "io"}]])
def test_groups_of_no_size(ray, groups):
    with pytest.raises((TypeError, ValueError), match="concurrency_groups"):
        ray.remote(concurrency_groups=groups)(type("Worker", (), {}))


def test_calls_behind_a_cancelled_one_are_made(ray):
    @ray.remote
    class Counter:
        def __init__(self):
            self.calls = 0

        def hold(self):
            while not ray.get_runtime_context().is_canceled():
                time.sleep(0.005)

        def count(self):
            self.calls += 1
            return self.calls

    counter = Counter.remote()
    for _ in range(3):
        held = counter.hold.remote()
        first, second = counter.count.remote(), counter.count.remote()
        ray.cancel(first)
        ray.cancel(held)  # ends only now: the actor has read that the one behind it is cancelled
        for cancelled in (held, first):
            with pytest.raises(ray.exceptions.TaskCancelledError):
                ray.get(cancelled, timeout=T)
        ray.get(second, timeout=T)
    assert ray.get(counter.count.remote(), timeout=T) == 4


def test_the_decorator_takes_options_by_name_only(ray):
    with pytest.raises(ValueError, match=r"given 3.*num_returns=2"):
        ray.method(3)


def test_the_order_of_coroutines(ray):
    @ray.remote
    class Worker:
        async def f(self):
            return 1

    with pytest.raises(ValueError, match=r"Worker has coroutine methods.*without async"):
        Worker.options(allow_out_of_order_execution=False).remote()
    assert ray.get(Worker.options(allow_out_of_order_execution=True).remote().f.remote(), timeout=T) == 1


def test_calls_that_wait_for_arguments_count_as_pending(ray, tmp_path):
    @ray.remote
    def late():
        while not (tmp_path / "go").exists():
            time.sleep(0.01)
        return 1

    @ray.remote(max_pending_calls=2, max_concurrency=2)
    class Worker:
        def f(self, value):
            return value

    worker = Worker.remote()
    refs = [worker.f.remote(late.remote()) for _ in range(2)]
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded, match="Worker has 2 unfinished"):
        worker.f.remote(3)
    ray.cancel(refs[1])
    refs.append(worker.f.remote(4))
    (tmp_path / "go").touch()
    assert ray.get([refs[0], refs[2]], timeout=T) == [1, 4]
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(refs[1], timeout=T)


def test_an_actor_with_groups_ends_by_itself(ray):
    @ray.remote(concurrency_groups={"io": 2})
    class Worker:
        @ray.method(concurrency_group="io")
        def leave(self):
            ray.actor.exit_actor()

        @ray.method(concurrency_group="io")
        async def leave_async(self):
            ray.actor.exit_actor()

    worker = Worker.remote()
    with pytest.raises(ray.exceptions.RayActorError, match="exit_actor"):
        ray.get(worker.leave_async.remote(), timeout=T)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(worker.leave_async.remote(), timeout=T)
