"""What collective operations are told: backends, reductions, options."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

unset_timeout_ms = timedelta(milliseconds=-1)


def torch_available() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def cupy_available() -> bool:
    """Whether CuPy is installed."""
    return importlib.util.find_spec("cupy") is not None


class Backend:
    """Names of backends. ``Backend("gloo")`` is the name in its normal form.

    Raises
    ------
    ValueError
        For a name that is neither built in nor registered.
    """

    NCCL = "NCCL"
    GLOO = "GLOO"
    NUMPY = "NUMPY"
    UNRECOGNIZED = "unrecognized"

    def __new__(cls, name: str) -> str:  # type: ignore[misc]
        upper = name.upper()
        if upper == "TORCH_GLOO":
            return cls.GLOO
        known = {key: value for key, value in vars(cls).items() if key.isupper() and key != "UNRECOGNIZED"}
        if upper not in known:
            raise ValueError(
                f"Unrecognized backend: {name!r}. Known are {', '.join(sorted(known))}; "
                "register_collective_backend() adds more."
            )
        return str(known[upper])


class ReduceOp(Enum):
    """How values of several members become one."""

    SUM = 0
    PRODUCT = 1
    MIN = 2
    MAX = 3


@dataclass
class AllReduceOptions:
    """For ``allreduce``."""

    reduceOp: ReduceOp = ReduceOp.SUM
    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class BarrierOptions:
    """For ``barrier``."""

    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class ReduceOptions:
    """For ``reduce``."""

    reduceOp: ReduceOp = ReduceOp.SUM
    root_rank: int = 0
    root_tensor: int = 0
    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class AllGatherOptions:
    """For ``allgather``."""

    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class BroadcastOptions:
    """For ``broadcast``."""

    root_rank: int = 0
    root_tensor: int = 0
    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class ReduceScatterOptions:
    """For ``reducescatter``."""

    reduceOp: ReduceOp = ReduceOp.SUM
    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class SendOptions:
    """For ``send``."""

    dst_rank: int = 0
    dst_gpu_index: int = 0
    n_elements: int = 0
    timeout_ms: timedelta = unset_timeout_ms


@dataclass
class RecvOptions:
    """For ``recv``."""

    src_rank: int = 0
    src_gpu_index: int = 0
    n_elements: int = 0
    unset_timeout_ms: timedelta = unset_timeout_ms
