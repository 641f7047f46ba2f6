"""DreamerV3: learns a model of the world from few steps, and a policy in the model's dreams.

Source: Hafner, Pasukonis, Ba, Lillicrap, "Mastering Diverse Domains through World Models", 2023. In its
symbols: observations x_t, actions a_t, rewards r_t and continuation c_t that came with x_t; the model's state
is h_t = f(h_{t-1}, z_{t-1}, a_{t-1}) with z_t ~ q(z | h_t, x_t), and ẑ_t ~ p(z | h_t) where nothing is seen.

=========================================  ==========================================================
L_pred = -ln p(x|h,z) - ln p(r|h,z) - …    decoder, rewards (two-hot, symlog), continuation
L_dyn  = max(1, KL[sg(q) ‖ p])             the dynamics follow the representations,
L_rep  = max(1, KL[q ‖ sg(p)])             which become predictable, ten times less
R_t = r_{t+1} + γ c_{t+1} ((1-λ) v_{t+1} + λ R_{t+1})     returns of a dream of H steps
L_actor = -Σ w_t (sg((R_t - v_t) / max(1, S)) ln π(a_t) + η H[π])     S: 95th - 5th percentile of R
L_critic = -Σ w_t (ln p(R_t) + ln p(v'_t))      v': a slowly following copy of the critic
=========================================  ==========================================================
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rayjup.rllib.algorithms._sections import Schedule, Training
from rayjup.rllib.algorithms.algorithm import Algorithm
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError, NotProvided
from rayjup.rllib.algorithms.dreamerv3.networks import SIZES, Actor, TwoHot, WorldModel
from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner, adam
from rayjup.rllib.core.models.configs import flat_size
from rayjup.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI, ValueFunctionAPI
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec
from rayjup.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from rayjup.rllib.utils import replay_buffers
from rayjup.rllib.utils.metrics import REPLAY_BUFFER_RESULTS
from rayjup.rllib.utils.torch_utils import clip_gradients, inverse_symlog, update_target_network

BETA_PRED, BETA_DYN, BETA_REP = 1.0, 0.5, 0.1
FREE_NATS = 1.0
SLOW = 0.02  # how far the copy of the critic follows per update


@dataclass
class DreamerV3Training(Training):
    """Hyperparameters of DreamerV3."""

    lr: Schedule = None
    gamma: float = 0.997
    model_size: str = "XS"
    training_ratio: float = 1024.0  # steps replayed per step sampled
    replay_buffer_config: dict = field(
        default_factory=lambda: {"type": "EpisodeReplayBuffer", "capacity": 1_000_000}
    )
    store_buffer_in_checkpoints: bool = False
    world_model_lr: Schedule = 1e-4
    actor_lr: Schedule = 3e-5
    critic_lr: Schedule = 3e-5
    batch_size_B: int = 16
    batch_length_T: int = 64
    horizon_H: int = 15
    gae_lambda: float = 0.95
    entropy_scale: float = 3e-4
    return_normalization_decay: float = 0.99
    train_critic: bool = True
    train_actor: bool = True
    intrinsic_rewards_scale: float = 0.1
    world_model_grad_clip_by_global_norm: float | None = 1000.0
    critic_grad_clip_by_global_norm: float | None = 100.0
    actor_grad_clip_by_global_norm: float | None = 100.0
    symlog_obs: bool | str = "auto"
    use_float16: bool = False
    use_curiosity: bool = False


class DreamerV3Config(AlgorithmConfig):
    """Settings of `DreamerV3`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.dreamerv3 import DreamerV3Config
    >>> config = DreamerV3Config().environment("CartPole-v1").training(model_size="nano", training_ratio=64)
    >>> config.horizon_H, config.world_model_lr
    (15, 0.0001)
    """

    TRAINING = DreamerV3Training
    DEFAULTS = {"rollout_fragment_length": 1, "metrics_num_episodes_for_smoothing": 1}
    TUNED = {
        "model_size": "nano",
        "training_ratio": 32.0,
        "batch_size_B": 8,
        "batch_length_T": 8,
        "horizon_H": 5,
        "num_envs_per_env_runner": 4,
        "rollout_fragment_length": 16,
        "world_model_lr": 3e-3,
        "actor_lr": 3e-3,
        "critic_lr": 3e-3,
        "entropy_scale": 1e-3,
        "replay_buffer_config": {"type": "EpisodeReplayBuffer", "capacity": 100_000},
        "min_sample_timesteps_per_iteration": 512,
        "metrics_num_episodes_for_smoothing": 20,
    }

    report_individual_batch_item_stats = False
    report_dream_data = False
    report_images_and_videos = False

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or DreamerV3)

    def training(self: Any, *, tuned: bool = False, **settings: Any) -> Any:
        """Hyperparameters; ``replay_buffer_config`` is merged into what it was."""
        given = settings.get("replay_buffer_config")
        if isinstance(given, dict):
            settings["replay_buffer_config"] = {**self.replay_buffer_config, **given}
        return super().training(tuned=tuned, **settings)

    def reporting(
        self: Any,
        *,
        report_individual_batch_item_stats: bool = NotProvided,
        report_dream_data: bool = NotProvided,
        report_images_and_videos: bool = NotProvided,
        **settings: Any,
    ) -> Any:
        """Iterations and their results; losses per row of the batch, and what dreams look like, on wish."""
        for name, value in (
            ("report_individual_batch_item_stats", report_individual_batch_item_stats),
            ("report_dream_data", report_dream_data),
            ("report_images_and_videos", report_images_and_videos),
        ):
            if value is not NotProvided:
                setattr(self, name, value)
        return super().reporting(**settings)

    @property
    def batch_size_B_per_learner(self) -> int:
        """Rows of one learner's batch."""
        return self.batch_size_B // max(1, self.num_learners)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {"model_size": self.model_size, "symlog_obs": self.symlog_obs, "gamma": self.gamma}

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """World model, actor, critic."""
        return RLModuleSpec(module_class=DreamerV3TorchRLModule)

    def get_default_learner_class(self) -> Any:
        """`DreamerV3TorchLearner`."""
        return DreamerV3TorchLearner

    def validate(self) -> None:
        """Also: size, batches, and what is not there."""
        super().validate()
        if self.model_size not in SIZES:
            raise ConfigError(f"model_size={self.model_size!r}: one of {', '.join(SIZES)}.")
        if self.is_multi_agent:
            raise ConfigError("DreamerV3 plays one agent: leave multi_agent() out.")
        if self.batch_size_B % max(1, self.num_learners):
            raise ConfigError(
                f"batch_size_B={self.batch_size_B} rows cannot be divided evenly among "
                f"num_learners={self.num_learners}."
            )
        if self.batch_length_T < 2 or self.horizon_H < 1:
            raise ConfigError("batch_length_T must be 2 or more, and horizon_H 1 or more.")
        if self.use_curiosity:
            raise ConfigError("use_curiosity=True: there are no intrinsic rewards here, leave it False.")
        if self.use_float16:
            raise ConfigError("use_float16=True: DreamerV3 computes in 32 bits here, leave it False.")


class DreamerV3TorchRLModule(TorchRLModule, ValueFunctionAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """World model, actor, and critic; its memory are h, z and the last action."""

    takes_generator = True
    generator: Any = None  # the learner's: draws of z while learning

    def setup(self) -> None:
        """Make the networks."""
        settings = self._model_settings()
        size = SIZES[settings.get("model_size", "XS")]
        kind = type(self.action_space).__name__
        if kind not in ("Discrete", "Box"):
            raise ValueError(f"DreamerV3 needs a Discrete or Box action space, not {self.action_space}.")
        self.discrete = kind == "Discrete"
        self.n_actions = int(self.action_space.n) if self.discrete else flat_size(self.action_space)
        symlog_obs = settings.get("symlog_obs", "auto")
        self.world_model = WorldModel(
            self.observation_space, self.n_actions, size, True if symlog_obs == "auto" else bool(symlog_obs)
        )
        self.actor = Actor(self.world_model.features, self.discrete, self.n_actions, size)
        if not self.inference_only:
            self.critic = TwoHot(self.world_model.features, size)
            self.register_buffer("return_low", torch.zeros(()))
            self.register_buffer("return_high", torch.zeros(()))

    def make_target_networks(self) -> None:
        """The slow copy of the critic."""
        if not hasattr(self, "target_critic"):
            self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """(critic, copy)."""
        return [(self.critic, self.target_critic)]

    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """v' of features."""
        return {"values": self.target_critic.mean(self.target_critic(batch["features"]))}

    def get_non_inference_attributes(self) -> list[str]:
        """What acting does not need."""
        return ["critic", "target_critic", "return_low", "return_high"]

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Any:
        """v of features (h and z side by side)."""
        features = batch["features"] if embeddings is None else embeddings
        return self.critic.mean(self.critic(features))

    # ------------------------------------------------------------ acting

    def get_initial_state(self) -> dict[str, Any]:
        """A state that says it is the first."""
        size = self.world_model.size
        return {
            "h": torch.zeros(size.deterministic),
            "z": torch.zeros(size.z * size.z),
            "a": torch.zeros(self.n_actions),
            "is_first": torch.ones((), dtype=torch.bool),
        }

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._act(batch, None, explore=False)

    def _forward_exploration(  # type: ignore[override]
        self, batch: dict[str, Any], generator: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        return self._act(batch, generator, explore=True)

    def _act(self, batch: dict[str, Any], generator: Any, explore: bool) -> dict[str, Any]:
        """(batch, time, …) observations; all steps but the newest only move the state."""
        state = batch[Columns.STATE_IN]
        h, z, a, is_first = state["h"], state["z"], state["a"], state["is_first"].bool()
        encoder = self.world_model.encoder
        x = encoder(encoder.inputs(batch[Columns.OBS]))
        taken = []
        for t in range(x.shape[1]):
            h, z, _ = self.world_model.observe(h, z, a, x[:, t], is_first, generator, sample=explore)
            inputs = self.actor(torch.cat([h, z], -1))
            a = self.actor.draw(inputs, generator) if explore else self.actor.best(inputs)
            is_first = torch.zeros_like(is_first)
            taken.append(a)
        return {
            Columns.ACTIONS: self.for_env(torch.stack(taken, 1)),
            Columns.STATE_OUT: {"h": h, "z": z, "a": a, "is_first": is_first},
        }

    def for_env(self, a: torch.Tensor) -> torch.Tensor:
        """From the world model's actions to those of the space (normalized, where they are numbers)."""
        if self.discrete:
            return a.argmax(-1) + int(self.action_space.start)
        return a.reshape(*a.shape[:-1], *self.action_space.shape)

    def from_env(self, actions: torch.Tensor) -> torch.Tensor:
        """The reverse of `for_env`, for (B, T, …)."""
        if self.discrete:
            return F.one_hot(actions.long() - int(self.action_space.start), self.n_actions).float()
        return actions.float().reshape(*actions.shape[:2], -1)

    # ------------------------------------------------------------ learning

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """The model's states along the recorded sequences of a batch (B, T, …)."""
        model, generator = self.world_model, self.generator
        target = model.encoder.inputs(batch[Columns.OBS])
        x, actions, is_first = (
            model.encoder(target),
            self.from_env(batch["actions_before"]),
            batch["is_first"],
        )
        h, z = model.first(len(x))
        steps = []
        for t in range(x.shape[1]):
            h, z, log_q = model.observe(h, z, actions[:, t], x[:, t], is_first[:, t], generator)
            steps.append((h, z, log_q))
        h, z, log_q = (torch.stack(part, 1) for part in zip(*steps, strict=True))
        return {"target": target, "h": h, "z": z, "log_q": log_q, "log_p": model.z_of(model.prior, h)}

    @torch.no_grad()
    def dream(self, h: torch.Tensor, z: torch.Tensor, horizon: int, generator: Any) -> tuple[Any, Any]:
        """Features at steps 0 … H, and the actions at 0 … H-1, of dreams that begin at (h, z)."""
        features, actions = [torch.cat([h, z], -1)], []
        for _ in range(horizon):
            a = self.actor.draw(self.actor(features[-1]), generator)
            h, z = self.world_model.imagine(h, z, a, generator)
            actions.append(a)
            features.append(torch.cat([h, z], -1))
        return torch.stack(features), torch.stack(actions)


class DreamerV3TorchLearner(TorchLearner):
    """World model, actor and critic: three losses in one backward pass, with an optimizer each."""

    GROUPS = ("world_model", "actor", "critic")

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Values, and the slow copy."""
        return [ValueFunctionAPI, TargetNetworkAPI]

    def build(self) -> None:
        """Also the slow copies of critics."""
        super().build()
        for module in self._module.values():
            module.make_target_networks()
            module.generator = self.torch_generator

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam for each part."""
        config = config or self.config.get_config_for_module(module_id)
        for name in self.GROUPS:
            params = list(getattr(self._module[module_id], name).parameters())
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=adam(params, eps=1e-8 if name == "world_model" else 1e-5),
                params=params,
                lr_or_lr_schedule=getattr(config, f"{name}_lr") or config.lr,
            )

    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Any, Any]
    ) -> dict[Any, Any]:
        """Clip each part by a norm of its own."""
        config = config or self.config.get_config_for_module(module_id)
        for name in self.GROUPS:
            own = self.filter_param_dict_for_optimizer(
                module_gradients_dict, self.get_optimizer(module_id, name)
            )
            if own:
                clip_gradients(
                    own,
                    grad_clip=getattr(config, f"{name}_grad_clip_by_global_norm"),
                    grad_clip_by="global_norm",
                )
        return module_gradients_dict

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """L of the world model + L_actor + L_critic."""
        module = self.module[module_id]
        loss = self.world_model_loss(module_id, module, batch, fwd_out)
        rows = fwd_out["h"].shape[0] * fwd_out["h"].shape[1]
        h, z = (fwd_out[key].detach().reshape(rows, -1) for key in ("h", "z"))
        features, actions = module.dream(h, z, config.horizon_H, self.torch_generator)
        c_first = 1.0 - batch["ended"].float().reshape(rows)
        returns, values, weights = self.returns(module, config, features, c_first)
        if config.train_actor:
            loss = loss + self.actor_loss(module_id, config, features, actions, returns, values, weights)
        if config.train_critic:
            loss = loss + self.critic_loss(module_id, features, returns, weights)
        return loss

    def world_model_loss(
        self, module_id: str, module: Any, batch: dict[str, Any], seen: dict[str, Any]
    ) -> Any:
        """β_pred L_pred + β_dyn L_dyn + β_rep L_rep."""
        model = module.world_model
        features = torch.cat([seen["h"], seen["z"]], -1)
        wrong = (model.decoder(features) - seen["target"]) ** 2
        x_loss = 0.5 * wrong.flatten(2).sum(-1)
        r_loss = model.reward.loss(model.reward(features), batch["rewards_before"])
        c_logits = model.continues(features).squeeze(-1)
        going_on = 1.0 - batch["ended"].float()
        c_loss = F.binary_cross_entropy_with_logits(c_logits, going_on, reduction="none")
        log_q, log_p = seen["log_q"], seen["log_p"]

        def kl(a: Any, b: Any) -> Any:
            return (a.exp() * (a - b)).sum((-1, -2))

        dyn = kl(log_q.detach(), log_p).clamp_min(FREE_NATS)
        rep = kl(log_q, log_p.detach()).clamp_min(FREE_NATS)
        # The first step of a row comes with no reward that the model could know of.
        known = (~batch["is_first"]).float()
        pred = x_loss + known * r_loss + c_loss
        total = BETA_PRED * pred + BETA_DYN * dyn + BETA_REP * rep
        for name, value in (
            ("WORLD_MODEL_L_total", total), ("WORLD_MODEL_L_prediction", pred),
            ("WORLD_MODEL_L_decoder", x_loss), ("WORLD_MODEL_L_reward", r_loss),
            ("WORLD_MODEL_L_continue", c_loss), ("WORLD_MODEL_L_dynamics", dyn),
            ("WORLD_MODEL_L_representation", rep),
        ):  # fmt: skip
            self.log(module_id, name, value.mean())
        if self.config.report_individual_batch_item_stats:
            for row, value in enumerate(total.mean(1)):
                self.log(module_id, f"WORLD_MODEL_L_total_row_{row}", value)
        return total.mean()

    @torch.no_grad()
    def returns(self, module: Any, config: Any, features: Any, c_first: Any) -> tuple[Any, Any, Any]:
        """R_t, v_t and w_t at steps 0 … H-1 of dreams."""
        r = module.world_model.reward.mean(module.world_model.reward(features[1:]))
        c = torch.sigmoid(module.world_model.continues(features[1:]).squeeze(-1))
        v = module.compute_values({"features": features})
        discount = config.gamma * (c > 0.5).float()
        following, found = v[-1], []
        for t in range(len(r) - 1, -1, -1):
            ahead = (1 - config.gae_lambda) * v[t + 1] + config.gae_lambda * following
            following = r[t] + discount[t] * ahead
            found.append(following)
        weights = torch.cat([c_first[None], c_first * torch.cumprod(discount, 0)[:-1]])
        return torch.stack(found[::-1]), v[:-1], weights

    def actor_loss(
        self,
        module_id: str,
        config: Any,
        features: Any,
        actions: Any,
        returns: Any,
        values: Any,
        weights: Any,
    ) -> Any:
        """REINFORCE with normalized returns, and entropy."""
        module = self.module[module_id]
        limits = torch.quantile(returns.flatten(), torch.tensor([0.05, 0.95], device=returns.device))
        self.all_reduce({"limits": limits})
        decay = config.return_normalization_decay
        for name, value in zip(("return_low", "return_high"), limits, strict=True):
            buffer = getattr(module, name)
            buffer.copy_(decay * buffer + (1 - decay) * value)
        scale = (module.return_high - module.return_low).clamp_min(1.0)
        logp, entropy = module.actor.logp_and_entropy(module.actor(features[:-1]), actions)
        gain = (returns - values) / scale
        loss = -(weights * (gain * logp + config.entropy_scale * entropy)).mean()
        self.log(module_id, "ACTOR_L_total", loss)
        self.log(module_id, "ACTOR_action_entropy", entropy.mean())
        self.log(module_id, "ACTOR_scaled_value_targets_mean", gain.mean())
        if config.report_dream_data:
            self.log(module_id, "DREAM_DATA_returns_mean", returns.mean())
            self.log(module_id, "DREAM_DATA_values_mean", values.mean())
        return loss

    def critic_loss(self, module_id: str, features: Any, returns: Any, weights: Any) -> Any:
        """Cross entropy with the returns, and with what the slow copy says."""
        module = self.module[module_id]
        logits = module.critic(features[:-1])
        slow = module.forward_target({"features": features[:-1]})["values"]
        loss = (weights * (TwoHot.loss(logits, returns) + TwoHot.loss(logits, slow))).mean()
        self.log(module_id, "CRITIC_L_total", loss)
        return loss

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """The slow copy follows."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module in self._module.values():
            for main, target in module.get_target_network_pairs():
                update_target_network(main, target, SLOW)


class DreamerV3(Algorithm):
    """Sample a few steps, replay many (``training_ratio`` of them per step), dream of what could follow."""

    @classmethod
    def get_default_config(cls) -> DreamerV3Config:
        """DreamerV3's settings."""
        return DreamerV3Config(algo_class=cls)

    @property
    def training_ratio(self) -> float:
        """Steps replayed per step sampled, so far."""
        sampled = self._steps()[0]
        return self._replayed / sampled if sampled else 0.0

    def _setup_more(self) -> None:
        config = self.config
        self.local_replay_buffer = replay_buffers.make(
            config.replay_buffer_config, multi_agent=False, seed=config.seed
        )
        self._replayed = 0

    def training_step(self) -> None:
        """One round of sampling; then updates until enough was replayed."""
        config, buffer = self.config, self.local_replay_buffer
        steps = config.get_rollout_fragment_length() * config.num_envs_per_env_runner
        per_update = config.batch_size_B * config.batch_length_T
        first = not self._steps()[0]
        # The first batch needs something to be drawn from.
        buffer.add(self.sample(num_timesteps=max(steps, config.batch_length_T) if first else steps))
        sampled, updated = self._steps()[0], False
        while self._replayed / sampled < config.training_ratio:
            batch = buffer.sample_arrivals(config.batch_size_B, config.batch_length_T)
            self.learn(batch={DEFAULT_MODULE_ID: batch})
            self._replayed += per_update
            updated = True
        if updated:
            self.sync_weights()
        self.metrics.log_value("actual_training_ratio", self.training_ratio, reduce="item")
        self.metrics.log_value(
            (REPLAY_BUFFER_RESULTS, "num_env_steps_stored"), buffer.get_num_timesteps(), reduce="item"
        )

    def _more_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"replayed": self._replayed}
        if self.config.store_buffer_in_checkpoints:
            state["replay_buffer"] = self.local_replay_buffer.get_state()
        return state

    def _set_more_state(self, state: dict[str, Any]) -> None:
        self._replayed = state.get("replayed", 0)
        if "replay_buffer" in state:
            self.local_replay_buffer.set_state(state["replay_buffer"])


def dreams_of(module: DreamerV3TorchRLModule, observations: Any, steps: int = 15, seed: int = 0) -> Any:
    """What the world model expects to see: decoded observations of a dream that begins with recorded ones.

    Parameters
    ----------
    module
        A module of `DreamerV3`.
    observations
        (time, …): what was seen so far, without gaps.
    steps
        How far to dream.

    Returns
    -------
    decoded : numpy.ndarray
        (steps, …), as the module sees observations (vectors flat, images from 0 to 1).
    """
    generator = torch.Generator().manual_seed(seed)
    state = {k: v[None] for k, v in module.get_initial_state().items()}
    seen = {Columns.OBS: torch.as_tensor(np.asarray(observations))[None], Columns.STATE_IN: state}
    with torch.no_grad():
        out = module.forward_exploration(seen, generator=generator)[Columns.STATE_OUT]
        features, _ = module.dream(out["h"], out["z"], steps, generator)
        decoded = module.world_model.decoder(features[1:, 0])
    encoder = module.world_model.encoder
    return (inverse_symlog(decoded) if encoder.symlog_obs and not encoder.shapes else decoded).numpy()
