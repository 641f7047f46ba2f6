"""The networks of DreamerV3; symbols as in the paper (see `dreamerv3`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rayjup.rllib.core.models.configs import flat_size
from rayjup.rllib.core.models.torch.encoders import flatten_space
from rayjup.rllib.utils.torch_utils import inverse_symlog, symlog, two_hot

UNIMIX = 0.01  # share of the even distribution in every categorical one
BUCKETS = 255


@dataclass(frozen=True)
class Size:
    """Widths: of images' filters, of the GRU, of dense layers; categoricals × classes of z; layers."""

    filters: int
    deterministic: int
    units: int
    z: int
    layers: int


SIZES = {
    "nano": Size(2, 16, 16, 4, 1),
    "micro": Size(4, 32, 32, 8, 1),
    "mini": Size(8, 64, 64, 16, 1),
    "XXS": Size(16, 128, 128, 32, 1),
    "XS": Size(24, 256, 256, 32, 1),
    "S": Size(32, 512, 512, 32, 2),
    "M": Size(48, 1024, 640, 32, 3),
    "L": Size(64, 2048, 768, 32, 4),
    "XL": Size(96, 4096, 1024, 32, 5),
}


def dense(width: int, units: int, layers: int) -> nn.Sequential:
    """Layers of linear map, normalization, SiLU."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(width, units, bias=False), nn.LayerNorm(units), nn.SiLU()]
        width = units
    return nn.Sequential(*parts)


def categorical(logits: Tensor) -> Tensor:
    """Log-probabilities with `UNIMIX` of the even distribution."""
    even = UNIMIX / logits.shape[-1]
    return torch.log((1 - UNIMIX) * F.softmax(logits, -1) + even)


def straight_through(log_p: Tensor, generator: Any = None) -> Tensor:
    """A one-hot sample whose gradient is that of the probabilities."""
    p = log_p.exp()
    flat = p.detach().reshape(-1, p.shape[-1])
    drawn = torch.multinomial(flat, 1, generator=generator).reshape(p.shape[:-1])
    one_hot = F.one_hot(drawn, p.shape[-1]).to(p.dtype)
    return one_hot + p - p.detach() if p.requires_grad else one_hot


class TwoHot(nn.Module):
    """A number, as a distribution over buckets of its symlog: for rewards and values."""

    def __init__(self, width: int, size: Size) -> None:
        super().__init__()
        self.body = dense(width, size.units, size.layers)
        self.out = nn.Linear(size.units if size.layers else width, BUCKETS)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("buckets", torch.linspace(-20.0, 20.0, BUCKETS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.out(self.body(x))

    def mean(self, logits: Tensor) -> Tensor:
        """The expected number."""
        # Buckets far from 0 hardly cancel in floating point: the two halves are added from the inside out.
        weighted = F.softmax(logits, -1) * self.buckets
        half = BUCKETS // 2
        return inverse_symlog(
            weighted[..., half] + (weighted[..., :half].flip(-1) + weighted[..., half + 1 :]).sum(-1)
        )

    @staticmethod
    def loss(logits: Tensor, target: Tensor) -> Tensor:
        """Cross entropy with the two-hot symlog of the target."""
        return -(two_hot(symlog(target), BUCKETS) * F.log_softmax(logits, -1)).sum(-1)


class Encoder(nn.Module):
    """Observations as vectors: convolutions over images, dense layers over the symlog of everything else."""

    def __init__(self, space: Any, size: Size, symlog_obs: bool) -> None:
        super().__init__()
        self.space, self.symlog_obs = space, symlog_obs
        self.shapes = _halvings(space) if _is_image(space) else []
        if self.shapes:
            channels, parts = space.shape[-1], []
            for depth in range(len(self.shapes)):
                out = size.filters * 2**depth
                parts += [nn.Conv2d(channels, out, 4, 2, 1, bias=False), nn.GroupNorm(1, out), nn.SiLU()]
                channels = out
            self.net = nn.Sequential(*parts, nn.Flatten())
            self.width = channels * math.prod(self.shapes[-1])
        else:
            self.net = dense(flat_size(space), size.units, size.layers)
            self.width = size.units

    def inputs(self, obs: Any) -> Tensor:
        """What is encoded, and what the decoder is to return."""
        if self.shapes:
            return obs.float() / 255.0 if obs.dtype == torch.uint8 else obs.float()
        flat = flatten_space(self.space, obs).float()
        return symlog(flat) if self.symlog_obs else flat

    def forward(self, x: Tensor) -> Tensor:
        """x: what `inputs` returned, with any axes in front."""
        if not self.shapes:
            return self.net(x)
        lead = x.shape[:-3]
        return self.net(x.reshape(-1, *x.shape[-3:]).permute(0, 3, 1, 2)).reshape(*lead, -1)


class Decoder(nn.Module):
    """x̂ from (h, z): the reverse of `Encoder`."""

    def __init__(self, encoder: Encoder, width: int, size: Size) -> None:
        super().__init__()
        self.shapes, space = encoder.shapes, encoder.space
        if not self.shapes:
            self.net = nn.Sequential(
                dense(width, size.units, size.layers), nn.Linear(size.units, flat_size(space))
            )
            return
        depth = len(self.shapes)
        channels = size.filters * 2 ** (depth - 1)
        h, w = self.shapes[-1]
        self.first = nn.Linear(width, channels * h * w)
        self.start = (channels, h, w)
        sizes = [space.shape[:2], *self.shapes]
        parts: list[nn.Module] = []
        for level in range(depth - 1, -1, -1):
            out = space.shape[-1] if level == 0 else size.filters * 2 ** (level - 1)
            odd = tuple(sizes[level][i] - 2 * sizes[level + 1][i] for i in (0, 1))  # 1 where halving rounded
            parts.append(nn.ConvTranspose2d(channels, out, 4, 2, 1, output_padding=odd, bias=level == 0))
            parts += [] if level == 0 else [nn.GroupNorm(1, out), nn.SiLU()]
            channels = out
        self.net = nn.Sequential(*parts)

    def forward(self, features: Tensor) -> Tensor:
        """Like `Encoder.inputs`."""
        if not self.shapes:
            return self.net(features)
        lead = features.shape[:-1]
        x = self.net(self.first(features).reshape(-1, *self.start))
        return x.permute(0, 2, 3, 1).reshape(*lead, *x.shape[2:], x.shape[1]) + 0.5


class SequenceModel(nn.Module):
    """h_t = f(h_{t-1}, z_{t-1}, a_{t-1}): a GRU whose gates are normalized together."""

    def __init__(self, width: int, size: Size) -> None:
        super().__init__()
        self.before = dense(width, size.units, 1)
        self.gates = nn.Linear(size.units + size.deterministic, 3 * size.deterministic, bias=False)
        self.norm = nn.LayerNorm(3 * size.deterministic)

    def forward(self, h: Tensor, z: Tensor, a: Tensor) -> Tensor:
        """The next h."""
        x = self.before(torch.cat([z, a], -1))
        reset, candidate, update = self.norm(self.gates(torch.cat([x, h], -1))).chunk(3, -1)
        update = torch.sigmoid(update - 1)
        return update * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - update) * h


class WorldModel(nn.Module):
    """Everything that predicts: sequence model, representations, dynamics, rewards, continuation."""

    def __init__(self, space: Any, actions: int, size: Size, symlog_obs: bool) -> None:
        super().__init__()
        self.size = size
        self.z_width = size.z * size.z
        self.features = size.deterministic + self.z_width
        self.encoder = Encoder(space, size, symlog_obs)
        self.sequence = SequenceModel(self.z_width + actions, size)
        self.posterior = nn.Sequential(
            dense(size.deterministic + self.encoder.width, size.units, 1), nn.Linear(size.units, self.z_width)
        )
        self.prior = nn.Sequential(
            dense(size.deterministic, size.units, 1), nn.Linear(size.units, self.z_width)
        )
        self.decoder = Decoder(self.encoder, self.features, size)
        self.reward = TwoHot(self.features, size)
        self.continues = nn.Sequential(
            dense(self.features, size.units, size.layers), nn.Linear(size.units, 1)
        )
        self.h_first = nn.Parameter(torch.zeros(size.deterministic))

    def z_of(self, net: nn.Module, x: Tensor) -> Tensor:
        """Log-probabilities of z, (…, categoricals, classes)."""
        logits = net(x)
        return categorical(logits.reshape(*logits.shape[:-1], self.size.z, self.size.z))

    def first(self, rows: int) -> tuple[Tensor, Tensor]:
        """(h, z) before anything was seen: learnt, and the dynamics' most likely z."""
        h = torch.tanh(self.h_first).expand(rows, -1)
        z = self.z_of(self.prior, h).argmax(-1)
        return h, F.one_hot(z, self.size.z).float().flatten(-2)

    def observe(
        self, h: Tensor, z: Tensor, a: Tensor, x: Tensor, is_first: Tensor, generator: Any = None,
        sample: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """One step with an observation (encoded: x); returns h, z (a sample, or the most likely one), and
        the log-probabilities of z.
        """
        h0, z0 = self.first(len(h))
        fresh = is_first.unsqueeze(-1)
        h, z = torch.where(fresh, h0, h), torch.where(fresh, z0, z)
        h = self.sequence(h, z, torch.where(fresh, torch.zeros_like(a), a))
        log_p = self.z_of(self.posterior, torch.cat([h, x], -1))
        if not sample:
            return h, F.one_hot(log_p.argmax(-1), self.size.z).float().flatten(-2), log_p
        return h, straight_through(log_p, generator).flatten(-2), log_p

    def imagine(self, h: Tensor, z: Tensor, a: Tensor, generator: Any = None) -> tuple[Tensor, Tensor]:
        """One step without: ẑ of the dynamics takes the place of z."""
        h = self.sequence(h, z, a)
        return h, straight_through(self.z_of(self.prior, h), generator).flatten(-2)


class Actor(nn.Module):
    """π(a | h, z): categorical with `UNIMIX`, or normal within the bounds."""

    def __init__(self, features: int, discrete: bool, actions: int, size: Size) -> None:
        super().__init__()
        self.discrete = discrete
        self.body = dense(features, size.units, max(1, size.layers))
        self.out = nn.Linear(size.units, actions if discrete else 2 * actions)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Inputs of the distribution."""
        found = self.out(self.body(features))
        if self.discrete:
            return categorical(found)
        mean, spread = found.chunk(2, -1)
        return torch.cat([torch.tanh(mean), torch.log(0.1 + 0.9 * torch.sigmoid(spread + 2.0))], -1)

    def draw(self, inputs: Tensor, generator: Any = None) -> Tensor:
        """Actions as the world model takes them: one-hot, or numbers."""
        if self.discrete:
            return straight_through(inputs.detach(), generator)
        mean, log_std = inputs.detach().chunk(2, -1)
        noise = torch.empty_like(mean).normal_(generator=generator)
        return mean + log_std.exp() * noise

    def best(self, inputs: Tensor) -> Tensor:
        """The most likely actions."""
        if self.discrete:
            return F.one_hot(inputs.argmax(-1), inputs.shape[-1]).float()
        return inputs.chunk(2, -1)[0]

    def logp_and_entropy(self, inputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """log π(a) and H[π]."""
        if self.discrete:
            return (inputs * actions).sum(-1), -(inputs * inputs.exp()).sum(-1)
        mean, log_std = inputs.chunk(2, -1)
        logp = -0.5 * (((actions - mean) / log_std.exp()) ** 2 + 2 * log_std + math.log(2 * math.pi))
        return logp.sum(-1), (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def _is_image(space: Any) -> bool:
    return type(space).__name__ == "Box" and len(space.shape) == 3


def _halvings(space: Any) -> list[tuple[int, int]]:
    """Sizes of an image behind each convolution, until about 4 pixels are left."""
    h, w = space.shape[:2]
    found = []
    while min(h, w) >= 8:
        h, w = h // 2, w // 2
        found.append((h, w))
    if not found:
        raise ValueError(f"DreamerV3 needs images of 8 x 8 pixels or more, not {space.shape}.")
    return found
