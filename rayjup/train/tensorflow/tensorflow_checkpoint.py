"""A checkpoint that holds a Keras model (older API)."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.extras import load
from rayjup.train.checkpoints import FrameworkCheckpoint


class TensorflowCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a Keras model in ``model.keras``."""

    MODEL_FILENAME = "model.keras"

    @classmethod
    def from_model(cls, keras_model: Any, *, preprocessor: Any = None) -> TensorflowCheckpoint:
        """A checkpoint of a Keras model."""
        directory = tempfile.mkdtemp(prefix="keras_")
        keras_model.save(os.path.join(directory, cls.MODEL_FILENAME))
        checkpoint = cls(directory)
        checkpoint._owns(directory)
        if preprocessor is not None:
            checkpoint.set_preprocessor(preprocessor)
        return checkpoint

    def get_model(self, model: Any = None) -> Any:
        """The Keras model."""
        return model_of(self, model)


def model_of(checkpoint: Checkpoint, model: Any = None) -> Any:
    """The Keras model in any checkpoint; ``model`` (or a function that makes it) takes weights."""
    keras = load("keras", "TensorflowCheckpoint", "tensorflow")
    with checkpoint.as_directory() as directory:
        for name in ("model.keras", "model.h5"):
            file = os.path.join(directory, name)
            if os.path.exists(file):
                return keras.saving.load_model(file)
        for name in ("model.weights.h5", "weights.h5"):
            file = os.path.join(directory, name)
            if os.path.exists(file):
                if model is None:
                    raise ValueError(f"{checkpoint!r} holds weights only: pass the model as model=")
                made = model if hasattr(model, "load_weights") else model()
                made.load_weights(file)
                return made
    raise FileNotFoundError(f"{checkpoint!r} holds no Keras model: there is no model.keras in it")
