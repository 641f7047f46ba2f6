"""Identifiers: fixed-length, immutable byte strings with a type.

An id carries its origin, as in Ray, so that nobody has to ask a table for it: an actor id ends
with its job id, a task id with its actor id, an object id starts with the id of the task that
makes it and ends with the index of the return value::

    ActorID  = 12 unique bytes + JobID (4)
    TaskID   =  8 unique bytes + ActorID (16)
    ObjectID = TaskID (24)     + index (4, little endian)
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, ClassVar, NoReturn, TypeVar

_Self = TypeVar("_Self", bound="BaseID")

_set = object.__setattr__


def hash_of(binary: bytes) -> int:
    """A number of 64 bits made from the bytes of an id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(binary, digest_size=8).digest(), "little")


class BaseID:
    """An immutable identifier of ``SIZE`` bytes; ids of different types are never equal.

    Parameters
    ----------
    id : bytes
        Exactly ``size()`` bytes.

    Raises
    ------
    TypeError
        When ``id`` is not ``bytes``.
    ValueError
        When it has another length.
    """

    __slots__ = ("__weakref__", "_binary", "_hash")
    SIZE: ClassVar[int] = 0

    _binary: bytes
    _hash: int

    def __init__(self, id: bytes) -> None:
        if type(id) is not bytes:
            raise TypeError(f"{type(self).__name__} is made from bytes, not from {type(id).__name__}: {id!r}")
        if len(id) != self.SIZE:
            raise ValueError(f"{type(self).__name__} has {self.SIZE} bytes, got {len(id)}: {id!r}")
        _set(self, "_binary", id)
        _set(self, "_hash", hash(id))

    @classmethod
    def from_binary(cls: type[_Self], id: bytes) -> _Self:
        """The id with these bytes."""
        return cls(id)

    @classmethod
    def from_hex(cls: type[_Self], hex_id: str | bytes) -> _Self:
        """The id written as ``hex_id``, as ``hex()`` gives it."""
        text = hex_id.decode("ascii", "replace") if isinstance(hex_id, bytes) else hex_id
        try:
            binary = bytes.fromhex(text)
        except ValueError:
            raise ValueError(
                f"{cls.__name__} is written with {2 * cls.SIZE} hexadecimal digits, got {text!r}"
            ) from None
        return cls(binary)

    @classmethod
    def nil(cls: type[_Self]) -> _Self:
        """The id that stands for "none": all bits set."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def size(cls) -> int:
        """Length in bytes."""
        return cls.SIZE

    def binary(self) -> bytes:
        """The id as bytes."""
        return self._binary

    def hex(self) -> str:
        """The id as lower-case hexadecimal digits."""
        return self._binary.hex()

    def redis_shard_hash(self) -> int:
        """A number of 64 bits made from the id, the same in every process."""
        return hash_of(self._binary)

    def is_nil(self) -> bool:
        """True for the id that ``nil()`` gives."""
        return self._binary == b"\xff" * self.SIZE

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._binary == self._binary

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._binary.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._binary,)


class _RandomID(BaseID):
    __slots__ = ()

    @classmethod
    def from_random(cls: type[_Self]) -> _Self:
        """A new id. The bytes come from the kernel, so forked processes never make the same."""
        return cls(os.urandom(cls.SIZE))


class UniqueID(_RandomID):
    """28 random bytes."""

    __slots__ = ()
    SIZE = 28


class NodeID(UniqueID):
    """A node (machine) of the cluster."""

    __slots__ = ()


class WorkerID(UniqueID):
    """A process that runs calls, or a driver."""

    __slots__ = ()


class FunctionID(UniqueID):
    """An exported remote function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """An exported actor class."""

    __slots__ = ()


class ClusterID(UniqueID):
    """A cluster, for as long as it lives."""

    __slots__ = ()


class JobID(BaseID):
    """A job: one driver and everything it started. Numbered from 1."""

    __slots__ = ()
    SIZE = 4

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The id of job number ``value`` (0 <= value < 2**32)."""
        if not 0 <= value < 2**32:
            raise ValueError(f"a job number lies between 0 and 2**32 - 1, got {value}")
        return cls(value.to_bytes(4, "little"))

    def int(self) -> int:
        """The number of the job."""
        return int.from_bytes(self._binary, "little")


class ActorID(_RandomID):
    """An actor; ends with the id of the job that created it."""

    __slots__ = ()
    SIZE = 16

    @classmethod
    def of(cls, job_id: JobID) -> ActorID:
        """A new actor id of a job."""
        return cls(os.urandom(12) + job_id.binary())

    @classmethod
    def nil_of(cls, job_id: JobID) -> ActorID:
        """The "no actor" of a job: what the ids of its plain tasks end with."""
        return cls(b"\xff" * 12 + job_id.binary())

    @property
    def job_id(self) -> JobID:
        return JobID(self._binary[12:])


class TaskID(BaseID):
    """One execution of a function or method; ends with the id of the actor it belongs to."""

    __slots__ = ()
    SIZE = 24

    @classmethod
    def for_normal_task(cls, job_id: JobID) -> TaskID:
        """A new id of a plain task of a job."""
        return cls(os.urandom(8) + b"\xff" * 12 + job_id.binary())

    @classmethod
    def for_actor_task(cls, actor_id: ActorID) -> TaskID:
        """A new id of a method call."""
        return cls(os.urandom(8) + actor_id.binary())

    @classmethod
    def for_actor_creation_task(cls, actor_id: ActorID) -> TaskID:
        """The id of the call of an actor's ``__init__``: the same however often it is asked for."""
        return cls(b"\xff" * 8 + actor_id.binary())

    @classmethod
    def for_driver_task(cls, job_id: JobID) -> TaskID:
        """The id under which the driver of a job itself runs."""
        return cls(b"\x00" * 8 + b"\xff" * 12 + job_id.binary())

    @classmethod
    def for_fake_task(cls, job_id: JobID) -> TaskID:
        """A new id, for a job, of a task that never runs."""
        return cls.for_normal_task(job_id)

    @classmethod
    def from_random(cls) -> TaskID:
        """A new id that belongs to no job."""
        return cls.for_normal_task(JobID.nil())

    @property
    def actor_id(self) -> ActorID:
        return ActorID(self._binary[8:])

    @property
    def job_id(self) -> JobID:
        return JobID(self._binary[20:])


class ObjectID(_RandomID):
    """A value: the id of the task that makes it, and which of its values it is (from 1)."""

    __slots__ = ()
    SIZE = 28

    @classmethod
    def of(cls, task_id: TaskID, index: int) -> ObjectID:
        """The id of value number ``index`` of a task."""
        return cls(task_id.binary() + index.to_bytes(4, "little"))

    @property
    def task_id(self) -> TaskID:
        return TaskID(self._binary[:24])

    @property
    def index(self) -> int:
        return int.from_bytes(self._binary[24:], "little")

    @property
    def job_id(self) -> JobID:
        return JobID(self._binary[20:24])


class PlacementGroupID(_RandomID):
    """A placement group; ends with the id of the job that created it."""

    __slots__ = ()
    SIZE = 18

    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID:
        """A new placement group id of a job."""
        return cls(os.urandom(14) + job_id.binary())

    @property
    def job_id(self) -> JobID:
        return JobID(self._binary[14:])
