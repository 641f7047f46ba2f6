"""The backend that needs nothing: rings, trees and stars of NumPy arrays over sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from rayjup.core import session as sessions
from rayjup.util.collective import rendezvous
from rayjup.util.collective.collective_group.base_collective_group import BaseGroup
from rayjup.util.collective.collective_group.sockets import Mesh, listen
from rayjup.util.collective.tensors import as_array
from rayjup.util.collective.types import (
    AllReduceOptions,
    Backend,
    BroadcastOptions,
    RecvOptions,
    ReduceOp,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
)

_SMALL = 32 * 1024  # bytes below which one member reduces for all
_UFUNCS = {
    ReduceOp.SUM: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
}


class NumpyGroup(BaseGroup):
    """A group whose members exchange arrays over sockets of their own.

    Takes NumPy arrays and PyTorch tensors in the memory of the CPU. Sums are the same to the bit on
    all members.
    """

    def __init__(self, world_size: int, rank: int, group_name: str, gloo_timeout: int | None = None) -> None:
        super().__init__(world_size, rank, group_name)
        timeout_ms = gloo_timeout or 30000
        listener, address = listen(self._directory(), "", world_size)
        card = (self._host(), address)
        try:
            key, cards = rendezvous.gather(group_name, rank, world_size, self.backend(), card, timeout_ms)
            mesh = Mesh(group_name, rank, world_size, listener)
            if len({host for host, _ in cards.values()}) > 1:
                mesh.close()
                listener, address = listen(None, self._ip(), world_size)
                mesh = Mesh(group_name, rank, world_size, listener)
                card = (self._host(), address)
                key, cards = rendezvous.gather(group_name, rank, world_size, self.backend(), card, timeout_ms)
        except BaseException:
            Mesh(group_name, rank, world_size, listener).close()
            raise
        mesh.connect({other: card[1] for other, card in cards.items()}, key, timeout_ms / 1000)
        self._mesh = mesh

    @staticmethod
    def _directory() -> str:
        return os.path.dirname(sessions.connected().runtime.address)

    @staticmethod
    def _host() -> str:
        return sessions.connected().runtime.store.host

    @staticmethod
    def _ip() -> str:
        from rayjup.util import get_node_ip_address

        return str(get_node_ip_address())

    @classmethod
    def backend(cls) -> str:
        """``"NUMPY"``."""
        return Backend.NUMPY

    @classmethod
    def check_backend_availability(cls) -> bool:
        """True: it needs nothing."""
        return True

    def destroy_group(self) -> None:
        """End the connections."""
        self._mesh.close()

    # -- operations

    def allreduce(self, tensor: Any, allreduce_options: AllReduceOptions | None = None) -> None:
        """Every member's tensor becomes the reduction of all."""
        op = (allreduce_options or AllReduceOptions()).reduceOp
        with _flat(as_array(_one(tensor))) as array:
            self._allreduce(array, op, "allreduce")

    def _allreduce(self, array: np.ndarray, op: ReduceOp, name: str) -> None:
        if self._star(array):
            self._reduce_star(array, op, 0, name)
            self._broadcast(array, 0, name)
            return
        chunks = np.array_split(array, self.world_size)
        self._reduce_ring(chunks, op, name)
        self._gather_ring(chunks, name)

    def barrier(self, barrier_options: Any = None) -> None:
        """Wait until all members have come here."""
        self._allreduce(np.zeros(1, np.uint8), ReduceOp.MAX, "barrier")

    def reduce(self, tensor: Any, reduce_options: ReduceOptions | None = None) -> None:
        """The root's tensor becomes the reduction of all; the others' stay as they are."""
        options = reduce_options or ReduceOptions()
        root = options.root_rank
        is_root = self.rank == root
        with _flat(as_array(_one(tensor), writes=is_root), copy=not is_root) as array:
            if self._star(array):
                self._reduce_star(array, options.reduceOp, root, "reduce")
                return
            chunks = np.array_split(array, self.world_size)
            self._reduce_ring(chunks, options.reduceOp, "reduce")
            if not is_root:
                self._mesh.send(root, "reduce", chunks[self.rank])
                return
            for other in self._others():
                self._mesh.receive(other, "reduce", chunks[other])

    def broadcast(self, tensor: Any, broadcast_options: BroadcastOptions | None = None) -> None:
        """Every member's tensor becomes the root's."""
        root = (broadcast_options or BroadcastOptions()).root_rank
        with _flat(as_array(_one(tensor), writes=self.rank != root)) as array:
            self._broadcast(array, root, "broadcast")

    def allgather(self, tensor_list: Any, tensor: Any, allgather_options: Any = None) -> None:
        """Every member's list gets the tensors of all, by rank."""
        outputs = self._checked_list(tensor_list)
        mine = as_array(_one(tensor), writes=False)
        flat = [np.empty(out.size, out.dtype) for out in outputs]
        for out in outputs:
            if out.nbytes != mine.nbytes:
                raise ValueError(
                    f"allgather needs outputs as large as the input ({mine.nbytes} bytes); one has "
                    f"{out.nbytes}."
                )
        flat[self.rank].view(np.uint8)[:] = np.ascontiguousarray(mine).reshape(-1).view(np.uint8)
        self._gather_ring(flat, "allgather")
        for out, values in zip(outputs, flat, strict=True):
            out[...] = values.reshape(out.shape)

    def reducescatter(
        self, tensor: Any, tensor_list: Any, reducescatter_options: ReduceScatterOptions | None = None
    ) -> None:
        """The tensor becomes the reduction of all members' entry at this rank."""
        op = (reducescatter_options or ReduceScatterOptions()).reduceOp
        output = as_array(_one(tensor))
        inputs = self._checked_list(tensor_list, writes=False)
        if output.shape != inputs[self.rank].shape:
            raise ValueError(
                f"Output tensor has wrong shape {output.shape}, expected {inputs[self.rank].shape}"
            )
        chunks = [array.flatten() for array in inputs]  # copies: what callers pass in stays
        self._reduce_ring(chunks, op, "reducescatter")
        output[...] = chunks[self.rank].reshape(output.shape)

    def send(self, tensor: Any, send_options: SendOptions) -> None:
        """Send to one member."""
        with _flat(as_array(_one(tensor), writes=False)) as array:
            self._mesh.send(send_options.dst_rank, "send", array)

    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        """Receive what one member sends."""
        with _flat(as_array(_one(tensor))) as array:
            self._mesh.receive(recv_options.src_rank, "send", array)

    # -- patterns

    def _star(self, array: np.ndarray) -> bool:
        return array.nbytes < _SMALL or array.size < self.world_size

    def _others(self) -> list[int]:
        return [rank for rank in range(self.world_size) if rank != self.rank]

    def _reduce_star(self, array: np.ndarray, op: ReduceOp, root: int, name: str) -> None:
        if self.rank != root:
            self._mesh.send(root, name, array)
            return
        other = np.empty_like(array)
        for rank in self._others():
            self._mesh.receive(rank, name, other)
            _UFUNCS[op](array, other, out=array, casting="unsafe")

    def _broadcast(self, array: np.ndarray, root: int, name: str) -> None:
        size = self.world_size
        place = (self.rank - root) % size  # in a tree that begins at the root
        step = 1
        while step < size:
            if place < step:
                if place + step < size:
                    self._mesh.send((place + step + root) % size, name, array)
            elif place < 2 * step:
                self._mesh.receive((place - step + root) % size, name, array)
            step *= 2

    def _reduce_ring(self, chunks: list[np.ndarray], op: ReduceOp, name: str) -> None:
        """Reduce in a ring: afterwards this member has the whole reduction of its own chunk."""
        size, rank = self.world_size, self.rank
        for step in range(1, size):
            out, into = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
            other = np.empty_like(into)
            self._mesh.exchange((rank + 1) % size, out, (rank - 1) % size, other, name)
            _UFUNCS[op](into, other, out=into, casting="unsafe")

    def _gather_ring(self, chunks: list[np.ndarray], name: str) -> None:
        """Pass chunks on in a ring, each member beginning with its own, until all have all."""
        size, rank = self.world_size, self.rank
        for step in range(size - 1):
            out, into = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
            self._mesh.exchange((rank + 1) % size, out, (rank - 1) % size, into, name)

    def _checked_list(self, tensor_list: Any, writes: bool = True) -> list[np.ndarray]:
        tensors = [as_array(tensor, writes) for tensor in _one(tensor_list)]
        if len(tensors) != self.world_size:
            raise RuntimeError(
                f"the list needs one tensor per member of the group {self.group_name!r}, {self.world_size}; "
                "it has "
                f"{len(tensors)}."
            )
        return tensors


def _one(tensors: Any) -> Any:
    """The tensor inside the list of one in which backends get it."""
    (tensor,) = tensors
    return tensor


@contextmanager
def _flat(array: np.ndarray, copy: bool = False) -> Iterator[np.ndarray]:
    """The array's numbers in one row; what is written to them ends up in the array unless ``copy``."""
    if array.dtype.hasobject:
        raise ValueError("arrays of Python objects cannot travel between members: use numbers.")
    flat = array.flatten() if copy else np.ascontiguousarray(array).reshape(-1)
    yield flat
    if not copy and array.flags.writeable and not np.shares_memory(flat, array):
        array[...] = flat.reshape(array.shape)
