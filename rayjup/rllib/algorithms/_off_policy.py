"""What algorithms with a replay buffer share: the way of the data, and target networks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rayjup.rllib.algorithms._sections import Training
from rayjup.rllib.algorithms.algorithm import Algorithm
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError
from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner
from rayjup.rllib.core.rl_module.apis import TargetNetworkAPI
from rayjup.rllib.utils import replay_buffers
from rayjup.rllib.utils.metrics import REPLAY_BUFFER_RESULTS
from rayjup.rllib.utils.torch_utils import update_target_network


@dataclass
class OffPolicyTraining(Training):
    """Hyperparameters of algorithms with a replay buffer."""

    replay_buffer_config: dict = field(
        default_factory=lambda: {
            "type": "PrioritizedEpisodeReplayBuffer",
            "capacity": 50000,
            "alpha": 0.6,
            "beta": 0.4,
        }
    )
    store_buffer_in_checkpoints: bool = False
    num_steps_sampled_before_learning_starts: int = 1000
    n_step: int | tuple[int, int] = 1
    tau: float = 1.0
    target_network_update_freq: int = 500
    training_intensity: float | None = None


class OffPolicyConfig(AlgorithmConfig):
    """Settings of algorithms with a replay buffer."""

    TRAINING: type = OffPolicyTraining

    def training(self: Any, *, tuned: bool = False, **settings: Any) -> Any:
        """Hyperparameters; ``replay_buffer_config`` is merged into what it was."""
        given = settings.get("replay_buffer_config")
        if isinstance(given, dict):
            settings["replay_buffer_config"] = {**self.replay_buffer_config, **given}
        return super().training(tuned=tuned, **settings)

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """ "auto" is as many steps as an n-step transition has."""
        if self.rollout_fragment_length == "auto":
            return self.n_step[1] if isinstance(self.n_step, (tuple, list)) else self.n_step
        return int(self.rollout_fragment_length)

    def validate(self) -> None:
        """Also: n_step, tau."""
        super().validate()
        if not 0 < self.tau <= 1:
            raise ConfigError(f"tau={self.tau}: it must be above 0 and at most 1.")
        if isinstance(self.n_step, (tuple, list)) and len(self.n_step) != 2:
            raise ConfigError(f"n_step={self.n_step}: a number, or a pair of the fewest and the most steps.")


class OffPolicyLearner(TorchLearner):
    """Target networks follow their originals, every so many sampled steps."""

    TD_ERROR = "td_error"

    def build(self) -> None:
        """Also make target networks."""
        super().build()
        self._last_target_update: dict[str, int] = {}
        self.td_errors: dict[str, Any] = {}
        for module in self._module.values():
            self._targets_of(module)

    def _targets_of(self, module: Any) -> None:
        if isinstance(module, TargetNetworkAPI):
            module.make_target_networks()

    def _module_added(self, module_id: str) -> None:
        self._targets_of(self._module[module_id])

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Let the target networks follow, where it is time."""
        super().after_gradient_based_update(timesteps=timesteps)
        now = timesteps.get("num_env_steps_sampled_lifetime", 0)
        for module_id, module in self._module.items():
            config = self.config.get_config_for_module(module_id)
            if not isinstance(module, TargetNetworkAPI):
                continue
            if now - self._last_target_update.get(module_id, 0) >= config.target_network_update_freq:
                self._last_target_update[module_id] = now
                for main, target in module.get_target_network_pairs():
                    update_target_network(main, target, config.tau)

    def _more_state(self) -> dict[str, Any]:
        return {**super()._more_state(), "last_target_update": dict(self._last_target_update)}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        super()._set_more_state(state)
        self._last_target_update = dict(state.get("last_target_update", {}))

    def update(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """As everywhere; the TD errors of the rows come along, for priorities."""
        result = super().update(*args, **kwargs)
        if self.td_errors:
            result["_td_errors"] = {m: e.detach().cpu().numpy() for m, e in self.td_errors.items()}
            self.td_errors = {}
        return result


class OffPolicyAlgorithm(Algorithm):
    """Sample a little, store it, learn from draws of everything."""

    def _setup_more(self) -> None:
        config = self.config
        if config.is_online:
            self.local_replay_buffer = replay_buffers.make(
                config.replay_buffer_config, multi_agent=config.is_multi_agent, seed=config.seed
            )
        self._credit = 0.0

    def training_step(self) -> None:
        """One round of sampling, and as many updates as ``training_intensity`` asks for."""
        config, buffer = self.config, self.local_replay_buffer
        sampled = self._steps()[0]
        warm = sampled >= config.num_steps_sampled_before_learning_starts
        arguments = {"random_actions": True} if not warm and self._random_warmup else {}
        episodes = self.sample(num_timesteps=self._round(), **arguments)
        if self._prioritized:
            buffer.add(episodes)
        else:
            buffer.add(episodes)
        if self._steps()[0] < config.num_steps_sampled_before_learning_starts:
            return
        new = self._steps()[0] - sampled
        if config.training_intensity is None:
            self._credit += 1.0
        else:  # rows trained on per step sampled
            self._credit += config.training_intensity * new / config.total_train_batch_size
        updated = False
        while self._credit >= 1.0:
            self._credit -= 1.0
            self._update_once()
            updated = True
        if updated:
            self.sync_weights()
        self.metrics.log_value(
            (REPLAY_BUFFER_RESULTS, "num_env_steps_stored"), buffer.get_num_timesteps(), reduce="item"
        )

    _random_warmup = False  # explore at random until learning begins

    def _round(self) -> int:
        config = self.config
        return config.get_rollout_fragment_length() * config.num_envs_per_env_runner

    @property
    def _prioritized(self) -> bool:
        return hasattr(self.local_replay_buffer, "update_priorities")

    def _draw(self) -> dict[str, Any]:
        config, buffer = self.config, self.local_replay_buffer
        settings: dict[str, Any] = {"n_step": config.n_step, "gamma": config.gamma}
        if self._prioritized:
            settings["beta"] = config.replay_buffer_config.get("beta", 0.4)
        found = buffer.sample(config.total_train_batch_size, **settings)
        return found if config.is_multi_agent else {DEFAULT_MODULE_ID: found}

    def _update_once(self) -> None:
        batch = self._draw()
        arguments: dict[str, Any] = {"batch": batch}
        if self.config.learner_connector is not None:
            from rayjup.rllib.utils.replay_buffers.episode_replay_buffer import _as_episodes

            arguments = {"episodes": [e for columns in batch.values() for e in _as_episodes(columns)]}
        results = self.learn(**arguments)
        if self._prioritized:
            parts = [r.pop("_td_errors") for r in results if "_td_errors" in r]
            for module_id in batch:
                errors = [p[module_id] for p in parts if module_id in p]
                if errors:
                    whole = np.concatenate(errors)
                    if len(whole) == len(batch[module_id]["rewards"]):
                        self.local_replay_buffer.update_priorities(whole, module_id)

    def aggregate_learners(self, results: list[dict[str, Any]]) -> None:
        """TD errors are for the buffer, not for the result."""
        super().aggregate_learners([{k: v for k, v in r.items() if k != "_td_errors"} for r in results])

    def _more_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"credit": self._credit}
        if self.config.store_buffer_in_checkpoints and self.local_replay_buffer is not None:
            state["replay_buffer"] = self.local_replay_buffer.get_state()
        return state

    def _set_more_state(self, state: dict[str, Any]) -> None:
        self._credit = state.get("credit", 0.0)
        if "replay_buffer" in state and self.local_replay_buffer is not None:
            self.local_replay_buffer.set_state(state["replay_buffer"])
