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
            self.met = threading.Event()
            self.seen = []

        def _count(self, wanted):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
                if self.now >= wanted:
                    self.met.set()
            assert self.met.wait(60), f"there were never {wanted} at once"
            if wanted:
                time.sleep(0.05)  # for those that must not come, too
            with self.lock:
                self.now -= 1
            return self.most

        @ray.method(concurrency_group="io")
        def io(self, wanted=0):
            return self._count(wanted)

        @ray.method(concurrency_group="compute")
        def compute(self, i):
            self.seen.append(i)
            return list(self.seen)

        def plain(self, wanted=0):
            return self._count(wanted)

        def held(self):
            gate.wait()
            return "released"

    return Worker


def test_a_group_runs_as_many_calls_at_once_as_it_says(threaded_class):
    worker = threaded_class.remote()
    assert max(ray.get([worker.io.remote(2) for _ in range(6)])) == 2


def test_methods_outside_of_the_groups_run_one_at_a_time(threaded_class):
    worker = threaded_class.remote()
    assert max(ray.get([worker.plain.remote(1) for _ in range(4)])) == 1


def test_max_concurrency_is_that_of_the_methods_outside_of_the_groups(threaded_class):
    worker = threaded_class.options(max_concurrency=3).remote()
    assert max(ray.get([worker.plain.remote(3) for _ in range(6)])) == 3


def test_a_group_is_not_held_up_by_the_others(threaded_class, gate):
    worker = threaded_class.remote()
    held = worker.held.remote()
    assert ray.get(worker.io.remote(), timeout=60) >= 1
    assert ray.wait([held], timeout=0)[0] == []
    gate.open()
    assert ray.get(held, timeout=60) == "released"


def test_the_group_of_one_call(threaded_class, gate):
    worker = threaded_class.remote()
    held = worker.held.remote()
    assert ray.get(worker.plain.options(concurrency_group="io").remote(), timeout=60) >= 1
    gate.open()
    assert ray.get(held, timeout=60) == "released"


def test_order_within_a_group(threaded_class):
    worker = threaded_class.remote()
    refs = []
    for i in range(50):
        worker.io.remote()
        refs.append(worker.compute.remote(i))
    assert ray.get(refs[-1]) == list(range(50))


def test_groups_of_coroutines(gate, tmp_path, eventually):
    @ray.remote(concurrency_groups={"io": 2})
    class Worker:
        def __init__(self):
            self.now = {"io": 0, "other": 0}
            self.most = {"io": 0, "other": 0}

        async def _count(self, name, wanted):
            self.now[name] += 1
            self.most[name] = max(self.most[name], self.now[name])
            deadline = time.monotonic() + 60
            while self.most[name] < wanted:
                assert time.monotonic() < deadline, f"there were never {wanted} at once"
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)  # for those that must not come, too
            self.now[name] -= 1
            return self.most[name]

        @ray.method(concurrency_group="io")
        async def io(self, wanted=1):
            return await self._count("io", wanted)

        async def other(self, wanted=1):
            return await self._count("other", wanted)

        async def held(self):
            gate.wait()  # blocks the loop of its group
            return "released"

        @ray.method(concurrency_group="io")
        async def child(self, refs):
            return await refs[0]

        @ray.method(concurrency_group="io")
        async def sleep(self, i):
            (tmp_path / f"sleeps {i}").touch()
            await asyncio.sleep(90)

    worker = Worker.remote()
    assert max(ray.get([worker.io.remote(2) for _ in range(6)])) == 2
    assert max(ray.get([worker.other.remote(6) for _ in range(6)])) == 6
    refs = [worker.other.options(concurrency_group="io").remote() for _ in range(6)]
    assert max(ray.get(refs)) == 6  # of all who ever ran at once
    assert ray.get(worker.child.remote([ray.put(3)]), timeout=60) == 3
    held = worker.held.remote()
    assert ray.get(worker.io.remote(), timeout=60) >= 1
    sleeping = [worker.sleep.remote(i) for i in range(3)]
    eventually(lambda: len(list(tmp_path.glob("sleeps *"))) == 2)  # and one waits its turn
    for ref in reversed(sleeping):
        ray.cancel(ref)
    for ref in sleeping:
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref, timeout=60)
    gate.open()
    assert ray.get(held, timeout=60) == "released"


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
    assert ray.get(worker.io.remote(), timeout=60) == 1
    gate.open()
    ray.get(held, timeout=60)


def test_groups_that_do_not_exist():
    @ray.remote(concurrency_groups={"io": 1})
    class Worker:
        @ray.method(concurrency_group="nothing")
        def f(self):
            return 1

    with pytest.raises((ValueError, AssertionError)):
        ray.get(Worker.remote().f.remote(), timeout=60)


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
    ray.get(log.add.remote(2), timeout=60)
    assert ray.get(log.read.remote(), timeout=60) == [2]
    gate.open()
    ray.get(first, timeout=60)
    assert ray.get(log.read.remote(), timeout=60) == [2, 1]


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
    assert ray.get(log.add.remote(2), timeout=60) == [2]
    gate.open()
    assert ray.get(first, timeout=60) == [2, 1]


def test_calls_of_a_plain_actor_wait_their_turn(log_class, late, gate):
    log = ray.remote(log_class).remote()
    log.add.remote(late.remote(1))
    log.add.remote(2)
    read = log.read.remote()
    assert ray.wait([read], timeout=0.3)[0] == []
    gate.open()
    assert ray.get(read, timeout=60) == [1, 2]


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
        ray.get(log.read.remote(), timeout=60)
    gate.open()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(waiting, timeout=60)
