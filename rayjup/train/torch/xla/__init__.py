"""PyTorch/XLA on Trainium: the process group of ``torch_xla``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayjup.train.backend import Backend, BackendConfig
from rayjup.train.torch.config import TorchConfig, free_address

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup

__all__ = ["TorchXLAConfig"]


@dataclass
class TorchXLAConfig(TorchConfig):
    """How workers on XLA devices find each other.

    Parameters
    ----------
    neuron_parallel_compile
        Whether only the graphs are extracted, for compiling them in parallel.
    """

    neuron_parallel_compile: bool = False

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return TorchXLABackend


class TorchXLABackend(Backend):
    """Makes the process group of ``torch_xla``."""

    def on_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Tell every worker its place, in the variables that ``torch_xla`` reads."""
        address, port = worker_group.execute_single(0, free_address)
        import rayjup

        refs = []
        for worker in worker_group.workers:
            variables = {
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
                "RANK": str(worker.world_rank),
                "LOCAL_RANK": str(worker.local_rank),
                "WORLD_SIZE": str(len(worker_group)),
                "LOCAL_WORLD_SIZE": str(worker.local_world_size),
                "GROUP_RANK": str(worker.node_rank),
                "GROUP_WORLD_SIZE": str(len({w.node_rank for w in worker_group.workers})),
                "ROLE_RANK": str(worker.world_rank),
                "ROLE_LOCAL_RANK": str(worker.local_rank),
                "ROLE_WORLD_SIZE": str(len(worker_group)),
                "ROLE_NAME": "default",
                "XLA_TRANSFER_SEED_ASYNC": "1",
            }
            if getattr(backend_config, "neuron_parallel_compile", False):
                variables["NEURON_PARALLEL_COMPILE"] = "1"
                variables["NEURON_EXTRACT_GRAPHS_ONLY"] = "1"
            refs.append(worker.actor.execute.remote(os.environ.update, variables))
        rayjup.get(refs)

    def on_training_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Join the group, now that the variables are set."""
        worker_group.execute(join_xla_group)


def join_xla_group() -> None:
    """On a worker: become a member of the group."""
    from rayjup.runs.extras import load

    load("torch_xla.core.xla_model", "TorchXLAConfig", "torch_xla")
    load("torch_xla.distributed.xla_backend", "TorchXLAConfig", "torch_xla")
    import torch.distributed as dist

    dist.init_process_group("xla")
