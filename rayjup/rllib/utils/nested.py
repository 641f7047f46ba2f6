"""Dicts and tuples of arrays, as composite spaces make them, handled like arrays.

A leaf is everything that is neither a dict nor a tuple (lists are data: they hold time steps).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def map_leaves(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """``function`` applied to the leaves of equally built structures.

    Examples
    --------
    >>> from rayjup.rllib.utils.nested import map_leaves
    >>> map_leaves(lambda a, b: a + b, {"x": 1, "y": (2, 3)}, {"x": 10, "y": (20, 30)})
    {'x': 11, 'y': (22, 33)}
    """
    if isinstance(first, dict):
        return {key: map_leaves(function, value, *(o[key] for o in others)) for key, value in first.items()}
    if isinstance(first, tuple):
        return tuple(map_leaves(function, *values) for values in zip(first, *others, strict=True))
    return function(first, *others)


def leaves(structure: Any) -> list[Any]:
    """All leaves, in the order of keys and places."""
    if isinstance(structure, dict):
        return [leaf for value in structure.values() for leaf in leaves(value)]
    if isinstance(structure, tuple):
        return [leaf for value in structure for leaf in leaves(value)]
    return [structure]


def first_leaf(structure: Any) -> Any:
    """The first leaf: what tells length and batch size."""
    while isinstance(structure, (dict, tuple)):
        structure = next(iter(structure.values())) if isinstance(structure, dict) else structure[0]
    return structure


def stack(items: Sequence[Any]) -> Any:
    """A list of equally built structures as one structure of arrays with a new first axis."""
    first = items[0]
    if isinstance(first, (dict, tuple)):
        return map_leaves(lambda *values: np.stack([np.asarray(v) for v in values]), *items)
    try:
        array = np.asarray(items)
        if array.dtype != object:
            return array
    except ValueError:  # items of different lengths
        pass
    array = np.empty(len(items), object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def concatenate(parts: Sequence[Any]) -> Any:
    """Structures of arrays, one after another along the first axis."""
    if len(parts) == 1:
        return parts[0]
    return map_leaves(lambda *arrays: np.concatenate(arrays), *parts)


def take(structure: Any, index: Any) -> Any:
    """``leaf[index]`` for every leaf."""
    return map_leaves(lambda leaf: leaf[index], structure)


def length(structure: Any) -> int:
    """Length of the first axis."""
    return len(first_leaf(structure))


def zeros_like_space(space: Any) -> Any:
    """An all-zero member of a space, as the structure of arrays a sample of it would be."""
    sample = space.sample()
    return map_leaves(lambda leaf: np.zeros_like(np.asarray(leaf)), _plain(sample))


def _plain(sample: Any) -> Any:
    if isinstance(sample, dict):
        return {key: _plain(value) for key, value in sample.items()}
    if isinstance(sample, tuple):
        return tuple(_plain(value) for value in sample)
    return sample
