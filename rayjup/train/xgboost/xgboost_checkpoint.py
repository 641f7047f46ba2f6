"""A checkpoint that holds an XGBoost model (older API)."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.checkpoints import FrameworkCheckpoint


class XGBoostCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a booster in ``model.ubj`` (or ``model.json``)."""

    MODEL_FILENAME = "model.ubj"

    @classmethod
    def from_model(
        cls, booster: Any, *, preprocessor: Any = None, path: str | None = None
    ) -> XGBoostCheckpoint:
        """A checkpoint of a booster.

        Parameters
        ----------
        path
            Directory to write into; a temporary one by default.
        """
        directory = path or tempfile.mkdtemp(prefix="xgboost_")
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
    import xgboost

    with checkpoint.as_directory() as directory:
        for name in ("model.ubj", "model.json", "model"):
            file = os.path.join(directory, name)
            if os.path.exists(file):
                booster = xgboost.Booster()
                booster.load_model(file)
                return booster
    raise FileNotFoundError(
        f"{checkpoint!r} holds no XGBoost model: there is no model.ubj or model.json in it"
    )
