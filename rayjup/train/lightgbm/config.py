"""LightGBM's network: every worker listens, and all know the list."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rayjup.train.backend import Backend, BackendConfig

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup

_here: dict[str, Any] = {}  # of a worker's process: the parameters of the network
_reserved: list[socket.socket] = []


@dataclass
class LightGBMConfig(BackendConfig):
    """Settings of LightGBM's network: none."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return LightGBMBackend

    @property
    def framework(self) -> str:
        """``"lightgbm"``."""
        return "lightgbm"

    @property
    def train_func_context(self) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """Holds this worker's port until LightGBM takes it."""
        return network

    @property
    def preload(self) -> tuple[str, ...]:
        """LightGBM and pandas."""
        return ("pandas", "lightgbm")


class LightGBMBackend(Backend):
    """Collects the workers' addresses."""

    def on_training_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Have every worker reserve a port, and tell all of them the list."""
        ports = worker_group.execute(reserve_port)
        addresses = [worker.info["node_ip"] for worker in worker_group.workers]
        machines = ",".join(f"{ip}:{port}" for ip, port in zip(addresses, ports, strict=True))
        import rayjup

        rayjup.get(
            [
                worker.actor.execute.remote(remember, machines, port, len(ports))
                for worker, port in zip(worker_group.workers, ports, strict=True)
            ]
        )


def reserve_port() -> int:
    """On a worker: a port that stays ours until training starts."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", 0))
    _reserved.append(sock)
    port: int = sock.getsockname()[1]
    return port


def remember(machines: str, port: int, size: int) -> None:
    """On a worker: keep the parameters of the network."""
    _here.update(machines=machines, local_listen_port=port, num_machines=size)


@contextlib.contextmanager
def network() -> Iterator[None]:
    """Let go of the reserved port: LightGBM binds it itself when it starts."""
    while _reserved:
        _reserved.pop().close()
    yield


def get_network_params() -> dict[str, Any]:
    """The parameters with which ``lightgbm.train`` works together with the other workers.

    Empty where there is one worker only.

    Examples
    --------
    >>> from rayjup.train.lightgbm import get_network_params
    >>> get_network_params()
    {}
    """
    if _here.get("num_machines", 1) < 2:
        return {}
    return {**_here, "time_out": 120}
