"""`TensorflowTrainer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.data_config import DataConfig
from rayjup.train.data_parallel_trainer import DataParallelTrainer
from rayjup.train.reporting import ValidationConfig
from rayjup.train.tensorflow.config import TensorflowConfig


class TensorflowTrainer(DataParallelTrainer):
    """Trains with TensorFlow on several workers, for ``tf.distribute.MultiWorkerMirroredStrategy``.

    Parameters
    ----------
    train_loop_per_worker, train_loop_config
        The training function and its argument.
    tensorflow_config
        Settings of TensorFlow's cluster.
    scaling_config, run_config, datasets, dataset_config, validation_config, metadata, resume_from_checkpoint
        As of `rayjup.train.data_parallel_trainer.DataParallelTrainer`.
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        tensorflow_config: TensorflowConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        dataset_config: DataConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: dict[str, Any] | None = None,
        validation_config: ValidationConfig | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__(
            train_loop_per_worker,
            train_loop_config=train_loop_config,
            backend_config=tensorflow_config or TensorflowConfig(),
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            validation_config=validation_config,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
            preprocessor=preprocessor,
        )
