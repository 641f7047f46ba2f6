"""Importance-weighted actor-learner architecture.

Source: Espeholt et al., "IMPALA: Scalable Distributed Deep-RL with Importance Weighted Actor-Learner
Architectures", ICML 2018. In its symbols: behaviour policy μ, target policy π, ρ_t = min(ρ̄, π/μ), c_s =
min(c̄, π/μ), v_s = V(s) + Σ γ^{t-s} (Π c_i) δ_t V with δ_t V = ρ_t (r_t + γ V(s_{t+1}) - V(s_t)).

Runners sample without waiting for the learner, and the learner does not wait for slow runners: parameters
are a little old, and V-trace corrects for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rayjup.rllib.algorithms._sections import Schedule, Training
from rayjup.rllib.algorithms.algorithm import Algorithm
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError
from rayjup.rllib.algorithms.ppo.default_ppo_rl_module import DefaultPPOTorchRLModule
from rayjup.rllib.connectors.connector_v2 import ConnectorV2, episodes_of
from rayjup.rllib.connectors.learner import AddOneTsToEpisodesAndTruncate
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.apis import ValueFunctionAPI
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec
from rayjup.rllib.utils.metrics import ENV_RUNNER_RESULTS
from rayjup.rllib.utils.schedules.scheduler import Scheduler


@dataclass
class IMPALATraining(Training):
    """Hyperparameters of IMPALA."""

    lr: Schedule = 5e-4
    grad_clip: float | None = 40.0
    train_batch_size: int = 500
    vtrace: bool = True
    vtrace_clip_rho_threshold: float = 1.0
    vtrace_clip_pg_rho_threshold: float = 1.0
    learner_queue_size: int = 3
    broadcast_interval: int = 1
    opt_type: str = "adam"
    decay: float = 0.99
    momentum: float = 0.0
    epsilon: float = 0.1
    vf_loss_coeff: float = 0.5
    entropy_coeff: Schedule = 0.01


class IMPALAConfig(AlgorithmConfig):
    """Settings of `IMPALA`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.impala import IMPALAConfig
    >>> config = IMPALAConfig().environment("CartPole-v1").env_runners(num_env_runners=4)
    >>> config.num_learners, config.rollout_fragment_length
    (1, 50)
    """

    TRAINING: type = IMPALATraining
    DEFAULTS = {
        "num_env_runners": 2,
        "rollout_fragment_length": 50,
        "num_learners": 1,
        "min_time_s_per_iteration": 10,
    }
    TUNED = {
        "num_env_runners": 1,
        "num_envs_per_env_runner": 8,
        "rollout_fragment_length": 32,
        "num_learners": 0,
        "min_time_s_per_iteration": 1,
        "train_batch_size_per_learner": 256,
        "lr": 1e-3,
        "vf_loss_coeff": 0.5,
        "entropy_coeff": 0.005,
        "grad_clip": None,
        "model": {"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False},
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or IMPALA)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Policy and values."""
        return RLModuleSpec(module_class=DefaultPPOTorchRLModule, catalog_class=Catalog)

    def get_default_learner_class(self) -> Any:
        """`IMPALATorchLearner`."""
        return IMPALATorchLearner

    def build_learner_connector(
        self, input_observation_space: Any, input_action_space: Any, device: Any = None
    ) -> Any:
        """The usual pipeline, with one artificial step behind every chunk, and the chunks' lengths."""
        pipeline = super().build_learner_connector(input_observation_space, input_action_space, device)
        if self.add_default_connectors_to_learner_pipeline:
            pipeline.prepend(AddOneTsToEpisodesAndTruncate())
            pipeline.append(ChunkLengths())
        return pipeline

    def validate(self) -> None:
        """Also: thresholds, optimizer."""
        super().validate()
        if self.opt_type not in ("adam", "rmsprop"):
            raise ConfigError(f"opt_type={self.opt_type!r}: 'adam' or 'rmsprop'.")
        if self.minibatch_size is not None:
            raise ConfigError(
                "minibatch_size: V-trace needs whole chunks; lower train_batch_size_per_learner instead."
            )
        Scheduler.validate(
            fixed_value_or_schedule=self.entropy_coeff,
            setting_name="entropy_coeff",
            description="the coefficient",
        )


class ChunkLengths(ConnectorV2):
    """Adds "chunks": how many rows each episode's chunk has, its artificial step with it."""

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """By module."""
        own: dict[str, list[tuple[int, bool]]] = {}
        only = next(iter(batch), None)
        for episode in episodes_of(episodes):
            module_id = str(episode.module_id if episode.module_id in batch else only)
            own.setdefault(module_id, []).append((len(episode), episode.is_terminated))
        for module_id, chunks in own.items():
            if module_id in batch:
                batch[module_id]["chunks"] = chunks
        return batch


def vtrace(
    log_ratios: torch.Tensor, discounts: torch.Tensor, rewards: torch.Tensor, values: torch.Tensor,
    bootstrap: torch.Tensor, clip_rho: float = 1.0, clip_pg_rho: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """V-trace targets v_s and advantages ρ (r + γ v_{s+1} - V).

    Parameters
    ----------
    log_ratios
        log π/μ, (T, B).
    discounts
        γ, 0 where an episode terminated, (T, B).
    rewards, values
        (T, B).
    bootstrap
        V behind the last step, (B,).
    clip_rho, clip_pg_rho
        ρ̄ of the targets, and of the policy gradient; c̄ is 1.
    """
    with torch.no_grad():
        rhos = log_ratios.exp()
        clipped, cs = rhos.clamp(max=clip_rho), rhos.clamp(max=1.0)
        following = torch.cat([values[1:], bootstrap[None]])
        deltas = clipped * (rewards + discounts * following - values)
        total, differences = torch.zeros_like(bootstrap), []
        for t in range(len(rewards) - 1, -1, -1):
            total = deltas[t] + discounts[t] * cs[t] * total
            differences.append(total)
        vs = values + torch.stack(differences[::-1])
        vs_following = torch.cat([vs[1:], bootstrap[None]])
        advantages = rhos.clamp(max=clip_pg_rho) * (rewards + discounts * vs_following - values)
    return vs, advantages


class IMPALATorchLearner(TorchLearner):
    """V-trace actor-critic."""

    def build(self) -> None:
        """Also the entropy coefficients, by module."""
        super().build()
        self._entropy: dict[str, Scheduler] = {}
        for module_id in self._module:
            self._module_added(module_id)

    def _module_added(self, module_id: str) -> None:
        config = self.config.get_config_for_module(module_id)
        self._entropy[module_id] = Scheduler(config.entropy_coeff)

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """Values."""
        return [ValueFunctionAPI]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Adam, or the paper's RMSProp."""
        config = config or self.config.get_config_for_module(module_id)
        if config.opt_type == "adam":
            super().configure_optimizers_for_module(module_id, config)
            return
        params = [p for p in self.get_parameters(self._module[module_id]) if p.requires_grad]
        optimizer = torch.optim.RMSprop(
            params, alpha=config.decay, momentum=config.momentum, eps=config.epsilon
        )
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=params, lr_or_lr_schedule=config.lr
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """-ρ Â log π + c1 (v_s - V)² - c2 S, summed over... the mean over all real steps."""
        module = self.module[module_id]
        pi = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        mask = batch[Columns.LOSS_MASK]
        logp = pi.logp(batch[Columns.ACTIONS])
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        entropy = pi.entropy()
        ratios = (logp - batch[Columns.ACTION_LOGP]).detach()
        rows, shape = batch["chunks"], logp.shape
        flat = [_flat(x, batch) for x in (ratios, batch[Columns.REWARDS], values.detach())]
        targets, advantages = self.targets(config, rows, *flat)
        targets, advantages = _shaped(targets, batch, shape), _shaped(advantages, batch, shape)
        count = mask.sum().clamp_min(1)
        policy_loss = self.policy_loss(module_id, config, batch, pi, logp, advantages, mask, count)
        vf_loss = 0.5 * torch.where(mask, (targets - values) ** 2, 0.0).sum() / count
        mean_entropy = torch.where(mask, entropy, 0.0).sum() / count
        for name, value in (("policy_loss", policy_loss), ("vf_loss", vf_loss), ("entropy", mean_entropy)):
            self.log(module_id, name, value)
        c2 = self._entropy[module_id].value
        return policy_loss + config.vf_loss_coeff * vf_loss - c2 * mean_entropy

    def targets(self, config: Any, rows: Any, ratios: Any, rewards: Any, values: Any) -> tuple[Any, Any]:
        """v_s and advantages of all chunks, padded to the longest: 0 for their artificial steps."""
        lengths = [n for n, _ in rows]
        pad = torch.nn.utils.rnn.pad_sequence
        ratios, rewards, values = (pad(list(x.split(lengths))) for x in (ratios, rewards, values))
        steps = torch.tensor(lengths, device=values.device) - 1
        ended = torch.tensor([e for _, e in rows], device=values.device)
        place = torch.arange(len(values), device=values.device)[:, None]
        discounts = torch.full_like(values, config.gamma)
        discounts[(place == steps - 1) & ended] = 0.0
        real = place < steps
        # The artificial step's value is what bootstraps: nothing may change it.
        ratios, rewards = torch.where(real, ratios, 0.0), torch.where(real, rewards, 0.0)
        discounts = torch.where(real, discounts, 0.0)
        held = torch.where(real, rewards, values)
        vs, advantages = vtrace(
            ratios, discounts, held, values, torch.zeros_like(values[0]),
            config.vtrace_clip_rho_threshold, config.vtrace_clip_pg_rho_threshold,
        )  # fmt: skip
        return (
            torch.cat([vs[:n, i] for i, n in enumerate(lengths)]),
            torch.cat([torch.where(real, advantages, 0.0)[:n, i] for i, n in enumerate(lengths)]),
        )

    def policy_loss(
        self,
        module_id: str,
        config: Any,
        batch: Any,
        pi: Any,
        logp: Any,
        advantages: Any,
        mask: Any,
        count: Any,
    ) -> Any:
        """-Â log π."""
        return -torch.where(mask, logp * advantages, 0.0).sum() / count

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Entropy coefficients follow their schedules."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id, scheduler in self._entropy.items():
            if not self.should_module_be_updated(module_id):
                continue
            value = scheduler.update(timesteps.get("num_env_steps_sampled_lifetime", 0))
            self.log(module_id, "curr_entropy_coeff", value)

    def _more_state(self) -> dict[str, Any]:
        return {**super()._more_state(), "entropy_coeffs": {m: s.value for m, s in self._entropy.items()}}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        super()._set_more_state(state)
        for module_id, value in state.get("entropy_coeffs", {}).items():
            if module_id in self._entropy:
                self._entropy[module_id].value = value


def _flat(x: torch.Tensor, batch: dict[str, Any]) -> torch.Tensor:
    """Rows of chunks one behind the other, without the padding of sequences."""
    if Columns.SEQ_LENS not in batch:
        return x
    kept = torch.arange(x.shape[1], device=x.device) < batch[Columns.SEQ_LENS][:, None]
    return x[kept]


def _shaped(flat: torch.Tensor, batch: dict[str, Any], shape: Any) -> torch.Tensor:
    if Columns.SEQ_LENS not in batch:
        return flat
    out = torch.zeros(shape, device=flat.device)
    out[torch.arange(shape[1], device=flat.device) < batch[Columns.SEQ_LENS][:, None]] = flat
    return out


class IMPALA(Algorithm):
    """Importance-weighted actor-learner architecture."""

    @classmethod
    def get_default_config(cls) -> Any:
        """IMPALA's settings."""
        return IMPALAConfig(algo_class=cls)

    def _setup_more(self) -> None:
        self._waiting: list[Any] = []  # episodes for the next batch
        self._updates = 0

    def training_step(self) -> None:
        """Take what runners have ready, learn from whole batches, hand on parameters now and then."""
        config, group = self.config, self.env_runner_group
        if not group.num_remote_env_runners():
            episodes, metrics = group.sample()
            self.metrics.aggregate(metrics, key=ENV_RUNNER_RESULTS)
            self._waiting.extend(episodes)
        else:
            self._need_runners()
            group.foreach_env_runner_async("sample", tag="sample")
            for index, (episodes, metrics) in group.fetch_ready_async_reqs(
                tags="sample", timeout_seconds=1.0
            ):
                self.metrics.aggregate([metrics], key=ENV_RUNNER_RESULTS)
                self._waiting.extend(episodes)
                group.foreach_env_runner_async("sample", tag="sample", remote_worker_ids=[index])
        size = config.total_train_batch_size
        while sum(len(e) for e in self._waiting) >= size:
            batch, steps = [], 0
            while steps < size:
                episode = self._waiting.pop(0)
                batch.append(episode)
                steps += len(episode)
            self._learn_from(batch)
            self._updates += 1
            if self._updates % config.broadcast_interval == 0:
                self.sync_weights()

    def _learn_from(self, episodes: list[Any]) -> None:
        asynchronous = self.learner_group.is_remote
        self.learn(episodes=episodes, num_epochs=self.config.num_epochs, async_update=asynchronous)
