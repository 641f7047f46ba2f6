"""Heads: from an embedding to the outputs of a module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rayjup.rllib.core.models import configs
from rayjup.rllib.core.models.base import Model
from rayjup.rllib.core.models.torch.layers import ChannelNorm, activation, initialize, mlp


class TorchModel(nn.Module, Model):
    """Base of the networks here."""

    def __init__(self, config: configs.ModelConfig) -> None:
        nn.Module.__init__(self)
        Model.__init__(self, config)


class TorchMLPHead(TorchModel):
    """Dense layers; with ``clip_log_std`` the second half of the outputs is kept in bounds."""

    def __init__(self, config: configs.MLPConfig) -> None:
        super().__init__(config)
        self.net, self.width = mlp(config, math.prod(config.input_dims))
        self.bound = config.log_std_clip_param if config.clip_log_std else None

    def forward(self, embedding: Tensor) -> Tensor:
        """(…, width)."""
        out = self.net(embedding)
        if self.bound is None:
            return out
        means, log_stds = out.chunk(2, -1)
        return torch.cat([means, log_stds.clamp(-self.bound, self.bound)], -1)


class TorchFreeLogStdMLPHead(TorchModel):
    """Means by dense layers, log standard deviations as free parameters."""

    def __init__(self, config: configs.MLPConfig) -> None:
        super().__init__(config)
        if not config.output_layer_dim or config.output_layer_dim % 2:
            raise ValueError(
                "output_layer_dim must be even: half of it are means, half log standard deviations."
            )
        half = config.output_layer_dim // 2
        narrow = configs.MLPHeadConfig(**{**vars(config), "output_layer_dim": half})
        self.net, _ = mlp(narrow, math.prod(config.input_dims))
        self.log_std = nn.Parameter(torch.zeros(half))
        self.bound = config.log_std_clip_param

    def forward(self, embedding: Tensor) -> Tensor:
        """(…, width)."""
        means = self.net(embedding)
        return torch.cat([means, self.log_std.clamp(-self.bound, self.bound).expand_as(means)], -1)


class TorchCNNTransposeHead(TorchModel):
    """A dense layer to a small image, and transposed convolutions to a large one."""

    def __init__(self, config: configs.CNNTransposeHeadConfig) -> None:
        super().__init__(config)
        height, width, channels = config.initial_image_dims
        self.dense = nn.Linear(math.prod(config.input_dims), height * width * channels)
        initialize(
            self.dense.weight,
            config.initial_dense_weights_initializer,
            config.initial_dense_weights_initializer_config,
        )
        initialize(
            self.dense.bias,
            config.initial_dense_bias_initializer,
            config.initial_dense_bias_initializer_config,
        )
        layers: list[nn.Module] = []
        count = len(config.cnn_transpose_filter_specifiers)
        for place, spec in enumerate(config.cnn_transpose_filter_specifiers):
            out, kernel, stride, _ = configs.filter_of(spec)
            last = place == count - 1
            # So much padding that the size is multiplied by the stride.
            extra = [k - s for k, s in zip(kernel, stride, strict=True)]
            padding = [math.ceil(e / 2) for e in extra]
            conv = nn.ConvTranspose2d(
                channels,
                out,
                kernel,
                stride,
                padding=tuple(padding),
                output_padding=tuple(2 * p - e for p, e in zip(padding, extra, strict=True)),
                bias=config.cnn_transpose_use_bias or last,
            )
            initialize(
                conv.weight,
                config.cnn_transpose_kernel_initializer,
                config.cnn_transpose_kernel_initializer_config,
            )
            initialize(
                conv.bias, config.cnn_transpose_bias_initializer, config.cnn_transpose_bias_initializer_config
            )
            layers.append(conv)
            if not last:
                if config.cnn_transpose_use_layernorm:
                    layers.append(ChannelNorm(out))
                layers.extend(filter(None, [activation(config.cnn_transpose_activation)]))
            channels = out
        self.net = nn.Sequential(*layers)

    def forward(self, embedding: Tensor) -> Tensor:
        """(batch, height, width, channels)."""
        height, width, channels = self.config.initial_image_dims
        small = self.dense(embedding).view(-1, channels, height, width)
        return self.net(small).permute(0, 2, 3, 1)
