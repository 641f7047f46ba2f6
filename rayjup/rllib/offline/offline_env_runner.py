"""An env runner that records what it samples."""

from __future__ import annotations

from typing import Any

from rayjup.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from rayjup.rllib.offline import parquet


class OfflineSingleAgentEnvRunner(SingleAgentEnvRunner):
    """Writes Parquet files into ``config.output``, one per ``output_max_rows_per_file`` steps (or per
    `sample()`).
    """

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        if not config.output:
            raise ValueError("recording needs a directory: say offline_data(output=…).")
        self._waiting: list[Any] = []

    def sample(self, **kwargs: Any) -> Any:
        """Sample, and write."""
        episodes = super().sample(**kwargs)
        self._waiting.extend(episodes)
        most = self.config.output_max_rows_per_file
        if most is None or sum(len(e) for e in self._waiting) >= most:
            self._write()
        return episodes

    def _write(self) -> None:
        if self._waiting:
            parquet.write(
                self._waiting,
                self.config.output,
                normalized=self.config.normalize_actions,
                filesystem=self.config.output_filesystem,
            )
            self._waiting = []

    def stop(self) -> None:
        """Write the rest (``output_write_remaining_data``), close the environments."""
        if self.config.output_write_remaining_data:
            self._write()
        super().stop()
