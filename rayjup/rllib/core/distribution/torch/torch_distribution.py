"""Action distributions in PyTorch, written out.

`torch.distributions` checks its arguments and builds objects inside objects; on the small batches of
sampling and of minibatches that costs more than the numbers. The tests compare every formula here with it.

Draws take an optional ``generator``, so that an env runner has random numbers of its own.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rayjup.rllib.core.distribution.distribution import Distribution

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_SMALLEST = -3.4e38


class TorchDistribution(Distribution, abc.ABC):
    """Base of the distributions over one space."""

    def rsample_and_logp(self, *, sample_shape: Any = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """A reparametrized draw with its log-likelihood."""
        value = self.rsample(sample_shape=sample_shape, **kwargs)
        return value, self.logp(value)

    def sample_and_logp(self, *, sample_shape: Any = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """A draw with its log-likelihood."""
        value = self.sample(sample_shape=sample_shape, **kwargs)
        return value, self.logp(value)


class TorchCategorical(TorchDistribution):
    """One of n actions; from logits or probabilities, with the classes in the last axis.

    Logits of -inf (masked actions) have probability zero and add nothing to entropy and divergence.
    """

    def __init__(self, logits: Tensor | None = None, probs: Tensor | None = None) -> None:
        if (logits is None) == (probs is None):
            raise ValueError("give either logits or probs.")
        if logits is None:
            self.log_probs = torch.log(probs / probs.sum(-1, keepdim=True))  # type: ignore[union-attr]
        else:
            self.log_probs = F.log_softmax(logits, -1)
        self.logits = self.log_probs if logits is None else logits

    @property
    def probs(self) -> Tensor:
        """Probabilities of the classes."""
        return self.log_probs.exp()

    def sample(self, *, sample_shape: Any = None, generator: Any = None, **kwargs: Any) -> Tensor:
        """Draw class numbers."""
        probs = self.probs.detach()
        if sample_shape:
            probs = probs.expand(*sample_shape, *probs.shape)
        flat = probs.reshape(-1, probs.shape[-1])
        return torch.multinomial(flat, 1, generator=generator).view(probs.shape[:-1])

    def rsample(self, sample_shape: Any = (), **kwargs: Any) -> Tensor:
        """A one-hot draw whose gradient is that of the probabilities (straight-through)."""
        drawn = self.sample(sample_shape=sample_shape, **kwargs)
        probs = self.probs
        return F.one_hot(drawn, probs.shape[-1]).to(probs) + probs - probs.detach()

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Log-probability of class numbers."""
        return self.log_probs.gather(-1, value.long().unsqueeze(-1)).squeeze(-1)

    def entropy(self, **kwargs: Any) -> Tensor:
        """Entropy in nats."""
        return -(self.probs * self.log_probs.clamp_min(_SMALLEST)).sum(-1)

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """KL(self ‖ other)."""
        assert isinstance(other, TorchCategorical)
        difference = self.log_probs.clamp_min(_SMALLEST) - other.log_probs.clamp_min(_SMALLEST)
        return (self.probs * difference).sum(-1)

    @staticmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """One logit per class."""
        return int(space.n)

    def to_deterministic(self) -> TorchDeterministic:
        """The most likely class."""
        return TorchDeterministic(self.logits.argmax(-1))


class TorchDiagGaussian(TorchDistribution):
    """Independent normals; the outputs of a network are means and log standard deviations."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = loc, scale

    @classmethod
    def from_logits(cls, logits: Tensor, **kwargs: Any) -> TorchDiagGaussian:
        """First half means, second half log standard deviations."""
        loc, log_std = logits.chunk(2, -1)
        return cls(loc, log_std.exp())

    def sample(self, *, sample_shape: Any = None, generator: Any = None, **kwargs: Any) -> Tensor:
        """Draw without gradients."""
        return self.rsample(sample_shape=sample_shape, generator=generator).detach()

    def rsample(self, *, sample_shape: Any = None, generator: Any = None, **kwargs: Any) -> Tensor:
        """loc + scale · noise."""
        shape = (*(sample_shape or ()), *self.loc.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self.scale * noise

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Log-density, summed over the dimensions of the action."""
        return (-0.5 * ((value - self.loc) / self.scale) ** 2 - self.scale.log() - _HALF_LOG_2PI).sum(-1)

    def entropy(self, **kwargs: Any) -> Tensor:
        """Differential entropy, summed over dimensions."""
        return (0.5 + _HALF_LOG_2PI + self.scale.log()).expand_as(self.loc).sum(-1)

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """KL(self ‖ other), summed over dimensions."""
        assert isinstance(other, TorchDiagGaussian)
        ratio = (self.scale / other.scale) ** 2
        shift = ((self.loc - other.loc) / other.scale) ** 2
        return (0.5 * (ratio + shift - 1 - ratio.log())).sum(-1)

    @staticmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """Mean and log standard deviation per dimension."""
        return 2 * math.prod(space.shape)

    def to_deterministic(self) -> TorchDeterministic:
        """The mean."""
        return TorchDeterministic(self.loc)


class TorchSquashedGaussian(TorchDistribution):
    """A normal squeezed by tanh into [low, high]; SAC's policy (Haarnoja et al. 2018, appendix C)."""

    def __init__(self, loc: Tensor, scale: Tensor | float = 1.0, low: Any = -1.0, high: Any = 1.0) -> None:
        self.loc = loc
        self.scale = scale if isinstance(scale, Tensor) else torch.full_like(loc, scale)
        self.low, self.high = torch.as_tensor(low).to(loc), torch.as_tensor(high).to(loc)

    @classmethod
    def from_logits(
        cls, logits: Tensor, low: Any = -1.0, high: Any = 1.0, **kwargs: Any
    ) -> TorchSquashedGaussian:
        """First half means, second half log standard deviations, kept within e^-20 … e^2."""
        loc, log_std = logits.chunk(2, -1)
        return cls(loc, log_std.clamp(-20.0, 2.0).exp(), low, high)

    def sample(self, *, sample_shape: Any = None, generator: Any = None, **kwargs: Any) -> Tensor:
        """Draw without gradients."""
        return self.rsample_and_logp(sample_shape=sample_shape, generator=generator)[0].detach()

    def rsample(self, *, sample_shape: Any = None, generator: Any = None, **kwargs: Any) -> Tensor:
        """A reparametrized draw."""
        return self.rsample_and_logp(sample_shape=sample_shape, generator=generator)[0]

    def rsample_and_logp(
        self, *, sample_shape: Any = None, generator: Any = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """A draw with its log-density, exact also where tanh is saturated."""
        shape = (*(sample_shape or ()), *self.loc.shape)
        noise = torch.randn(shape, generator=generator, dtype=self.loc.dtype, device=self.loc.device)
        raw = self.loc + self.scale * noise
        return self._squash(raw), self._logp_of_raw(raw)

    def sample_and_logp(self, *, sample_shape: Any = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """A draw with its log-density, without gradients."""
        value, logp = self.rsample_and_logp(sample_shape=sample_shape, **kwargs)
        return value.detach(), logp

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Log-density of actions within [low, high]."""
        unit = 2 * (value - self.low) / (self.high - self.low) - 1
        edge = 1 - 1e-6
        return self._logp_of_raw(torch.atanh(unit.clamp(-edge, edge)))

    def _squash(self, raw: Tensor) -> Tensor:
        return self.low + (torch.tanh(raw) + 1) * 0.5 * (self.high - self.low)

    def _logp_of_raw(self, raw: Tensor) -> Tensor:
        normal = -0.5 * ((raw - self.loc) / self.scale) ** 2 - self.scale.log() - _HALF_LOG_2PI
        # log d/du [tanh(u) (high - low) / 2], with log(1 - tanh²u) = 2 (log 2 - u - softplus(-2u)).
        slope = 2 * (math.log(2) - raw - F.softplus(-2 * raw)) + ((self.high - self.low) / 2).log()
        return (normal - slope).sum(-1)

    def entropy(self, **kwargs: Any) -> Tensor:
        """An estimate by one draw: there is no closed form."""
        return -self.rsample_and_logp()[1]

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """That of the normals below: squashing both alike does not change it."""
        assert isinstance(other, TorchSquashedGaussian)
        return TorchDiagGaussian(self.loc, self.scale).kl(TorchDiagGaussian(other.loc, other.scale))

    @staticmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """Mean and log standard deviation per dimension."""
        return 2 * math.prod(space.shape)

    def to_deterministic(self) -> TorchDeterministic:
        """The squashed mean."""
        return TorchDeterministic(self._squash(self.loc))


class TorchDeterministic(Distribution):
    """Always the same value."""

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc

    def sample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """The value."""
        return self.loc.expand(*(sample_shape or ()), *self.loc.shape) if sample_shape else self.loc

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Tensor:
        """The value; gradients flow through it."""
        return self.sample(sample_shape=sample_shape)

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Raises: a point has no density."""
        raise ValueError("a deterministic distribution has no log-likelihood: use the stochastic one.")

    def entropy(self, **kwargs: Any) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.loc if self.loc.dim() <= 1 else self.loc[..., 0])

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """Raises: a point has no density."""
        raise ValueError("a deterministic distribution has no divergence: use the stochastic one.")

    @staticmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """One number per dimension."""
        return math.prod(space.shape)

    def to_deterministic(self) -> TorchDeterministic:
        """Itself."""
        return self


class TorchMultiCategorical(Distribution):
    """Several independent choices (`MultiDiscrete`, `MultiBinary`)."""

    def __init__(self, categoricals: list[TorchCategorical]) -> None:
        self.categoricals = categoricals

    @classmethod
    def from_logits(  # type: ignore[override]
        cls, logits: Tensor, input_lens: Any, temperatures: list[float] | None = None, **kwargs: Any
    ) -> TorchMultiCategorical:
        """Logits of all choices in one row; ``input_lens`` says how many each has."""
        parts = logits.split([int(n) for n in input_lens], -1)
        warm = temperatures or [1.0] * len(parts)
        return cls([TorchCategorical(part / t) for part, t in zip(parts, warm, strict=True)])

    def sample(self, **kwargs: Any) -> Tensor:
        """Class numbers, one column per choice."""
        return torch.stack([c.sample(**kwargs) for c in self.categoricals], -1)

    def rsample(self, sample_shape: Any = (), **kwargs: Any) -> Tensor:
        """One-hot draws, side by side (straight-through gradients)."""
        return torch.cat([c.rsample(sample_shape, **kwargs) for c in self.categoricals], -1)

    def logp(self, value: Tensor, **kwargs: Any) -> Tensor:
        """Sum over the choices."""
        return torch.stack([c.logp(v) for c, v in zip(self.categoricals, value.unbind(-1), strict=True)]).sum(
            0
        )

    def entropy(self, **kwargs: Any) -> Tensor:
        """Sum over the choices."""
        return torch.stack([c.entropy() for c in self.categoricals]).sum(0)

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """Sum over the choices."""
        assert isinstance(other, TorchMultiCategorical)
        pairs = zip(self.categoricals, other.categoricals, strict=True)
        return torch.stack([mine.kl(theirs) for mine, theirs in pairs]).sum(0)

    @staticmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """One logit per class of each choice."""
        return int(space.nvec.sum()) if hasattr(space, "nvec") else 2 * int(math.prod(space.shape))

    def to_deterministic(self) -> TorchDeterministic:
        """The most likely classes."""
        return TorchDeterministic(torch.stack([c.logits.argmax(-1) for c in self.categoricals], -1))


class TorchMultiDistribution(Distribution):
    """Independent distributions over the parts of a `Dict` or `Tuple` of actions."""

    def __init__(self, child_distribution_struct: Any) -> None:
        self.children = child_distribution_struct

    @classmethod
    def from_logits(  # type: ignore[override]
        cls, logits: Tensor, child_distribution_cls_struct: Any, input_lens: Any, **kwargs: Any
    ) -> TorchMultiDistribution:
        """Inputs of all parts in one row; classes and lengths come in the structure of the space."""
        lengths = _flat(input_lens)
        rows = iter(logits.split([int(n) for n in lengths], -1))
        return cls(_like(child_distribution_cls_struct, lambda kind: kind.from_logits(next(rows))))

    def _each(self, function: Any, *structures: Any) -> list[Any]:
        flats = [_flat(self.children), *(_flat(s) for s in structures)]
        return [function(*parts) for parts in zip(*flats, strict=True)]

    def sample(self, **kwargs: Any) -> Any:
        """Draws, in the structure of the space."""
        return _like(self.children, lambda child: child.sample(**kwargs))

    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Any:
        """Reparametrized draws, in the structure of the space."""
        return _like(self.children, lambda child: child.rsample(sample_shape=sample_shape, **kwargs))

    def logp(self, value: Any, **kwargs: Any) -> Tensor:
        """Sum over the parts."""
        return torch.stack(self._each(lambda child, part: child.logp(part), value)).sum(0)

    def entropy(self, **kwargs: Any) -> Tensor:
        """Sum over the parts."""
        return torch.stack(self._each(lambda child: child.entropy())).sum(0)

    def kl(self, other: Distribution, **kwargs: Any) -> Tensor:
        """Sum over the parts."""
        assert isinstance(other, TorchMultiDistribution)
        return torch.stack(self._each(lambda mine, theirs: mine.kl(theirs), other.children)).sum(0)

    @staticmethod
    def required_input_dim(space: Any, input_lens: Any = (), as_list: bool = False, **kwargs: Any) -> Any:
        """The sum of the parts' (or their list)."""
        lengths = _flat(input_lens)
        return lengths if as_list else sum(lengths)

    def to_deterministic(self) -> TorchMultiDistribution:
        """Every part's most likely value."""
        return TorchMultiDistribution(_like(self.children, lambda child: child.to_deterministic()))


def _flat(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return [leaf for key in sorted(structure) for leaf in _flat(structure[key])]
    if isinstance(structure, (tuple, list)):
        return [leaf for part in structure for leaf in _flat(part)]
    return [structure]


def _like(structure: Any, function: Any) -> Any:
    if isinstance(structure, dict):
        return {key: _like(structure[key], function) for key in sorted(structure)}
    if isinstance(structure, (tuple, list)):
        return tuple(_like(part, function) for part in structure)
    return function(structure)


def distribution_for(space: Any, *, squashed: bool = False) -> tuple[type[Distribution], int]:
    """The usual distribution class over a space, and how many inputs it takes."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return TorchCategorical, TorchCategorical.required_input_dim(space)
    if isinstance(space, spaces.Box):
        if squashed:
            partial = TorchSquashedGaussian.get_partial_dist_cls(low=space.low, high=space.high)
            return partial, TorchSquashedGaussian.required_input_dim(space)
        return TorchDiagGaussian, TorchDiagGaussian.required_input_dim(space)
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        lengths = (
            space.nvec.ravel() if isinstance(space, spaces.MultiDiscrete) else [2] * math.prod(space.shape)
        )
        partial = TorchMultiCategorical.get_partial_dist_cls(input_lens=[int(n) for n in lengths])
        return partial, int(sum(lengths))
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        parts = space.spaces if isinstance(space.spaces, dict) else tuple(space.spaces)
        found = _like(parts, lambda sub: distribution_for(sub, squashed=squashed))
        kinds, lengths = _unzip(found, 0), _unzip(found, 1)
        partial = TorchMultiDistribution.get_partial_dist_cls(
            child_distribution_cls_struct=kinds, input_lens=lengths
        )
        return partial, sum(_flat(lengths))
    raise ValueError(f"no action distribution for {space}: give an RLModule that says which one.")


def _unzip(found: Any, which: int) -> Any:
    if isinstance(found, dict):
        return {key: _unzip(value, which) for key, value in found.items()}
    if len(found) == 2 and isinstance(found[0], type):
        return found[which]
    return tuple(_unzip(part, which) for part in found)
