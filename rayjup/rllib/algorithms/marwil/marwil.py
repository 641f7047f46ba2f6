"""Monotonic advantage re-weighted imitation learning.

Source: Wang, Xiong, Han, Sun, Liu, Zhang, "Exponentially Weighted Imitation Learning for Batched Historical
Data", NeurIPS 2018. In its symbols: L = -exp(β Â(s, a) / c) log π_θ(a|s), Â = R - V(s), and c² a running
mean of Â². With β = 0 it is behaviour cloning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rayjup.rllib.algorithms._offline import OfflineAlgorithm
from rayjup.rllib.algorithms._sections import Schedule, Training
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError
from rayjup.rllib.algorithms.ppo.default_ppo_rl_module import DefaultPPOTorchRLModule
from rayjup.rllib.algorithms.ppo.ppo import OneMoreStep, masked_mean
from rayjup.rllib.connectors.connector_v2 import ConnectorV2, episodes_of
from rayjup.rllib.connectors.learner import GeneralAdvantageEstimation
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec


@dataclass
class MARWILTraining(Training):
    """Hyperparameters of MARWIL."""

    lr: Schedule = 1e-4
    train_batch_size: int = 2000
    beta: float = 1.0
    bc_logstd_coeff: float = 0.0
    moving_average_sqd_adv_norm_update_rate: float = 1e-8
    moving_average_sqd_adv_norm_start: float = 100.0
    vf_coeff: float = 1.0
    lambda_: float = 1.0


class MARWILConfig(AlgorithmConfig):
    """Settings of `MARWIL`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.marwil import MARWILConfig
    >>> config = MARWILConfig().offline_data(input_=["recorded/"]).training(beta=2.0)
    >>> config.is_offline, config.beta
    (True, 2.0)
    """

    TRAINING: type = MARWILTraining
    TUNED = {
        "lr": 1e-3,
        "train_batch_size_per_learner": 1024,
        "moving_average_sqd_adv_norm_update_rate": 1e-2,
        # Values of long episodes are large: in shared layers their loss drowns the policy's.
        "model": {"fcnet_hiddens": [64, 64], "vf_share_layers": False},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or MARWIL)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Policy and values."""
        return RLModuleSpec(module_class=DefaultPPOTorchRLModule, catalog_class=Catalog)

    def get_default_learner_class(self) -> Any:
        """`MARWILTorchLearner`."""
        return MARWILTorchLearner

    @property
    def needs_returns(self) -> bool:
        """Whether the loss looks at advantages."""
        return self.beta != 0.0

    def build_learner_connector(
        self, input_observation_space: Any, input_action_space: Any, device: Any = None
    ) -> Any:
        """The usual pipeline, with returns minus values (β > 0) behind it."""
        pipeline = super().build_learner_connector(input_observation_space, input_action_space, device)
        pipeline.prepend(_NoRecordedLikelihoods())
        if self.needs_returns and self.add_default_connectors_to_learner_pipeline:
            pipeline.prepend(OneMoreStep())
            pipeline.append(GeneralAdvantageEstimation(gamma=self.gamma, lambda_=self.lambda_))
        return pipeline

    def validate(self) -> None:
        """Also: β."""
        super().validate()
        if self.beta < 0:
            raise ConfigError(f"beta={self.beta}: it cannot be below 0.")


class _NoRecordedLikelihoods(ConnectorV2):
    """Leaves out what only the recording module knew; episodes of several sources then have equal columns."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        for episode in episodes_of(episodes):
            for key in (Columns.ACTION_LOGP, Columns.ACTION_DIST_INPUTS, "weights", "n_step"):
                episode.extra_model_outputs.pop(key, None)
        return batch


class MARWILTorchLearner(TorchLearner):
    """MARWIL's loss."""

    def build(self) -> None:
        """Also c², by module."""
        super().build()
        self._squared: dict[str, float] = {}

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """-exp(β Â / c) log π, plus the loss of the values."""
        module = self.module[module_id]
        mask = batch.get(Columns.LOSS_MASK)
        mean = torch.mean if mask is None else masked_mean(mask)
        pi = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        logp = pi.logp(batch[Columns.ACTIONS])
        if config.bc_logstd_coeff > 0 and hasattr(pi, "scale"):
            logp = logp + config.bc_logstd_coeff * pi.scale.log().sum(-1)
        if config.beta == 0:
            weights: Any = 1.0
            vf_loss = torch.zeros(())
        else:
            values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
            advantages = (batch[Columns.VALUE_TARGETS] - values).detach()
            vf_loss = 0.5 * mean((batch[Columns.VALUE_TARGETS] - values) ** 2)
            rate = config.moving_average_sqd_adv_norm_update_rate
            before = self._squared.get(module_id, config.moving_average_sqd_adv_norm_start)
            squared = before + rate * (float(mean(advantages**2)) - before)
            self._squared[module_id] = squared
            weights = torch.exp((config.beta * advantages / (1e-8 + squared**0.5)).clamp(max=20.0))
            self.log(module_id, "moving_average_squared_advantage_norm", squared)
            self.log(module_id, "vf_loss", vf_loss)
        policy_loss = -mean(weights * logp)
        self.log(module_id, "policy_loss", policy_loss)
        return policy_loss + config.vf_coeff * vf_loss

    def _more_state(self) -> dict[str, Any]:
        return {**super()._more_state(), "squared": dict(self._squared)}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        super()._set_more_state(state)
        self._squared.update(state.get("squared", {}))


class MARWIL(OfflineAlgorithm):
    """Monotonic advantage re-weighted imitation learning."""

    @classmethod
    def get_default_config(cls) -> Any:
        """MARWIL's settings."""
        return MARWILConfig(algo_class=cls)
