"""Layers, activations and initial weights by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rayjup.rllib.core.models.configs import filter_of, pads

_ACTIVATIONS: dict[str, Callable[[], nn.Module] | None] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "linear": None,
}


def activation(name: str | Callable | None) -> nn.Module | None:
    """An activation module, or None for "linear"."""
    if name is None or callable(name):
        return name() if callable(name) else None
    key = name.lower()
    if key not in _ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown: one of {sorted(_ACTIVATIONS)}, or a class.")
    maker = _ACTIVATIONS[key]
    return None if maker is None else maker()


def initialize(parameter: torch.Tensor | None, how: Any, settings: dict | None) -> None:
    """Fill a parameter in place: with a function, or one of `torch.nn.init` by name."""
    if how is None or parameter is None:
        return
    function = how if callable(how) else getattr(nn.init, how, None) or getattr(nn.init, f"{how}_", None)
    if function is None:
        raise ValueError(f"initializer {how!r} is unknown: a function, or a name from torch.nn.init.")
    function(parameter, **(settings or {}))


def dense_layers(
    width: int,
    hiddens: Any,
    *,
    activation_name: Any = "relu",
    use_bias: bool = True,
    use_layernorm: bool = False,
    weights: tuple[Any, dict | None] = (None, None),
    biases: tuple[Any, dict | None] = (None, None),
) -> tuple[list[nn.Module], int]:
    """Hidden layers and the width behind them."""
    layers: list[nn.Module] = []
    for size in hiddens:
        linear = nn.Linear(width, int(size), bias=use_bias)
        initialize(linear.weight, *weights)
        initialize(linear.bias, *biases)
        layers.append(linear)
        if use_layernorm:
            layers.append(nn.LayerNorm(int(size)))
        layers.extend(filter(None, [activation(activation_name)]))
        width = int(size)
    return layers, width


def mlp(config: Any, width: int) -> tuple[nn.Sequential, int]:
    """The dense layers of an `MLPConfig`, and the width behind them."""
    layers, width = dense_layers(
        width,
        config.hidden_layer_dims,
        activation_name=config.hidden_layer_activation,
        use_bias=config.hidden_layer_use_bias,
        use_layernorm=getattr(config, "hidden_layer_use_layernorm", False),
        weights=(config.hidden_layer_weights_initializer, config.hidden_layer_weights_initializer_config),
        biases=(config.hidden_layer_bias_initializer, config.hidden_layer_bias_initializer_config),
    )
    if config.output_layer_dim is not None:
        last, width = dense_layers(
            width,
            [config.output_layer_dim],
            activation_name=config.output_layer_activation,
            use_bias=config.output_layer_use_bias,
            use_layernorm=getattr(config, "output_layer_use_layernorm", False),
            weights=(
                getattr(config, "output_layer_weights_initializer", None),
                getattr(config, "output_layer_weights_initializer_config", None),
            ),
            biases=(
                getattr(config, "output_layer_bias_initializer", None),
                getattr(config, "output_layer_bias_initializer_config", None),
            ),
        )
        layers.extend(last)
    return nn.Sequential(*layers), width


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of (batch, channels, height, width)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize every pixel."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convolutions(config: Any) -> nn.Sequential:
    """The filters of a `CNNEncoderConfig`, over (batch, channels, height, width)."""
    height, width, channels = config.input_dims
    layers: list[nn.Module] = []
    for spec in config.cnn_filter_specifiers:
        out, kernel, stride, padding = filter_of(spec)
        rows, columns = pads((height, width), kernel, stride, padding)
        if any((*rows, *columns)):
            layers.append(nn.ZeroPad2d((*columns, *rows)))
        conv = nn.Conv2d(channels, out, kernel, stride, bias=config.cnn_use_bias)
        initialize(conv.weight, config.cnn_kernel_initializer, config.cnn_kernel_initializer_config)
        initialize(conv.bias, config.cnn_bias_initializer, config.cnn_bias_initializer_config)
        layers.append(conv)
        if config.cnn_use_layernorm:
            layers.append(ChannelNorm(out))
        layers.extend(filter(None, [activation(config.cnn_activation)]))
        height = (height + sum(rows) - kernel[0]) // stride[0] + 1
        width = (width + sum(columns) - kernel[1]) // stride[1] + 1
        channels = out
    return nn.Sequential(*layers)
