"""The group of JAX's processes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayjup.train.backend import Backend, BackendConfig
from rayjup.train.torch.config import free_address

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup


@dataclass
class JaxConfig(BackendConfig):
    """What JAX runs on.

    Parameters
    ----------
    use_tpu, use_gpu
        Which devices; the CPU where neither is set.
    """

    use_tpu: bool = False
    use_gpu: bool = False

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return JaxBackend

    @property
    def framework(self) -> str:
        """``"jax"``."""
        return "jax"


class JaxBackend(Backend):
    """Has all workers join ``jax.distributed``."""

    def on_training_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Join, unless there is one worker only."""
        assert isinstance(backend_config, JaxConfig)
        platforms = "tpu,cpu" if backend_config.use_tpu else "cuda,cpu" if backend_config.use_gpu else "cpu"
        worker_group.execute(os.environ.setdefault, "JAX_PLATFORMS", platforms)
        if len(worker_group) == 1:
            return
        address, port = worker_group.execute_single(0, free_address)
        import rayjup

        rayjup.get(
            [
                worker.actor.execute.remote(
                    join_jax, f"{address}:{port}", len(worker_group), worker.world_rank
                )
                for worker in worker_group.workers
            ]
        )

    def on_shutdown(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Leave."""
        import rayjup

        if len(worker_group) > 1:
            rayjup.wait(worker_group.execute_async(leave_jax), num_returns=len(worker_group), timeout=10.0)


def join_jax(address: str, size: int, rank: int) -> None:
    """On a worker: join the other processes."""
    from rayjup.runs.extras import load

    load("jax", "JaxTrainer", "jax").distributed.initialize(address, size, rank)


def leave_jax() -> None:
    """On a worker: leave them."""
    import jax

    jax.distributed.shutdown()
