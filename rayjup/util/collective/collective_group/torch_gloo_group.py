"""The ``gloo`` backend of PyTorch, without its process-wide default group.

Each group has a ``ProcessGroupGloo`` of its own: a process can be in several groups of different
sizes, and what the program itself does with ``torch.distributed`` is left alone.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import numpy as np

from rayjup.core import session as sessions
from rayjup.util.collective import rendezvous
from rayjup.util.collective.collective_group.base_collective_group import BaseGroup
from rayjup.util.collective.tensors import as_array
from rayjup.util.collective.types import (
    AllReduceOptions,
    Backend,
    BroadcastOptions,
    RecvOptions,
    ReduceOptions,
    ReduceScatterOptions,
    SendOptions,
    torch_available,
)


class TorchGlooGroup(BaseGroup):
    """A group over ``torch.distributed``'s gloo."""

    def __init__(self, world_size: int, rank: int, group_name: str, gloo_timeout: int | None = None) -> None:
        import torch.distributed as dist

        super().__init__(world_size, rank, group_name)
        timeout_ms = gloo_timeout or 30000
        runtime = sessions.connected().runtime
        path = f"{runtime.session_dir}/gloo-{secrets.token_hex(6)}"
        store: Any = None
        card: tuple[str, Any] = (runtime.store.host, path)
        _, cards = rendezvous.gather(group_name, rank, world_size, self.backend(), card, timeout_ms)
        timeout = timedelta(milliseconds=timeout_ms)
        if len({host for host, _ in cards.values()}) == 1:
            store = dist.FileStore(cards[0][1], world_size)
            hostname: str | None = "127.0.0.1"
        else:
            from rayjup.util import get_node_ip_address

            if rank == 0:
                store = dist.TCPStore(get_node_ip_address(), 0, world_size, True, timeout, False)
            card = (get_node_ip_address(), store.port if rank == 0 else 0)
            _, cards = rendezvous.gather(group_name, rank, world_size, self.backend(), card, timeout_ms)
            if rank != 0:
                store = dist.TCPStore(*cards[0], world_size, False, timeout)
            hostname = get_node_ip_address()
        options = dist.ProcessGroupGloo._Options()
        options._devices = [dist.ProcessGroupGloo.create_device(hostname=hostname)]
        options._timeout = timeout
        self._store = store
        self._group = dist.ProcessGroupGloo(store, rank, world_size, options)
        self._dist = dist

    @classmethod
    def backend(cls) -> str:
        """``"GLOO"``."""
        return Backend.GLOO

    @classmethod
    def check_backend_availability(cls) -> bool:
        """Whether PyTorch is installed."""
        return torch_available()

    def destroy_group(self) -> None:
        """End the connections."""
        # The store's file is removed by whichever member's store ends last; without it they would hang.
        del self._group, self._store

    # -- operations

    def allreduce(self, tensor: Any, allreduce_options: AllReduceOptions | None = None) -> None:
        """Every member's tensor becomes the reduction of all."""
        options = self._dist.AllreduceOptions()
        options.reduceOp = self._op((allreduce_options or AllReduceOptions()).reduceOp)
        self._group.allreduce([_tensor(tensor[0])], options).wait()

    def barrier(self, barrier_options: Any = None) -> None:
        """Wait until all members have come here."""
        self._group.barrier().wait()

    def reduce(self, tensor: Any, reduce_options: ReduceOptions | None = None) -> None:
        """The root's tensor becomes the reduction of all; the others' stay as they are."""
        given = reduce_options or ReduceOptions()
        options = self._dist.ReduceOptions()
        options.reduceOp = self._op(given.reduceOp)
        options.rootRank = given.root_rank
        is_root = self.rank == given.root_rank
        target = _tensor(tensor[0]) if is_root else _tensor(tensor[0], writes=False).clone()
        self._group.reduce([target], options).wait()

    def broadcast(self, tensor: Any, broadcast_options: BroadcastOptions | None = None) -> None:
        """Every member's tensor becomes the root's."""
        options = self._dist.BroadcastOptions()
        options.rootRank = (broadcast_options or BroadcastOptions()).root_rank
        self._group.broadcast([_tensor(tensor[0], writes=self.rank != options.rootRank)], options).wait()

    def allgather(self, tensor_list: Any, tensor: Any, allgather_options: Any = None) -> None:
        """Every member's list gets the tensors of all, by rank."""
        outputs = [_tensor(out) for out in tensor_list[0]]
        self._group.allgather([outputs], [_tensor(tensor[0], writes=False)]).wait()

    def reducescatter(
        self, tensor: Any, tensor_list: Any, reducescatter_options: ReduceScatterOptions | None = None
    ) -> None:
        """The tensor becomes the reduction of all members' entry at this rank."""
        options = self._dist.ReduceOptions()
        options.reduceOp = self._op((reducescatter_options or ReduceScatterOptions()).reduceOp)
        output = _tensor(tensor[0])
        inputs = [_tensor(entry, writes=False) for entry in tensor_list[0]]
        if output.shape != inputs[self.rank].shape:
            raise ValueError(
                f"Output tensor has wrong shape {tuple(output.shape)}, expected "
                f"{tuple(inputs[self.rank].shape)}"
            )
        for root, entry in enumerate(inputs):
            part = entry.clone()
            options.rootRank = root
            self._group.reduce([part], options).wait()
            if root == self.rank:
                output.copy_(part)

    def send(self, tensor: Any, send_options: SendOptions) -> None:
        """Send to one member."""
        self._group.send([_tensor(tensor[0], writes=False)], send_options.dst_rank, 0).wait()

    def recv(self, tensor: Any, recv_options: RecvOptions) -> None:
        """Receive what one member sends."""
        self._group.recv([_tensor(tensor[0])], recv_options.src_rank, 0).wait()

    def _op(self, op: Any) -> Any:
        return getattr(self._dist.ReduceOp, op.name)


def _tensor(value: Any, writes: bool = True) -> Any:
    """A PyTorch tensor over the memory of ``value``."""
    import torch

    if isinstance(value, torch.Tensor):
        return value
    array = as_array(value, writes)
    # PyTorch warns of arrays it could write to but must not; those are read from only.
    return torch.from_numpy(array if array.flags.writeable else np.array(array))
