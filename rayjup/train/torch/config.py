"""The process group of PyTorch."""

from __future__ import annotations

import datetime
import logging
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayjup.train.backend import Backend, BackendConfig

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup

log = logging.getLogger("rayjup.train")


@dataclass
class TorchConfig(BackendConfig):
    """How workers find each other.

    Parameters
    ----------
    backend
        ``"gloo"``, ``"nccl"`` …; by default NCCL where workers have GPUs, else Gloo.
    init_method
        ``"env"`` (addresses in environment variables) or ``"tcp"``.
    timeout_s
        Seconds after which a collective operation gives up.
    """

    backend: str | None = None
    init_method: str = "env"
    timeout_s: int = 1800

    def __post_init__(self) -> None:
        if self.init_method not in ("env", "tcp"):
            raise ValueError(f"TorchConfig: init_method is {self.init_method!r}; it must be 'env' or 'tcp'")

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return TorchBackend

    @property
    def framework(self) -> str:
        """``"torch"``."""
        return "torch"

    @property
    def preload(self) -> tuple[str, ...]:
        """PyTorch, and what its optimizers import at their first use."""
        return ("torch", "torch.distributed", "torch.nn.parallel", "torch.utils.data", "torch._dynamo")


class TorchBackend(Backend):
    """Makes the process group."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Tell every worker its place and have all join the group."""
        assert isinstance(backend_config, TorchConfig)
        address, port = worker_group.execute_single(0, free_address)
        gpus = [worker.info["accelerators"].get("GPU", []) for worker in worker_group.workers]
        backend = backend_config.backend or ("nccl" if all(gpus) else "gloo")
        import rayjup

        refs = []
        for worker, own in zip(worker_group.workers, gpus, strict=True):
            mates = [
                g
                for other, g in zip(worker_group.workers, gpus, strict=True)
                if other.info["node_id"] == worker.info["node_id"]
            ]
            variables = {
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
                "RANK": str(worker.world_rank),
                "LOCAL_RANK": str(worker.local_rank),
                "WORLD_SIZE": str(len(worker_group)),
                "LOCAL_WORLD_SIZE": str(worker.local_world_size),
                "NODE_RANK": str(worker.node_rank),
            }
            if own:
                # Workers of a node see all of its GPUs, so that they can reach each other's directly and
                # `cuda:<local rank>` means what it does under torchrun.
                shown = list(dict.fromkeys(str(gpu) for ids in mates for gpu in ids))
                variables["CUDA_VISIBLE_DEVICES"] = ",".join(shown)
                variables["RAYJUP_TRAIN_DEVICES"] = ",".join(str(shown.index(str(gpu))) for gpu in own)
            refs.append(
                worker.actor.execute.remote(
                    join_group, variables, backend, backend_config.init_method, backend_config.timeout_s
                )
            )
        rayjup.get(refs)

    def on_shutdown(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Leave the group."""
        import rayjup

        refs = worker_group.execute_async(leave_group)
        rayjup.wait(refs, num_returns=len(refs), timeout=5.0)


def free_address() -> tuple[str, int]:
    """An address of this node that is free now."""
    from rayjup.util.node import get_node_ip_address

    with socket.socket() as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
    return get_node_ip_address(), port


def join_group(variables: dict[str, str], backend: str, init_method: str, timeout_s: int) -> None:
    """On a worker: become a member of the process group."""
    os.environ.update(variables)
    from rayjup.runs.extras import load

    load("torch", "TorchTrainer", "rayjup[train]")
    import torch.distributed as dist

    where = (
        "env://" if init_method == "env" else f"tcp://{variables['MASTER_ADDR']}:{variables['MASTER_PORT']}"
    )
    options: dict[str, Any] = {}
    if backend == "nccl":
        # So that a hung operation raises, and the run learns of it.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
        import torch

        device = int(variables.get("RAYJUP_TRAIN_DEVICES", "0").split(",")[0])
        torch.cuda.set_device(device)
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{device}"
    dist.init_process_group(
        backend=backend,
        init_method=where,
        rank=int(variables["RANK"]),
        world_size=int(variables["WORLD_SIZE"]),
        timeout=datetime.timedelta(seconds=timeout_s),
        **options,
    )


def leave_group() -> None:
    """On a worker: leave the process group."""
    import torch
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
