"""A checkpoint that holds a fitted estimator (older API)."""

from __future__ import annotations

import os
import pickle
import tempfile
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.checkpoints import FrameworkCheckpoint

MODEL_FILENAME = "model.pkl"


class SklearnCheckpoint(FrameworkCheckpoint):
    """A checkpoint with an estimator in ``model.pkl``."""

    MODEL_FILENAME = MODEL_FILENAME

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, path: str | None = None, preprocessor: Any = None
    ) -> SklearnCheckpoint:
        """A checkpoint of an estimator.

        Parameters
        ----------
        path
            Directory to write into; a temporary one by default.
        """
        import cloudpickle

        directory = path or tempfile.mkdtemp(prefix="sklearn_")
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, MODEL_FILENAME), "wb") as stream:
            cloudpickle.dump(estimator, stream)
        checkpoint = cls(directory)
        if path is None:
            checkpoint._owns(directory)
        if preprocessor is not None:
            checkpoint.set_preprocessor(preprocessor)
        return checkpoint

    def get_estimator(self) -> Any:
        """The estimator."""
        return estimator_of(self)

    def get_model(self) -> Any:
        """The estimator."""
        return estimator_of(self)


def estimator_of(checkpoint: Checkpoint) -> Any:
    """The estimator in any checkpoint."""
    with checkpoint.as_directory() as directory:
        file = os.path.join(directory, MODEL_FILENAME)
        if not os.path.exists(file):
            raise FileNotFoundError(f"{checkpoint!r} holds no estimator: there is no {MODEL_FILENAME} in it")
        with open(file, "rb") as stream:
            return pickle.load(stream)
