"""Vectors of shares that sum to 1."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np


class Simplex(gymnasium.Space):
    """Arrays whose last axis holds shares: not negative, with the sum 1.

    Parameters
    ----------
    shape
        Shape of the arrays.
    concentration
        Of the Dirichlet distribution that `sample` draws from; ones by default.

    Examples
    --------
    >>> from rayjup.rllib.utils.spaces.simplex import Simplex
    >>> Simplex((2,)).contains([0.25, 0.75])
    True
    """

    def __init__(self, shape: Any, concentration: Any = None, dtype: Any = np.float32) -> None:
        super().__init__(shape=tuple(shape), dtype=dtype)
        self.dim = int(shape[-1])
        self.concentration = np.ones(self.dim) if concentration is None else np.asarray(concentration)
        if len(self.concentration) != self.dim:
            raise ValueError(f"{len(self.concentration)} concentrations for {self.dim} shares.")

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        """A draw of the Dirichlet distribution."""
        return self.np_random.dirichlet(self.concentration, size=self.shape[:-1]).astype(self.dtype)

    def contains(self, x: Any) -> bool:
        """Whether these are shares."""
        array = np.asarray(x)
        return array.shape == self.shape and bool((array >= 0).all()) and np.allclose(array.sum(-1), 1.0)

    def to_jsonable(self, sample_n: Any) -> Any:
        """Draws as lists."""
        return np.asarray(sample_n).tolist()

    def from_jsonable(self, sample_n: Any) -> Any:
        """Lists as draws."""
        return [np.asarray(sample, self.dtype) for sample in sample_n]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Simplex)
            and self.shape == other.shape
            and np.allclose(self.concentration, other.concentration)
        )

    def __hash__(self) -> int:
        return hash((self.shape, tuple(self.concentration)))
