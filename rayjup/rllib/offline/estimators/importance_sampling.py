"""Estimators that weigh recorded rewards by π(a|s) / μ(a|s)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rayjup.rllib.policy.sample_batch import SampleBatch, convert_ma_batch_to_sample_batch
from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor


class OffPolicyEstimator:
    """Base of estimators.

    Parameters
    ----------
    policy
        The policy π to estimate: an `RLModule`, an `Algorithm` (its default module), or an object with
        ``compute_log_likelihoods(actions, obs_batch)``.
    gamma
        Discount.
    epsilon_greedy
        π takes a random action with this probability.
    """

    def __init__(self, policy: Any, gamma: float = 0.0, epsilon_greedy: float = 0.0) -> None:
        self.policy, self.gamma, self.epsilon_greedy = policy, gamma, epsilon_greedy

    # ------------------------------------------------------------ the policy

    @property
    def module(self) -> Any:
        """The policy's module, or None where it only tells likelihoods."""
        policy = self.policy
        policy = policy.get_module() if hasattr(policy, "learner_group") else policy
        return policy if hasattr(policy, "forward_inference") else None

    def distribution(self, obs: Any) -> Any:
        """π(·|s) of a module."""
        module = self.module
        with torch.no_grad():
            out = module.forward_inference({"obs": convert_to_torch_tensor(obs)})
        if "action_dist_inputs" not in out:
            raise ValueError(
                f"{type(module).__name__} says actions, not 'action_dist_inputs': it has no probabilities."
            )
        return module.get_inference_action_dist_cls().from_logits(out["action_dist_inputs"])

    def compute_action_probs(self, batch: SampleBatch) -> np.ndarray:
        """π(a|s) of the recorded actions."""
        if self.module is None:
            logp = self.policy.compute_log_likelihoods(actions=batch["actions"], obs_batch=batch["obs"])
        else:
            logp = self.distribution(batch["obs"]).logp(torch.as_tensor(np.asarray(batch["actions"])))
        probabilities = np.exp(np.asarray(logp, float))
        if self.epsilon_greedy > 0:
            space: Any = getattr(self.policy if self.module is None else self.module, "action_space", None)
            if not hasattr(space, "n"):
                raise ValueError("epsilon_greedy is for Discrete action spaces only.")
            probabilities = (1 - self.epsilon_greedy) * probabilities + self.epsilon_greedy / int(space.n)
        return probabilities

    def ratios(self, batch: SampleBatch) -> np.ndarray:
        """π(a|s) / μ(a|s) of the recorded actions."""
        if "action_prob" in batch:
            recorded = np.asarray(batch["action_prob"], float)
        elif "action_logp" in batch:
            recorded = np.exp(np.asarray(batch["action_logp"], float))
        else:
            raise ValueError(
                "the recorded batch says neither 'action_prob' nor 'action_logp': how likely its actions "
                "were must be known."
            )
        return self.compute_action_probs(batch) / recorded

    # ------------------------------------------------------------ estimates

    def on_before_split_batch_by_episode(self, sample_batch: SampleBatch) -> SampleBatch:
        """Look at a batch before it is split; return what is to be split."""
        return sample_batch

    def on_after_split_batch_by_episode(self, all_episodes: list[SampleBatch]) -> list[SampleBatch]:
        """Look at the episodes; return those that count."""
        return all_episodes

    def peek_on_single_episode(self, episode: SampleBatch) -> None:
        """Look at each episode before any is estimated."""

    def estimate_on_single_episode(self, episode: SampleBatch) -> dict[str, Any]:
        """``v_behavior`` and ``v_target`` of one episode."""
        raise TypeError(f"{type(self).__name__} must define estimate_on_single_episode().")

    def estimate_on_single_step_samples(self, batch: SampleBatch) -> dict[str, list[float]]:
        """``v_behavior`` and ``v_target`` of every row, each taken for an episode of its own."""
        raise TypeError(f"{type(self).__name__} must define estimate_on_single_step_samples().")

    def estimate(self, batch: Any, split_batch_by_episode: bool = True) -> dict[str, Any]:
        """What recorded episodes earned, and what π would have.

        Returns
        -------
        estimate
            ``v_behavior`` and ``v_target`` with standard deviations (``…_std``), their quotient ``v_gain``
            and difference ``v_delta``.
        """
        batch = convert_ma_batch_to_sample_batch(batch)
        batch = self.on_before_split_batch_by_episode(batch)
        if split_batch_by_episode:
            episodes = self.on_after_split_batch_by_episode(batch.split_by_episode())
            for episode in episodes:
                self.peek_on_single_episode(episode)
            found = [self.estimate_on_single_episode(e) for e in episodes]
            behaviour, target = ([f[k] for f in found] for k in ("v_behavior", "v_target"))
        else:
            steps = self.estimate_on_single_step_samples(batch)
            behaviour, target = steps["v_behavior"], steps["v_target"]
        return _summary(behaviour, target)

    def estimate_on_dataset(self, dataset: Any, *, n_parallelism: int = 2) -> dict[str, Any]:
        """`estimate` on a `Dataset` of rayjup.data whose rows are steps with "eps_id", in order."""
        parts = [
            {k: np.stack(list(v)) if v.dtype == object else v for k, v in part.items()}
            for part in dataset.iter_batches(batch_size=None, batch_format="numpy")
        ]
        return self.estimate(SampleBatch({k: np.concatenate([p[k] for p in parts]) for k in parts[0]}))

    def train(self, batch: Any) -> dict[str, Any]:
        """Learn what the estimate needs; nothing, here."""
        return {}


class ImportanceSampling(OffPolicyEstimator):
    """Σ γ^t (Π π/μ) r_t: right on average, with much variance in long episodes.

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.rllib import SampleBatch
    >>> from rayjup.rllib.offline.estimators import ImportanceSampling
    >>> class Always:  # takes action 1
    ...     def compute_log_likelihoods(self, actions, obs_batch):
    ...         return np.where(actions == 1, 0.0, -np.inf)
    >>> recorded = SampleBatch({
    ...     "obs": np.zeros(2), "actions": np.array([0, 1]), "action_prob": np.full(2, 0.5),
    ...     "rewards": np.array([0.0, 1.0]), "terminateds": np.ones(2, bool),
    ... })
    >>> found = ImportanceSampling(Always(), gamma=1.0).estimate(recorded)
    >>> found["v_behavior"], found["v_target"]
    (0.5, 1.0)
    """

    def estimate_on_single_episode(self, episode: SampleBatch) -> dict[str, Any]:
        """Discounted sums."""
        rewards, discounts = np.asarray(episode["rewards"], float), self.gamma ** np.arange(len(episode))
        weights = np.cumprod(self.ratios(episode))
        return {
            "v_behavior": float((discounts * rewards).sum()),
            "v_target": float((discounts * weights * rewards).sum()),
        }

    def estimate_on_single_step_samples(self, batch: SampleBatch) -> dict[str, list[float]]:
        """Weighted rewards."""
        rewards = np.asarray(batch["rewards"], float)
        return {"v_behavior": rewards.tolist(), "v_target": (rewards * self.ratios(batch)).tolist()}


class WeightedImportanceSampling(ImportanceSampling):
    """As `ImportanceSampling`, with the weights of each time step divided by their mean over all episodes:
    a little biased, with much less variance.
    """

    def __init__(self, policy: Any, gamma: float, epsilon_greedy: float = 0.0) -> None:
        super().__init__(policy, gamma, epsilon_greedy)
        self._sums: list[float] = []
        self._counts: list[int] = []

    def on_before_split_batch_by_episode(self, sample_batch: SampleBatch) -> SampleBatch:
        """Means begin anew with each batch."""
        self._sums, self._counts = [], []
        return sample_batch

    def peek_on_single_episode(self, episode: SampleBatch) -> None:
        """Sum up the weights of each time step."""
        for t, weight in enumerate(np.cumprod(self.ratios(episode)).tolist()):
            if t == len(self._sums):
                self._sums.append(0.0)
                self._counts.append(0)
            self._sums[t] += weight
            self._counts[t] += 1

    def estimate_on_single_episode(self, episode: SampleBatch) -> dict[str, Any]:
        """Discounted sums."""
        rewards, steps = np.asarray(episode["rewards"], float), len(episode)
        mean = np.asarray(self._sums[:steps]) / np.maximum(self._counts[:steps], 1)
        weights = np.cumprod(self.ratios(episode)) / np.where(mean > 0, mean, 1.0)
        discounts = self.gamma ** np.arange(steps)
        return {
            "v_behavior": float((discounts * rewards).sum()),
            "v_target": float((discounts * weights * rewards).sum()),
        }

    def estimate_on_single_step_samples(self, batch: SampleBatch) -> dict[str, list[float]]:
        """Weighted rewards; the weights' mean is 1."""
        rewards, ratios = np.asarray(batch["rewards"], float), self.ratios(batch)
        weights = ratios / ratios.mean() if ratios.any() else ratios
        return {"v_behavior": rewards.tolist(), "v_target": (rewards * weights).tolist()}


def _summary(behaviour: list[float], target: list[float]) -> dict[str, float]:
    before, after = float(np.mean(behaviour)), float(np.mean(target))
    return {
        "v_behavior": before,
        "v_behavior_std": float(np.std(behaviour)),
        "v_target": after,
        "v_target_std": float(np.std(target)),
        "v_gain": after / max(before, 1e-8) if before >= 0 else after / before,
        "v_delta": after - before,
    }
