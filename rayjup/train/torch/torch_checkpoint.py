"""A checkpoint that holds a PyTorch model (older API)."""

from __future__ import annotations

import io
import os
import tempfile
from typing import Any

import torch

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.checkpoints import FrameworkCheckpoint

_MODEL_KEY = "model"


class TorchCheckpoint(FrameworkCheckpoint):
    """A checkpoint with a module or the parameters of one, in ``model.pt``."""

    MODEL_FILENAME = "model.pt"

    @classmethod
    def from_state_dict(cls, state_dict: dict[str, Any], *, preprocessor: Any = None) -> TorchCheckpoint:
        """A checkpoint of a module's parameters; `get_model` then needs the module."""
        return cls._of(state_dict, preprocessor)

    @classmethod
    def from_model(cls, model: torch.nn.Module, *, preprocessor: Any = None) -> TorchCheckpoint:
        """A checkpoint of a whole module; its class must be importable where it is loaded."""
        return cls._of(model, preprocessor)

    @classmethod
    def _of(cls, what: Any, preprocessor: Any) -> TorchCheckpoint:
        directory = tempfile.mkdtemp(prefix="torch_")
        torch.save(what, os.path.join(directory, cls.MODEL_FILENAME))
        checkpoint = cls(directory)
        checkpoint._owns(directory)
        if preprocessor is not None:
            checkpoint.set_preprocessor(preprocessor)
        return checkpoint

    def get_model(self, model: torch.nn.Module | None = None) -> torch.nn.Module:
        """The module.

        Parameters
        ----------
        model
            A module that takes the parameters, where only these were stored.
        """
        return model_of(self, model)


def model_of(checkpoint: Checkpoint, model: torch.nn.Module | None = None) -> torch.nn.Module:
    """The module in any checkpoint: in ``model.pt``, or under ``model`` in a dictionary's."""
    stored = _stored(checkpoint)
    if isinstance(stored, torch.nn.Module):
        return stored
    if model is None:
        raise ValueError(
            f"{checkpoint!r} holds the parameters of a model, not the model: pass an instance of it as model="
        )
    # Data-parallel wrappers put a prefix before every name.
    torch.nn.modules.utils.consume_prefix_in_state_dict_if_present(stored, "module.")
    model.load_state_dict(stored)
    return model


def _stored(checkpoint: Checkpoint) -> Any:
    if checkpoint._dict is not None and "path" not in checkpoint.__dict__:
        return _of_dictionary(checkpoint._dict)
    with checkpoint.as_directory() as directory:
        for name in ("model.pt", "model.pth", "checkpoint.pt"):
            file = os.path.join(directory, name)
            if os.path.exists(file):
                # What a run of the user's own has written; whole modules can't be loaded otherwise.
                return torch.load(file, map_location="cpu", weights_only=False)
    return _of_dictionary(checkpoint.to_dict())


def _of_dictionary(found: dict[str, Any]) -> Any:
    if _MODEL_KEY not in found:
        raise FileNotFoundError(
            f"the checkpoint holds no model: neither model.pt nor the key 'model' (it has {sorted(found)})"
        )
    value = found[_MODEL_KEY]
    if isinstance(value, bytes):
        return torch.load(io.BytesIO(value), map_location="cpu", weights_only=False)
    return value
