"""Reports metrics and checkpoints of ``transformers.Trainer``."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import base_class

_callback: Any = base_class(
    ("transformers.trainer_callback",), "TrainerCallback", "RayTrainReportCallback", "transformers"
)


class RayTrainReportCallback(_callback):  # type: ignore[misc]
    """Reports whenever the trainer saves: its newest metrics, and the checkpoint in the directory
    ``checkpoint``."""

    CHECKPOINT_NAME = "checkpoint"

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Any] = {}

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after it has saved."""
        from transformers.trainer_utils import get_last_checkpoint

        for entry in state.log_history:
            self.metrics.update(entry)
        with tempfile.TemporaryDirectory() as directory:
            source = get_last_checkpoint(args.output_dir)
            checkpoint = None
            if source is not None and session.require("RayTrainReportCallback").world_rank == 0:
                shutil.copytree(source, os.path.join(directory, self.CHECKPOINT_NAME))
                checkpoint = Checkpoint.from_directory(directory)
            session.report(dict(self.metrics), checkpoint=checkpoint)
