"""PolicySpec: how a program says a module's spaces and settings in ``multi_agent(policies=…)``."""

from __future__ import annotations

from typing import Any


class PolicySpec:
    """Spaces and settings of one module.

    Examples
    --------
    >>> from rayjup.rllib.policy.policy import PolicySpec
    >>> PolicySpec(config={"lr": 1e-3}).config
    {'lr': 0.001}
    """

    def __init__(
        self,
        policy_class: Any = None,
        observation_space: Any = None,
        action_space: Any = None,
        config: Any = None,
    ) -> None:
        self.policy_class = policy_class
        self.observation_space, self.action_space, self.config = observation_space, action_space, config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PolicySpec) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((id(self.policy_class), str(self.observation_space), str(self.action_space)))
