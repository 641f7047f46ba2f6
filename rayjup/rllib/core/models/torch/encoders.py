"""Encoders: from observations to an embedding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.models import configs
from rayjup.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT, ActorCriticEncoder, Encoder
from rayjup.rllib.core.models.torch.layers import convolutions, initialize, mlp


class TorchEncoder(nn.Module, Encoder):
    """Base: a dict with ``obs`` (and ``state_in``) in, one with `ENCODER_OUT` (and ``state_out``) out."""

    def __init__(self, config: configs.ModelConfig) -> None:
        nn.Module.__init__(self)
        Encoder.__init__(self, config)


class TorchMLPEncoder(TorchEncoder):
    """Dense layers over vectors."""

    def __init__(self, config: configs.MLPEncoderConfig) -> None:
        super().__init__(config)
        self.net, _ = mlp(config, math.prod(config.input_dims))

    def forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """obs: (…, width)."""
        return {ENCODER_OUT: self.net(inputs[Columns.OBS].float())}


class TorchCNNEncoder(TorchEncoder):
    """Convolutions over images; bytes are scaled to 0 … 1."""

    def __init__(self, config: configs.CNNEncoderConfig) -> None:
        super().__init__(config)
        self.net = convolutions(config)
        _ = config.output_dims  # says so when the images are too small

    def forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """obs: (…, height, width, channels)."""
        images = inputs[Columns.OBS]
        lead = images.shape[:-3]
        x = images.reshape(-1, *images.shape[-3:]).permute(0, 3, 1, 2)
        x = x.float() / 255.0 if x.dtype == torch.uint8 else x.float()
        x = self.net(x).permute(0, 2, 3, 1)
        shape = (-1,) if self.config.flatten_at_end else x.shape[1:]
        return {ENCODER_OUT: x.reshape(*lead, *shape)}


class TorchSpaceEncoder(TorchEncoder):
    """Any space as one vector: discrete parts one-hot, arrays flattened, parts side by side."""

    def forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """obs: a structure of (batch, …) or (batch, time, …)."""
        return {ENCODER_OUT: flatten_space(self.config.space, inputs[Columns.OBS], self.config.skip)}


class TorchSequentialEncoder(TorchEncoder):
    """Encoders one behind the other."""

    def __init__(self, config: configs.SequentialEncoderConfig) -> None:
        super().__init__(config)
        self.stages = nn.ModuleList([stage.build("torch") for stage in config.stages])

    def forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Each takes the embedding of the one before as its observation."""
        out = self.stages[0](inputs)
        for stage in self.stages[1:]:
            out = stage({**inputs, Columns.OBS: out[ENCODER_OUT]})
        return out


class TorchMultiStreamEncoder(TorchEncoder):
    """One encoder per part of a `Dict` observation."""

    def __init__(self, config: configs.MultiStreamEncoderConfig) -> None:
        super().__init__(config)
        self.streams = nn.ModuleDict({k: c.build("torch") for k, c in config.base_encoder_configs.items()})
        width = sum(math.prod(c.output_dims) for c in config.base_encoder_configs.values())
        self.fusion, _ = mlp(config, width)

    def forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """obs: a dict with the streams' keys."""
        observation = inputs[Columns.OBS]
        parts = [net({Columns.OBS: observation[key]})[ENCODER_OUT] for key, net in self.streams.items()]
        return {ENCODER_OUT: self.fusion(torch.cat(parts, -1))}


class TorchRecurrentEncoder(TorchEncoder):
    """LSTM or GRU over (batch, time, …), behind another encoder where there is one."""

    def __init__(self, config: configs.RecurrentEncoderConfig) -> None:
        super().__init__(config)
        if config.recurrent_layer_type not in ("lstm", "gru"):
            raise ValueError(f"recurrent_layer_type {config.recurrent_layer_type!r}: 'lstm' or 'gru'.")
        tokenizer = config.tokenizer_config
        self.tokenizer = tokenizer.build("torch") if tokenizer is not None else None
        width = math.prod(tokenizer.output_dims if tokenizer is not None else config.input_dims)
        kind = nn.LSTM if config.recurrent_layer_type == "lstm" else nn.GRU
        self.net = kind(width, config.hidden_dim, config.num_layers, bias=config.use_bias, batch_first=True)
        for name, parameter in self.net.named_parameters():
            if name.startswith("weight"):
                initialize(
                    parameter, config.hidden_weights_initializer, config.hidden_weights_initializer_config
                )
            else:
                initialize(parameter, config.hidden_bias_initializer, config.hidden_bias_initializer_config)

    def get_initial_state(self) -> dict[str, Tensor]:
        """Zeros of (layers, width): "h", and "c" of an LSTM."""
        shape = (self.config.num_layers, self.config.hidden_dim)
        names = ("h", "c") if self.config.recurrent_layer_type == "lstm" else ("h",)
        return {name: torch.zeros(shape) for name in names}

    def forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """obs: (batch, time, …); state_in: tensors of (batch, layers, width)."""
        x = inputs[Columns.OBS] if self.tokenizer is None else self.tokenizer(inputs)[ENCODER_OUT]
        state = {k: v.transpose(0, 1).contiguous() for k, v in inputs[Columns.STATE_IN].items()}
        if "c" in state:
            out, (h, c) = self.net(x, (state["h"], state["c"]))
            after = {"h": h, "c": c}
        else:
            out, h = self.net(x, state["h"])
            after = {"h": h}
        return {ENCODER_OUT: out, Columns.STATE_OUT: {k: v.transpose(0, 1) for k, v in after.items()}}


class TorchActorCriticEncoder(nn.Module, ActorCriticEncoder):
    """Embeddings for policy and values."""

    def __init__(self, config: configs.ActorCriticEncoderConfig) -> None:
        nn.Module.__init__(self)
        Encoder.__init__(self, config)
        self.actor = config.base_encoder_config.build("torch")
        self.critic = None
        if not config.shared and not config.inference_only:
            self.critic = config.base_encoder_config.build("torch")
        # Two encoders with memory keep their states apart also where only the actor is there.
        self.separate_states = not config.shared and bool(self.actor.get_initial_state())

    def get_initial_state(self) -> dict[str, Any]:
        """The encoder's; by ACTOR and CRITIC where there are two."""
        state = self.actor.get_initial_state()
        return (
            {ACTOR: state, CRITIC: {k: v.clone() for k, v in state.items()}}
            if self.separate_states
            else state
        )

    def forward(self, inputs: dict[str, Any], *, critic: bool = True, actor: bool = True) -> dict[str, Any]:
        """Both embeddings, or the one that is needed."""
        if self.config.shared:
            out = self.actor(inputs)
            return {**out, ENCODER_OUT: {ACTOR: out[ENCODER_OUT], CRITIC: out[ENCODER_OUT]}}
        found: dict[str, Any] = {ENCODER_OUT: {}}
        states: dict[str, Any] = {}
        for name, net, wanted in (
            (ACTOR, self.actor, actor),
            (CRITIC, getattr(self, "critic", None), critic),
        ):
            own = (
                {**inputs, Columns.STATE_IN: inputs[Columns.STATE_IN][name]}
                if self.separate_states
                else inputs
            )
            if net is None or not wanted:
                if self.separate_states:
                    states[name] = own[Columns.STATE_IN]
                continue
            out = net(own)
            found[ENCODER_OUT][name] = out[ENCODER_OUT]
            if self.separate_states:
                states[name] = out[Columns.STATE_OUT]
        if self.separate_states:
            found[Columns.STATE_OUT] = states
        return found


def flatten_space(space: Any, value: Any, skip: tuple[str, ...] = ()) -> Tensor:
    """A batch of members of ``space`` as (…, `flat_size`) floats."""
    kind = type(space).__name__
    if kind == "Dict":
        parts = [flatten_space(sub, value[k]) for k, sub in space.spaces.items() if k not in skip]
        return torch.cat(parts, -1)
    if kind == "Tuple":
        return torch.cat(
            [flatten_space(sub, part) for sub, part in zip(space.spaces, value, strict=True)], -1
        )
    if kind == "Discrete":
        return F.one_hot(value.long() - int(space.start), int(space.n)).float()
    if kind == "MultiDiscrete":
        lead = value.shape[: value.dim() - len(space.nvec.shape)]
        columns = value.reshape(*lead, -1).long().unbind(-1)
        sizes = [int(n) for n in space.nvec.ravel()]
        return torch.cat([F.one_hot(c, n) for c, n in zip(columns, sizes, strict=True)], -1).float()
    lead = value.shape[: value.dim() - len(space.shape)]
    return value.reshape(*lead, -1).float()
