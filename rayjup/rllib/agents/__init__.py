"""Names of Ray 1: ``rllib.agents.ppo.PPOTrainer`` and its like, translated into today's algorithms."""

from __future__ import annotations

import sys
import types
from typing import Any

from rayjup.rllib.algorithms import _legacy

_NAMES = ("APPO", "BC", "CQL", "DQN", "Impala", "MARWIL", "PPO", "SAC")


class _Agents(types.ModuleType):
    """``rayjup.rllib.agents.ppo``: trainer and default config."""

    def __init__(self, name: str) -> None:
        super().__init__(f"rayjup.rllib.agents.{name.lower()}", f"{name} under its names of Ray 1.")
        self._name = name

    def __getattr__(self, name: str) -> Any:
        import rayjup.rllib.algorithms as algorithms

        if name.startswith("__"):
            raise AttributeError(name)
        algorithm = getattr(algorithms, self._name)
        if name == f"{self._name}Trainer":
            found: Any = _legacy.trainer(name, algorithm)
        elif name == "DEFAULT_CONFIG":
            found = algorithm.get_default_config().to_dict()
        elif name in (self._name, f"{self._name}Config"):
            found = getattr(algorithms, name)
        else:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        setattr(self, name, found)
        return found


for _name in _NAMES:
    _module = _Agents(_name)
    sys.modules[_module.__name__] = _module
    globals()[_name.lower()] = _module
