"""Options of single methods: retries, numbers of results, limits; and cancelling calls of actors."""

import asyncio
import time

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def failing_class():
    @ray.remote(max_task_retries=2)
    class Failing:
        def __init__(self):
            self.calls = 0

        @ray.method(retry_exceptions=True)
        def retried(self, good=0):
            self.calls += 1
            if self.calls != good:
                raise ValueError(f"call {self.calls}")
            return self.calls

        @ray.method(retry_exceptions=[ValueError], max_task_retries=1)
        def once_more(self):
            self.calls += 1
            raise ValueError(f"call {self.calls}")

        @ray.method(retry_exceptions=[KeyError])
        def on_others(self):
            self.calls += 1
            raise ValueError(f"call {self.calls}")

        def plain(self):
            self.calls += 1
            raise ValueError(f"call {self.calls}")

        def taken(self):
            calls, self.calls = self.calls, 0
            return calls

    return Failing


@pytest.mark.parametrize("name, calls", [("retried", 3), ("once_more", 2), ("on_others", 1), ("plain", 1)])
def test_methods_that_raise_are_called_again_when_asked(failing_class, name, calls):
    actor = failing_class.remote()
    with pytest.raises(ValueError, match=f"call {calls}"):
        ray.get(getattr(actor, name).remote(), timeout=60)
    assert ray.get(actor.taken.remote(), timeout=60) == calls


def test_a_later_call_may_succeed(failing_class):
    actor = failing_class.remote()
    assert ray.get(actor.retried.remote(2), timeout=60) == 2


def test_retries_of_one_call(failing_class):
    actor = failing_class.remote()
    with pytest.raises(ValueError, match="call 2"):
        ray.get(actor.plain.options(retry_exceptions=True, max_task_retries=1).remote(), timeout=60)
    assert ray.get(actor.taken.remote()) == 2
    with pytest.raises(ValueError, match="call 1"):
        ray.get(actor.retried.options(retry_exceptions=False).remote(), timeout=60)


def test_options_of_inherited_and_of_overridden_methods():
    class Base:
        @ray.method(num_returns=2)
        def kept(self):
            return 1, 2

        @ray.method(num_returns=2)
        def replaced(self):
            return 1, 2

    @ray.remote
    class Derived(Base):
        def replaced(self):
            return 3

    actor = Derived.remote()
    assert ray.get(actor.kept.remote()) == [1, 2]
    assert ray.get(actor.replaced.remote()) == 3


def test_the_decorator_without_options():
    @ray.remote
    class Plain:
        @ray.method
        def f(self):
            return 1

    assert ray.get(Plain.remote().f.remote()) == 1


@pytest.mark.parametrize("wrong", [{"nothing": 1}, {"num_cpus": 1}])
def test_unknown_options(wrong):
    with pytest.raises((ValueError, AssertionError), match=next(iter(wrong))):
        ray.method(**wrong)


def test_task_events_may_be_switched_off():
    @ray.remote(enable_task_events=False)
    def task():
        return 1

    @ray.remote(enable_task_events=False)
    class Actor:
        @ray.method(enable_task_events=False)
        def f(self):
            return 2

    assert ray.get(task.remote()) == 1
    assert ray.get(task.options(enable_task_events=True).remote()) == 1
    actor = Actor.remote()
    assert ray.get(actor.f.remote()) == 2
    assert ray.get(actor.f.options(enable_task_events=True).remote()) == 2
    with pytest.raises(TypeError, match="enable_task_events"):
        ray.remote(enable_task_events="yes")(lambda: None)


def test_max_pending_calls(gate):
    @ray.remote(max_pending_calls=2)
    class Slow:
        def held(self):
            gate.wait()

        def f(self):
            return 1

    actor = Slow.remote()
    refs = [actor.held.remote()]
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded):
        for _ in range(10):
            refs.append(actor.f.remote())
    gate.open()
    assert ray.get(refs, timeout=60)[1:] == [1] * (len(refs) - 1)
    assert ray.get(actor.f.remote(), timeout=60) == 1


@pytest.fixture
def stoppable_class(tmp_path):
    started = tmp_path / "started"

    class Stoppable:
        def __init__(self):
            self.seen = []

        def work(self):
            started.touch()
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                if ray.get_runtime_context().is_canceled():
                    self.seen.append("cancelled")
                    return "ended early"
                time.sleep(0.005)
            return "went on"

        def read(self):
            return list(self.seen)

    Stoppable.started = started
    return Stoppable


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
def test_a_method_asks_whether_it_is_cancelled(stoppable_class, options, eventually):
    started = stoppable_class.started
    actor = ray.remote(stoppable_class).options(**options).remote()
    ref = actor.work.remote()
    eventually(started.exists)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=60)
    eventually(lambda: ray.get(actor.read.remote(), timeout=60) == ["cancelled"])


@pytest.fixture
def until_cancelled(tmp_path):
    """``call()``, in a method: tell the test that it runs, and return when its cancellation has come."""
    started = tmp_path / "runs"

    def call():
        started.touch()
        deadline = time.monotonic() + 60
        while not ray.get_runtime_context().is_canceled():
            assert time.monotonic() < deadline, "nobody cancels this call"
            time.sleep(0.005)

    call.started = started
    return call


def test_a_method_that_goes_on_is_not_interrupted(until_cancelled, eventually):
    started = until_cancelled.started

    @ray.remote
    class Actor:
        def __init__(self):
            self.finished = 0

        def work(self):
            until_cancelled()
            time.sleep(0.2)  # an interruption would come here
            self.finished += 1
            return "a result that nobody gets"

        def read(self):
            return self.finished

    actor = Actor.remote()
    ref = actor.work.remote()
    eventually(started.exists)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(actor.read.remote(), timeout=60) == 1


def test_a_queued_call_of_an_actor_is_cancelled(until_cancelled, eventually):
    started = until_cancelled.started

    @ray.remote
    class Actor:
        def work(self):
            until_cancelled()

        def quick(self):
            return "a result that nobody gets"

    actor = Actor.remote()
    running = actor.work.remote()
    eventually(started.exists)
    queued = actor.quick.remote()
    ray.cancel(queued)
    ray.cancel(running)  # when this one has come, the other one has, too
    for ref in (running, queued):
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref, timeout=60)


def test_a_coroutine_that_ignores_its_cancellation_has_no_result():
    @ray.remote
    class Actor:
        def __init__(self):
            self.calls = 0
            self.started = asyncio.Event()

        async def stubborn(self):
            self.started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.calls += 1
                return "a result that nobody gets"

        async def wait(self):
            await self.started.wait()

        async def read(self):
            return self.calls

    actor = Actor.remote()
    ref = actor.stubborn.remote()
    ray.get(actor.wait.remote(), timeout=60)
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(actor.read.remote(), timeout=60) == 1


def test_children_of_a_cancelled_method_are_cancelled_too(gate, tmp_path, eventually):
    started = tmp_path / "started"

    @ray.remote(num_cpus=0)
    def child():
        started.touch()
        gate.wait()

    @ray.remote
    class Parent:
        def wait_for(self, refs):
            refs.append(child.remote())
            try:
                ray.get(refs[-1], timeout=60)
            except ray.exceptions.TaskCancelledError:
                self.outcome = "child cancelled"
                raise
            self.outcome = "child finished"

        def read(self):
            return self.outcome

    parent = Parent.remote()
    ref = parent.wait_for.remote([])
    eventually(started.exists)
    ray.cancel(ref, recursive=True)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(parent.read.remote(), timeout=60) == "child cancelled"
    gate.open()


def test_is_canceled_is_for_tasks_and_plain_actors():
    @ray.remote
    def task():
        return ray.get_runtime_context().is_canceled()

    @ray.remote
    class Async:
        async def f(self):
            return ray.get_runtime_context().is_canceled()

    assert ray.get(task.remote()) is False
    with pytest.raises(RuntimeError):
        ray.get(Async.remote().f.remote(), timeout=60)
    with pytest.raises(RuntimeError):
        ray.get_runtime_context().is_canceled()


def test_a_task_knows_when_it_was_interrupted(tmp_path, eventually):
    started = tmp_path / "started"

    @ray.remote
    def task():
        try:
            started.touch()
            time.sleep(60)
        except KeyboardInterrupt:
            return ray.get_runtime_context().is_canceled()
        return None

    ref = task.remote()
    eventually(started.exists)
    ray.cancel(ref)
    assert ray.get(ref, timeout=60) is True


def test_cancelling_what_is_finished_or_was_put_does_nothing():
    @ray.remote
    class Actor:
        def f(self):
            return 1

    ref = Actor.remote().f.remote()
    assert ray.get(ref) == 1
    ray.cancel(ref)
    assert ray.get(ref) == 1
    stored = ray.put(2)
    ray.cancel(stored)
    assert ray.get(stored) == 2
