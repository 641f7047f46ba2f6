"""Deep Q-networks, with what made them good.

Sources: Mnih et al., "Human-level control through deep reinforcement learning", Nature 2015; double
Q-learning: van Hasselt, Guez, Silver, AAAI 2016; dueling networks: Wang et al., ICML 2016; prioritized
replay: Schaul et al., ICLR 2016; distributions of returns (C51): Bellemare, Dabney, Munos, ICML 2017. In
their symbols: Q(s, a; θ), target parameters θ⁻, y = r + γⁿ Q(s', argmax_a Q(s', a; θ); θ⁻), atoms z_i with
probabilities p_i(s, a).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional as F

from rayjup.rllib.algorithms._off_policy import (
    OffPolicyAlgorithm,
    OffPolicyConfig,
    OffPolicyLearner,
    OffPolicyTraining,
)
from rayjup.rllib.algorithms._sections import Schedule
from rayjup.rllib.algorithms.algorithm_config import ConfigError
from rayjup.rllib.algorithms.ppo.default_ppo_rl_module import MASKED
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.torch.torch_learner import adam
from rayjup.rllib.core.models.base import ENCODER_OUT
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec
from rayjup.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from rayjup.rllib.utils.schedules.scheduler import Scheduler

QF_PREDS, ATOMS, QF_LOGITS, QF_PROBS = "qf_preds", "atoms", "qf_logits", "qf_probs"


@dataclass
class DQNTraining(OffPolicyTraining):
    """Hyperparameters of DQN."""

    lr: Schedule = 5e-4
    grad_clip: float | None = 40.0
    epsilon: Schedule = field(default_factory=lambda: [(0, 1.0), (10000, 0.05)])
    adam_epsilon: float = 1e-8
    num_atoms: int = 1
    v_min: float = -10.0
    v_max: float = 10.0
    dueling: bool = True
    double_q: bool = True
    td_error_loss_fn: str = "huber"


class DQNConfig(OffPolicyConfig):
    """Settings of `DQN`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.dqn import DQNConfig
    >>> config = DQNConfig().environment("CartPole-v1").training(num_atoms=51, v_min=0.0, v_max=200.0)
    >>> config.double_q, config.replay_buffer_config["alpha"]
    (True, 0.6)
    """

    TRAINING = DQNTraining
    DEFAULTS = {"rollout_fragment_length": "auto", "min_sample_timesteps_per_iteration": 1000}
    TUNED = {
        "num_envs_per_env_runner": 8,
        "rollout_fragment_length": 4,
        "training_intensity": 32.0,
        "train_batch_size_per_learner": 64,
        "lr": [[0, 1e-3], [20_000, 2e-4], [50_000, 5e-5]],
        "epsilon": [[0, 1.0], [5000, 0.02]],
        # A reward travels n_step steps back with each new target: with n_step=1 values of 100 steps needed
        # 25 000 steps to become known. Targets that follow four times as fast let Q grow without bound.
        "target_network_update_freq": 256,
        "n_step": 5,
        "tau": 1.0,
        "num_steps_sampled_before_learning_starts": 1000,
        "grad_clip": 10.0,
        "replay_buffer_config": {"type": "EpisodeReplayBuffer", "capacity": 100_000},
        "model": {"fcnet_hiddens": [128, 128], "fcnet_activation": "relu"},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or DQN)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        names = ("num_atoms", "v_min", "v_max", "dueling", "double_q")
        return {"fcnet_activation": "relu", **{name: getattr(self, name) for name in names}}

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Q-values."""
        return RLModuleSpec(module_class=DefaultDQNTorchRLModule, catalog_class=Catalog)

    def get_default_learner_class(self) -> Any:
        """`DQNTorchLearner`."""
        return DQNTorchLearner

    def validate(self) -> None:
        """Also: atoms, the exploration schedule, the loss."""
        super().validate()
        if self.num_atoms > 1 and self.v_min >= self.v_max:
            raise ConfigError(f"v_min={self.v_min} must be below v_max={self.v_max}.")
        if self.td_error_loss_fn not in ("huber", "mse"):
            raise ConfigError(f"td_error_loss_fn={self.td_error_loss_fn!r}: 'huber' or 'mse'.")
        Scheduler.validate(
            fixed_value_or_schedule=self.epsilon, setting_name="epsilon", description="ε of exploration"
        )


class DefaultDQNTorchRLModule(TorchRLModule, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Q-values: an encoder, and heads for values and advantages (dueling) or for Q-values."""

    explore_epsilon = True  # runners hand ε and a generator over
    takes_generator = True

    def setup(self) -> None:
        """Make the networks."""
        if self.catalog is None:
            self.catalog = Catalog(self.observation_space, self.action_space, self._model_settings())
        settings = self._model_settings()
        if type(self.action_space).__name__ != "Discrete":
            raise ValueError(f"DQN needs a Discrete action space, not {self.action_space}.")
        self.n = int(self.action_space.n)
        self.num_atoms = settings.get("num_atoms", 1)
        self.dueling = settings.get("dueling", True)
        self.encoder = self.catalog.build_encoder()
        self.af = self.catalog.build_head(self.n * self.num_atoms)
        self.vf = self.catalog.build_head(self.num_atoms) if self.dueling else None
        if self.num_atoms > 1:
            atoms = torch.linspace(settings["v_min"], settings["v_max"], self.num_atoms)
            self.register_buffer("z", atoms)

    def make_target_networks(self) -> None:
        """Copies of encoder and heads."""
        for name in ("encoder", "af", "vf"):
            own = getattr(self, name)
            if own is not None and not hasattr(self, f"target_{name}"):
                setattr(self, f"target_{name}", copy.deepcopy(own).requires_grad_(False))

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """(network, copy)."""
        names = ("encoder", "af", *(["vf"] if self.dueling else []))
        return [(getattr(self, n), getattr(self, f"target_{n}")) for n in names]

    def get_non_inference_attributes(self) -> list[str]:
        """The copies."""
        return ["target_encoder", "target_af", "target_vf"]

    def _q(self, batch: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        encoded = getattr(self, f"{prefix}encoder")(batch)[ENCODER_OUT]
        a = getattr(self, f"{prefix}af")(encoded)
        found: dict[str, Any] = {}
        if self.num_atoms > 1:
            logits = a.view(*a.shape[:-1], self.n, self.num_atoms)
            if self.dueling:
                v = getattr(self, f"{prefix}vf")(encoded).unsqueeze(-2)
                logits = v + logits - logits.mean(-2, keepdim=True)
            found[QF_LOGITS] = logits
            found[QF_PROBS] = F.softmax(logits, -1)
            q = (found[QF_PROBS] * self.z).sum(-1)
        elif self.dueling:
            q = getattr(self, f"{prefix}vf")(encoded) + a - a.mean(-1, keepdim=True)
        else:
            q = a
        if self.catalog.masks_actions:
            mask = batch[Columns.OBS][self.catalog.action_mask_key].bool()
            q = torch.where(mask, q, torch.full_like(q, MASKED))
        return {**found, QF_PREDS: q}

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Q(s, ·; θ)."""
        return self._q(batch)

    def compute_advantage_distribution(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Atoms, and their logits and probabilities by action."""
        if self.num_atoms == 1:
            return super().compute_advantage_distribution(batch)
        return {ATOMS: self.z, **self._q(batch)}

    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Q(s, ·; θ⁻)."""
        return self._q(batch, "target_")

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTIONS: self._q(batch)[QF_PREDS].argmax(-1) + int(self.action_space.start)}

    def _forward_exploration(  # type: ignore[override]
        self, batch: dict[str, Any], t: int = 0, epsilon: float = 0.0, generator: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        q = self._q(batch)[QF_PREDS]
        greedy = q.argmax(-1)
        # Any action that is allowed (the others have MASKED for a value).
        allowed = (q > MASKED / 2).float()
        random = torch.multinomial(allowed, 1, generator=generator).squeeze(-1)
        chosen = torch.rand(greedy.shape, generator=generator) < epsilon
        return {Columns.ACTIONS: torch.where(chosen, random, greedy) + int(self.action_space.start)}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._q(batch)


class DQNTorchLearner(OffPolicyLearner):
    """DQN's loss."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Q-values and their target copies."""
        return [QNetAPI, TargetNetworkAPI]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, with ``adam_epsilon``."""
        config = config or self.config.get_config_for_module(module_id)
        params = [p for p in self.get_parameters(self._module[module_id]) if p.requires_grad]
        self.register_optimizer(
            module_id=module_id,
            optimizer=adam(params, eps=config.adam_epsilon),
            params=params,
            lr_or_lr_schedule=config.lr,
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """Huber (or squared) loss of y - Q(s, a), or cross entropy of the projected distribution (C51)."""
        module = self.module[module_id]
        actions = batch[Columns.ACTIONS].long() - int(module.action_space.start)
        rows = torch.arange(len(actions), device=actions.device)
        following = {Columns.OBS: batch[Columns.NEXT_OBS]}
        with torch.no_grad():
            target = module.forward_target(following)
            chooser = module.compute_q_values(following) if config.double_q else target
            best = chooser[QF_PREDS].argmax(-1)
            discount = config.gamma ** batch.get("n_step", torch.ones_like(actions)).float()
            going_on = (~batch[Columns.TERMINATEDS]).float()
            y = batch[Columns.REWARDS] + discount * going_on * target[QF_PREDS][rows, best]
        q = fwd_out[QF_PREDS][rows, actions]
        if module.num_atoms > 1:
            with torch.no_grad():
                tz = batch[Columns.REWARDS][:, None] + (discount * going_on)[:, None] * module.z[None]
                m = project(tz, target[QF_PROBS][rows, best], module.z)
            td = -(m * F.log_softmax(fwd_out[QF_LOGITS][rows, actions], -1)).sum(-1)
            error = td
        else:
            td = q - y
            error = F.smooth_l1_loss(q, y, reduction="none") if config.td_error_loss_fn == "huber" else td**2
        loss = (batch.get("weights", torch.ones_like(error)) * error).mean()
        self.td_errors[module_id] = td.abs()
        self.log(module_id, "qf_loss", loss)
        self.log(module_id, "qf_mean", q.mean())
        self.log(module_id, "qf_min", q.min())
        self.log(module_id, "qf_max", q.max())
        self.log(module_id, "td_error_mean", td.mean())
        return loss


def project(tz: torch.Tensor, p: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """The distribution with probabilities p at places tz, on the atoms z (Bellemare et al. 2017, algorithm
    1).
    """
    low, high, step = z[0], z[-1], z[1] - z[0]
    b = (tz.clamp(low, high) - low) / step
    lower, upper = b.floor().long(), b.ceil().long()
    # Where b is an integer both are equal: all of p goes there.
    weight_low = torch.where(lower == upper, torch.ones_like(b), upper - b)
    m = torch.zeros_like(p)
    m.scatter_add_(-1, lower.clamp(0, len(z) - 1), p * weight_low)
    m.scatter_add_(-1, upper.clamp(0, len(z) - 1), p * (b - lower))
    return m


class DQN(OffPolicyAlgorithm):
    """Deep Q-networks."""

    @classmethod
    def get_default_config(cls) -> DQNConfig:
        """DQN's settings."""
        return DQNConfig(algo_class=cls)
