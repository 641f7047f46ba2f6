"""Lists of up to so many members of a space."""

from __future__ import annotations

from typing import Any

import gymnasium


class Repeated(gymnasium.Space):
    """Lists of 1 … ``max_len`` members of ``child_space``.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from rayjup.rllib.utils.spaces.repeated import Repeated
    >>> Repeated(gym.spaces.Discrete(2), max_len=3).contains([0, 1])
    True
    """

    def __init__(self, child_space: Any, max_len: int) -> None:
        super().__init__()
        self.child_space, self.max_len = child_space, max_len

    def sample(self, mask: Any = None, probability: Any = None) -> list[Any]:
        """A list of random length."""
        return [self.child_space.sample() for _ in range(int(self.np_random.integers(1, self.max_len + 1)))]

    def contains(self, x: Any) -> bool:
        """Whether a list is not too long, and of members."""
        return (
            isinstance(x, (list, tuple)) and len(x) <= self.max_len and all(map(self.child_space.contains, x))
        )
