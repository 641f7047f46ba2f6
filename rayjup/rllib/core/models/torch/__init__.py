"""The networks of `rayjup.rllib.core.models.configs` in PyTorch."""

from __future__ import annotations

from typing import Any

from rayjup.rllib.core.models import configs
from rayjup.rllib.core.models.torch import encoders, heads


def build(config: configs.ModelConfig) -> Any:
    """The network a config describes."""
    makers: dict[type, Any] = {
        configs.MLPHeadConfig: heads.TorchMLPHead,
        configs.FreeLogStdMLPHeadConfig: heads.TorchFreeLogStdMLPHead,
        configs.CNNTransposeHeadConfig: heads.TorchCNNTransposeHead,
        configs.MLPEncoderConfig: encoders.TorchMLPEncoder,
        configs.CNNEncoderConfig: encoders.TorchCNNEncoder,
        configs.RecurrentEncoderConfig: encoders.TorchRecurrentEncoder,
        configs.MultiStreamEncoderConfig: encoders.TorchMultiStreamEncoder,
        configs.SpaceEncoderConfig: encoders.TorchSpaceEncoder,
        configs.SequentialEncoderConfig: encoders.TorchSequentialEncoder,
        configs.ActorCriticEncoderConfig: encoders.TorchActorCriticEncoder,
    }
    for kind in type(config).__mro__:
        if kind in makers:
            return makers[kind](config)
    raise ValueError(f"nothing is built from {type(config).__name__}: override its build().")
