"""Behaviour cloning: the recorded actions as labels, -log π_θ(a|s) as the loss; MARWIL with β = 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rayjup.rllib.algorithms.algorithm_config import ConfigError
from rayjup.rllib.algorithms.marwil.marwil import MARWIL, MARWILConfig, MARWILTraining


@dataclass
class BCTraining(MARWILTraining):
    """Hyperparameters of BC."""

    beta: float = 0.0


class BCConfig(MARWILConfig):
    """Settings of `BC`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.bc import BCConfig
    >>> BCConfig().offline_data(input_=["recorded/"]).beta
    0.0
    """

    TRAINING = BCTraining
    TUNED = {"lr": 1e-3, "train_batch_size_per_learner": 1024}

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or BC)

    def validate(self) -> None:
        """Also: β is 0."""
        super().validate()
        if self.beta != 0.0:
            raise ConfigError(f"beta={self.beta}: behaviour cloning has 0; MARWIL takes others.")


class BC(MARWIL):
    """Behaviour cloning."""

    @classmethod
    def get_default_config(cls) -> Any:
        """BC's settings."""
        return BCConfig(algo_class=cls)
