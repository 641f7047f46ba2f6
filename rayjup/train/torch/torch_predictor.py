"""Predictions of PyTorch models (older API)."""

from __future__ import annotations

from typing import Any

import numpy
import torch

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.predictor import Predictor
from rayjup.train.torch.torch_checkpoint import model_of


class TorchPredictor(Predictor):
    """Applies a module to arrays.

    Parameters
    ----------
    model
        The module.
    preprocessor
        Applied before.
    use_gpu
        Whether the model runs on the GPU.
    """

    def __init__(self, model: torch.nn.Module, preprocessor: Any = None, use_gpu: bool = False) -> None:
        super().__init__(preprocessor)
        if use_gpu and not torch.cuda.is_available():
            raise ValueError("TorchPredictor: use_gpu=True, but this process sees no GPU")
        self.use_gpu = use_gpu
        self.device = torch.device("cuda" if use_gpu else "cpu")
        self.model = model.to(self.device).eval()

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        model: torch.nn.Module | None = None,
        use_gpu: bool = False,
        **kwargs: Any,
    ) -> TorchPredictor:
        """The predictor of a checkpoint.

        Parameters
        ----------
        model
            A module that takes the parameters, where the checkpoint has only these.
        """
        return cls(model_of(checkpoint, model), checkpoint.get_preprocessor(), use_gpu)

    def call_model(self, inputs: Any) -> Any:
        """Apply the module; may be overridden."""
        with torch.inference_mode():
            return self.model(inputs)

    def predict(self, data: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """Predictions for a batch; ``dtype`` is that of the model's input, by name of column or for all."""
        return super().predict(data, dtype=dtype, **kwargs)

    def _predict_numpy(self, data: Any, dtype: Any = None, **kwargs: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            if len(data) > 1 and not isinstance(dtype, dict):
                columns = [numpy.asarray(list(v)) for v in data.values()]
                if all(c.ndim == 1 for c in columns):  # a table of features
                    inputs: Any = self._tensor(numpy.stack(columns, axis=1), dtype)
                else:
                    inputs = {k: self._tensor(numpy.asarray(list(v)), dtype) for k, v in data.items()}
            else:
                typed = dtype if isinstance(dtype, dict) else {}
                inputs = {
                    k: self._tensor(v, typed.get(k, None if isinstance(dtype, dict) else dtype))
                    for k, v in data.items()
                }
                inputs = next(iter(inputs.values())) if len(inputs) == 1 else inputs
        else:
            inputs = self._tensor(data, dtype)
        found = self.call_model(inputs)
        if isinstance(found, dict):
            return {name: value.detach().cpu().numpy() for name, value in found.items()}
        return {"predictions": found.detach().cpu().numpy()}

    def _tensor(self, values: Any, dtype: Any) -> torch.Tensor:
        array = numpy.asarray(
            values if not isinstance(values, numpy.ndarray) or values.dtype != object else list(values)
        )
        if dtype is None and array.dtype == numpy.float64:
            dtype = torch.float32  # what modules have unless told otherwise
        return torch.as_tensor(array, dtype=dtype, device=self.device)
