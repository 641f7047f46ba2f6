"""A dict space that can be written to."""

from __future__ import annotations

from typing import Any

import gymnasium


class FlexDict(gymnasium.spaces.Dict):
    """A `Dict` space whose entries can be set one by one.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from rayjup.rllib.utils.spaces.flexdict import FlexDict
    >>> space = FlexDict()
    >>> space["a"] = gym.spaces.Discrete(2)
    >>> space.contains({"a": 1})
    True
    """

    def __init__(self, spaces: Any = None, **spaces_kwargs: Any) -> None:
        super().__init__({**(spaces or {}), **spaces_kwargs})

    def assertSpace(self, space: Any) -> None:
        """Raise unless this is a space."""
        assert isinstance(space, gymnasium.Space), f"{space!r} is no space: entries must be."

    def __setitem__(self, key: Any, space: Any) -> None:
        self.assertSpace(space)
        self.spaces[key] = space

    def sample(self, mask: Any = None, probability: Any = None) -> dict[Any, Any]:
        """A random member."""
        return {key: space.sample() for key, space in self.spaces.items()}
