"""Descriptions of networks: dataclasses that build what they describe.

Shapes are without batch axis. Filters are ``[channels, kernel, stride]`` with an optional padding, sizes as
numbers or pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Initializer = str | Callable | None


@dataclass
class ModelConfig:
    """Base of the descriptions."""

    input_dims: Any = None
    always_check_shapes: bool = False

    def build(self, framework: str = "torch") -> Any:
        """The network."""
        if framework != "torch":
            raise ValueError(f"framework {framework!r}: networks are built with PyTorch, give 'torch'.")
        from rayjup.rllib.core.models.torch import build

        return build(self)

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Shape of what comes out."""
        return tuple(self.input_dims)


@dataclass
class MLPConfig(ModelConfig):
    """Dense layers."""

    hidden_layer_dims: Any = (256, 256)
    hidden_layer_use_bias: bool = True
    hidden_layer_activation: str = "relu"
    hidden_layer_use_layernorm: bool = False
    hidden_layer_weights_initializer: Initializer = None
    hidden_layer_weights_initializer_config: dict | None = None
    hidden_layer_bias_initializer: Initializer = None
    hidden_layer_bias_initializer_config: dict | None = None
    output_layer_dim: int | None = None
    output_layer_use_layernorm: bool = False
    output_layer_use_bias: bool = True
    output_layer_activation: str = "linear"
    output_layer_weights_initializer: Initializer = None
    output_layer_weights_initializer_config: dict | None = None
    output_layer_bias_initializer: Initializer = None
    output_layer_bias_initializer_config: dict | None = None
    clip_log_std: bool = False
    log_std_clip_param: float = 20.0

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Width of the last layer."""
        if self.output_layer_dim is not None:
            return (self.output_layer_dim,)
        return (int(self.hidden_layer_dims[-1]),) if len(self.hidden_layer_dims) else tuple(self.input_dims)


@dataclass
class MLPHeadConfig(MLPConfig):
    """Dense layers behind an embedding; with ``clip_log_std``, the second half of the outputs is kept in
    bounds.

    Examples
    --------
    >>> from rayjup.rllib.core.models.configs import MLPHeadConfig
    >>> head = MLPHeadConfig(input_dims=[4], hidden_layer_dims=[8], output_layer_dim=2).build()
    >>> sum(p.numel() for p in head.parameters())
    58
    """


@dataclass
class FreeLogStdMLPHeadConfig(MLPConfig):
    """A head for means, with log standard deviations as parameters that no observation changes."""


@dataclass
class MLPEncoderConfig(MLPConfig):
    """Dense layers over flat observations."""


@dataclass
class CNNEncoderConfig(ModelConfig):
    """Convolutions over images of shape (height, width, channels)."""

    cnn_filter_specifiers: Any = field(default_factory=lambda: [[16, [4, 4], 2], [32, [4, 4], 2]])
    cnn_use_bias: bool = True
    cnn_activation: str = "relu"
    cnn_use_layernorm: bool = False
    cnn_kernel_initializer: Initializer = None
    cnn_kernel_initializer_config: dict | None = None
    cnn_bias_initializer: Initializer = None
    cnn_bias_initializer_config: dict | None = None
    flatten_at_end: bool = True

    @property
    def output_dims(self) -> tuple[int, ...]:
        """(height, width, channels) behind the last filter, or their product."""
        height, width, channels = self.input_dims
        for spec in self.cnn_filter_specifiers:
            channels, kernel, stride, padding = filter_of(spec)
            height, width = (
                (size + sum(pad) - k) // step + 1
                for size, k, step, pad in zip(
                    (height, width),
                    kernel,
                    stride,
                    pads((height, width), kernel, stride, padding),
                    strict=True,
                )
            )
        if min(height, width) < 1:
            raise ValueError(
                f"images of {tuple(self.input_dims)} are too small for "
                f"{self.cnn_filter_specifiers}: "
                "give other conv_filters."
            )
        return (height * width * channels,) if self.flatten_at_end else (height, width, channels)


@dataclass
class CNNTransposeHeadConfig(ModelConfig):
    """Transposed convolutions from an embedding to an image (decoders of world models)."""

    initial_image_dims: Any = field(default_factory=lambda: [4, 4, 96])
    initial_dense_weights_initializer: Initializer = None
    initial_dense_weights_initializer_config: dict | None = None
    initial_dense_bias_initializer: Initializer = None
    initial_dense_bias_initializer_config: dict | None = None
    cnn_transpose_filter_specifiers: Any = field(
        default_factory=lambda: [[48, [4, 4], 2], [24, [4, 4], 2], [3, [4, 4], 2]]
    )
    cnn_transpose_use_bias: bool = True
    cnn_transpose_activation: str = "relu"
    cnn_transpose_use_layernorm: bool = False
    cnn_transpose_kernel_initializer: Initializer = None
    cnn_transpose_kernel_initializer_config: dict | None = None
    cnn_transpose_bias_initializer: Initializer = None
    cnn_transpose_bias_initializer_config: dict | None = None

    @property
    def output_dims(self) -> tuple[int, ...]:
        """(height, width, channels) of the image: every filter multiplies the size by its stride."""
        height, width, channels = self.initial_image_dims
        for spec in self.cnn_transpose_filter_specifiers:
            channels, _, stride, _ = filter_of(spec)
            height, width = height * stride[0], width * stride[1]
        return height, width, channels


@dataclass
class RecurrentEncoderConfig(ModelConfig):
    """LSTM or GRU layers, behind another encoder where ``tokenizer_config`` names one."""

    recurrent_layer_type: str = "lstm"
    hidden_dim: int = 256
    num_layers: int = 1
    batch_major: bool = True
    hidden_weights_initializer: Initializer = None
    hidden_weights_initializer_config: dict | None = None
    use_bias: bool = True
    hidden_bias_initializer: Initializer = None
    hidden_bias_initializer_config: dict | None = None
    tokenizer_config: Any = None

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Width of the layers."""
        return (self.hidden_dim,)


@dataclass
class MultiStreamEncoderConfig(ModelConfig):
    """One encoder per part of the observation; dense layers where they meet."""

    base_encoder_configs: dict[str, ModelConfig] = field(default_factory=dict)
    hidden_layer_dims: Any = (256, 256, 256)
    hidden_layer_use_bias: bool = True
    hidden_layer_activation: str = "relu"
    hidden_layer_weights_initializer: Initializer = None
    hidden_layer_weights_initializer_config: dict | None = None
    hidden_layer_bias_initializer: Initializer = None
    hidden_layer_bias_initializer_config: dict | None = None
    output_layer_dim: int | None = None
    output_layer_use_bias: bool = True
    output_layer_activation: str = "linear"

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Width of the last dense layer."""
        if self.output_layer_dim is not None:
            return (self.output_layer_dim,)
        if len(self.hidden_layer_dims):
            return (int(self.hidden_layer_dims[-1]),)
        return (sum(math.prod(c.output_dims) for c in self.base_encoder_configs.values()),)


@dataclass
class SpaceEncoderConfig(ModelConfig):
    """Observations of a composite or discrete space as one flat vector (one-hot where discrete)."""

    space: Any = None
    skip: tuple[str, ...] = ()

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Length of the vector."""
        return (flat_size(self.space, self.skip),)


@dataclass
class SequentialEncoderConfig(ModelConfig):
    """Encoders one behind the other."""

    stages: list[Any] = field(default_factory=list)

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Those of the last one."""
        return self.stages[-1].output_dims


@dataclass
class ActorCriticEncoderConfig(ModelConfig):
    """One encoder for policy and values (``shared``) or one for each."""

    base_encoder_config: Any = None
    shared: bool = True
    inference_only: bool = False

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Those of the encoder."""
        return self.base_encoder_config.output_dims


def filter_of(spec: Any) -> tuple[int, tuple[int, int], tuple[int, int], Any]:
    """Channels, kernel, stride and padding (``"same"`` by default) of a filter."""
    channels, kernel, stride = spec[:3]
    padding = spec[3] if len(spec) > 3 else "same"
    return int(channels), _pair(kernel), _pair(stride), padding


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, (int, float)) else (int(value[0]), int(value[1]))


def pads(size: Any, kernel: Any, stride: Any, padding: Any) -> list[tuple[int, int]]:
    """Rows and columns to add before and behind an image."""
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if padding != "same":
        return [(p, p) for p in _pair(padding)]
    found = []
    for n, k, s in zip(size, kernel, stride, strict=True):
        total = max((math.ceil(n / s) - 1) * s + k - n, 0)
        found.append((total // 2, total - total // 2))
    return found


def flat_size(space: Any, skip: tuple[str, ...] = ()) -> int:
    """Numbers in a flattened observation of ``space``, discrete parts one-hot."""
    kind = type(space).__name__
    if kind == "Dict":
        return sum(flat_size(sub) for key, sub in space.spaces.items() if key not in skip)
    if kind == "Tuple":
        return sum(flat_size(sub) for sub in space.spaces)
    if kind == "Discrete":
        return int(space.n)
    if kind == "MultiDiscrete":
        return int(space.nvec.sum())
    if space.shape is None:
        raise ValueError(
            f"observations of {space} have no fixed size: write an encoder or a connector for them."
        )
    return math.prod(space.shape)
