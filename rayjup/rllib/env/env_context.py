"""EnvContext: an environment's settings, and which of many environments it is."""

from __future__ import annotations

import copy
from typing import Any


class EnvContext(dict):
    """A dict (``env_config``) with the place of the environment.

    Examples
    --------
    >>> from rayjup.rllib.env import EnvContext
    >>> context = EnvContext({"size": 5}, worker_index=2, vector_index=1)
    >>> context["size"], context.worker_index, context.vector_index
    (5, 2, 1)
    """

    def __init__(
        self,
        env_config: dict,
        worker_index: int,
        vector_index: int = 0,
        remote: bool = False,
        num_workers: int | None = None,
        recreated_worker: bool = False,
    ) -> None:
        super().__init__(env_config)
        self.worker_index, self.vector_index = worker_index, vector_index
        self.remote, self.num_workers, self.recreated_worker = remote, num_workers, recreated_worker

    def copy_with_overrides(
        self,
        env_config: dict | None = None,
        worker_index: int | None = None,
        vector_index: int | None = None,
        remote: bool | None = None,
        num_workers: int | None = None,
        recreated_worker: bool | None = None,
    ) -> EnvContext:
        """A copy with another place."""

        def either(new: Any, old: Any) -> Any:
            return old if new is None else new

        return EnvContext(
            copy.deepcopy(either(env_config, dict(self))),
            either(worker_index, self.worker_index),
            either(vector_index, self.vector_index),
            either(remote, self.remote),
            either(num_workers, self.num_workers),
            either(recreated_worker, self.recreated_worker),
        )

    def set_defaults(self, defaults: dict) -> None:
        """Take settings that are not there yet."""
        for key, value in defaults.items():
            self.setdefault(key, value)
