"""The contract of action distributions."""

from __future__ import annotations

import abc
from typing import Any


class Distribution(abc.ABC):
    """What a module's ``action_dist_inputs`` mean."""

    @abc.abstractmethod
    def sample(self, *, sample_shape: Any = None, **kwargs: Any) -> Any:
        """Draw without gradients."""

    @abc.abstractmethod
    def rsample(self, *, sample_shape: Any = None, **kwargs: Any) -> Any:
        """Draw so that gradients flow into the parameters (reparametrized)."""

    @abc.abstractmethod
    def logp(self, value: Any, **kwargs: Any) -> Any:
        """Log-likelihood of actions, one number per row."""

    @abc.abstractmethod
    def kl(self, other: Distribution, **kwargs: Any) -> Any:
        """Kullback-Leibler divergence from ``self`` to ``other``, per row."""

    @abc.abstractmethod
    def entropy(self, **kwargs: Any) -> Any:
        """Entropy per row."""

    @staticmethod
    @abc.abstractmethod
    def required_input_dim(space: Any, **kwargs: Any) -> int:
        """How many numbers describe a distribution over ``space``."""

    @classmethod
    def from_logits(cls, logits: Any, **kwargs: Any) -> Distribution:
        """From the raw outputs of a network."""
        return cls(logits, **kwargs)  # type: ignore[call-arg]

    @classmethod
    def get_partial_dist_cls(parent_cls: type[Distribution], **partial_kwargs: Any) -> type[Distribution]:
        """This class with some arguments of `from_logits` and `required_input_dim` given already."""

        class Partial(parent_cls):  # type: ignore[misc, valid-type]
            """A distribution with given arguments."""

            @classmethod
            def from_logits(cls, logits: Any, **kwargs: Any) -> Distribution:
                return parent_cls.from_logits(logits, **{**partial_kwargs, **kwargs})

            @staticmethod
            def required_input_dim(space: Any, **kwargs: Any) -> int:
                return parent_cls.required_input_dim(space, **{**partial_kwargs, **kwargs})

        Partial.__name__ = Partial.__qualname__ = f"{parent_cls.__name__}Partial"
        return Partial

    def to_deterministic(self) -> Distribution:
        """The distribution that always draws this one's most likely value."""
        raise TypeError(f"{type(self).__name__} has no deterministic form.")
