"""cancel."""

import time

import pytest
import ray
from ray.exceptions import TaskCancelledError, WorkerCrashedError

pytestmark = pytest.mark.usefixtures("ray_cluster")

# What a cancelled call may raise: Ray documents TaskCancelledError, and WorkerCrashedError with force.
CANCELLED = (TaskCancelledError, WorkerCrashedError)


@pytest.fixture
def sleeper(tmp_path, eventually):
    """Starts a task that sleeps for a minute and returns when it has begun."""

    def body(path):
        open(path, "w").close()
        for _ in range(6000):
            time.sleep(0.01)

    def start(name="sleeps", **options):
        path = tmp_path / name
        ref = ray.remote(body).options(**options).remote(str(path))
        eventually(path.exists)
        return ref

    return start


def test_a_running_task_is_interrupted(sleeper):
    ref = sleeper()
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)


def test_force_ends_the_worker(sleeper):
    ref = sleeper(max_retries=0)
    ray.cancel(ref, force=True)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)


def test_a_task_that_waits_for_a_cpu_never_runs(sleeper, counted):
    holding = sleeper("holding", num_cpus=4)

    @ray.remote
    def count(counted):
        return counted()

    queued = count.remote(counted)
    ray.cancel(queued)
    with pytest.raises(TaskCancelledError):
        ray.get(queued, timeout=60)
    ray.cancel(holding)
    with pytest.raises(TaskCancelledError):
        ray.get(holding, timeout=60)
    assert counted() == 1


def test_a_task_that_waits_for_its_arguments_is_cancelled(sleeper):
    @ray.remote
    def follow(x):
        return x

    first = sleeper()
    second = follow.remote(first)
    ray.cancel(second)
    with pytest.raises(TaskCancelledError):
        ray.get(second, timeout=60)
    ray.cancel(first)
    with pytest.raises(TaskCancelledError):
        ray.get(first, timeout=60)


def test_a_finished_task_keeps_its_result():
    @ray.remote
    def one():
        return 1

    ref = one.remote()
    assert ray.get(ref) == 1
    ray.cancel(ref)
    assert ray.get(ref) == 1


def test_cancelled_tasks_are_not_retried(sleeper, tmp_path):
    ref = sleeper("retried", max_retries=3, retry_exceptions=True)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)


def test_the_worker_can_be_used_again(sleeper):
    @ray.remote
    def one():
        return 1

    ref = sleeper()
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get([one.remote() for _ in range(8)], timeout=60) == [1] * 8


def test_children_are_cancelled_too(tmp_path, eventually):
    child_runs, child_stopped = tmp_path / "runs", tmp_path / "stopped"

    @ray.remote
    def child():
        try:
            child_runs.touch()
            for _ in range(6000):
                time.sleep(0.01)
        finally:
            child_stopped.touch()

    @ray.remote
    def parent():
        return ray.get(child.remote())

    ref = parent.remote()
    eventually(child_runs.exists)
    ray.cancel(ref, recursive=True)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)
    eventually(child_stopped.exists)


def test_a_call_of_an_async_actor_is_cancelled(tmp_path, eventually):
    begun = tmp_path / "begun"

    @ray.remote
    class Waiter:
        async def wait(self):
            import asyncio

            begun.touch()
            await asyncio.sleep(60)

        async def ok(self):
            return "ok"

    waiter = Waiter.remote()
    ref = waiter.wait.remote()
    eventually(begun.exists)
    ray.cancel(ref)
    with pytest.raises(TaskCancelledError):
        ray.get(ref, timeout=60)
    assert ray.get(waiter.ok.remote(), timeout=60) == "ok"


def test_wrong_calls_are_refused():
    for wrong in (1, "text", None):
        with pytest.raises((TypeError, ValueError)):
            ray.cancel(wrong)
    with pytest.raises((TypeError, ValueError)):
        ray.cancel([ray.put(1)])
