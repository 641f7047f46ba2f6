"""Predictions of Keras models (older API)."""

from __future__ import annotations

from typing import Any

import numpy

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.predictor import Predictor
from rayjup.train.tensorflow.tensorflow_checkpoint import model_of


class TensorflowPredictor(Predictor):
    """Applies a Keras model to arrays.

    Parameters
    ----------
    model
        The model.
    preprocessor
        Applied before.
    use_gpu
        Whether it runs on the GPU (TensorFlow then finds it by itself).
    """

    def __init__(self, *, model: Any = None, preprocessor: Any = None, use_gpu: bool = False) -> None:
        super().__init__(preprocessor)
        self.use_gpu = use_gpu
        self._model = model

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, model_definition: Any = None, use_gpu: bool = False, **kwargs: Any
    ) -> TensorflowPredictor:
        """The predictor of a checkpoint; ``model_definition`` makes the model where it has weights only."""
        model = model_of(checkpoint, model_definition)
        return cls(model=model, preprocessor=checkpoint.get_preprocessor(), use_gpu=use_gpu)

    def call_model(self, inputs: Any) -> Any:
        """Apply the model; may be overridden."""
        return self._model(inputs)

    def _predict_numpy(self, data: Any, dtype: Any = None, **kwargs: Any) -> dict[str, Any]:
        if isinstance(data, dict) and len(data) > 1 and all(numpy.ndim(v) == 1 for v in data.values()):
            data = numpy.stack([numpy.asarray(v) for v in data.values()], axis=1)
        elif isinstance(data, dict) and len(data) == 1:
            data = next(iter(data.values()))
        found = self.call_model(numpy.asarray(data, dtype=dtype) if not isinstance(data, dict) else data)
        if isinstance(found, dict):
            return {name: numpy.asarray(value) for name, value in found.items()}
        return {"predictions": numpy.asarray(found)}
