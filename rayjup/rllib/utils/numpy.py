"""NumPy versions of what networks compute, and conversions."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.utils import nested

SMALL_NUMBER, LARGE_INTEGER = 1e-6, 100000000
MIN_LOG_NN_OUTPUT, MAX_LOG_NN_OUTPUT = -5, 2


def convert_to_numpy(x: Any, reduce_type: bool = False, reduce_floats: Any = None) -> Any:
    """Tensors in a structure as arrays; with ``reduce_type``, doubles become singles.

    Examples
    --------
    >>> import torch
    >>> from rayjup.rllib.utils.numpy import convert_to_numpy
    >>> convert_to_numpy({"a": torch.ones(2)})
    {'a': array([1., 1.], dtype=float32)}
    """

    def convert(leaf: Any) -> Any:
        if hasattr(leaf, "detach"):
            leaf = leaf.detach().cpu().numpy()
        if (reduce_type or reduce_floats) and isinstance(leaf, np.ndarray) and leaf.dtype == np.float64:
            leaf = leaf.astype(np.float32)
        return leaf

    return nested.map_leaves(convert, x)


def one_hot(
    x: Any, depth: int = 0, on_value: float = 1.0, off_value: float = 0.0, dtype: type = np.float32
) -> np.ndarray:
    """Numbers as vectors that are ``on_value`` in one place.

    Examples
    --------
    >>> from rayjup.rllib.utils.numpy import one_hot
    >>> one_hot([0, 2], depth=3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    numbers = np.asarray(convert_to_numpy(x)).astype(int)
    out = np.full((*numbers.shape, depth or int(numbers.max()) + 1), off_value, dtype)
    np.put_along_axis(out, numbers[..., None], on_value, -1)
    return out


def one_hot_multidiscrete(x: Any, depths: Any = ()) -> np.ndarray:
    """Rows of several numbers as their one-hot vectors side by side."""
    columns = np.asarray(x)
    columns = columns[None] if columns.ndim == 1 else columns
    return np.concatenate([one_hot(columns[:, i], int(n)) for i, n in enumerate(depths)], -1)


def softmax(x: Any, axis: int = -1, epsilon: float | None = None) -> np.ndarray:
    """Exponentials, scaled to the sum 1 (no entry below ``epsilon``, if given)."""
    array = np.asarray(x, np.float64)
    e = np.exp(array - array.max(axis, keepdims=True))
    out = e / e.sum(axis, keepdims=True)
    return out if epsilon is None else np.maximum(out, epsilon)


def sigmoid(x: np.ndarray, derivative: bool = False) -> np.ndarray:
    """1 / (1 + e^-x); with ``derivative``, x (1 - x) of an x that is a sigmoid already."""
    return x * (1 - x) if derivative else 1 / (1 + np.exp(-x))


def relu(x: np.ndarray, alpha: float = 0.0) -> np.ndarray:
    """max(alpha x, x)."""
    return np.maximum(x, x * alpha, x)


def l2_loss(x: np.ndarray) -> Any:
    """Half the sum of squares."""
    return np.sum(np.square(x)) / 2.0


def huber_loss(x: np.ndarray, delta: float = 1.0) -> np.ndarray:
    """Quadratic up to ``delta``, linear beyond."""
    return np.where(np.abs(x) < delta, np.square(x) * 0.5, delta * (np.abs(x) - 0.5 * delta))


def fc(x: Any, weights: Any, biases: Any = None, framework: str | None = None) -> np.ndarray:
    """A dense layer; with ``framework="torch"``, the weights are (out, in)."""
    x, weights = convert_to_numpy(x), convert_to_numpy(weights)
    if framework == "torch":
        weights = weights.T
    out = np.matmul(x, weights)
    return out if biases is None else out + convert_to_numpy(biases)


def lstm(
    x: np.ndarray,
    weights: np.ndarray,
    biases: np.ndarray | None = None,
    initial_internal_states: Any = None,
    time_major: bool = False,
    forget_bias: float = 1.0,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """An LSTM layer over (batch, time, width); gates in the order input, cell, forget, output.

    Returns the outputs and the last (c, h).
    """
    steps_first = x if time_major else np.swapaxes(x, 0, 1)
    units = weights.shape[1] // 4
    bias = np.zeros(4 * units) if biases is None else biases
    if initial_internal_states is None:
        c = h = np.zeros((steps_first.shape[1], units))
    else:
        c, h = initial_internal_states
    outputs = []
    for step in steps_first:
        i, g, f, o = np.split(np.concatenate([step, h], 1) @ weights + bias, 4, 1)
        c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    stacked = np.stack(outputs)
    return (stacked if time_major else np.swapaxes(stacked, 0, 1)), (c, h)


def flatten_inputs_to_1d_tensor(
    inputs: Any, spaces_struct: Any = None, time_axis: bool = False
) -> np.ndarray:
    """A batch of members of (nested) spaces as (batch, …) vectors; discrete ones one-hot."""
    lead = 2 if time_axis else 1
    if isinstance(inputs, (dict, tuple, list)):
        keys: Any = sorted(inputs) if isinstance(inputs, dict) else range(len(inputs))
        get = None if spaces_struct is None else getattr(spaces_struct, "spaces", spaces_struct)
        parts = [
            flatten_inputs_to_1d_tensor(inputs[k], None if get is None else get[k], time_axis) for k in keys
        ]
        return np.concatenate(parts, -1)
    array = np.asarray(inputs)
    kind = type(spaces_struct).__name__
    if kind == "Discrete":
        return one_hot(array, int(spaces_struct.n))
    if kind == "MultiDiscrete":
        flat = array.reshape(*array.shape[:lead], -1)
        return np.concatenate(
            [one_hot(flat[..., i], int(n)) for i, n in enumerate(spaces_struct.nvec.ravel())], -1
        )
    return array.reshape(*array.shape[:lead], -1).astype(np.float32)


def make_action_immutable(obj: Any) -> Any:
    """Arrays in an action that refuse to be written to."""
    import types

    if isinstance(obj, np.ndarray):
        obj.setflags(write=False)
        return obj
    if isinstance(obj, dict):
        return types.MappingProxyType({k: make_action_immutable(v) for k, v in obj.items()})
    if isinstance(obj, (list, tuple)):
        return tuple(make_action_immutable(v) for v in obj)
    return obj
