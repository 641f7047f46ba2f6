"""The functions of :mod:`rayjup.util.collective`."""

from __future__ import annotations

import logging
import threading
from typing import Any

from rayjup.core import runtime_context
from rayjup.core import session as sessions
from rayjup.util.collective import rendezvous, types
from rayjup.util.collective.backend_registry import (
    backend_class,
    register_collective_backend,
    usable,
)
from rayjup.util.collective.collective_group.base_collective_group import BaseGroup
from rayjup.util.collective.collective_group.numpy_group import NumpyGroup
from rayjup.util.collective.collective_group.torch_gloo_group import TorchGlooGroup
from rayjup.util.collective.tensors import is_tensor

logger = logging.getLogger(__name__)

register_collective_backend("GLOO", TorchGlooGroup)
register_collective_backend("NUMPY", NumpyGroup)

_groups: dict[str, BaseGroup] = {}
_lock = threading.RLock()


# -- backends


def nccl_available() -> bool:
    """Whether groups of GPUs work: not yet, unless a backend of that name was registered."""
    return is_backend_available("NCCL")


def gloo_available() -> bool:
    """Whether ``backend="gloo"`` works: always, since without PyTorch sockets take its place."""
    return is_backend_available("GLOO")


def is_backend_available(backend: str) -> bool:
    """Whether groups can be made with this backend here."""
    return backend.upper() == "GLOO" or usable(backend)


def _class_for(backend: str) -> type[BaseGroup]:
    name = backend.upper().removeprefix("TORCH_")
    if name == "NCCL" and not usable("NCCL"):
        raise RuntimeError(
            "Backend NCCL is not available in rayjup.util.collective. Use backend='gloo' (in the "
            "memory of the "
            "CPU), torch.distributed itself inside of your actors for NCCL, or register_collective_backend()."
        )
    found = backend_class(name)
    if found.check_backend_availability():
        return found
    if name == "GLOO":
        logger.info("backend 'gloo': PyTorch is not installed, so 'numpy' (over sockets) takes its place")
        return NumpyGroup
    raise RuntimeError(f"Backend {name} is not available. Please check the installation.")


# -- groups


def is_group_initialized(group_name: str) -> bool:
    """Whether this process has joined the group."""
    return group_name in _groups


def init_collective_group(
    world_size: int,
    rank: int,
    backend: str = types.Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30000,
) -> None:
    """Join a group, inside of an actor or task; waits until all members have joined.

    Parameters
    ----------
    world_size, rank
        How many members there are, and which one this is.
    backend
        ``"gloo"``, ``"numpy"`` or one that was registered.
    group_name
        Names the group inside of the job.
    gloo_timeout
        Milliseconds to wait for the others.

    Raises
    ------
    RuntimeError
        Outside of actors and tasks, for a group this process is in, or a backend that is not there.
    TimeoutError
        Not all members have come.

    Examples
    --------
    >>> import numpy as np
    >>> import rayjup as ray
    >>> from rayjup.util import collective
    >>> @ray.remote(num_cpus=0)
    ... class Member:
    ...     def sum(self, rank):
    ...         collective.init_collective_group(2, rank, backend="gloo", group_name="example")
    ...         numbers = np.full(3, rank + 1.0)
    ...         collective.allreduce(numbers, group_name="example")
    ...         return numbers
    >>> members = [Member.remote() for _ in range(2)]
    >>> ray.get([member.sum.remote(rank) for rank, member in enumerate(members)])
    [array([3., 3., 3.]), array([3., 3., 3.])]
    """
    _check_inside()
    if not isinstance(group_name, str) or not group_name:
        raise ValueError(f"group_name {group_name!r} needs to be a string that is not empty.")
    _check_place(world_size, rank)
    _join(world_size, rank, backend, group_name, gloo_timeout)


def _join(world_size: int, rank: int, backend: str, group_name: str, gloo_timeout: int) -> BaseGroup:
    with _lock:
        if group_name in _groups:
            raise RuntimeError(
                f"Trying to initialize a group a second time: this process is in {group_name!r} already. "
                "destroy_collective_group() leaves it."
            )
        made = _class_for(backend)
        if issubclass(made, (TorchGlooGroup, NumpyGroup)):
            group: BaseGroup = made(world_size, rank, group_name, gloo_timeout)
        else:
            group = made(world_size, rank, group_name)
        _groups[group_name] = group
    return group


def create_collective_group(
    actors: list[Any],
    world_size: int,
    ranks: list[int],
    backend: str = types.Backend.NCCL,
    group_name: str = "default",
    gloo_timeout: int = 30000,
) -> None:
    """Make actors a group from outside; they join with the first operation they call.

    Parameters
    ----------
    actors, ranks
        The members and which one each is.
    world_size
        How many members there are.
    backend, group_name, gloo_timeout
        As in :func:`init_collective_group`.

    Raises
    ------
    RuntimeError
        The group exists, ranks and actors don't fit, or the backend is not there.
    """
    _class_for(backend)
    if len(ranks) != len(actors):
        raise RuntimeError(
            f"every member needs one rank: there are {len(ranks)} ranks for {len(actors)} actors"
        )
    if set(ranks) != set(range(len(ranks))):
        raise RuntimeError(
            f"Ranks must be a permutation from 0 to '{len(ranks)}'. Got '{', '.join(map(str, ranks))}'."
        )
    if world_size <= 0:
        raise RuntimeError(f"World size must be greater than zero. Got '{world_size}'.")
    if len(ranks) != world_size:
        raise RuntimeError(f"world_size is {world_size}, but there are {len(ranks)} actors.")
    declaration = {
        "ranks": {actor._actor_id.hex(): rank for actor, rank in zip(actors, ranks, strict=True)},
        "world_size": world_size,
        "backend": backend,
        "gloo_timeout": gloo_timeout,
    }
    if not rendezvous.ask(group_name, "declare", declaration):
        raise RuntimeError(
            f"the collective group {group_name!r} cannot be declared twice: "
            "destroy_collective_group() ends the one there is."
        )


def destroy_collective_group(group_name: str = "default") -> None:
    """Leave the group; where it was created from outside, forget who its members are."""
    with _lock:
        group = _groups.pop(group_name, None)
    if group is not None:
        group.destroy_group()
    elif rendezvous.existing(group_name) is None:
        logger.warning("The group '%s' does not exist.", group_name)
    elif not _inside():
        rendezvous.ask(group_name, "declare", None)


def get_rank(group_name: str = "default") -> int:
    """Which member of the group this process is; -1 when it is none."""
    _check_inside()
    group = _groups.get(group_name)
    return group.rank if group is not None else -1


def get_collective_group_size(group_name: str = "default") -> int:
    """How many members the group has; -1 when this process is none."""
    _check_inside()
    group = _groups.get(group_name)
    return group.world_size if group is not None else -1


def get_group_handle(group_name: str = "default") -> BaseGroup:
    """This process's membership; joins now if the group was created from outside.

    Raises
    ------
    RuntimeError
        This process is not a member.
    """
    _check_inside()
    with _lock:
        group = _groups.get(group_name)
        if group is not None:
            return group
        actor = rendezvous.existing(group_name)
        known = rendezvous.ask(group_name, "declaration") if actor is not None else None
        me = runtime_context.get_runtime_context().get_actor_id()
        if known is None or me not in known["ranks"]:
            raise RuntimeError(
                f"The collective group '{group_name}' is not initialized in the process: call "
                "init_collective_group() in each member, or create_collective_group() with their handles "
                "first."
            )
        return _join(
            known["world_size"], known["ranks"][me], known["backend"], group_name, known["gloo_timeout"]
        )


# -- operations


def allreduce(tensor: Any, group_name: str = "default", op: types.ReduceOp = types.ReduceOp.SUM) -> None:
    """Every member's tensor becomes the reduction of all, in place."""
    _check_tensor(tensor)
    get_group_handle(group_name).allreduce([tensor], types.AllReduceOptions(reduceOp=op))


def barrier(group_name: str = "default") -> None:
    """Wait until all members have called this."""
    get_group_handle(group_name).barrier(types.BarrierOptions())


def reduce(
    tensor: Any,
    dst_rank: int = 0,
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """The tensor of member ``dst_rank`` becomes the reduction of all, in place."""
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, dst_rank)
    group.reduce([tensor], types.ReduceOptions(reduceOp=op, root_rank=dst_rank))


def broadcast(tensor: Any, src_rank: int = 0, group_name: str = "default") -> None:
    """Every member's tensor becomes that of member ``src_rank``, in place."""
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, src_rank)
    group.broadcast([tensor], types.BroadcastOptions(root_rank=src_rank))


def allgather(tensor_list: list[Any], tensor: Any, group_name: str = "default") -> None:
    """Every member's ``tensor_list`` gets the tensors of all members, by rank."""
    _check_tensor(tensor)
    _check_list(tensor_list)
    group = get_group_handle(group_name)
    _check_length(group, tensor_list)
    group.allgather([tensor_list], [tensor], types.AllGatherOptions())


def reducescatter(
    tensor: Any,
    tensor_list: list[Any],
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """``tensor`` becomes the reduction of all members' ``tensor_list`` at this member's rank."""
    _check_tensor(tensor)
    _check_list(tensor_list)
    group = get_group_handle(group_name)
    _check_length(group, tensor_list)
    group.reducescatter([tensor], [tensor_list], types.ReduceScatterOptions(reduceOp=op))


def send(tensor: Any, dst_rank: int, group_name: str = "default") -> None:
    """Send to the member ``dst_rank``, which calls :func:`recv`."""
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, dst_rank)
    if dst_rank == group.rank:
        raise RuntimeError(f"The destination rank '{dst_rank}' is self.")
    group.send([tensor], types.SendOptions(dst_rank=dst_rank))


def recv(tensor: Any, src_rank: int, group_name: str = "default") -> None:
    """Fill ``tensor`` with what the member ``src_rank`` sends."""
    _check_tensor(tensor)
    group = get_group_handle(group_name)
    _check_rank(group, src_rank)
    if src_rank == group.rank:
        raise RuntimeError(f"The source rank '{src_rank}' is self.")
    group.recv([tensor], types.RecvOptions(src_rank=src_rank))


# -- several GPUs in one process


def _no_multigpu(name: str, instead: str) -> RuntimeError:
    return RuntimeError(
        f"{name}_multigpu(): Multigpu calls requires NCCL and Cupy, for several GPUs in one "
        "process, which rayjup's "
        f"groups do not have. Use one actor per GPU (num_gpus=1) and {instead}()."
    )


def allreduce_multigpu(
    tensor_list: list[Any], group_name: str = "default", op: types.ReduceOp = types.ReduceOp.SUM
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`allreduce` do this here."""
    raise _no_multigpu("allreduce", "allreduce")


def reduce_multigpu(
    tensor_list: list[Any],
    dst_rank: int = 0,
    dst_tensor: int = 0,
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`reduce` do this here."""
    raise _no_multigpu("reduce", "reduce")


def broadcast_multigpu(
    tensor_list: list[Any], src_rank: int = 0, src_tensor: int = 0, group_name: str = "default"
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`broadcast` do this here."""
    raise _no_multigpu("broadcast", "broadcast")


def allgather_multigpu(
    output_tensor_lists: list[Any], input_tensor_list: list[Any], group_name: str = "default"
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`allgather` do this here."""
    raise _no_multigpu("allgather", "allgather")


def reducescatter_multigpu(
    output_tensor_list: list[Any],
    input_tensor_lists: list[Any],
    group_name: str = "default",
    op: types.ReduceOp = types.ReduceOp.SUM,
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`reducescatter` do this here."""
    raise _no_multigpu("reducescatter", "reducescatter")


def send_multigpu(
    tensor: Any, dst_rank: int, dst_gpu_index: int, group_name: str = "default", n_elements: int = 0
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`send` do this here."""
    raise _no_multigpu("send", "send")


def recv_multigpu(
    tensor: Any, src_rank: int, src_gpu_index: int, group_name: str = "default", n_elements: int = 0
) -> None:
    """Raises RuntimeError: one actor per GPU and :func:`recv` do this here."""
    raise _no_multigpu("recv", "recv")


# -- checks


def _inside() -> bool:
    return sessions.connected().cluster is None  # only drivers know whose cluster it is


def _check_inside() -> None:
    if not _inside():
        raise RuntimeError(
            "The collective APIs shall be only used inside a Ray actor or task: the driver calls "
            "create_collective_group() with the handles of actors instead."
        )


def _check_place(world_size: int, rank: int) -> None:
    if world_size <= 0:
        raise ValueError(f"world_size must be at least 1, not {world_size}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be between 0 and world_size - 1 = {world_size - 1}, not {rank}")


def _check_rank(group: BaseGroup, rank: int) -> None:
    if rank < 0:
        raise ValueError(f"rank '{rank}' is negative.")
    if rank >= group.world_size:
        raise ValueError(f"rank '{rank}' must be less than world size '{group.world_size}'")


def _check_tensor(tensor: Any) -> None:
    if not is_tensor(tensor):
        raise RuntimeError(
            f"Unrecognized tensor type '{type(tensor)}'. Supported types are: numpy.ndarray, torch.Tensor."
        )


def _check_list(tensor_list: Any) -> None:
    if not isinstance(tensor_list, list):
        raise RuntimeError(f"The input must be a list of tensors. Got '{type(tensor_list)}'.")
    if not tensor_list:
        raise RuntimeError("Got an empty list of tensors.")
    for tensor in tensor_list:
        _check_tensor(tensor)


def _check_length(group: BaseGroup, tensor_list: list[Any]) -> None:
    if len(tensor_list) != group.world_size:
        raise RuntimeError(
            "The length of the tensor list operands must equal to world_size: it is "
            f"{len(tensor_list)}, world_size is {group.world_size}."
        )
