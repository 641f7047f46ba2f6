"""Reports metrics and checkpoints of Lightning's trainer."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.lightning.package import lightning_class
from rayjup.train.reporting import CheckpointUploadMode

_callback: Any = lightning_class("callbacks", "Callback")


class RayTrainReportCallback(_callback):  # type: ignore[misc]
    """Reports at the end of each epoch: the trainer's metrics, and a checkpoint in ``checkpoint.ckpt``.

    Parameters
    ----------
    checkpoint_upload_mode
        How checkpoints get to storage; a `CheckpointUploadMode`.
    validation
        Whether they are validated beside training.
    """

    CHECKPOINT_NAME = "checkpoint.ckpt"

    def __init__(
        self, checkpoint_upload_mode: CheckpointUploadMode | None = None, validation: Any = False
    ) -> None:
        super().__init__()
        self._mode = checkpoint_upload_mode or CheckpointUploadMode.SYNC
        self._validation = validation

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Called by the trainer."""
        metrics = {
            name: value.item() if hasattr(value, "item") else value
            for name, value in trainer.callback_metrics.items()
        }
        metrics["epoch"] = trainer.current_epoch
        metrics["step"] = trainer.global_step
        directory = tempfile.mkdtemp(prefix="lightning_")
        try:
            # All ranks take part: sharded strategies gather here.
            trainer.save_checkpoint(os.path.join(directory, self.CHECKPOINT_NAME), weights_only=False)
            options: dict[str, Any] = {"checkpoint_upload_mode": self._mode}
            checkpoint = None
            if session.require("RayTrainReportCallback").world_rank == 0:
                checkpoint = Checkpoint.from_directory(directory)
                if self._validation:
                    options["validation"] = self._validation
            session.report(metrics, checkpoint=checkpoint, options=options)
        finally:
            if self._mode is not CheckpointUploadMode.ASYNC:  # else it is removed when it has been uploaded
                shutil.rmtree(directory, ignore_errors=True)
