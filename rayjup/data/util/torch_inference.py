"""Inference with a PyTorch model over batches, on whatever device there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["TorchInference"]


class TorchInference:
    """A class for ``map_batches`` that moves tensors to a device and back; define ``process_on_device``.

    Set up the model in ``initialize``, which is called once per actor with the constructor arguments given
    to ``map_batches``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from rayjup.data.util.torch_inference import TorchInference
    >>> class Doubled(TorchInference):
    ...     def initialize(self):
    ...         self.model = torch.nn.Identity()
    ...     def process_on_device(self, input_batch, collated_tensors, collated_other):
    ...         return {"y": self.model(collated_tensors["x"]) * 2}
    >>> Doubled()({"x": np.array([1.0, 2.0])})["y"].tolist()
    [2.0, 4.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.initialize(*args, **kwargs)

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Set up what is needed, such as the model."""

    def get_device(self) -> Any:
        """Where to compute: the GPU given to this actor, or the CPU."""
        import torch

        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def collate(self, input_batch: Any) -> Any:
        """Tensors of a batch (or these and something else for ``process_on_device``)."""
        import torch

        if not isinstance(input_batch, Mapping):
            raise TypeError(
                f"{type(self).__name__} was given a {type(input_batch).__name__}; without a collate() of its "
                "own it needs batch_format='numpy'."
            )
        return {
            name: torch.as_tensor(array if array.flags.writeable else array.copy())
            for name, array in input_batch.items()
        }

    def process_on_device(self, input_batch: Any, collated_tensors: Any, collated_other: Any) -> Any:
        """Compute; gives tensors (or these and something else for ``finalize``)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define "
            "process_on_device(input_batch, collated_tensors, collated_other)."
        )

    def finalize(self, input_batch: Any, output_tensors: Any, output_other: Any) -> Any:
        """The batch that ``map_batches`` is given back."""
        if output_other is not None:
            raise TypeError(
                f"process_on_device of {type(self).__name__} gave {output_other!r} beside tensors; define "
                "finalize() to make use of it."
            )
        return _to_numpy(output_tensors)

    def __call__(self, input_batch: Any) -> Any:
        """All steps, without gradients."""
        import torch

        with torch.no_grad():
            device = self.get_device()
            tensors, other = _pair(self.collate(input_batch))
            made = self.process_on_device(input_batch, _moved(tensors, device), other)
            tensors, other = _pair(made)
            return self.finalize(input_batch, _moved(tensors, torch.device("cpu")), other)


def _pair(value: Any) -> tuple[Any, Any]:
    """Tensors, and what came beside them."""
    from rayjup.data.collate_fn import is_tensor_batch_type

    if isinstance(value, tuple) and len(value) == 2 and not is_tensor_batch_type(value):
        return value
    return value, None


def _moved(value: Any, device: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _joined(part, device) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(part, device) for part in value)
    raise TypeError(f"{value!r} is no tensor, and no dict or list of tensors.")


def _joined(part: Any, device: Any) -> Any:
    """A column given as several tensors (a chunk each) as one."""
    import torch

    if isinstance(part, (list, tuple)) and part and all(isinstance(chunk, torch.Tensor) for chunk in part):
        return torch.cat([chunk.to(device, non_blocking=True) for chunk in part])
    return _moved(part, device)


def _to_numpy(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, Mapping):
        return {name: _to_numpy(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_numpy(part) for part in value)
    if isinstance(value, np.ndarray):
        return value
    raise TypeError(f"{value!r} is no tensor; define finalize() to make a batch of it.")
