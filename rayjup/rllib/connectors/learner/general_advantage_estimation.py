"""Generalized advantage estimation.

Source: Schulman, Moritz, Levine, Jordan, Abbeel, "High-Dimensional Continuous Control Using Generalized
Advantage Estimation", ICLR 2016. In its symbols: δ_t = r_t + γ V(s_{t+1}) - V(s_t),
Â_t = Σ_l (γλ)^l δ_{t+l}; V is 0 behind a terminal step, and the value of the last observation behind a
truncated one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.connectors.connector_v2 import ConnectorV2, episodes_of
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.core.rl_module.apis import ValueFunctionAPI
from rayjup.rllib.utils import nested


class GeneralAdvantageEstimation(ConnectorV2):
    """Adds "advantages" (standardized) and "value_targets" to the train batch.

    Parameters
    ----------
    gamma, lambda_
        γ and λ.
    """

    def __init__(
        self,
        input_observation_space: Any = None,
        input_action_space: Any = None,
        *,
        gamma: float = 0.99,
        lambda_: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, gamma=gamma, lambda_=lambda_, **kwargs)
        self.gamma, self.lambda_ = gamma, lambda_

    def __call__(self, *, rl_module: Any, batch: dict, episodes: list, **kwargs: Any) -> Any:
        """Estimate per module."""
        own: dict[str, list] = {}
        only = next(iter(rl_module.keys()))
        for episode in episodes_of(episodes):
            own.setdefault(episode.module_id if episode.module_id in rl_module else only, []).append(episode)
        for module_id, columns in batch.items():
            module = rl_module[module_id]
            if isinstance(module, ValueFunctionAPI) and module_id in own:
                self._estimate(module, columns, own[module_id])
        return batch

    def _estimate(self, module: Any, columns: dict[str, Any], episodes: list[Any]) -> None:
        import torch

        from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor

        device = nested.first_leaf(columns[Columns.OBS]).device
        recurrent = module.is_stateful()
        with torch.no_grad():
            if recurrent:
                values = module.compute_values(columns).detach().cpu().numpy()
                lengths = columns[Columns.SEQ_LENS].cpu().numpy()
                flat = np.concatenate([row[:n] for row, n in zip(values, lengths, strict=True)])
                # The last step of each is artificial: its observation is the one behind the last real step.
                sizes = [len(e) for e in episodes]
                rewards = [np.asarray(e.get_rewards(), np.float32)[:-1] for e in episodes]
            else:
                observations = nested.concatenate(
                    [e.get_observations(slice(0, len(e) + 1)) for e in episodes]
                )
                tensors = convert_to_torch_tensor(observations, device)
                flat = module.compute_values({Columns.OBS: tensors}).cpu().numpy()
                sizes = [len(e) + 1 for e in episodes]
                rewards = [np.asarray(e.get_rewards(), np.float32) for e in episodes]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        advantages = []
        for episode, r, v in zip(episodes, rewards, parts, strict=True):
            advantages.append(gae(r, v, episode.is_terminated, self.gamma, self.lambda_))
        targets = [a + v[:-1] for a, v in zip(advantages, parts, strict=True)]
        whole = np.concatenate(advantages)
        mean, std = whole.mean(), max(1e-4, float(whole.std()))
        standardized = [(a - mean) / std for a in advantages]
        for column, found in ((Columns.ADVANTAGES, standardized), (Columns.VALUE_TARGETS, targets)):
            if recurrent:
                found = [np.append(part, np.float32(0)) for part in found]
            flat_found = np.concatenate(found).astype(np.float32)
            if recurrent:
                padded = np.zeros(columns[Columns.LOSS_MASK].shape, np.float32)
                padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat_found
                flat_found = padded
            columns[column] = torch.from_numpy(flat_found).to(device)


def gae(
    rewards: np.ndarray, values: np.ndarray, terminated: bool, gamma: float, lambda_: float
) -> np.ndarray:
    """Advantages of one episode or chunk.

    Parameters
    ----------
    rewards
        r_0 … r_{T-1}.
    values
        V(s_0) … V(s_T); the last one counts unless the episode terminated.
    terminated
        Whether the last step was terminal.
    gamma, lambda_
        γ and λ.

    Examples
    --------
    >>> import numpy as np
    >>> from rayjup.rllib.connectors.learner.general_advantage_estimation import gae
    >>> gae(np.array([1.0, 1.0]), np.array([0.5, 0.5, 0.0]), True, 1.0, 1.0)
    array([1.5, 0.5], dtype=float32)
    """
    following = values[1:].astype(np.float64)
    if terminated:
        following[-1] = 0.0
    deltas = (rewards + gamma * following - values[:-1]).tolist()
    decay, total = gamma * lambda_, 0.0
    for t in range(len(deltas) - 1, -1, -1):  # plain floats: faster than NumPy's scalars
        total = deltas[t] + decay * total
        deltas[t] = total
    return np.asarray(deltas, np.float32)
