"""Concurrency groups, and the order in which an actor takes its calls."""

import asyncio
import threading
import time

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def threaded_class(gate):
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Worker:
        def __init__(self):
            self.lock = threading.Lock()
            self.now = self.most = 0
            self.seen = []

        def _count(self, seconds):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(seconds)
            with self.lock:
                self.now -= 1
            return self.most

        @ray.method(concurrency_group="io")
        def io(self, seconds=0.0):
            return self._count(seconds)

        @ray.method(concurrency_group="compute")
        def compute(self, i):
            self.seen.append(i)
            return list(self.seen)

        def plain(self, seconds=0.0):
            return self._count(seconds)

        def held(self):
            gate.wait()
            return "released"

    return Worker


def test_a_group_runs_as_many_calls_at_once_as_it_says(threaded_class):
    worker = threaded_class.remote()
    assert max(ray.get([worker.io.remote(0.1) for _ in range(6)])) == 2


def test_methods_outside_of_the_groups_run_one_at_a_time(threaded_class):
    worker = threaded_class.remote()
    assert max(ray.get([worker.plain.remote(0.05) for _ in range(4)])) == 1


def test_max_concurrency_is_that_of_the_methods_outside_of_the_groups(threaded_class):
    worker = threaded_class.options(max_concurrency=3).remote()
    assert max(ray.get([worker.plain.remote(0.1) for _ in range(6)])) == 3


def test_a_group_is_not_held_up_by_the_others(threaded_class, gate):
    worker = threaded_class.remote()
    held = worker.held.remote()
    assert ray.get(worker.io.remote(), timeout=20) >= 1
    assert ray.wait([held], timeout=0)[0] == []
    gate.open()
    assert ray.get(held, timeout=20) == "released"


def test_the_group_of_one_call(threaded_class, gate):
    worker = threaded_class.remote()
    held = worker.held.remote()
    assert ray.get(worker.plain.options(concurrency_group="io").remote(), timeout=20) >= 1
    gate.open()
    assert ray.get(held, timeout=20) == "released"


def test_order_within_a_group(threaded_class):
    worker = threaded_class.remote()
    refs = []
    for i in range(50):
        worker.io.remote()
        refs.append(worker.compute.remote(i))
    assert ray.get(refs[-1]) == list(range(50))


def test_groups_of_coroutines(gate):
    @ray.remote(concurrency_groups={"io": 2})
    class Worker:
        def __init__(self):
            self.now = {"io": 0, "other": 0}
            self.most = {"io": 0, "other": 0}

        async def _count(self, name):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
            await asyncio.sleep(0.1)
            self.now[name] -= 1
            return self.most[name]

        @ray.method(concurrency_group="io")
        async def io(self):
            return await self._count("io")

        async def other(self):
            return await self._count("other")

        async def held(self):
            gate.wait()  # blocks the loop of its group
            return "released"

        @ray.method(concurrency_group="io")
        async def child(self, refs):
            return await refs[0]

        @ray.method(concurrency_group="io")
        async def sleep(self):
            await asyncio.sleep(30)

    worker = Worker.remote()
    assert max(ray.get([worker.io.remote() for _ in range(6)])) == 2
    assert max(ray.get([worker.other.remote() for _ in range(6)])) == 6
    refs = [worker.other.options(concurrency_group="io").remote() for _ in range(6)]
    assert max(ray.get(refs)) == 6  # of all who ever ran at once
    assert ray.get(worker.child.remote([ray.put(3)]), timeout=20) == 3
    held = worker.held.remote()
    assert ray.get(worker.io.remote(), timeout=20) >= 1
    sleeping = [worker.sleep.remote() for _ in range(3)]
    time.sleep(0.2)
    for ref in reversed(sleeping):
        ray.cancel(ref)
    for ref in sleeping:
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref, timeout=20)
    gate.open()
    assert ray.get(held, timeout=20) == "released"


def test_inherited_methods_keep_their_group(gate):
    class Base:
        @ray.method(concurrency_group="io")
        def io(self):
            return 1

    @ray.remote(concurrency_groups={"io": 1})
    class Worker(Base):
        def held(self):
            gate.wait()

    worker = Worker.remote()
    held = worker.held.remote()
    assert ray.get(worker.io.remote(), timeout=20) == 1
    gate.open()
    ray.get(held, timeout=20)


def test_groups_that_do_not_exist():
    @ray.remote(concurrency_groups={"io": 1})
    class Worker:
        @ray.method(concurrency_group="nothing")
        def f(self):
            return 1

    with pytest.raises((ValueError, AssertionError)):
        ray.get(Worker.remote().f.remote(), timeout=20)


def test_groups_belong_to_the_class(threaded_class):
    with pytest.raises(ValueError, match="concurrency_groups"):
        threaded_class.options(concurrency_groups={"io": 3})


def test_groups_have_the_right_form():
    with pytest.raises(TypeError, match="concurrency_groups"):

        @ray.remote(concurrency_groups=3)
        class Worker:
            pass


@pytest.fixture
def log_class():
    class Log:
        def __init__(self):
            self.seen = []

        def add(self, i):
            self.seen.append(i)

        def read(self):
            return list(self.seen)

    return Log


@pytest.fixture
def late(gate):
    """A task whose value comes when the gate is opened."""

    @ray.remote(num_cpus=0)
    def late(i):
        gate.wait()
        return i

    return late


@pytest.mark.parametrize("options", [{"allow_out_of_order_execution": True}, {"max_concurrency": 2}])
def test_calls_overtake_one_that_waits_for_its_arguments(log_class, late, gate, options):
    log = ray.remote(log_class).options(**options).remote()
    first = log.add.remote(late.remote(1))
    ray.get(log.add.remote(2), timeout=20)
    assert ray.get(log.read.remote(), timeout=20) == [2]
    gate.open()
    ray.get(first, timeout=20)
    assert ray.get(log.read.remote(), timeout=20) == [2, 1]


def test_calls_of_coroutines_overtake_one_that_waits_for_its_arguments(late, gate):
    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        async def add(self, i):
            self.seen.append(i)
            return list(self.seen)

    log = Log.remote()
    first = log.add.remote(late.remote(1))
    assert ray.get(log.add.remote(2), timeout=20) == [2]
    gate.open()
    assert ray.get(first, timeout=20) == [2, 1]


def test_calls_of_a_plain_actor_wait_their_turn(log_class, late, gate):
    log = ray.remote(log_class).remote()
    log.add.remote(late.remote(1))
    log.add.remote(2)
    read = log.read.remote()
    assert ray.wait([read], timeout=0.3)[0] == []
    gate.open()
    assert ray.get(read, timeout=20) == [1, 2]


def test_coroutines_cannot_be_kept_in_order():
    @ray.remote(allow_out_of_order_execution=False)
    class Log:
        async def add(self):
            pass

    with pytest.raises(ValueError, match="order"):
        Log.remote()


def test_a_dead_actor_fails_the_calls_that_wait_for_arguments(log_class, late, gate):
    log = ray.remote(log_class).options(allow_out_of_order_execution=True).remote()
    ray.get(log.read.remote())
    waiting = log.add.remote(late.remote(1))
    ray.kill(log)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(log.read.remote(), timeout=20)
    gate.open()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(waiting, timeout=20)
