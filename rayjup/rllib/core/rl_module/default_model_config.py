"""Settings of the networks that RLModules get when nobody gives others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Initializer = str | Callable | None


@dataclass
class DefaultModelConfig:
    """Settings of the default networks.

    Examples
    --------
    >>> from rayjup.rllib.core.rl_module.default_model_config import DefaultModelConfig
    >>> DefaultModelConfig(fcnet_hiddens=[64, 64]).fcnet_activation
    'tanh'
    """

    # Dense layers behind flat observations.
    fcnet_hiddens: list[int] = field(default_factory=lambda: [256, 256])
    fcnet_activation: str = "tanh"
    fcnet_kernel_initializer: Initializer = None
    fcnet_kernel_initializer_kwargs: dict | None = None
    fcnet_bias_initializer: Initializer = None
    fcnet_bias_initializer_kwargs: dict | None = None
    fcnet_use_layernorm: bool = False
    # Convolutions behind images: [channels, kernel, stride(, padding)] each; None: by the image's size.
    conv_filters: list | None = None
    conv_activation: str = "relu"
    conv_kernel_initializer: Initializer = None
    conv_kernel_initializer_kwargs: dict | None = None
    conv_bias_initializer: Initializer = None
    conv_bias_initializer_kwargs: dict | None = None
    # Dense layers between encoder and outputs.
    head_fcnet_hiddens: list[int] = field(default_factory=list)
    head_fcnet_activation: str = "relu"
    head_fcnet_kernel_initializer: Initializer = None
    head_fcnet_kernel_initializer_kwargs: dict | None = None
    head_fcnet_bias_initializer: Initializer = None
    head_fcnet_bias_initializer_kwargs: dict | None = None
    head_fcnet_use_layernorm: bool = False
    # The standard deviation as parameters of their own, not as an output.
    free_log_std: bool = False
    log_std_clip_param: float = 20.0
    # One encoder for policy and values.
    vf_share_layers: bool = True
    # An LSTM between encoder and heads.
    use_lstm: bool = False
    max_seq_len: int = 20
    lstm_cell_size: int = 256
    lstm_use_prev_action: bool = False
    lstm_use_prev_reward: bool = False
    lstm_kernel_initializer: Initializer = None
    lstm_kernel_initializer_kwargs: dict | None = None
    lstm_bias_initializer: Initializer = None
    lstm_bias_initializer_kwargs: dict | None = None
    # Dense layers where several encoders meet (observations made of several spaces).
    fusionnet_hiddens: list[int] = field(default_factory=lambda: [256, 256])
    fusionnet_activation: str = "tanh"
    fusionnet_kernel_initializer: Initializer = None
    fusionnet_kernel_initializer_kwargs: dict | None = None
    fusionnet_bias_initializer: Initializer = None
    fusionnet_bias_initializer_kwargs: dict | None = None

    @classmethod
    def of(cls, given: Any) -> DefaultModelConfig:
        """From a config, a dict, or None; what a dict has beyond the fields stays with its owner."""
        if isinstance(given, cls):
            return given
        known = {k: v for k, v in dict(given or {}).items() if k in cls.__dataclass_fields__}
        return cls(**known)
