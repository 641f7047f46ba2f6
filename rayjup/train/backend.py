"""Backends: what is set up on the workers before a training function runs, such as a process group."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.train.controller.group import WorkerGroup


class Backend:
    """Sets up a framework's communication on a group of workers. Derive from it for a framework of your own.

    The hooks run where the run is led; ``worker_group`` has ``len()``, ``execute(fn, *args)`` (on all
    workers, results by rank) and ``execute_single(rank, fn, *args)``.
    """

    share_cuda_visible_devices: bool = False
    """Whether all workers of a node see all of their GPUs, rather than each its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Called when the workers are up."""

    def on_training_start(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Called when ranks are known and the training function is about to start."""

    def on_shutdown(self, worker_group: WorkerGroup, backend_config: BackendConfig) -> None:
        """Called before the workers end, if they still answer."""


class BackendConfig:
    """Settings of a `Backend`; says which class it is.

    Examples
    --------
    >>> from rayjup import train
    >>> train.BackendConfig().backend_cls.__name__
    'Backend'
    """

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend's class."""
        return Backend

    @property
    def framework(self) -> Any:
        """Name of the framework, or None."""
        return None

    @property
    def train_func_context(self) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        """A context manager around the training function, on every worker."""
        return contextlib.nullcontext

    @property
    def preload(self) -> tuple[str, ...]:
        """Modules that workers are going to need.

        A node imports them once, and its workers are forked from that process: neither the second worker nor
        the second run waits for imports.
        """
        return ()

    def to_dict(self) -> dict[str, Any]:
        """The settings, for those who show them."""
        if is_dataclass(self) and not isinstance(self, type):
            return asdict(self)
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}
