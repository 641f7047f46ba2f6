"""The end of actors, their names and restarts."""

import os
import signal

import pytest
import ray
from ray.exceptions import ActorDiedError, RayActorError

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def actor_class():
    @ray.remote
    class Actor:
        def __init__(self, tag="actor"):
            self.tag = tag
            self.calls = 0

        def pid(self):
            return os.getpid()

        def call(self):
            self.calls += 1
            return self.calls

        def die(self):
            os.kill(os.getpid(), signal.SIGKILL)

        def run(self, function):
            return function()

        def leave(self):
            ray.actor.exit_actor()

    return Actor


def test_kill_ends_the_process_and_later_calls_fail(actor_class, ended):
    actor = actor_class.remote()
    pid = ray.get(actor.pid.remote())
    ray.kill(actor)
    with pytest.raises(RayActorError):
        ray.get(actor.call.remote(), timeout=60)
    ended(pid)


def test_calls_under_way_fail_when_the_actor_is_killed(actor_class, gate):
    actor = actor_class.remote()
    ray.get(actor.call.remote())
    refs = [actor.run.remote(gate.wait), actor.call.remote()]
    ray.kill(actor)
    for ref in refs:
        with pytest.raises(RayActorError):
            ray.get(ref, timeout=60)


def test_kill_takes_actor_handles_only(actor_class):
    for wrong in (1, "name", ray.put(1), actor_class):
        with pytest.raises((TypeError, ValueError)):
            ray.kill(wrong)


def test_kill_of_a_dead_actor_does_nothing(actor_class):
    actor = actor_class.remote()
    ray.get(actor.call.remote())
    ray.kill(actor)
    with pytest.raises(RayActorError):
        ray.get(actor.call.remote(), timeout=60)
    ray.kill(actor)


def test_a_crashed_actor_is_reported(actor_class):
    actor = actor_class.remote()
    with pytest.raises(RayActorError):
        ray.get(actor.die.remote(), timeout=60)
    with pytest.raises(ActorDiedError):
        ray.get(actor.call.remote(), timeout=60)


def test_an_error_in_the_constructor_is_reported_by_every_call():
    @ray.remote
    class Broken:
        def __init__(self):
            raise ValueError("cannot be built")

        def call(self):
            return 1

    actor = Broken.remote()
    for _ in range(2):
        with pytest.raises(ActorDiedError, match="cannot be built"):
            ray.get(actor.call.remote(), timeout=60)


def test_an_actor_ends_when_its_last_handle_is_gone(actor_class, ended):
    actor = actor_class.remote()
    pid = ray.get(actor.pid.remote())
    del actor
    ended(pid)


def test_calls_made_before_the_last_handle_went_are_finished(actor_class):
    actor = actor_class.remote()
    refs = [actor.call.remote() for _ in range(10)]
    del actor
    assert ray.get(refs, timeout=60) == list(range(1, 11))


def test_an_actor_may_end_itself(actor_class, ended):
    actor = actor_class.remote()
    pid = ray.get(actor.pid.remote())
    with pytest.raises(RayActorError):
        ray.get(actor.leave.remote(), timeout=60)
    ended(pid)
    with pytest.raises(RayActorError):
        ray.get(actor.call.remote(), timeout=60)


def test_a_restart_gives_a_new_process_with_fresh_state(actor_class, eventually):
    actor = actor_class.options(max_restarts=1).remote()
    first = ray.get(actor.pid.remote())
    assert ray.get([actor.call.remote() for _ in range(3)]) == [1, 2, 3]
    os.kill(first, signal.SIGKILL)

    def answers():
        try:
            return ray.get(actor.pid.remote(), timeout=60) != first
        except RayActorError:
            return False

    eventually(answers, timeout_s=60)
    assert ray.get(actor.call.remote()) == 1
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)
    with pytest.raises(RayActorError):
        for _ in range(100):
            ray.get(actor.call.remote(), timeout=60)


def test_calls_are_repeated_after_a_restart_when_asked(counted):
    @ray.remote(max_restarts=1, max_task_retries=1)
    class Fragile:
        def work(self, count):
            n = count()
            if n == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return n

    assert ray.get(Fragile.remote().work.remote(counted), timeout=30) == 2


def test_kill_may_allow_a_restart(actor_class, ended):
    actor = actor_class.options(max_restarts=1, max_task_retries=-1).remote()
    first = ray.get(actor.pid.remote())
    ray.kill(actor, no_restart=False)
    ended(first)
    assert ray.get(actor.pid.remote(), timeout=60) != first


def test_a_named_actor_is_found_by_its_name(actor_class):
    actor = actor_class.options(name="found").remote()
    ray.get(actor.call.remote())
    assert ray.get(ray.get_actor("found").call.remote()) == 2

    @ray.remote
    def use():
        return ray.get(ray.get_actor("found").call.remote())

    assert ray.get(use.remote()) == 3


def test_a_name_belongs_to_one_actor_at_a_time(actor_class, eventually):
    actor = actor_class.options(name="single").remote()
    ray.get(actor.call.remote())
    with pytest.raises(ValueError, match="single"):
        actor_class.options(name="single").remote()
    ray.kill(actor)

    def free():
        try:
            ray.get_actor("single")
        except ValueError:
            return True
        return False

    eventually(free)
    again = actor_class.options(name="single").remote()
    assert ray.get(again.call.remote()) == 1


def test_get_if_exists_gives_the_one_there_is(actor_class):
    first = actor_class.options(name="shared", get_if_exists=True).remote()
    second = actor_class.options(name="shared", get_if_exists=True).remote()
    assert ray.get([first.call.remote(), first.call.remote()]) == [1, 2]
    assert ray.get(second.call.remote()) == 3


def test_namespaces_keep_names_apart(actor_class):
    here = actor_class.options(name="twin").remote("here")
    there = actor_class.options(name="twin", namespace="elsewhere").remote("there")
    assert ray.get(here.pid.remote()) != ray.get(there.pid.remote())
    found = ray.get_actor("twin", namespace="elsewhere")
    assert ray.get(found.pid.remote()) == ray.get(there.pid.remote())


@pytest.mark.parametrize("name", ["nobody", ""], ids=["unknown", "empty"])
def test_an_unknown_name_is_an_error(name):
    with pytest.raises(ValueError):
        ray.get_actor(name)


def test_a_detached_actor_stays_without_handles(actor_class):
    actor = actor_class.options(name="stays", lifetime="detached").remote()
    pid = ray.get(actor.pid.remote())
    del actor
    found = ray.get_actor("stays")
    assert ray.get(found.pid.remote()) == pid
    ray.kill(found)
