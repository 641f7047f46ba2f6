"""The usual module of actor-critic algorithms (PPO, IMPALA, APPO, MARWIL): a policy and values."""

from __future__ import annotations

from typing import Any

import torch

from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT
from rayjup.rllib.core.models.catalog import Catalog
from rayjup.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from rayjup.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

MASKED = -1e9  # finite: -inf would make NaN of entropies


class DefaultPPOTorchRLModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """Encoder (shared or not), policy head, value head.

    Where observations are dicts with an action mask (``config.action_mask_key``), masked actions are never
    taken.
    """

    def setup(self) -> None:
        """Make the networks."""
        if self.catalog is None:
            self.catalog = Catalog(self.observation_space, self.action_space, self._model_settings())
        self.encoder = self.catalog.build_actor_critic_encoder(inference_only=self.inference_only)
        self.action_dist_cls, width = self.catalog.action_distribution
        self.pi = self.catalog.build_head(width, of_policy=True)
        self.vf = self.catalog.build_head(1)
        if not self.catalog.model_config.head_fcnet_hiddens:
            _small(self.pi)

    def get_initial_state(self) -> Any:
        """The encoder's."""
        return self.encoder.get_initial_state()

    def get_non_inference_attributes(self) -> list[str]:
        """Values, and their encoder where it is another one."""
        return ["vf", *([] if self.encoder.config.shared else ["encoder.critic"])]

    def _pi(self, batch: dict[str, Any], embedding: Any) -> Any:
        logits = self.pi(embedding)
        if self.catalog.masks_actions:
            mask = batch[Columns.OBS][self.catalog.action_mask_key]
            logits = torch.where(mask.bool(), logits, torch.full_like(logits, MASKED))
        return logits

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        out = self.encoder(batch, critic=False)
        found = {Columns.ACTION_DIST_INPUTS: self._pi(batch, out[ENCODER_OUT][ACTOR])}
        if Columns.STATE_OUT in out:
            found[Columns.STATE_OUT] = out[Columns.STATE_OUT]
        return found

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        out = self.encoder(batch)
        return {
            Columns.ACTION_DIST_INPUTS: self._pi(batch, out[ENCODER_OUT][ACTOR]),
            Columns.EMBEDDINGS: out[ENCODER_OUT][CRITIC],
        }

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Any:
        """Values of observations."""
        if embeddings is None:
            embeddings = self.encoder(batch, actor=False)[ENCODER_OUT][CRITIC]
        return self.vf(embeddings).squeeze(-1)


def _small(head: Any) -> None:
    """A policy begins nearly uniform (Andrychowicz et al. 2021: the last layer a hundred times smaller)."""
    layers = [layer for layer in head.modules() if isinstance(layer, torch.nn.Linear)]
    if layers:
        with torch.no_grad():
            layers[-1].weight.mul_(0.01)
            layers[-1].bias.zero_()
