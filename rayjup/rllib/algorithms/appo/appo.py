"""Asynchronous PPO: IMPALA's way of the data with PPO's clipped loss.

Source: Luo, Ye, Chen, Abbeel, "IMPACT: Importance Weighted Asynchronous Architectures with Clipped Target
Networks", ICLR 2020: the ratio is π_θ / max(π_target/…, μ) with a slowly following target policy, batches
are used several times out of a circular buffer.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

from rayjup.rllib.algorithms._sections import Schedule
from rayjup.rllib.algorithms.algorithm_config import ConfigError
from rayjup.rllib.algorithms.impala.impala import IMPALA, IMPALAConfig, IMPALATorchLearner, IMPALATraining
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.utils.torch_utils import update_target_network


@dataclass
class APPOTraining(IMPALATraining):
    """Hyperparameters of APPO."""

    lr: Schedule = 5e-4
    use_gae: bool = True
    lambda_: float = 1.0
    clip_param: float = 0.4
    use_kl_loss: bool = False
    kl_coeff: float = 1.0
    kl_target: float = 0.01
    target_network_update_freq: int = 2
    tau: float = 1.0
    target_worker_clipping: float = 2.0
    use_circular_buffer: bool = True
    circular_buffer_num_batches: int = 8
    circular_buffer_iterations_per_batch: int = 2
    simple_queue_size: int = 32


class APPOConfig(IMPALAConfig):
    """Settings of `APPO`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.appo import APPOConfig
    >>> APPOConfig().training(clip_param=0.2).circular_buffer_num_batches
    8
    """

    TRAINING = APPOTraining
    TUNED = {
        **IMPALAConfig.TUNED,
        "clip_param": 0.2,
        "circular_buffer_num_batches": 2,
        "circular_buffer_iterations_per_batch": 4,
    }

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or APPO)

    def get_default_learner_class(self) -> Any:
        """`APPOTorchLearner`."""
        return APPOTorchLearner

    def validate(self) -> None:
        """Also: the buffer's size."""
        super().validate()
        if self.circular_buffer_num_batches < 1 or self.circular_buffer_iterations_per_batch < 1:
            raise ConfigError("circular_buffer_num_batches and …_iterations_per_batch must be 1 or more.")


class APPOTorchLearner(IMPALATorchLearner):
    """The clipped loss, and target policies that follow."""

    def build(self) -> None:
        """Also the target policies, by module."""
        self._targets: dict[str, Any] = {}
        self._kl: dict[str, float] = {}
        self._last_kl: dict[str, Any] = {}
        super().build()

    def _module_added(self, module_id: str) -> None:
        super()._module_added(module_id)
        self._targets[module_id] = copy.deepcopy(self._module[module_id]).requires_grad_(False)
        self._kl[module_id] = float(self.config.get_config_for_module(module_id).kl_coeff)

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
        """The clipped surrogate, with the target policy for the old one."""
        module = self.module[module_id]
        with torch.no_grad():
            inputs = self._targets[module_id].forward_train(batch)[Columns.ACTION_DIST_INPUTS]
            old = module.get_train_action_dist_cls().from_logits(inputs)
            # How far the target policy is from the one that sampled, bounded (IMPACT, equation 5).
            worker = torch.exp(old.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP])
            worker = worker.clamp(0.0, config.target_worker_clipping)
        ratio = worker * torch.exp(logp - old.logp(batch[Columns.ACTIONS]))
        real = advantages[mask]
        advantages = (advantages - real.mean()) / real.std().clamp_min(1e-4)
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        surrogate = torch.min(ratio * advantages, clipped * advantages)
        loss = -torch.where(mask, surrogate, 0.0).sum() / count
        if config.use_kl_loss:
            kl = torch.where(mask, old.kl(pi), 0.0).sum() / count
            self._last_kl[module_id] = kl.detach()
            self.log(module_id, "mean_kl_loss", kl)
            loss = loss + self._kl[module_id] * kl
        return loss

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Target policies follow every ``target_network_update_freq`` updates; β adapts."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id, target in self._targets.items():
            if module_id not in self._module:
                continue
            config = self.config.get_config_for_module(module_id)
            if self._weights_seq_no % max(1, config.target_network_update_freq) == 0:
                update_target_network(self._module[module_id], target, config.tau)
            if module_id in self._last_kl:
                value = float(self._last_kl.pop(module_id))
                if value > 2.0 * config.kl_target:
                    self._kl[module_id] *= 1.5
                elif value < 0.5 * config.kl_target:
                    self._kl[module_id] *= 0.5

    def _more_state(self) -> dict[str, Any]:
        targets = {m: t.get_state() for m, t in self._targets.items()}
        return {**super()._more_state(), "targets": targets, "kl": dict(self._kl)}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        super()._set_more_state(state)
        for module_id, own in state.get("targets", {}).items():
            if module_id in self._targets:
                self._targets[module_id].set_state(own)
        self._kl.update(state.get("kl", {}))


class APPO(IMPALA):
    """Asynchronous PPO."""

    @classmethod
    def get_default_config(cls) -> APPOConfig:
        """APPO's settings."""
        return APPOConfig(algo_class=cls)

    def _setup_more(self) -> None:
        super()._setup_more()
        self._circle: deque[list[Any]] = deque(maxlen=self.config.circular_buffer_num_batches)

    def _learn_from(self, episodes: list[Any]) -> None:
        """New batches go into the circular buffer; each is drawn several times on average."""
        config = self.config
        if not config.use_circular_buffer:
            super()._learn_from(episodes)
            return
        self._circle.append(episodes)
        place = len(self._circle) - 1
        for _ in range(config.circular_buffer_iterations_per_batch):
            super()._learn_from(list(self._circle[place]))
            place = (place + 1) % len(self._circle)
