"""Proximal policy optimization.

Source: Schulman, Wolski, Dhariwal, Radford, Klimov, "Proximal Policy Optimization Algorithms", 2017
(equations 7, 8, 9). In its symbols: r(θ) = π_θ(a|s) / π_old(a|s), Â = advantages, ε = ``clip_param``, β =
``kl_coeff``, c1 = ``vf_loss_coeff``, c2 = ``entropy_coeff``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rayjup.rllib.algorithms._sections import Schedule, Training
from rayjup.rllib.algorithms.algorithm import Algorithm
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError
from rayjup.rllib.algorithms.ppo.default_ppo_rl_module import DefaultPPOTorchRLModule
from rayjup.rllib.connectors.connector_v2 import ConnectorV2
from rayjup.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate, GeneralAdvantageEstimation
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.apis import ValueFunctionAPI
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec
from rayjup.rllib.utils.schedules.scheduler import Scheduler
from rayjup.rllib.utils.torch_utils import explained_variance, warn_if_infinite_kl_divergence

POLICY_LOSS, VF_LOSS, ENTROPY, KL = "policy_loss", "vf_loss", "entropy", "mean_kl_loss"
KL_COEFF, ENTROPY_COEFF, VF_EXPLAINED_VAR = "curr_kl_coeff", "curr_entropy_coeff", "vf_explained_var"


@dataclass
class PPOTraining(Training):
    """Hyperparameters of PPO."""

    lr: Schedule = 5e-5
    train_batch_size: int = 4000
    num_epochs: int = 30
    minibatch_size: int | None = 128
    shuffle_batch_per_epoch: bool = True
    use_critic: bool = True
    use_gae: bool = True
    lambda_: float = 1.0
    use_kl_loss: bool = True
    kl_coeff: float = 0.2
    kl_target: float = 0.01
    vf_loss_coeff: float = 1.0
    entropy_coeff: Schedule = 0.0
    clip_param: float = 0.3
    vf_clip_param: float = 10.0


class PPOConfig(AlgorithmConfig):
    """Settings of `PPO`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.ppo import PPOConfig
    >>> config = PPOConfig().environment("CartPole-v1").training(tuned=True, gamma=0.98)
    >>> config.lr, config.gamma
    (0.001, 0.98)
    """

    TRAINING = PPOTraining
    DEFAULTS = {"num_env_runners": 2, "rollout_fragment_length": "auto"}
    # Many short rollouts and large steps, as small control problems like it.
    TUNED = {
        "num_env_runners": 0,
        "num_envs_per_env_runner": 16,
        "train_batch_size_per_learner": 1024,
        "minibatch_size": 256,
        "num_epochs": 10,
        "lr": 0.001,
        "gamma": 0.99,
        "lambda_": 0.95,
        "clip_param": 0.2,
        "vf_clip_param": 1e6,
        "vf_loss_coeff": 0.5,
        "use_kl_loss": False,
        "grad_clip": 0.5,
        "model": {"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or PPO)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Policy and values."""
        return RLModuleSpec(module_class=DefaultPPOTorchRLModule, catalog_class=Catalog)

    def get_default_learner_class(self) -> Any:
        """`PPOTorchLearner`."""
        return PPOTorchLearner

    def build_learner_connector(
        self, input_observation_space: Any, input_action_space: Any, device: Any = None
    ) -> Any:
        """The usual pipeline, with advantages behind it."""
        pipeline = super().build_learner_connector(input_observation_space, input_action_space, device)
        if self.add_default_connectors_to_learner_pipeline:
            pipeline.prepend(OneMoreStep())
            lambda_ = self.lambda_ if self.use_gae else 1.0
            pipeline.append(GeneralAdvantageEstimation(gamma=self.gamma, lambda_=lambda_))
        return pipeline

    def validate(self) -> None:
        """Also: coefficients and clip parameters must make sense."""
        super().validate()
        if self.clip_param <= 0:
            raise ConfigError(f"clip_param={self.clip_param}: it must be above 0.")
        if not self.use_critic:
            raise ConfigError("use_critic=False: PPO without values is not offered; leave it True.")
        Scheduler.validate(
            fixed_value_or_schedule=self.entropy_coeff,
            setting_name="entropy_coeff",
            description="the coefficient",
        )
        self.validate_train_batch_size_vs_rollout_fragment_length()


class OneMoreStep(ConnectorV2):
    """`AddOneTsToEpisodesAndTruncate`, where the module has memory."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Lengthen the episodes of recurrent modules."""
        if rl_module.is_stateful():
            AddOneTsToEpisodesAndTruncate()(rl_module=rl_module, batch=batch, episodes=episodes)
        return batch


class PPOTorchLearner(TorchLearner):
    """PPO's loss, and β after each update (adaptive KL penalty, section 4 of the paper)."""

    def build(self) -> None:
        """Also the coefficients, by module."""
        super().build()
        self._kl_coeffs: dict[str, float] = getattr(self, "_kl_coeffs", {})
        self._entropy: dict[str, Scheduler] = {}
        for module_id in self._module:
            self._module_added(module_id)

    def _module_added(self, module_id: str) -> None:
        config = self.config.get_config_for_module(module_id)
        self._kl_coeffs.setdefault(module_id, float(getattr(config, "kl_coeff", 0.0)))
        self._entropy[module_id] = Scheduler(config.entropy_coeff)

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Values."""
        return [ValueFunctionAPI]

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """-L^CLIP + c1 L^VF - c2 S + β KL (equation 9, and 8)."""
        module = self.module[module_id]
        mask = batch.get(Columns.LOSS_MASK)
        mean = torch.mean if mask is None else masked_mean(mask)
        dist_cls = module.get_train_action_dist_cls()
        pi = dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        advantages = batch[Columns.ADVANTAGES]
        ratio = torch.exp(pi.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP])  # r(θ)
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        surrogate = torch.min(ratio * advantages, clipped * advantages)
        entropy = pi.entropy()
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        squared = (values - batch[Columns.VALUE_TARGETS]) ** 2
        vf_loss = mean(squared.clamp(0, config.vf_clip_param))
        policy_loss = -mean(surrogate)
        mean_entropy = mean(entropy)
        c2 = self._entropy[module_id].value
        loss = policy_loss + config.vf_loss_coeff * vf_loss - c2 * mean_entropy
        if config.use_kl_loss:
            old = dist_cls.from_logits(batch[Columns.ACTION_DIST_INPUTS])
            mean_kl = mean(old.kl(pi))
            loss = loss + self._kl_coeffs[module_id] * mean_kl
            self._last_kl = getattr(self, "_last_kl", {})
            self._last_kl[module_id] = mean_kl.detach()
            self.log(module_id, KL, mean_kl)
        self._last = {"values": values, "targets": batch[Columns.VALUE_TARGETS]}
        self.log(module_id, POLICY_LOSS, policy_loss)
        self.log(module_id, VF_LOSS, vf_loss)
        self.log(module_id, "vf_loss_unclipped", mean(squared))
        self.log(module_id, ENTROPY, mean_entropy)
        self.log(module_id, "_explained", (values, batch[Columns.VALUE_TARGETS], mask))
        return loss

    def log(self, module_id: str, name: str, value: Any) -> None:
        """As everywhere; the explained variance is computed once per update, from the last minibatch."""
        if name == "_explained":
            self._explained = {**getattr(self, "_explained", {}), module_id: value}
            return
        super().log(module_id, name, value)

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """β grows when the policy moved more than twice the target, and shrinks when less than half of it."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id, (values, targets, mask) in getattr(self, "_explained", {}).items():
            with torch.no_grad():
                kept = slice(None) if mask is None else mask
                self.log(
                    module_id, VF_EXPLAINED_VAR, explained_variance(targets[kept], values.detach()[kept])
                )
        self._explained = {}
        steps = timesteps.get("num_env_steps_sampled_lifetime", 0)
        for module_id, kl in getattr(self, "_last_kl", {}).items():
            if module_id not in self._module:
                continue
            config = self.config.get_config_for_module(module_id)
            warn_if_infinite_kl_divergence(None, kl)
            value = float(kl)
            if value > 2.0 * config.kl_target:
                self._kl_coeffs[module_id] *= 1.5
            elif value < 0.5 * config.kl_target:
                self._kl_coeffs[module_id] *= 0.5
            self.log(module_id, KL_COEFF, self._kl_coeffs[module_id])
        self._last_kl = {}
        for module_id, scheduler in self._entropy.items():
            if not self.should_module_be_updated(module_id):
                continue
            self.log(module_id, ENTROPY_COEFF, scheduler.update(steps))

    def _more_state(self) -> dict[str, Any]:
        entropy = {m: s.value for m, s in self._entropy.items()}
        return {**super()._more_state(), "kl_coeffs": dict(self._kl_coeffs), "entropy_coeffs": entropy}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        super()._set_more_state(state)
        self._kl_coeffs.update(state.get("kl_coeffs", {}))
        for module_id, value in state.get("entropy_coeffs", {}).items():
            if module_id in self._entropy:
                self._entropy[module_id].value = value


PPOLearner = PPOTorchLearner


def masked_mean(mask: Any) -> Any:
    """The mean over what the mask lets through."""
    count = mask.sum().clamp_min(1)

    def mean(values: Any) -> Any:
        return torch.where(mask, values, torch.zeros_like(values)).sum() / count

    return mean


class PPO(Algorithm):
    """Proximal policy optimization."""

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        """PPO's settings."""
        return PPOConfig(algo_class=cls)

    def training_step(self) -> None:
        """Sample a batch with the current policy, learn from it for some epochs, hand on the parameters."""
        episodes = self.sample()
        config = self.config
        self.learn(
            episodes=episodes,
            num_epochs=config.num_epochs,
            minibatch_size=config.minibatch_size,
            shuffle_batch_per_epoch=config.shuffle_batch_per_epoch,
        )
        self.sync_weights()
