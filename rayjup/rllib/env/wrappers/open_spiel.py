"""Games of OpenSpiel (`pip install open_spiel`), played in turn."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from rayjup.rllib.env.multi_agent_env import MultiAgentEnv


class OpenSpielEnv(MultiAgentEnv):
    """A game for several players; agents are the players' numbers. A forbidden move costs 0.1 and is
    replaced.

    Parameters
    ----------
    env
        A game of ``pyspiel``.
    """

    def __init__(self, env: Any) -> None:
        super().__init__()
        self.env = env
        self.possible_agents = list(range(env.num_players()))
        self.agents = list(self.possible_agents)
        self.type = env.get_type()
        shape = env.observation_tensor_shape()
        self.observation_spaces = {
            a: gym.spaces.Box(-np.inf, np.inf, tuple(shape), np.float32) for a in self.agents
        }
        self.action_spaces = {a: gym.spaces.Discrete(env.num_distinct_actions()) for a in self.agents}
        self.state: Any = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """A new game."""
        gym.Env.reset(self, seed=seed)
        self.state = self.env.new_initial_state()
        self._chance()
        return self._see(), {}

    def step(self, action: dict[Any, Any]) -> tuple[dict, dict, dict, dict, dict]:  # type: ignore[override]
        """The moves of those whose turn it is."""
        penalties = {}
        if self.state.is_simultaneous_node():
            self.state.apply_actions([int(action[a]) for a in self.possible_agents])
        else:
            player = self.state.current_player()
            move = int(action[player])
            if move not in self.state.legal_actions():
                penalties[player] = -0.1
                move = int(self.np_random.choice(self.state.legal_actions()))
            self.state.apply_action(move)
        self._chance()
        rewards = dict(enumerate(float(r) for r in self.state.rewards()))
        for player, cost in penalties.items():
            rewards[player] = rewards.get(player, 0.0) + cost
        over = self.state.is_terminal()
        return self._see(), rewards, {"__all__": over}, {"__all__": False}, {}

    def render(self, mode: Any = None) -> None:
        """Write the state of the game."""
        import sys

        sys.stdout.write(f"{self.state}\n")

    def _chance(self) -> None:
        while self.state.is_chance_node():
            moves, weights = zip(*self.state.chance_outcomes(), strict=True)
            self.state.apply_action(int(self.np_random.choice(moves, p=weights)))

    def _see(self) -> dict[Any, Any]:
        everyone = self.state.is_terminal() or self.state.is_simultaneous_node()
        players = self.possible_agents if everyone else [self.state.current_player()]
        shape = self.env.observation_tensor_shape()
        return {p: np.reshape(self.state.observation_tensor(p), shape).astype(np.float32) for p in players}
