"""Small things of PyTorch that modules and learners share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rayjup.rllib.utils import nested

FLOAT_MIN, FLOAT_MAX = -3.4e38, 3.4e38


def convert_to_torch_tensor(
    x: Any, device: Any = None, pin_memory: bool = False, use_stream: bool = False, stream: Any = None
) -> Any:
    """Arrays and numbers in a structure as tensors (doubles become singles), on a device.

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor
    >>> convert_to_torch_tensor({"a": np.zeros(2)})
    {'a': tensor([0., 0.])}
    """

    def convert(leaf: Any) -> Any:
        if leaf is None or isinstance(leaf, str):
            return leaf
        if not torch.is_tensor(leaf):
            array = np.asarray(leaf)
            if array.dtype == object or array.dtype.kind in "US":
                return leaf
            if not array.flags.writeable:
                array = array.copy()
            leaf = torch.from_numpy(array) if array.ndim else torch.as_tensor(array)
        if leaf.dtype == torch.float64:
            leaf = leaf.float()
        if pin_memory and torch.cuda.is_available():
            leaf = leaf.pin_memory()
        return leaf if device is None else leaf.to(device, non_blocking=pin_memory)

    return nested.map_leaves(convert, x)


def copy_torch_tensors(x: Any, device: Any = None) -> Any:
    """Copies of the tensors in a structure, on a device."""

    def copied(leaf: Any) -> Any:
        if not torch.is_tensor(leaf):
            return leaf
        return leaf.detach().clone() if device is None else leaf.detach().to(device, copy=True)

    return nested.map_leaves(copied, x)


def explained_variance(y: Tensor, pred: Tensor) -> Tensor:
    """1 - Var(y - pred) / Var(y), at least -1."""
    variance = torch.var(y, dim=0, correction=0)
    left = torch.var(y - pred, dim=0, correction=0)
    return torch.clamp(1 - left / variance.clamp_min(1e-12), min=-1.0)


def compute_global_norm(gradients_list: Any) -> Tensor:
    """The 2-norm of all gradients together."""
    gradients = [g.detach() for g in gradients_list if g is not None]
    if not gradients:
        return torch.tensor(0.0)
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


def global_norm(tensors: list[Tensor]) -> Tensor:
    """The 2-norm of all tensors together."""
    return compute_global_norm(tensors)


def clip_gradients(
    gradients_dict: dict[Any, Any], *, grad_clip: float | None = None, grad_clip_by: str = "value"
) -> Tensor | None:
    """Clip gradients in place, by value, by each one's norm, or by the norm of all; returns that norm.

    Gradients with a norm that is not finite become zero, so that one bad batch does not ruin the module.
    """
    if grad_clip is None:
        return None
    gradients = [g for g in gradients_dict.values() if g is not None]
    if grad_clip_by == "value":
        for g in gradients:
            g.clamp_(-grad_clip, grad_clip)
        return None
    if grad_clip_by == "norm":
        for g in gradients:
            norm = torch.linalg.vector_norm(g)
            if norm > grad_clip:
                g.mul_(grad_clip / norm)
        return None
    norm = compute_global_norm(gradients)
    factor = torch.clamp(grad_clip / (norm + 1e-6), max=1.0)
    if torch.isfinite(norm):
        torch._foreach_mul_(gradients, factor)
    else:
        warnings.warn("a gradient's norm is not finite: this step is left out.", RuntimeWarning, stacklevel=2)
        torch._foreach_zero_(gradients)
    return norm


def one_hot(x: Tensor, space: Any) -> Tensor:
    """Members of `Discrete` and `MultiDiscrete` spaces as one-hot vectors."""
    from rayjup.rllib.core.models.torch.encoders import flatten_space

    if type(space).__name__ not in ("Discrete", "MultiDiscrete"):
        raise ValueError(f"one_hot is for Discrete and MultiDiscrete spaces, not for {space}.")
    return flatten_space(space, x)


def flatten_inputs_to_1d_tensor(inputs: Any, spaces_struct: Any = None, time_axis: bool = False) -> Tensor:
    """A batch of members of (nested) spaces as (batch, …) vectors; discrete ones one-hot."""
    if isinstance(inputs, (dict, tuple, list)):
        keys: Any = sorted(inputs) if isinstance(inputs, dict) else range(len(inputs))
        get = None if spaces_struct is None else getattr(spaces_struct, "spaces", spaces_struct)
        parts = [
            flatten_inputs_to_1d_tensor(inputs[k], None if get is None else get[k], time_axis) for k in keys
        ]
        return torch.cat(parts, -1)
    if type(spaces_struct).__name__ in ("Discrete", "MultiDiscrete"):
        return one_hot(inputs, spaces_struct)
    return inputs.reshape(*inputs.shape[: 2 if time_axis else 1], -1).float()


def sequence_mask(
    lengths: Tensor, maxlen: int | None = None, dtype: Any = None, time_major: bool = False
) -> Tensor:
    """True in the first ``lengths[i]`` places of row i.

    Examples
    --------
    >>> import torch
    >>> from rayjup.rllib.utils.torch_utils import sequence_mask
    >>> sequence_mask(torch.tensor([1, 3]))
    tensor([[ True, False, False],
            [ True,  True,  True]])
    """
    places = torch.arange(maxlen or int(lengths.max()), device=lengths.device)
    mask = places < lengths.unsqueeze(-1)
    mask = mask.T if time_major else mask
    return mask if dtype is None else mask.to(dtype)


def reduce_mean_ignore_inf(x: Tensor, axis: int | None = None) -> Tensor:
    """The mean of what is not infinite."""
    finite = torch.isfinite(x)
    total = torch.where(finite, x, 0.0)
    if axis is None:
        return total.sum() / finite.sum()
    return total.sum(axis) / finite.sum(axis)


def set_torch_seed(seed: int | None = None) -> None:
    """Seed PyTorch's global generators."""
    if seed is not None:
        torch.manual_seed(seed)


def softmax_cross_entropy_with_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of distributions ``labels`` and softmax(logits), per row."""
    return -(labels * F.log_softmax(logits, -1)).sum(-1)


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|) (Hafner et al. 2023)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def inverse_symlog(y: Tensor) -> Tensor:
    """sign(y) (e^|y| - 1)."""
    return torch.sign(y) * torch.expm1(torch.abs(y))


def two_hot(
    value: Tensor,
    num_buckets: int = 255,
    lower_bound: float = -20.0,
    upper_bound: float = 20.0,
    device: Any = None,
) -> Tensor:
    """Numbers as weights of the two nearest of evenly spaced buckets (Hafner et al. 2023).

    Examples
    --------
    >>> import torch
    >>> from rayjup.rllib.utils.torch_utils import two_hot
    >>> two_hot(torch.tensor([0.25]), num_buckets=3, lower_bound=-1.0, upper_bound=1.0)
    tensor([[0.0000, 0.7500, 0.2500]])
    """
    place = (
        (value.clamp(lower_bound, upper_bound) - lower_bound)
        / (upper_bound - lower_bound)
        * (num_buckets - 1)
    )
    below = place.floor().long().clamp(0, num_buckets - 1)
    above = (below + 1).clamp(max=num_buckets - 1)
    weight = place - below
    out = torch.zeros(*value.shape, num_buckets, device=value.device if device is None else device)
    out.scatter_add_(-1, below.unsqueeze(-1), (1 - weight).unsqueeze(-1))
    out.scatter_add_(-1, above.unsqueeze(-1), weight.unsqueeze(-1))
    return out


def update_target_network(main_net: Any, target_net: Any, tau: float) -> None:
    """target ← τ main + (1 - τ) target."""
    with torch.no_grad():
        targets, mains = list(target_net.parameters()), list(main_net.parameters())
        if targets:
            torch._foreach_lerp_(targets, mains, tau)
        for target, main in zip(target_net.buffers(), main_net.buffers(), strict=True):
            target.copy_(main)


def warn_if_infinite_kl_divergence(policy: Any, kl_divergence: Tensor) -> None:
    """Warn when old and new policy have nothing in common any more."""
    if torch.isinf(kl_divergence).any():
        warnings.warn(
            "the KL divergence is infinite: the module has moved too far; lower `lr`, or set kl_coeff=0.",
            RuntimeWarning,
            stacklevel=2,
        )
