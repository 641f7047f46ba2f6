"""EnvRunner: what steps through environments and collects episodes."""

from __future__ import annotations

import abc
from typing import Any

from rayjup.rllib.utils.metrics.metrics_logger import MetricsLogger


class EnvRunner(abc.ABC):
    """Base of env runners.

    Parameters
    ----------
    config
        The `AlgorithmConfig`.
    worker_index
        0 for the one in the algorithm's process, 1… for actors.
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        self.config = config
        self.worker_index: int = kwargs.get("worker_index", 0)
        self.num_workers: int = kwargs.get("num_workers", config.num_env_runners)
        self.recreated: bool = kwargs.get("recreated_worker", False)
        self.env: Any = None
        self.metrics = MetricsLogger(stats_cls_lookup=config.custom_stats_cls_lookup)

    @abc.abstractmethod
    def assert_healthy(self) -> None:
        """Raise when this cannot sample."""

    @abc.abstractmethod
    def make_env(self) -> None:
        """Make the environments."""

    @abc.abstractmethod
    def make_module(self) -> None:
        """Make the RLModule."""

    @abc.abstractmethod
    def get_spaces(self) -> dict[str, tuple[Any, Any]]:
        """(observation space, action space) of the environments ("__env__", "__env_single__") and by
        module.
        """

    @abc.abstractmethod
    def sample(self, **kwargs: Any) -> Any:
        """Episodes, or chunks of them."""

    def get_metrics(self) -> dict[str, Any]:
        """What is new in the metrics."""
        return self.metrics.reduce()

    def stop(self) -> None:
        """Close the environments."""
        if self.env is not None:
            self.env.close()
            self.env = None
