"""Soft actor-critic.

Sources: Haarnoja, Zhou, Abbeel, Levine, ICML 2018, and Haarnoja et al., "Soft Actor-Critic Algorithms and
Applications", 2018; discrete actions: Christodoulou 2019. In their symbols: policy π_φ, soft Q-functions
Q_θ1, Q_θ2, targets θ̄, temperature α, target entropy H̄.

    J_Q = ½ (Q_θ(s, a) - (r + γ (min Q_θ̄(s', a') - α log π(a'|s'))))²
    J_π = α log π_φ(f_φ(ε; s)|s) - min Q_θ(s, f_φ(ε; s))
    J_α = -log α (log π(a|s) + H̄)
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from rayjup.rllib.algorithms._off_policy import (
    OffPolicyAlgorithm,
    OffPolicyConfig,
    OffPolicyLearner,
    OffPolicyTraining,
)
from rayjup.rllib.algorithms._sections import Schedule
from rayjup.rllib.algorithms.algorithm_config import ConfigError
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchSquashedGaussian
from rayjup.rllib.core.learner.torch.torch_learner import adam
from rayjup.rllib.core.models import configs
from rayjup.rllib.core.models.base import ENCODER_OUT
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec
from rayjup.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule


def _prioritized() -> dict[str, Any]:
    return {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 1_000_000, "alpha": 0.6, "beta": 0.4}


@dataclass
class SACTraining(OffPolicyTraining):
    """Hyperparameters of SAC."""

    lr: Schedule = None
    train_batch_size: int = 256
    twin_q: bool = True
    tau: float = 0.005
    initial_alpha: float = 1.0
    target_entropy: str | float = "auto"
    replay_buffer_config: dict = field(default_factory=_prioritized)
    actor_lr: Schedule = 3e-5
    critic_lr: Schedule = 3e-4
    alpha_lr: Schedule = 3e-4
    target_network_update_freq: int = 0
    num_steps_sampled_before_learning_starts: int = 1500
    q_model_config: dict = field(default_factory=dict)
    policy_model_config: dict = field(default_factory=dict)


class SACConfig(OffPolicyConfig):
    """Settings of `SAC`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.sac import SACConfig
    >>> config = SACConfig().environment("Pendulum-v1").training(actor_lr=3e-4)
    >>> config.tau, config.critic_lr
    (0.005, 0.0003)
    """

    TRAINING: type = SACTraining
    DEFAULTS = {
        "rollout_fragment_length": "auto",
        "min_time_s_per_iteration": 1,
        "min_sample_timesteps_per_iteration": 100,
    }
    TUNED = {
        "num_envs_per_env_runner": 1,
        "rollout_fragment_length": 1,
        "actor_lr": 1e-3,
        "critic_lr": 1e-3,
        "alpha_lr": 1e-3,
        "num_steps_sampled_before_learning_starts": 500,
        "min_time_s_per_iteration": None,
        "min_sample_timesteps_per_iteration": 1000,
        "replay_buffer_config": {"type": "EpisodeReplayBuffer", "capacity": 100_000},
        "model": {"fcnet_hiddens": [64, 64]},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or SAC)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {
            "fcnet_activation": "relu",
            "twin_q": self.twin_q,
            "q_model_config": self.q_model_config,
            "policy_model_config": self.policy_model_config,
        }

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Policy and Q-functions."""
        return RLModuleSpec(module_class=DefaultSACTorchRLModule, catalog_class=Catalog)

    def get_default_learner_class(self) -> Any:
        """`SACTorchLearner`."""
        return SACTorchLearner

    def validate(self) -> None:
        """Also: temperature, target entropy."""
        super().validate()
        if self.initial_alpha <= 0:
            raise ConfigError(f"initial_alpha={self.initial_alpha}: the temperature must be above 0.")
        if isinstance(self.target_entropy, str) and self.target_entropy != "auto":
            raise ConfigError(f"target_entropy={self.target_entropy!r}: a number, or 'auto'.")


class QFunction(nn.Module):
    """Q(s, a), or Q(s, ·) for discrete actions, with ``outputs`` numbers (per action)."""

    def __init__(self, catalog: Catalog, discrete: bool, outputs: int = 1, settings: Any = None) -> None:
        super().__init__()
        space = catalog.observation_space
        own = Catalog(space, catalog.action_space, {**vars(catalog.model_config), **(settings or {})})
        self.discrete, self.outputs = discrete, outputs
        image = type(space).__name__ == "Box" and len(space.shape) == 3
        m = own.model_config
        actions = 0 if discrete else configs.flat_size(catalog.action_space)
        self.encoder: Any = None
        if image:
            self.encoder = own.build_encoder()
            width = math.prod(own.latent_dims)
        else:
            self.flat = configs.SpaceEncoderConfig(space=space).build()
            width = configs.flat_size(space)
        count = int(catalog.action_space.n) if discrete else 1
        self.count = count
        self.head = configs.MLPHeadConfig(
            input_dims=[width + actions],
            hidden_layer_dims=list(m.fcnet_hiddens),
            hidden_layer_activation=m.fcnet_activation,
            output_layer_dim=outputs * count,
        ).build()

    def forward(self, obs: Any, actions: Any = None) -> Any:
        """(batch,), or with outputs and actions as further axes."""
        net = self.encoder if self.encoder is not None else self.flat
        x = net({Columns.OBS: obs})[ENCODER_OUT]
        if not self.discrete:
            x = torch.cat([x, actions.reshape(len(x), -1)], -1)
        out = self.head(x)
        if self.discrete and self.outputs > 1:
            return out.view(len(x), self.count, self.outputs)
        return out if self.discrete or self.outputs > 1 else out.squeeze(-1)


class DefaultSACTorchRLModule(TorchRLModule, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """A squashed Gaussian policy (or a categorical one) and one or two Q-functions.

    Actions lie in [-1, 1]; env runners scale them to the bounds of the space.
    """

    def setup(self) -> None:
        """Make the networks."""
        if self.catalog is None:
            self.catalog = Catalog(self.observation_space, self.action_space, self._model_settings())
        settings = self._model_settings()
        kind = type(self.action_space).__name__
        if kind not in ("Box", "Discrete"):
            raise ValueError(f"SAC needs a Box or Discrete action space, not {self.action_space}.")
        self.discrete = kind == "Discrete"
        self.action_dist_cls = TorchCategorical if self.discrete else TorchSquashedGaussian
        width = self.action_dist_cls.required_input_dim(self.action_space)
        special = settings.get("policy_model_config") or {}
        catalog = Catalog(
            self.observation_space, self.action_space, {**vars(self.catalog.model_config), **_known(special)}
        )
        self.pi_encoder = catalog.build_encoder()
        self.pi = catalog.build_head(width)
        self.twin_q = settings.get("twin_q", True)
        if not self.inference_only:
            self._make_critics(settings)

    def _make_critics(self, settings: dict[str, Any]) -> None:
        special = _known(settings.get("q_model_config") or {})
        self.qf = QFunction(self.catalog, self.discrete, settings=special)
        self.qf_twin = QFunction(self.catalog, self.discrete, settings=special) if self.twin_q else None

    def critics(self, prefix: str = "") -> list[Any]:
        """The Q-functions, or (``"target_"``) their copies."""
        return [getattr(self, f"{prefix}{n}") for n in ("qf", *(["qf_twin"] if self.twin_q else []))]

    def make_target_networks(self) -> None:
        """Copies of the Q-functions."""
        for name in ("qf", *(["qf_twin"] if self.twin_q else [])):
            if not hasattr(self, f"target_{name}"):
                setattr(self, f"target_{name}", copy.deepcopy(getattr(self, name)).requires_grad_(False))

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """(Q-function, copy)."""
        return list(zip(self.critics(), self.critics("target_"), strict=True))

    def get_non_inference_attributes(self) -> list[str]:
        """The Q-functions and their copies."""
        return ["qf", "qf_twin", "target_qf", "target_qf_twin"]

    def policy(self, obs: Any) -> Any:
        """π(·|s)."""
        return self.action_dist_cls.from_logits(self.pi(self.pi_encoder({Columns.OBS: obs})[ENCODER_OUT]))

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.pi(self.pi_encoder(batch)[ENCODER_OUT])}

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """min Q_θ(s, a)."""
        found = [q(batch[Columns.OBS], batch.get(Columns.ACTIONS)) for q in self.critics()]
        return {"qf_preds": torch.stack(found).amin(0)}

    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """min Q_θ̄(s, a)."""
        found = [q(batch[Columns.OBS], batch.get(Columns.ACTIONS)) for q in self.critics("target_")]
        return {"qf_preds": torch.stack(found).amin(0)}


class SACTorchLearner(OffPolicyLearner):
    """SAC's three losses, in one backward pass: gradients of one do not reach the parameters of another."""

    def build(self) -> None:
        """Also the temperatures, by module."""
        self._log_alpha: dict[str, Any] = {}
        super().build()

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Q-values and their target copies."""
        return [QNetAPI, TargetNetworkAPI]

    def target_entropy(self, module: Any, config: Any) -> float:
        """H̄: minus the dimensions of the action; 98 % of the greatest entropy where it is discrete."""
        if config.target_entropy != "auto":
            return float(config.target_entropy)
        if module.discrete:
            return 0.98 * math.log(int(module.action_space.n))
        return -float(math.prod(module.action_space.shape))

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam for policy, each Q-function, temperature."""
        config = config or self.config.get_config_for_module(module_id)
        module = self._module[module_id]
        actor = [*module.pi_encoder.parameters(), *module.pi.parameters()]
        self._add(module_id, "policy", actor, config.actor_lr or config.lr)
        critics = [p for q in module.critics() for p in q.parameters()]
        self._add(module_id, "qf", critics, config.critic_lr or config.lr)
        alpha = torch.tensor(math.log(config.initial_alpha), device=self.device, requires_grad=True)
        self._log_alpha[module_id] = alpha
        self._add(module_id, "alpha", [alpha], config.alpha_lr or config.lr)

    def _add(self, module_id: str, name: str, params: list[Any], rate: Any) -> None:
        self.register_optimizer(
            module_id=module_id,
            optimizer_name=name,
            optimizer=adam(params),
            params=params,
            lr_or_lr_schedule=rate,
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """J_Q + J_π + J_α."""
        module = self.module[module_id]
        alpha = self._log_alpha[module_id].exp().detach()
        critic_loss, td = self.critic_loss(module, config, batch, alpha)
        actor_loss, logp = self.actor_loss(module, config, batch, fwd_out, alpha)
        entropy_gap = logp.detach() + self.target_entropy(module, config)
        alpha_loss = -(self._log_alpha[module_id] * entropy_gap).mean()
        self.td_errors[module_id] = td.abs()
        self.log(module_id, "qf_loss", critic_loss)
        self.log(module_id, "policy_loss", actor_loss)
        self.log(module_id, "alpha_loss", alpha_loss)
        self.log(module_id, "alpha_value", alpha)
        self.log(module_id, "logp_mean", logp.mean())
        self.log(module_id, "td_error_mean", td.mean())
        return critic_loss + actor_loss + alpha_loss

    def critic_loss(self, module: Any, config: Any, batch: dict[str, Any], alpha: Any) -> tuple[Any, Any]:
        """J_Q, and the errors of the rows."""
        y = self.soft_target(module, config, batch, alpha)
        weights = batch.get("weights", torch.ones_like(y))
        loss, td = torch.zeros(()), torch.zeros_like(y)
        for q_function in module.critics():
            q = self.q_of_actions(module, q_function, batch)
            td = td + (q - y).detach() / len(module.critics())
            loss = loss + 0.5 * (weights * (q - y) ** 2).mean()
        return loss, td

    @torch.no_grad()
    def soft_target(self, module: Any, config: Any, batch: dict[str, Any], alpha: Any) -> Any:
        """r + γⁿ (min Q_θ̄(s', a') - α log π(a'|s'))."""
        following = batch[Columns.NEXT_OBS]
        pi = module.policy(following)
        if module.discrete:
            q = module.forward_target({Columns.OBS: following})["qf_preds"]
            value = (pi.probs * (q - alpha * pi.log_probs)).sum(-1)
        else:
            actions, logp = pi.rsample_and_logp(generator=self.torch_generator)
            q = module.forward_target({Columns.OBS: following, Columns.ACTIONS: actions})["qf_preds"]
            value = q - alpha * logp
        n = batch.get("n_step", torch.ones_like(value)).float()
        going_on = (~batch[Columns.TERMINATEDS]).float()
        return batch[Columns.REWARDS] + config.gamma**n * going_on * value

    def q_of_actions(self, module: Any, q_function: Any, batch: dict[str, Any]) -> Any:
        """Q(s, a) of the batch's actions."""
        q = q_function(batch[Columns.OBS], batch[Columns.ACTIONS])
        if module.discrete:
            actions = batch[Columns.ACTIONS].long() - int(module.action_space.start)
            q = q.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        return q

    def actor_loss(
        self, module: Any, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any], alpha: Any
    ) -> tuple[Any, Any]:
        """J_π, and log π of the drawn actions (their expectation where actions are discrete)."""
        pi = module.action_dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        obs = batch[Columns.OBS]
        if module.discrete:
            with torch.no_grad():
                q = module.compute_q_values(batch)["qf_preds"]
            loss = (pi.probs * (alpha * pi.log_probs - q)).sum(-1).mean()
            return loss, (pi.probs * pi.log_probs).sum(-1)
        actions, logp = pi.rsample_and_logp(generator=self.torch_generator)
        q = torch.stack([frozen(q_function, obs, actions) for q_function in module.critics()]).amin(0)
        return (alpha * logp - q).mean(), logp

    def _more_state(self) -> dict[str, Any]:
        alphas = {m: float(a.detach()) for m, a in self._log_alpha.items()}
        return {**super()._more_state(), "log_alpha": alphas}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        super()._set_more_state(state)
        for module_id, value in state.get("log_alpha", {}).items():
            if module_id in self._log_alpha:
                self._log_alpha[module_id].data.fill_(value)


def frozen(network: nn.Module, *inputs: Any) -> Any:
    """The output of a network whose parameters get no gradients, while its inputs do."""
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    return torch.func.functional_call(network, parameters, inputs)


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    from rayjup.rllib.core.rl_module.default_model_config import DefaultModelConfig

    return {k: v for k, v in settings.items() if k in DefaultModelConfig.__dataclass_fields__}


class SAC(OffPolicyAlgorithm):
    """Soft actor-critic."""

    _random_warmup = True

    @classmethod
    def get_default_config(cls) -> Any:
        """SAC's settings."""
        return SACConfig(algo_class=cls)
