"""Identifiers: Ray's lengths and layouts, immutable, typed."""

from __future__ import annotations

import copy
import pickle

import pytest

from rayjup.base import ids

SIZES = {
    ids.UniqueID: 28,
    ids.NodeID: 28,
    ids.WorkerID: 28,
    ids.FunctionID: 28,
    ids.ActorClassID: 28,
    ids.ClusterID: 28,
    ids.TaskID: 24,
    ids.ObjectID: 28,
    ids.ActorID: 16,
    ids.JobID: 4,
    ids.PlacementGroupID: 18,
}


@pytest.mark.parametrize(("cls", "size"), SIZES.items())
def test_every_type_of_id(cls, size):
    one = cls(bytes(range(size)))
    assert cls.size() == size == len(one.binary())
    assert one.hex() == bytes(range(size)).hex()
    assert cls.from_hex(one.hex()) == cls.from_binary(one.binary()) == one
    assert hash(cls(one.binary())) == hash(one)
    assert repr(one) == f"{cls.__name__}({one.hex()})" == str(one)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    assert type(pickle.loads(pickle.dumps(one))) is cls
    assert cls.nil().is_nil() and cls.nil().binary() == b"\xff" * size
    assert not one.is_nil()


def test_ids_of_different_types_differ():
    assert ids.NodeID.nil() != ids.WorkerID.nil()
    assert ids.NodeID.nil() != ids.NodeID.nil().binary()


def test_random_ids_differ():
    assert len({ids.ObjectID.from_random() for _ in range(1000)}) == 1000


def test_ids_cannot_be_changed():
    one = ids.NodeID.from_random()
    with pytest.raises(AttributeError, match="NodeID is immutable: cannot set '_binary'"):
        one._binary = b""
    with pytest.raises(AttributeError, match="NodeID is immutable: cannot delete '_hash'"):
        del one._hash


def test_wrong_ids_are_refused():
    with pytest.raises(ValueError, match="NodeID has 28 bytes, got 1"):
        ids.NodeID(b"x")
    with pytest.raises(TypeError, match="NodeID is made from bytes, not from str"):
        ids.NodeID("x" * 28)
    with pytest.raises(ValueError, match="JobID is written with 8 hexadecimal digits, got 'zz'"):
        ids.JobID.from_hex("zz")
    with pytest.raises(ValueError, match="a job number lies between 0 and 2"):
        ids.JobID.from_int(2**32)


def test_ids_carry_their_origin():
    job = ids.JobID.from_int(7)
    actor = ids.ActorID.of(job)
    task = ids.TaskID.for_actor_task(actor)
    value = ids.ObjectID.of(task, 3)
    assert job.int() == 7 and job.hex() == "07000000"
    assert actor.job_id == task.job_id == value.job_id == ids.PlacementGroupID.of(job).job_id == job
    assert task.actor_id == actor and value.task_id == task and value.index == 3
    assert ids.TaskID.for_actor_creation_task(actor) == ids.TaskID.for_actor_creation_task(actor)
    assert ids.TaskID.for_normal_task(job).actor_id == ids.ActorID.nil_of(job)
    assert ids.TaskID.for_driver_task(job).job_id == job
