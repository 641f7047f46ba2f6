"""The actor directory: names, restarts and deaths. Pure, so every path is tried."""

from __future__ import annotations

import pytest

from rayjup.engine.head import actors as ad


def make(number: int = 1, name: str = "", namespace: str = "n", **spec) -> ad.Actor:
    spec = {"class_name": "C", "name": name, "namespace": namespace, **spec}
    return ad.Actor(bytes([number]) * 16, spec, b"payload", "creator", b"job1")


@pytest.fixture
def directory() -> ad.ActorDirectory:
    return ad.ActorDirectory()


def test_names_belong_to_a_namespace(directory):
    assert directory.add(make(1, "a")) is None
    assert directory.add(make(2, "a", "other")) is None
    problem = directory.add(make(3, "a"))
    assert "a" in problem and "already taken" in problem and "get_if_exists" in problem
    assert bytes([3]) * 16 not in directory.by_id
    assert directory.named("n", "a").id == bytes([1]) * 16
    assert directory.named("n", "b") is None


def test_a_name_is_free_again_after_a_death(directory):
    first = make(1, "a")
    directory.add(first)
    directory.die(first, "it was killed")
    assert directory.named("n", "a") is None
    assert directory.add(make(2, "a")) is None
    directory.die(first, "again")
    assert directory.named("n", "a").id == bytes([2]) * 16, "an old death must not take a new name"


def test_without_restarts_the_end_of_the_process_is_death(directory):
    actor = make(1)
    directory.add(actor)
    assert directory.process_ended(actor, "it crashed") is False
    assert actor.state == ad.DEAD and "it crashed" in actor.error["error_message"]
    assert actor.payload == b"", "arguments of the constructor are let go"


def test_restarts_are_counted(directory):
    actor = make(1, max_restarts=2)
    directory.add(actor)
    actor.state = ad.ALIVE
    outcomes = []
    for _ in range(3):
        actor.address, actor.pid, actor.lease_id = "x", 1, "l"
        outcomes.append((directory.process_ended(actor, "crash"), actor.state, actor.address, actor.pid))
    assert outcomes == [
        (True, ad.RESTARTING, "", 0),
        (True, ad.RESTARTING, "", 0),
        (False, ad.DEAD, "", 0),
    ]
    assert actor.restarts == 2 and actor.payload == b""


def test_restarts_without_end(directory):
    actor = make(1, max_restarts=-1)
    directory.add(actor)
    assert all(directory.process_ended(actor, "crash") for _ in range(50))


def test_an_actor_that_is_to_end_is_not_restarted(directory):
    actor = make(1, max_restarts=-1)
    directory.add(actor)
    actor.exiting = "exit_actor() was called"
    assert directory.process_ended(actor, "its process exited with code 0") is False
    assert "exit_actor() was called" in actor.error["error_message"]


def test_the_first_cause_of_death_stays(directory):
    actor = make(1)
    directory.add(actor)
    directory.die(actor, "its constructor raised an exception", b"cause")
    directory.die(actor, "its process ended")
    assert actor.error["cause"] == b"cause" and "constructor" in actor.death_cause
    assert actor.error["never_started"] is True


def test_an_actor_that_has_lived_did_start(directory):
    actor = make(1)
    directory.add(actor)
    actor.state = ad.ALIVE
    directory.die(actor, "x")
    assert actor.error["never_started"] is False


def test_living_actors_of_a_job(directory):
    for number in (1, 2, 3):
        directory.add(make(number))
    directory.die(directory.by_id[bytes([2]) * 16], "x")
    other = make(4)
    other.job_id = b"job2"
    directory.add(other)
    assert [a.id[0] for a in directory.of_job(b"job1")] == [1, 3]


def test_only_so_many_dead_are_remembered(directory, monkeypatch):
    monkeypatch.setattr(ad, "_KEPT_DEAD", 3)
    for number in range(1, 8):
        actor = make(number)
        directory.add(actor)
        directory.die(actor, "x")
    living = make(9)
    directory.add(living)
    assert sorted(a.id[0] for a in directory.by_id.values()) == [5, 6, 7, 9]


@pytest.mark.parametrize(("spec", "detached"), [({}, False), ({"detached": True}, True)])
def test_detached(spec, detached):
    assert make(1, **spec).detached is detached
