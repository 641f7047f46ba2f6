"""TensorFlow's cluster: every worker knows all addresses, through ``TF_CONFIG``."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rayjup.train.backend import Backend, BackendConfig
from rayjup.train.torch.config import free_address

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup


@dataclass
class TensorflowConfig(BackendConfig):
    """Settings of TensorFlow's cluster: none."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return TensorflowBackend

    @property
    def framework(self) -> str:
        """``"tensorflow"``."""
        return "tensorflow"

    @property
    def preload(self) -> tuple[str, ...]:
        """NumPy alone: TensorFlow starts threads when it is imported, and can't be forked after that."""
        return ()


class TensorflowBackend(Backend):
    """Sets ``TF_CONFIG`` on all workers."""

    def on_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Collect addresses and tell all workers."""
        addresses = [f"{ip}:{port}" for ip, port in worker_group.execute(free_address)]
        import rayjup

        rayjup.get(
            [
                worker.actor.execute.remote(set_config, addresses, worker.world_rank)
                for worker in worker_group.workers
            ]
        )


def set_config(addresses: list[str], rank: int) -> None:
    """On a worker: set ``TF_CONFIG``."""
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    )
