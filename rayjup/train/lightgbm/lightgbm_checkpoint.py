"""A checkpoint that holds a LightGBM model (older API)."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.checkpoints import FrameworkCheckpoint


class LightGBMCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a booster in ``model.txt``."""

    MODEL_FILENAME = "model.txt"

    @classmethod
    def from_model(
        cls, booster: Any, *, preprocessor: Any = None, path: str | None = None
    ) -> LightGBMCheckpoint:
        """A checkpoint of a booster.

        Parameters
        ----------
        path
            Directory to write into; a temporary one by default.
        """
        directory = path or tempfile.mkdtemp(prefix="lightgbm_")
        os.makedirs(directory, exist_ok=True)
        booster.save_model(os.path.join(directory, cls.MODEL_FILENAME))
        checkpoint = cls(directory)
        if path is None:
            checkpoint._owns(directory)
        if preprocessor is not None:
            checkpoint.set_preprocessor(preprocessor)
        return checkpoint

    def get_model(self) -> Any:
        """The booster."""
        return model_of(self)


def model_of(checkpoint: Checkpoint) -> Any:
    """The booster in any checkpoint."""
    from rayjup.train.lightgbm.callback import RayTrainReportCallback

    return RayTrainReportCallback.get_model(checkpoint)
