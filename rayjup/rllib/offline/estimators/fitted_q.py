"""Estimators with a model Q of what π earns, fitted to the recorded steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rayjup.rllib.offline.estimators.importance_sampling import OffPolicyEstimator
from rayjup.rllib.policy.sample_batch import SampleBatch, convert_ma_batch_to_sample_batch


class FittedQ:
    """Q(s, a) ← r + γ Σ_a' π(a'|s') Q(s', a'), a small network over vectors.

    Parameters
    ----------
    estimator
        Says π.
    settings
        ``n_iters``, ``lr``, ``minibatch_size``, ``tau``, ``hiddens``, ``seed``.
    """

    def __init__(self, estimator: OffPolicyEstimator, settings: dict | None) -> None:
        self.estimator = estimator
        self.settings = {
            "n_iters": 200, "lr": 1e-2, "minibatch_size": 256, "tau": 0.05, "hiddens": [32], "seed": 0,
            **(settings or {}),
        }  # fmt: skip
        self.net: Any = None

    def _build(self, width: int, count: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings["seed"])
            self.net, self.slow = (self._network(width, count) for _ in range(2))
        self.slow.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.Adam(self.net.parameters(), self.settings["lr"])
        self.rng = np.random.default_rng(self.settings["seed"])

    def _network(self, width: int, count: int) -> Any:
        layers: list[Any] = []
        for units in self.settings["hiddens"]:
            layers += [torch.nn.Linear(width, units), torch.nn.ReLU()]
            width = units
        return torch.nn.Sequential(*layers, torch.nn.Linear(width, count))

    def policy(self, obs: Any) -> torch.Tensor:
        """π(·|s), (rows, actions)."""
        estimator = self.estimator
        found = estimator.distribution(obs)
        if not hasattr(found, "probs"):
            raise ValueError("a fitted Q needs a module with a Discrete action space.")
        greedy = estimator.epsilon_greedy
        return (1 - greedy) * found.probs + greedy / found.probs.shape[-1]

    def train(self, batch: SampleBatch) -> float:
        """Fit; returns the last loss."""
        obs, new_obs = _flat(batch["obs"]), _flat(batch["new_obs"])
        actions = torch.as_tensor(np.asarray(batch["actions"])).long()
        rewards = torch.as_tensor(np.asarray(batch["rewards"], np.float32))
        going_on = 1.0 - torch.as_tensor(np.asarray(batch["terminateds"], np.float32))
        ahead = self.policy(batch["new_obs"])
        if self.net is None:
            self._build(obs.shape[1], ahead.shape[1])
        settings, loss = self.settings, torch.zeros(())
        for _ in range(settings["n_iters"]):
            rows = self.rng.integers(len(obs), size=min(len(obs), settings["minibatch_size"]))
            with torch.no_grad():
                values = (ahead[rows] * self.slow(new_obs[rows])).sum(-1)
                y = rewards[rows] + self.estimator.gamma * going_on[rows] * values
            q = self.net(obs[rows]).gather(1, actions[rows, None]).squeeze(1)
            loss = torch.nn.functional.mse_loss(q, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            for slow, fast in zip(self.slow.parameters(), self.net.parameters(), strict=True):
                slow.data.lerp_(fast.data, settings["tau"])
        return float(loss.detach())

    @torch.no_grad()
    def q_and_v(self, batch: SampleBatch) -> tuple[np.ndarray, np.ndarray]:
        """Q(s, a) of the recorded actions, and V(s)."""
        if self.net is None:
            raise ValueError("there is no model yet: call train() with recorded steps before estimating.")
        q = self.net(_flat(batch["obs"]))
        v = (self.policy(batch["obs"]) * q).sum(-1)
        actions = torch.as_tensor(np.asarray(batch["actions"])).long()
        return q.gather(1, actions[:, None]).squeeze(1).numpy().astype(float), v.numpy().astype(float)


class DirectMethod(OffPolicyEstimator):
    """V(s_0) of a fitted Q: little variance, as wrong as the model."""

    def __init__(
        self, policy: Any, gamma: float, epsilon_greedy: float = 0.0, q_model_config: dict | None = None
    ) -> None:
        super().__init__(policy, gamma, epsilon_greedy)
        self.model = FittedQ(self, q_model_config)

    def train(self, batch: Any) -> dict[str, Any]:
        """Fit Q to recorded steps."""
        return {"loss": self.model.train(convert_ma_batch_to_sample_batch(batch))}

    def estimate_on_single_episode(self, episode: SampleBatch) -> dict[str, Any]:
        """The discounted sum, and V of the first observation."""
        discounts = self.gamma ** np.arange(len(episode))
        return {
            "v_behavior": float((discounts * np.asarray(episode["rewards"], float)).sum()),
            "v_target": float(self.model.q_and_v(episode[:1])[1][0]),
        }

    def estimate_on_single_step_samples(self, batch: SampleBatch) -> dict[str, list[float]]:
        """Rewards, and V of every row."""
        values = self.model.q_and_v(batch)[1]
        return {"v_behavior": np.asarray(batch["rewards"], float).tolist(), "v_target": values.tolist()}


class DoublyRobust(DirectMethod):
    """V(s) + π/μ (r + γ V' - Q(s, a)): right if the model is, or if the likelihoods are."""

    def __init__(
        self,
        policy: Any,
        gamma: float,
        epsilon_greedy: float = 0.0,
        normalize_weights: bool = True,
        q_model_config: dict | None = None,
    ) -> None:
        super().__init__(policy, gamma, epsilon_greedy, q_model_config)
        self.normalize_weights = normalize_weights

    def estimate_on_single_episode(self, episode: SampleBatch) -> dict[str, Any]:
        """From the last step to the first."""
        rewards = np.asarray(episode["rewards"], float)
        ratios = self.ratios(episode)
        if self.normalize_weights and ratios.any():
            ratios = ratios / ratios.mean()
        q, v = self.model.q_and_v(episode)
        target = 0.0
        for t in range(len(episode) - 1, -1, -1):
            target = v[t] + ratios[t] * (rewards[t] + self.gamma * target - q[t])
        discounts = self.gamma ** np.arange(len(episode))
        return {"v_behavior": float((discounts * rewards).sum()), "v_target": float(target)}

    def estimate_on_single_step_samples(self, batch: SampleBatch) -> dict[str, list[float]]:
        """Every row for itself."""
        rewards, ratios = np.asarray(batch["rewards"], float), self.ratios(batch)
        if self.normalize_weights and ratios.any():
            ratios = ratios / ratios.mean()
        q, v = self.model.q_and_v(batch)
        return {"v_behavior": rewards.tolist(), "v_target": (v + ratios * (rewards - q)).tolist()}


class FeatureImportance:
    """How often another action becomes the best one when one feature's values change places.

    Parameters
    ----------
    policy
        An `RLModule` or an `Algorithm`.
    repeat
        Shuffles per feature; the mean counts.
    limit_fraction
        Share of a dataset's rows that is looked at.
    perturb_fn
        ``f(table, column)`` on a copy of the observations (a DataFrame or an array) instead of shuffling.
    """

    def __init__(
        self, policy: Any, repeat: int = 1, limit_fraction: float = 1.0, perturb_fn: Any = None
    ) -> None:
        self.policy, self.repeat, self.limit_fraction, self.perturb_fn = (
            policy, repeat, limit_fraction, perturb_fn,
        )  # fmt: skip

    def estimate(self, batch: Any) -> dict[str, Any]:
        """{"feature_0": …, …}: from 0 (no influence) to 1."""
        obs = np.asarray(convert_ma_batch_to_sample_batch(batch)["obs"])
        estimator, rng = OffPolicyEstimator(self.policy), np.random.default_rng(0)

        def best(seen: np.ndarray) -> np.ndarray:
            return np.asarray(estimator.distribution(seen).to_deterministic().sample())

        usual = best(obs)
        found = {}
        for place in range(obs.shape[-1]):
            changed = []
            for _ in range(self.repeat):
                other = obs.copy()
                if self.perturb_fn is None:
                    other[..., place] = rng.permutation(other[..., place])
                else:
                    other = _perturbed(self.perturb_fn, other, place)
                different = (best(other) != usual).reshape(len(obs), -1).any(1)
                changed.append(float(different.mean()))
            found[f"feature_{place}"] = float(np.mean(changed))
        return found

    def estimate_on_dataset(self, dataset: Any, *, n_parallelism: int = 2) -> dict[str, Any]:
        """`estimate` on rows of a `Dataset` of rayjup.data with a column "obs"."""
        count = max(1, int(dataset.count() * self.limit_fraction))
        rows = [row["obs"] for row in dataset.limit(count).iter_rows()]
        return self.estimate(SampleBatch({"obs": np.stack([np.asarray(r) for r in rows])}))


def _perturbed(function: Any, obs: np.ndarray, place: int) -> np.ndarray:
    import pandas as pd

    table = pd.DataFrame(obs.reshape(len(obs), -1))
    changed = function(table, place)
    return (table if changed is None else changed).to_numpy(obs.dtype).reshape(obs.shape)


def _flat(obs: Any) -> torch.Tensor:
    array = np.asarray(obs, np.float32)
    return torch.as_tensor(array.reshape(len(array), -1))
