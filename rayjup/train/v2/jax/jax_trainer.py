"""`JaxTrainer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.data_config import DataConfig
from rayjup.train.data_parallel_trainer import DataParallelTrainer
from rayjup.train.reporting import ValidationConfig
from rayjup.train.v2.jax.config import JaxConfig


class JaxTrainer(DataParallelTrainer):
    """Trains with JAX: one process per worker, all of them one ``jax.distributed`` system.

    Parameters
    ----------
    train_loop_per_worker, train_loop_config
        The training function and its argument.
    jax_config
        What JAX runs on.
    scaling_config, run_config, datasets, dataset_config, validation_config
        As of `rayjup.train.data_parallel_trainer.DataParallelTrainer`.
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        jax_config: JaxConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        dataset_config: DataConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: dict[str, Any] | None = None,
        validation_config: ValidationConfig | None = None,
    ) -> None:
        if jax_config is None:
            scaling = scaling_config or ScalingConfig()
            jax_config = JaxConfig(use_tpu=scaling.use_tpu, use_gpu=bool(scaling.use_gpu))
        super().__init__(
            train_loop_per_worker,
            train_loop_config=train_loop_config,
            backend_config=jax_config,
            scaling_config=scaling_config,
            dataset_config=dataset_config,
            run_config=run_config,
            datasets=datasets,
            validation_config=validation_config,
        )
