"""OfflineData: recorded steps, and random draws of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rayjup.rllib.connectors.module_to_env.actions import to_unit
from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.columns import Columns
from rayjup.rllib.offline import parquet
from rayjup.rllib.utils import nested


class OfflineData:
    """Recorded data of a config (``offline_data(input_=…)``).

    ``input_`` is a path or a list of paths (Parquet files or directories), ``"minari:<dataset id>"``, or a
    `Dataset` of rayjup.data. Data are read once and stay in memory.

    Parameters
    ----------
    config
        The `AlgorithmConfig`.
    """

    def __init__(self, config: Any) -> None:
        self.config = config
        self.rng = np.random.default_rng(config.seed)
        self.columns, normalized = self._read()
        normalized = config.actions_in_input_normalized if normalized is None else normalized
        space = config.action_space
        if not normalized and config.normalize_actions and space is not None:
            self.columns[Columns.ACTIONS] = to_unit(space, self.columns[Columns.ACTIONS])
        self.num_steps = nested.length(self.columns[Columns.OBS])
        self._episodes: list[Any] | None = None

    def _read(self) -> tuple[dict[str, Any], bool | None]:
        import pyarrow as pa

        config, given = self.config, self.config.input_
        schema = config.input_read_schema
        if hasattr(given, "iter_batches"):
            return parquet.columns_of(_table(given), schema)
        paths = [given] if isinstance(given, (str, Path)) else list(given)
        if str(paths[0]).startswith("minari:"):
            from rayjup.rllib.offline import minari

            return minari.columns_of([str(p)[len("minari:") :] for p in paths]), False
        if config.input_read_method == "read_parquet" and not config.input_read_method_kwargs:
            import pyarrow.parquet as pq

            tables = [pq.read_table(str(p), filesystem=config.input_filesystem) for p in paths]
            return parquet.columns_of(pa.concat_tables(tables), schema)
        import rayjup.data

        method = config.input_read_method
        read = getattr(rayjup.data, method) if isinstance(method, str) else method
        dataset = read(paths, **config.input_read_method_kwargs)
        return parquet.columns_of(_table(dataset), schema)

    @property
    def data(self) -> Any:
        """The recorded steps as a `Dataset` of rayjup.data."""
        import rayjup.data

        return rayjup.data.from_arrow(parquet.to_table(self.episodes, normalized=True))

    @property
    def episodes(self) -> list[Any]:
        """The recorded episodes."""
        if self._episodes is None:
            self._episodes = parquet.to_episodes(self.columns)
        return self._episodes

    def default_iter_batches_kwargs(self) -> dict[str, Any]:
        """Arguments for `Dataset.iter_batches`."""
        return {"prefetch_batches": 2}

    default_map_batches_kwargs = default_iter_batches_kwargs

    def sample(self, num_samples: int, return_iterator: bool = False, num_shards: int = 1) -> Any:
        """A random draw.

        Parameters
        ----------
        num_samples
            Steps.
        return_iterator
            An endless iterator of such draws (one per shard, in a list) instead.

        Returns
        -------
        drawn
            Columns by module; or episodes of so many steps, where the loss looks at more than single steps.
        """
        if return_iterator:
            return [self._endless(num_samples) for _ in range(max(1, num_shards))]
        if self._whole_episodes():
            found: list[Any] = []
            steps = 0
            while steps < num_samples:
                episode = self.episodes[self.rng.integers(len(self.episodes))]
                left = num_samples - steps
                if len(episode) > left:  # a random piece of it
                    begin = int(self.rng.integers(len(episode) - left + 1))
                    episode = episode.slice(slice(begin, begin + left))
                found.append(episode)
                steps += len(episode)
            return found
        places = self.rng.integers(self.num_steps, size=num_samples)
        names = (
            Columns.OBS, Columns.NEXT_OBS, Columns.ACTIONS, Columns.REWARDS, Columns.TERMINATEDS,
            Columns.TRUNCATEDS,
        )  # fmt: skip
        columns = {k: nested.take(self.columns[k], places) for k in names if k in self.columns}
        columns[Columns.REWARDS] = np.asarray(columns[Columns.REWARDS], np.float32)
        return {DEFAULT_MODULE_ID: columns}

    def _endless(self, num_samples: int) -> Any:
        while True:
            yield self.sample(num_samples)

    def _whole_episodes(self) -> bool:
        config = self.config
        settings = config.model_config
        return (
            getattr(config, "needs_returns", False)
            or bool(settings.get("use_lstm"))
            or config.learner_connector is not None
            or config.input_read_episodes
        )


def _table(dataset: Any) -> Any:
    import pyarrow as pa

    return pa.concat_tables(list(dataset.iter_batches(batch_size=None, batch_format="pyarrow")))


class OfflinePreLearner:
    """Recorded rows to episodes and train batches, as a function over batches of a `Dataset`.

    Parameters
    ----------
    config
        The `AlgorithmConfig`.
    learner
        A learner; its pipeline is used.
    """

    def __init__(self, *, config: Any, learner: Any = None, **kwargs: Any) -> None:
        self.config = config
        self.learner = learner if learner is not None else config.build_learner(spaces=kwargs.get("spaces"))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch of rows as a train batch by module (arrays)."""
        from rayjup.rllib.core.learner.training_data import TrainingData
        from rayjup.rllib.utils.numpy import convert_to_numpy

        episodes = parquet.to_episodes(batch)
        return convert_to_numpy(self.learner.train_batch(TrainingData(episodes=episodes)))
