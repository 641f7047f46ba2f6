"""Implicit Q-learning.

Source: Kostrikov, Nair, Levine, "Offline Reinforcement Learning with Implicit Q-Learning", ICLR 2022. In
its symbols:

    L_V = E |τ - 1(Q_θ̄(s, a) - V(s) < 0)| (Q_θ̄(s, a) - V(s))²
    L_Q = E (r + γ V(s') - Q_θ(s, a))²
    L_π = -E exp(β (Q_θ̄(s, a) - V(s))) log π(a|s)

with τ = ``expectile``; no action that is not in the data is ever evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rayjup.rllib.algorithms._off_policy import OffPolicyLearner
from rayjup.rllib.algorithms._offline import OfflineAlgorithm
from rayjup.rllib.algorithms._sections import Schedule
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError
from rayjup.rllib.algorithms.marwil.marwil import MARWILTraining
from rayjup.rllib.algorithms.sac.sac import DefaultSACTorchRLModule
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from rayjup.rllib.core.learner.torch.torch_learner import adam
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.apis import ValueFunctionAPI
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec


@dataclass
class IQLTraining(MARWILTraining):
    """Hyperparameters of IQL."""

    lr: Schedule = None
    beta: float = 0.1
    twin_q: bool = True
    expectile: float = 0.8
    actor_lr: Schedule = 3e-4
    critic_lr: Schedule = 3e-4
    value_lr: Schedule = 3e-4
    target_network_update_freq: int = 0
    tau: float = 1.0


class IQLConfig(AlgorithmConfig):
    """Settings of `IQL`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.iql import IQLConfig
    >>> IQLConfig().offline_data(input_=["recorded/"]).expectile
    0.8
    """

    TRAINING = IQLTraining
    TUNED = {
        "train_batch_size_per_learner": 256,
        "actor_lr": 1e-3,
        "critic_lr": 1e-3,
        "value_lr": 1e-3,
        "tau": 0.01,
        "beta": 3.0,
        "dataset_num_iters_per_learner": 100,
        "model": {"fcnet_hiddens": [64, 64]},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or IQL)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {"fcnet_activation": "relu", "twin_q": self.twin_q}

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Policy, values, Q-functions."""
        return RLModuleSpec(module_class=DefaultIQLTorchRLModule, catalog_class=Catalog)

    def get_default_learner_class(self) -> Any:
        """`IQLTorchLearner`."""
        return IQLTorchLearner

    def validate(self) -> None:
        """Also: the expectile."""
        super().validate()
        if not 0.5 <= self.expectile < 1:
            raise ConfigError(f"expectile={self.expectile}: it must be from 0.5 up to, but not including, 1.")


class DefaultIQLTorchRLModule(DefaultSACTorchRLModule, ValueFunctionAPI):
    """A Gaussian (or categorical) policy, values, and one or two Q-functions."""

    def setup(self) -> None:
        """Make the networks."""
        super().setup()
        self.action_dist_cls = TorchCategorical if self.discrete else TorchDiagGaussian
        if not self.inference_only:
            self.vf_encoder = self.catalog.build_encoder()
            self.vf = self.catalog.build_head(1)

    def get_non_inference_attributes(self) -> list[str]:
        """Everything but the policy."""
        return [*super().get_non_inference_attributes(), "vf", "vf_encoder"]

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Any:
        """V(s)."""
        if embeddings is None:
            embeddings = self.vf_encoder(batch)["encoder_out"]
        return self.vf(embeddings).squeeze(-1)


class IQLTorchLearner(OffPolicyLearner):
    """IQL's three losses, in one backward pass."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam for policy, Q-functions, values."""
        config = config or self.config.get_config_for_module(module_id)
        module = self._module[module_id]
        groups = {
            "policy": ([*module.pi_encoder.parameters(), *module.pi.parameters()], config.actor_lr),
            "qf": ([p for q in module.critics() for p in q.parameters()], config.critic_lr),
            "value": ([*module.vf_encoder.parameters(), *module.vf.parameters()], config.value_lr),
        }
        for name, (params, rate) in groups.items():
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=adam(params),
                params=params,
                lr_or_lr_schedule=rate or config.lr,
            )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """L_V + L_Q + L_π."""
        module = self.module[module_id]
        obs, actions = batch[Columns.OBS], batch[Columns.ACTIONS]

        def q_of(functions: list[Any]) -> list[Any]:
            if not module.discrete:
                return [f(obs, actions) for f in functions]
            places = (actions.long() - int(module.action_space.start)).unsqueeze(-1)
            return [f(obs).gather(-1, places).squeeze(-1) for f in functions]

        values = module.compute_values({Columns.OBS: obs})
        with torch.no_grad():
            target_q = torch.stack(q_of(module.critics("target_"))).amin(0)
            following = module.compute_values({Columns.OBS: batch[Columns.NEXT_OBS]})
            y = batch[Columns.REWARDS] + config.gamma * (~batch[Columns.TERMINATEDS]).float() * following
        u = target_q - values
        value_loss = ((config.expectile - (u.detach() < 0).float()).abs() * u**2).mean()
        critic_loss = torch.stack([((q - y) ** 2).mean() for q in q_of(module.critics())]).sum()
        pi = module.action_dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        weights = torch.exp(config.beta * u.detach()).clamp(max=100.0)
        actor_loss = -(weights * pi.logp(actions)).mean()
        for name, value in (("vf_loss", value_loss), ("qf_loss", critic_loss), ("policy_loss", actor_loss)):
            self.log(module_id, name, value)
        return value_loss + critic_loss + actor_loss


class IQL(OfflineAlgorithm):
    """Implicit Q-learning."""

    @classmethod
    def get_default_config(cls) -> IQLConfig:
        """IQL's settings."""
        return IQLConfig(algo_class=cls)
