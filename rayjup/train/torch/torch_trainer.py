"""`TorchTrainer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.data_config import DataConfig
from rayjup.train.data_parallel_trainer import DataParallelTrainer
from rayjup.train.reporting import ValidationConfig
from rayjup.train.torch.config import TorchConfig


class TorchTrainer(DataParallelTrainer):
    """Trains a PyTorch model on several workers, which are members of one process group.

    Parameters
    ----------
    train_loop_per_worker, train_loop_config
        The training function and its argument.
    torch_config
        How the process group is made.
    scaling_config, run_config, datasets, dataset_config, validation_config, metadata, resume_from_checkpoint
        As of `rayjup.train.data_parallel_trainer.DataParallelTrainer`.

    Examples
    --------
    >>> import tempfile
    >>> from rayjup import train
    >>> from rayjup.train.torch import TorchTrainer
    >>> def train_fn():
    ...     import torch
    ...     ours = torch.ones(1) * train.get_context().get_world_rank()
    ...     torch.distributed.all_reduce(ours)
    ...     train.report({"sum": ours.item()})
    >>> trainer = TorchTrainer(
    ...     train_fn,
    ...     scaling_config=train.ScalingConfig(num_workers=2),
    ...     run_config=train.RunConfig(storage_path=tempfile.mkdtemp()),
    ... )
    >>> trainer.fit().metrics
    {'sum': 1.0}
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        torch_config: TorchConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: dict[str, Any] | None = None,
        dataset_config: DataConfig | None = None,
        validation_config: ValidationConfig | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        preprocessor: Any = None,
    ) -> None:
        super().__init__(
            train_loop_per_worker,
            train_loop_config=train_loop_config,
            backend_config=torch_config or TorchConfig(),
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            validation_config=validation_config,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
            preprocessor=preprocessor,
        )
