"""Actors: state, order of calls, methods, several ways to run them."""

import asyncio
import os
import threading

import pytest
import ray

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def counter_class():
    @ray.remote
    class Counter:
        """Counts."""

        def __init__(self, start=0):
            self.n = start

        def add(self, by=1):
            self.n += by
            return self.n

        def pid(self):
            return os.getpid()

    return Counter


def test_an_actor_keeps_its_state(counter_class):
    counter = counter_class.remote()
    assert ray.get([counter.add.remote() for _ in range(5)]) == [1, 2, 3, 4, 5]
    assert ray.get(counter.add.remote(by=10)) == 15


def test_each_actor_is_a_process_of_its_own(counter_class):
    actors = [counter_class.remote(start=i) for i in range(3)]
    pids = ray.get([a.pid.remote() for a in actors])
    assert len({os.getpid(), *pids}) == 4
    assert ray.get([a.pid.remote() for a in actors]) == pids
    assert ray.get([a.add.remote() for a in actors]) == [1, 2, 3]


def test_calls_of_one_caller_run_in_the_order_of_their_submission():
    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def write(self, i):
            self.seen.append(i)

        def read(self):
            return self.seen

    @ray.remote
    def delayed(i):
        return i

    log = Log.remote()
    for i in range(300):
        # Every tenth waits for a result first; those behind it must not overtake.
        log.write.remote(delayed.remote(i) if i % 10 == 0 else i)
    assert ray.get(log.read.remote()) == list(range(300))


def test_arguments_of_the_constructor_may_be_references(counter_class):
    counter = counter_class.remote(start=ray.put(5))
    assert ray.get(counter.add.remote(ray.put(2))) == 7


def test_remote_may_wrap_a_class():
    class Plain:
        def hello(self):
            return "hello"

    assert ray.get(ray.remote(Plain).remote().hello.remote()) == "hello"
    assert ray.get(ray.remote(num_cpus=1)(Plain).remote().hello.remote()) == "hello"
    assert Plain().hello() == "hello"


def test_inherited_static_and_class_methods():
    class Base:
        size = 3

        def who(self):
            return type(self).__name__

        @staticmethod
        def add(a, b):
            return a + b

        @classmethod
        def measure(cls):
            return cls.size

    @ray.remote
    class Derived(Base):
        size = 4

        def who(self):
            return "derived " + super().who()

    actor = Derived.remote()
    assert ray.get([actor.who.remote(), actor.add.remote(1, 2), actor.measure.remote()]) == [
        "derived Derived",
        3,
        4,
    ]


def test_methods_with_several_results():
    @ray.remote
    class Pair:
        @ray.method(num_returns=2)
        def both(self):
            return 1, 2

        def plain(self):
            return "a", "b", "c"

    actor = Pair.remote()
    assert ray.get(list(actor.both.remote())) == [1, 2]
    assert ray.get(list(actor.plain.options(num_returns=3).remote())) == ["a", "b", "c"]
    assert ray.get(actor.plain.remote()) == ("a", "b", "c")


def test_an_error_in_a_method_leaves_the_actor_alive():
    @ray.remote
    class Careful:
        def __init__(self):
            self.calls = 0

        def fail(self):
            self.calls += 1
            raise ValueError("careful")

        def count(self):
            return self.calls

    actor = Careful.remote()
    with pytest.raises(ValueError, match="careful"):
        ray.get(actor.fail.remote())
    assert ray.get(actor.count.remote()) == 1


def test_handles_travel_to_tasks_actors_and_objects(counter_class):
    @ray.remote
    class User:
        def __init__(self, handles):
            self.handle = handles[0]

        def use(self):
            return ray.get(self.handle.add.remote())

    @ray.remote
    def use(handle):
        return ray.get(handle.add.remote())

    counter = counter_class.remote()
    assert ray.get(use.remote(counter)) == 1
    assert ray.get(User.remote([counter]).use.remote()) == 2
    again = ray.get(ray.put({"counter": counter}))["counter"]
    assert ray.get(again.add.remote()) == 3
    assert again == counter
    assert len({again, counter}) == 1


def test_an_actor_may_give_away_itself():
    @ray.remote
    class Me:
        def handle(self):
            return ray.get_runtime_context().current_actor

        def pid(self):
            return os.getpid()

    me = Me.remote()
    assert ray.get(ray.get(me.handle.remote()).pid.remote()) == ray.get(me.pid.remote())


def test_async_methods_wait_side_by_side():
    @ray.remote
    class Meeting:
        def __init__(self):
            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()
            return "met"

        async def start(self):
            self.event.set()

    meeting = Meeting.remote()
    waiting = [meeting.wait.remote() for _ in range(20)]
    assert ray.wait(waiting, timeout=0.1)[0] == []
    ray.get(meeting.start.remote())
    assert ray.get(waiting, timeout=60) == ["met"] * 20


def test_async_methods_await_references():
    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    class Adder:
        async def total(self, values):
            return sum(await asyncio.gather(*[double.remote(v) for v in values]))

    assert ray.get(Adder.remote().total.remote([1, 2, 3])) == 12


def test_max_concurrency_limits_async_methods():
    @ray.remote(max_concurrency=2)
    class Limited:
        def __init__(self):
            self.now = 0
            self.most = 0
            self.met = asyncio.Event()

        async def work(self, wanted):
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == wanted:
                self.met.set()
            await asyncio.wait_for(self.met.wait(), 60)  # comes true only where so many run at once
            await asyncio.sleep(0.01)
            self.now -= 1
            return self.most

    assert ray.get(Limited.remote().work.remote(1)) == 1
    actor = Limited.remote()
    assert max(ray.get([actor.work.remote(2) for _ in range(10)])) == 2


def test_max_concurrency_gives_threads_to_plain_methods():
    @ray.remote(max_concurrency=3)
    class Threads:
        def __init__(self):
            self.barrier = threading.Barrier(3)

        def meet(self):
            self.barrier.wait(timeout=60)
            return threading.get_ident()

    actor = Threads.remote()
    assert len(set(ray.get([actor.meet.remote() for _ in range(3)]))) == 3


def test_direct_use_of_class_and_methods_is_refused(counter_class):
    with pytest.raises(TypeError, match=r"\.remote\("):
        counter_class()
    counter = counter_class.remote()
    with pytest.raises(TypeError, match=r"\.remote\("):
        counter.add()
    with pytest.raises(AttributeError, match="no_such_method"):
        counter.no_such_method.remote()


def test_wrong_arguments_are_refused(counter_class):
    with pytest.raises(TypeError):
        counter_class.remote(1, 2, 3)
    counter = counter_class.remote()
    with pytest.raises(TypeError):
        counter.add.remote(1, 2, 3)
    with pytest.raises(TypeError):
        counter.add.remote(no_such=1)
    assert ray.get(counter.add.remote()) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"no_such_option": 1},
        {"num_cpus": -1},
        {"max_restarts": -2},
        {"max_task_retries": -2},
        {"lifetime": "forever"},
        {"resources": {"CPU": 1}},
        {"max_retries": 1},
        {"num_returns": 2},
        {"name": 5},
    ],
    ids=lambda o: next(iter(o)),
)
def test_wrong_options_are_refused(options, counter_class):
    with pytest.raises((ValueError, TypeError)):
        counter_class.options(**options).remote()


def test_wrong_method_options_are_refused():
    with pytest.raises((ValueError, TypeError, AssertionError)):
        ray.method(no_such_option=1)


def test_an_actor_may_hold_cpus_and_others_wait_for_it(counter_class, eventually):
    greedy = counter_class.options(num_cpus=4).remote()
    ray.get(greedy.add.remote())
    eventually(lambda: ray.available_resources().get("CPU", 0) == 0)
    second = counter_class.options(num_cpus=1).remote()
    ref = second.add.remote()
    assert ray.wait([ref], timeout=0.2)[0] == []
    ray.kill(greedy)
    assert ray.get(ref, timeout=60) == 1
