"""Truncated quantile critics.

Source: Kuznetsov, Shvechikov, Grishin, Vetrov, "Controlling Overestimation Bias with Truncated Mixture of
Continuous Distributional Quantile Critics", ICML 2020. In its symbols: N critics with M quantiles θ each;
of the N·M sorted target atoms the d·N largest are dropped; the rest are targets of a quantile Huber loss.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rayjup.rllib.algorithms.algorithm_config import ConfigError
from rayjup.rllib.algorithms.sac.sac import (
    SAC,
    DefaultSACTorchRLModule,
    QFunction,
    SACConfig,
    SACTorchLearner,
    SACTraining,
    _known,
    frozen,
)
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.models import configs
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.rl_module import RLModuleSpec


@dataclass
class TQCTraining(SACTraining):
    """Hyperparameters of TQC."""

    n_quantiles: int = 25
    n_critics: int = 2
    top_quantiles_to_drop_per_net: int = 2


class TQCConfig(SACConfig):
    """Settings of `TQC`.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.tqc import TQCConfig
    >>> TQCConfig().training(n_critics=5).n_quantiles
    25
    """

    TRAINING = TQCTraining

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class or TQC)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        names = ("n_quantiles", "n_critics")
        return {**super()._model_config_auto_includes, **{name: getattr(self, name) for name in names}}

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Policy and critics."""
        return RLModuleSpec(module_class=DefaultTQCTorchRLModule, catalog_class=TQCCatalog)

    def get_default_learner_class(self) -> Any:
        """`TQCTorchLearner`."""
        return TQCTorchLearner

    def validate(self) -> None:
        """Also: something must be left after dropping."""
        super().validate()
        if not 0 <= self.top_quantiles_to_drop_per_net < self.n_quantiles:
            raise ConfigError(
                f"top_quantiles_to_drop_per_net={self.top_quantiles_to_drop_per_net}: it must be from 0 to "
                f"n_quantiles - 1 = {self.n_quantiles - 1}."
            )


class TQCCatalog(Catalog):
    """Networks of TQC, piece by piece."""

    def build_qf_encoder(self, framework: str = "torch") -> Any:
        """The encoder of critics: observations and actions side by side."""
        width = configs.flat_size(self.observation_space) + configs.flat_size(self.action_space)
        m = self.model_config
        return configs.MLPEncoderConfig(
            input_dims=[width],
            hidden_layer_dims=list(m.fcnet_hiddens),
            hidden_layer_activation=m.fcnet_activation,
        ).build(framework)

    def build_qf_head(self, framework: str = "torch", n_quantiles: int = 25) -> Any:
        """Quantiles behind that encoder."""
        width = self.model_config.fcnet_hiddens[-1]
        return configs.MLPHeadConfig(
            input_dims=[width], hidden_layer_dims=[], output_layer_dim=n_quantiles
        ).build(framework)

    def build_pi_head(self, framework: str = "torch") -> Any:
        """Means and log standard deviations."""
        kind = self.get_action_dist_cls(framework)
        return self.build_head(kind.required_input_dim(self.action_space), framework)

    def get_action_dist_cls(self, framework: str = "torch") -> Any:
        """A squashed Gaussian."""
        from rayjup.rllib.core.distribution.torch.torch_distribution import TorchSquashedGaussian

        return TorchSquashedGaussian


class DefaultTQCTorchRLModule(DefaultSACTorchRLModule):
    """A squashed Gaussian policy and N critics of M quantiles."""

    def _make_critics(self, settings: dict[str, Any]) -> None:
        if self.discrete:
            raise ValueError(f"TQC needs a Box action space, not {self.action_space}.")
        special = _known(settings.get("q_model_config") or {})
        m = settings.get("n_quantiles", 25)
        self.qfs = nn.ModuleList(
            QFunction(self.catalog, False, m, special) for _ in range(settings.get("n_critics", 2))
        )

    def critics(self, prefix: str = "") -> list[Any]:
        """The critics, or their copies."""
        return list(getattr(self, f"{prefix}qfs"))

    def make_target_networks(self) -> None:
        """Copies of the critics."""
        if not hasattr(self, "target_qfs"):
            self.target_qfs = copy.deepcopy(self.qfs).requires_grad_(False)

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """(critics, copies)."""
        return [(self.qfs, self.target_qfs)]

    def get_non_inference_attributes(self) -> list[str]:
        """The critics."""
        return ["qfs", "target_qfs"]

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The mean of all quantiles."""
        found = [q(batch[Columns.OBS], batch[Columns.ACTIONS]).mean(-1) for q in self.critics()]
        return {"qf_preds": torch.stack(found).mean(0)}

    def forward_target(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """All quantiles of all copies, sorted: (batch, N·M)."""
        found = [q(batch[Columns.OBS], batch[Columns.ACTIONS]) for q in self.critics("target_")]
        return {"quantiles": torch.cat(found, -1).sort(-1).values}


class TQCTorchLearner(SACTorchLearner):
    """SAC's losses, with quantile critics."""

    def critic_loss(self, module: Any, config: Any, batch: dict[str, Any], alpha: Any) -> tuple[Any, Any]:
        """The quantile Huber loss towards the truncated targets (equation 10)."""
        following = batch[Columns.NEXT_OBS]
        with torch.no_grad():
            actions, logp = module.policy(following).rsample_and_logp(generator=self.torch_generator)
            z = module.forward_target({Columns.OBS: following, Columns.ACTIONS: actions})["quantiles"]
            drop = config.top_quantiles_to_drop_per_net * len(module.critics())
            z = z[:, : z.shape[1] - drop]
            n = batch.get("n_step", torch.ones_like(logp)).float()
            going_on = (~batch[Columns.TERMINATEDS]).float()
            y = batch[Columns.REWARDS][:, None] + (config.gamma**n * going_on)[:, None] * (
                z - alpha * logp[:, None]
            )
        weights = batch.get("weights", torch.ones_like(logp))
        loss, td = torch.zeros(()), torch.zeros_like(logp)
        for q_function in module.critics():
            theta = q_function(batch[Columns.OBS], batch[Columns.ACTIONS])
            loss = loss + (weights * quantile_huber(theta, y)).mean()
            td = td + (theta.mean(-1) - y.mean(-1)).detach() / len(module.critics())
        return loss, td

    def actor_loss(
        self, module: Any, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any], alpha: Any
    ) -> tuple[Any, Any]:
        """α log π minus the mean of all quantiles."""
        pi = module.action_dist_cls.from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        actions, logp = pi.rsample_and_logp(generator=self.torch_generator)
        q = torch.stack([frozen(f, batch[Columns.OBS], actions).mean(-1) for f in module.critics()]).mean(0)
        return (alpha * logp - q).mean(), logp


def quantile_huber(theta: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The loss of quantiles θ (batch, M) towards samples y (batch, K), per row: mean over both, κ = 1."""
    m = theta.shape[1]
    tau = (torch.arange(m, device=theta.device) + 0.5) / m
    u = y[:, None, :] - theta[:, :, None]
    huber = torch.where(u.abs() <= 1, 0.5 * u**2, u.abs() - 0.5)
    return ((tau[None, :, None] - (u.detach() < 0).float()).abs() * huber).mean((1, 2))


class TQC(SAC):
    """Truncated quantile critics."""

    @classmethod
    def get_default_config(cls) -> TQCConfig:
        """TQC's settings."""
        return TQCConfig(algo_class=cls)
