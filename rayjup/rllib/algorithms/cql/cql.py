"""Conservative Q-learning.

Source: Kumar, Zhou, Tucker, Levine, "Conservative Q-Learning for Offline Reinforcement Learning", NeurIPS
2020, equation 4 (CQL(H)): SAC's critic loss plus α' (E_s log Σ_a exp Q(s, a) - E_{s,a~D} Q(s, a)); the sum
over actions is estimated by uniform ones and by draws of the policy at s and s', with importance weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from rayjup.rllib.algorithms._offline import OfflineAlgorithm
from rayjup.rllib.algorithms._sections import Schedule
from rayjup.rllib.algorithms.algorithm_config import ConfigError
from rayjup.rllib.algorithms.sac.sac import SACConfig, SACTorchLearner, SACTraining
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.torch.torch_learner import adam


@dataclass
class CQLTraining(SACTraining):
    """Hyperparameters of CQL."""

    lr: Schedule = 3e-4
    actor_lr: Schedule = 1e-4
    critic_lr: Schedule = 1e-3
    alpha_lr: Schedule = 1e-3
    bc_iters: int = 20000
    temperature: float = 1.0
    num_actions: int = 10
    lagrangian: bool = False
    lagrangian_thresh: float = 5.0
    min_q_weight: float = 5.0
    deterministic_backup: bool = True


class CQLConfig(SACConfig):
    """Settings of `CQL`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.cql import CQLConfig
    >>> CQLConfig().offline_data(input_=["recorded/"]).training(bc_iters=100).min_q_weight
    5.0
    """

    TRAINING = CQLTraining
    DEFAULTS = {"rollout_fragment_length": "auto", "min_train_timesteps_per_iteration": 100}
    TUNED = {
        "actor_lr": 3e-4,
        "critic_lr": 1e-3,
        "alpha_lr": 3e-4,
        "bc_iters": 200,
        "min_q_weight": 1.0,
        "num_actions": 4,
        "dataset_num_iters_per_learner": 100,
        "model": {"fcnet_hiddens": [64, 64]},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or CQL)

    def get_default_learner_class(self) -> Any:
        """`CQLTorchLearner`."""
        return CQLTorchLearner

    def validate(self) -> None:
        """Also: numbers of draws."""
        super().validate()
        if self.num_actions < 1:
            raise ConfigError(f"num_actions={self.num_actions}: at least one draw per state is needed.")


class CQLTorchLearner(SACTorchLearner):
    """SAC's losses, with the conservative penalty; the policy clones for the first ``bc_iters`` updates."""

    def build(self) -> None:
        """Also count the updates."""
        self._updates: dict[str, int] = {}
        self._log_alpha_prime: dict[str, Any] = {}
        super().build()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Also the multiplier of the penalty, with ``lagrangian``."""
        super().configure_optimizers_for_module(module_id, config)
        config = config or self.config.get_config_for_module(module_id)
        if config.lagrangian:
            multiplier = torch.zeros((), device=self.device, requires_grad=True)
            self._log_alpha_prime[module_id] = multiplier
            self.register_optimizer(
                module_id=module_id,
                optimizer_name="alpha_prime",
                optimizer=adam([multiplier]),
                params=[multiplier],
                lr_or_lr_schedule=config.critic_lr or config.lr,
            )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """J_Q + penalty + J_π (or cloning) + J_α."""
        module = self.module[module_id]
        if module.discrete:
            raise ValueError("CQL needs a Box action space.")
        alpha = self._log_alpha[module_id].exp().detach()
        count = self._updates.get(module_id, 0)
        self._updates[module_id] = count + 1
        backup = torch.zeros_like(alpha) if config.deterministic_backup else alpha
        critic_loss, td = self.critic_loss(module, config, batch, backup)
        actor_loss, logp = self.actor_loss(module, config, batch, fwd_out, alpha)
        if count < config.bc_iters:
            pi = module.action_dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
            actor_loss = (alpha * logp - pi.logp(batch[Columns.ACTIONS])).mean()
        alpha_loss = -(
            self._log_alpha[module_id] * (logp.detach() + self.target_entropy(module, config))
        ).mean()
        gap = self.penalty(module, config, batch)
        if config.lagrangian:
            multiplier = self._log_alpha_prime[module_id].exp().clamp(0.0, 1e6)
            penalty = multiplier.detach() * config.min_q_weight * (gap - config.lagrangian_thresh).sum()
            prime_loss = -(
                multiplier * config.min_q_weight * (gap.detach() - config.lagrangian_thresh)
            ).mean()
            self.log(module_id, "alpha_prime_loss", prime_loss)
        else:
            penalty, prime_loss = config.min_q_weight * gap.sum(), 0.0
        self.td_errors[module_id] = td.abs()
        for name, value in (
            ("qf_loss", critic_loss), ("policy_loss", actor_loss), ("alpha_loss", alpha_loss),
            ("cql_loss", penalty),
        ):  # fmt: skip
            self.log(module_id, name, value)
        return critic_loss + penalty + actor_loss + alpha_loss + prime_loss

    def penalty(self, module: Any, config: Any, batch: dict[str, Any]) -> Any:
        """log Σ_a exp Q(s, a) - Q(s, a_data), mean over the batch, by Q-function."""
        obs, following, k = batch[Columns.OBS], batch[Columns.NEXT_OBS], config.num_actions
        rows, dims = len(batch[Columns.REWARDS]), math.prod(module.action_space.shape)
        with torch.no_grad():
            uniform = torch.rand(k, rows, dims, generator=self.torch_generator, device=self.device) * 2 - 1
            now, logp_now = module.policy(obs).rsample_and_logp(
                sample_shape=(k,), generator=self.torch_generator
            )
            later, logp_later = module.policy(following).rsample_and_logp(
                sample_shape=(k,), generator=self.torch_generator
            )
            # Log-densities the actions were drawn with.
            drawn = torch.cat(
                [torch.full((k, rows), -dims * math.log(2.0), device=self.device), logp_now, logp_later]
            )
            actions = torch.cat([uniform, now.reshape(k, rows, dims), later.reshape(k, rows, dims)])
        from rayjup.rllib.utils import nested

        many = nested.map_leaves(lambda leaf: leaf.repeat(3 * k, *[1] * (leaf.dim() - 1)), obs)
        gaps = []
        for q_function in module.critics():
            q = q_function(many, actions.reshape(3 * k * rows, dims)).view(3 * k, rows)
            soft = torch.logsumexp(q / config.temperature - drawn, 0) - math.log(3 * k)
            data = self.q_of_actions(module, q_function, batch)
            gaps.append((config.temperature * soft - data).mean())
        return torch.stack(gaps)


class CQL(OfflineAlgorithm):
    """Conservative Q-learning."""

    @classmethod
    def get_default_config(cls) -> CQLConfig:
        """CQL's settings."""
        return CQLConfig(algo_class=cls)
