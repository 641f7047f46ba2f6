"""Callbacks: what a program has done when something happens."""

from __future__ import annotations

import gc
import os
import tracemalloc
from typing import Any


class RLlibCallback:
    """Base of callbacks: override what is wanted. All arguments come by keyword.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.ppo import PPOConfig
    >>> from rayjup.rllib.callbacks.callbacks import RLlibCallback
    >>> class Count(RLlibCallback):
    ...     def on_episode_end(self, *, episode, metrics_logger, **kwargs):
    ...         metrics_logger.log_value("my_lengths", len(episode), reduce="max")
    >>> config = PPOConfig().callbacks(Count)
    """

    def on_algorithm_init(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """The algorithm is set up."""

    def on_train_result(
        self, *, algorithm: Any, metrics_logger: Any = None, result: dict, **kwargs: Any
    ) -> None:
        """An iteration is over; ``result`` can be changed."""

    def on_evaluate_start(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """Evaluation begins."""

    def on_evaluate_end(
        self, *, algorithm: Any, metrics_logger: Any = None, evaluation_metrics: dict, **kwargs: Any
    ) -> None:
        """Evaluation is over."""

    def on_evaluate_offline_start(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """Evaluation on recorded data begins."""

    def on_evaluate_offline_end(
        self, *, algorithm: Any, metrics_logger: Any = None, evaluation_metrics: dict, **kwargs: Any
    ) -> None:
        """Evaluation on recorded data is over."""

    def on_env_runners_recreated(
        self,
        *,
        algorithm: Any,
        env_runner_group: Any,
        env_runner_indices: list,
        is_evaluation: bool,
        **kwargs: Any,
    ) -> None:
        """Env runners that failed were made anew."""

    def on_workers_recreated(
        self, *, algorithm: Any, worker_set: Any, worker_ids: list, is_evaluation: bool, **kwargs: Any
    ) -> None:
        """`on_env_runners_recreated` under its older name."""

    def on_offline_eval_runners_recreated(
        self,
        *,
        algorithm: Any,
        offline_eval_runner_group: Any,
        offline_eval_runner_indices: list,
        **kwargs: Any,
    ) -> None:
        """Runners of evaluation on recorded data were made anew."""

    def on_checkpoint_loaded(self, *, algorithm: Any, **kwargs: Any) -> None:
        """The algorithm has taken the state of a checkpoint."""

    def on_environment_created(
        self, *, env_runner: Any, metrics_logger: Any = None, env: Any, env_context: Any, **kwargs: Any
    ) -> None:
        """A runner has made its environments."""

    def on_episode_created(
        self, *, episode: Any, worker: Any = None, env_runner: Any = None, metrics_logger: Any = None,
        base_env: Any = None, env: Any = None, policies: Any = None, rl_module: Any = None,
        env_index: int = 0,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        """An episode object is there, before its reset."""

    def on_episode_start(
        self, *, episode: Any, env_runner: Any = None, metrics_logger: Any = None, env: Any = None,
        env_index: int = 0, rl_module: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """An episode has its first observation."""

    def on_episode_step(
        self, *, episode: Any, env_runner: Any = None, metrics_logger: Any = None, env: Any = None,
        env_index: int = 0, rl_module: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """An episode has one step more."""

    def on_episode_end(
        self, *, episode: Any, prev_episode_chunks: Any = None, env_runner: Any = None,
        metrics_logger: Any = None,
        env: Any = None, env_index: int = 0, rl_module: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """An episode is over."""

    def on_sample_end(
        self, *, env_runner: Any = None, metrics_logger: Any = None, samples: Any, **kwargs: Any
    ) -> None:
        """A runner has finished `sample()`."""


class MemoryTrackingCallbacks(RLlibCallback):
    """Logs the lines of code that have allocated most, at the end of each episode (slow: for finding
    leaks).
    """

    def __init__(self) -> None:
        tracemalloc.start(10)

    def on_episode_end(
        self, *, episode: Any, env_runner: Any = None, metrics_logger: Any = None, **kwargs: Any
    ) -> None:  # type: ignore[override]
        """Log the top allocations and this process's memory."""
        import psutil

        gc.collect()
        for stat in tracemalloc.take_snapshot().statistics("lineno")[:20]:
            place = str(stat.traceback).replace("/", "|")
            metrics_logger.log_value(("tracemalloc", place), stat.size, window=1)
        memory = psutil.Process(os.getpid()).memory_info()
        metrics_logger.log_value(("tracemalloc", "worker", "rss"), memory.rss, window=1)
        metrics_logger.log_value(("tracemalloc", "worker", "vms"), memory.vms, window=1)


NAMES = [name for name in vars(RLlibCallback) if name.startswith("on_")]


class _Several(RLlibCallback):
    """Several callbacks, and single functions, as one."""

    def __init__(self, parts: list[Any], functions: dict[str, list[Any]]) -> None:
        self.parts, self.functions = parts, functions


def _forward(name: str) -> Any:
    def call(self: _Several, **kwargs: Any) -> None:
        for part in self.parts:
            getattr(part, name)(**kwargs)
        for function in self.functions.get(name, ()):
            function(**kwargs)

    call.__name__ = name
    return call


for _name in NAMES:
    setattr(_Several, _name, _forward(_name))


def make_callbacks(config: Any) -> Any:
    """The callbacks a config names, as one object."""
    given = config.callbacks_class
    classes = list(given) if isinstance(given, (list, tuple)) else [given] if given is not None else []
    parts = [c() if isinstance(c, type) or not isinstance(c, RLlibCallback) else c for c in classes]
    functions: dict[str, list[Any]] = {}
    for name in NAMES:
        own = getattr(config, name, None)
        if own is not None:
            functions[name] = list(own) if isinstance(own, (list, tuple)) else [own]
    return parts[0] if len(parts) == 1 and not functions else _Several(parts, functions)


def overrides(callbacks: Any, name: str) -> bool:
    """Whether something is called on that occasion."""
    if isinstance(callbacks, _Several):
        return name in callbacks.functions or any(overrides(part, name) for part in callbacks.parts)
    return getattr(type(callbacks), name) is not getattr(RLlibCallback, name)
