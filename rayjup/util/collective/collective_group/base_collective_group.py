"""What a backend has to be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class BaseGroup(ABC):
    """One process's membership in a group.

    Operations get their tensor in a list of one, as Ray's backends do; ``tensor_list`` is a list
    of one list. They change tensors in place.

    Parameters
    ----------
    world_size
        How many members there are.
    rank
        Which one this is.
    group_name
        The group's name.
    """

    def __init__(self, world_size: int, rank: int, group_name: str) -> None:
        self._world_size = world_size
        self._rank = rank
        self._group_name = group_name

    @property
    def rank(self) -> int:
        """Which member this is."""
        return self._rank

    @property
    def world_size(self) -> int:
        """How many members there are."""
        return self._world_size

    @property
    def group_name(self) -> str:
        """The group's name."""
        return self._group_name

    def destroy_group(self) -> None:
        """Leave the group and free what it needed."""
        return

    @classmethod
    def backend(cls) -> str:
        """The backend's name."""
        return cls.__name__

    @classmethod
    @abstractmethod
    def check_backend_availability(cls) -> bool:
        """Whether it works here."""

    @abstractmethod
    def allreduce(self, tensor: Any, allreduce_options: Any = None) -> None:
        """Every member's tensor becomes the reduction of all."""

    @abstractmethod
    def barrier(self, barrier_options: Any = None) -> None:
        """Wait until all members have come here."""

    @abstractmethod
    def reduce(self, tensor: Any, reduce_options: Any = None) -> None:
        """The root's tensor becomes the reduction of all."""

    @abstractmethod
    def allgather(self, tensor_list: Any, tensor: Any, allgather_options: Any = None) -> None:
        """Every member's list gets the tensors of all."""

    @abstractmethod
    def broadcast(self, tensor: Any, broadcast_options: Any = None) -> None:
        """Every member's tensor becomes the root's."""

    @abstractmethod
    def reducescatter(self, tensor: Any, tensor_list: Any, reducescatter_options: Any = None) -> None:
        """Each member gets its part of the reduction of all lists."""

    @abstractmethod
    def send(self, tensor: Any, send_options: Any) -> None:
        """Send to one member."""

    @abstractmethod
    def recv(self, tensor: Any, recv_options: Any) -> None:
        """Receive what one member sends."""
