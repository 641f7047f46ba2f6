"""What a module can do besides acting; an algorithm's learner says which of these it needs."""

from __future__ import annotations

import abc
from typing import Any


class InferenceOnlyAPI(abc.ABC):
    """Modules with parts that acting doesn't need (critics, target networks)."""

    @abc.abstractmethod
    def get_non_inference_attributes(self) -> list[str]:
        """Names of those attributes (dots for nested ones)."""


class ValueFunctionAPI(abc.ABC):
    """Modules that estimate values of observations."""

    @abc.abstractmethod
    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Any:
        """Values of the observations in ``batch``, of shape (batch,) or (batch, time)."""


class QNetAPI(abc.ABC):
    """Modules that estimate Q-values."""

    @abc.abstractmethod
    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Q-values of the observations in ``batch``, by "qf_preds"."""

    def compute_advantage_distribution(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Distributions of Q-values; defined by distributional modules."""
        raise TypeError(f"{type(self).__name__} has no distribution of Q-values: num_atoms must be above 1.")


class TargetNetworkAPI(abc.ABC):
    """Modules with slowly following copies of some of their networks."""

    @abc.abstractmethod
    def make_target_networks(self) -> None:
        """Make the copies."""

    @abc.abstractmethod
    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """(network, copy) pairs."""

    @abc.abstractmethod
    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """What the copies say about ``batch``."""


class SelfSupervisedLossAPI(abc.ABC):
    """Modules that bring their own loss along (curiosity models, say)."""

    @abc.abstractmethod
    def compute_self_supervised_loss(
        self, *, learner: Any, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The loss, a scalar tensor."""
