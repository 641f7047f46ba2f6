"""What trainers of gradient-boosted trees share: two spellings, shards as tables, reports per round."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.backend import BackendConfig
from rayjup.train.data_config import TRAIN_DATASET_KEY, DataConfig
from rayjup.train.data_parallel_trainer import DataParallelTrainer
from rayjup.train.reporting import ValidationConfig

_DEFAULT_ROUNDS = 10


class GBDTTrainer(DataParallelTrainer):
    """A trainer of gradient-boosted trees.

    Either with a training function, or in the older spelling with ``params``, ``label_column`` and
    ``num_boost_round``: then all data sets are evaluated after each round, and ``datasets["train"]``
    is learnt from.
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any] | None = None,
        *,
        train_loop_config: dict[str, Any] | None = None,
        backend_config: BackendConfig | None = None,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        datasets: dict[str, Any] | None = None,
        dataset_config: DataConfig | None = None,
        validation_config: ValidationConfig | None = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        label_column: str | None = None,
        params: dict[str, Any] | None = None,
        num_boost_round: int | None = None,
        preprocessor: Any = None,
        **train_kwargs: Any,
    ) -> None:
        older = label_column is not None or params is not None
        name = type(self).__name__
        if train_loop_per_worker is None and not older:
            raise TypeError(f"{name} needs a train_loop_per_worker, or params, label_column and datasets")
        if train_loop_per_worker is not None and (older or train_kwargs):
            given = sorted(train_kwargs) or ["params", "label_column"]
            raise TypeError(f"{name} takes a train_loop_per_worker or {', '.join(given)}, not both")
        if older and (label_column is None or TRAIN_DATASET_KEY not in (datasets or {})):
            raise ValueError(
                f"{name}: with params it also needs label_column and datasets={{'train': ...}}; there are "
                f"label_column={label_column!r} and datasets {sorted(datasets or {})}"
            )
        super().__init__(
            train_loop_per_worker or _nothing,
            train_loop_config=train_loop_config,
            backend_config=backend_config,
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            validation_config=validation_config,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
            preprocessor=preprocessor,
        )
        self.label_column = label_column
        self.params = params
        self.num_boost_round = num_boost_round
        self.train_kwargs = train_kwargs

    def _rounds(self) -> Callable[..., None]:
        """The function that trains in the older spelling: ``(label_column, params, rounds, names,
        kwargs)``."""
        raise NotImplementedError

    def _training_function(self) -> tuple[Callable[..., Any], dict[str, Any] | None]:
        if self.label_column is None:
            return self.train_loop_per_worker, self.train_loop_config
        kept = self.run_config.checkpoint_config
        frequency = kept.checkpoint_frequency if kept is not None else 0
        at_end = kept.checkpoint_at_end if kept is not None else None
        function = functools.partial(
            self._rounds(),
            self.label_column,
            dict(self.params or {}),
            self.num_boost_round or _DEFAULT_ROUNDS,
            sorted(self.datasets),
            {**self.train_kwargs, "_frequency": frequency or 0, "_at_end": at_end is not False},
        )
        return function, None


def _nothing() -> None:
    """Stands for the training function in the older spelling."""


def table_of(shard: Any) -> Any:
    """A worker's share as a pandas table. A table that all workers got whole is divided by rows."""
    if hasattr(shard, "materialize"):
        shard = shard.materialize()
    if hasattr(shard, "to_pandas"):
        return shard.to_pandas()
    run = session.require("a data set")
    return shard.iloc[run.world_rank :: run.world_size] if hasattr(shard, "iloc") else shard


def features_and_label(shard: Any, label_column: str) -> tuple[Any, Any]:
    """A share as features and label."""
    table = table_of(shard)
    if label_column not in table.columns:
        raise KeyError(f"there is no label_column {label_column!r}; the data has {list(table.columns)[:20]}")
    return table.drop(columns=[label_column]), table[label_column]


class ReportEachRound:
    """What callbacks of both libraries do: choose metrics, report, and save models at the right rounds.

    Parameters
    ----------
    metrics
        Which are reported: all, one, several, or renamed (``{new name: name}``).
    filename
        Name of the model's file in the checkpoint.
    frequency
        A checkpoint every so many rounds; 0 for none before the end.
    checkpoint_at_end
        Whether there is one at the end.
    results_postprocessing_fn
        Changes the metrics before they are reported.
    """

    def __init__(
        self,
        metrics: str | list[str] | dict[str, str] | None = None,
        filename: str = "model",
        frequency: int = 0,
        checkpoint_at_end: bool = True,
        results_postprocessing_fn: Callable[[dict[str, Any]], dict[str, float]] | None = None,
    ) -> None:
        if isinstance(metrics, str):
            metrics = [metrics]
        self._metrics = metrics
        self._filename = filename
        self._frequency = frequency
        self._at_end = checkpoint_at_end
        self._change = results_postprocessing_fn
        self._last: dict[str, Any] = {}
        self._saved_at = -1

    def round_done(self, number: int, found: Mapping[str, Any], save: Callable[[str], None]) -> None:
        """After round ``number`` (from 0), with all metrics by name."""
        self._last = self._chosen(found)
        if self._frequency and (number + 1) % self._frequency == 0:
            self._saved_at = number
            self._with_checkpoint(save)
        else:
            # Ranks have just met in the library's own collective; they need not wait for each other again.
            session.report(self._last, options={"_wait": False})

    def training_done(self, number: int, save: Callable[[str], None]) -> None:
        """After the last round."""
        if self._at_end and self._saved_at != number:
            self._with_checkpoint(save)

    def _with_checkpoint(self, save: Callable[[str], None]) -> None:
        run = session.require("the report callback")
        if run.world_rank != 0:
            session.report(self._last)
            return
        import os
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            save(os.path.join(directory, self._filename))
            session.report(self._last, checkpoint=Checkpoint.from_directory(directory))

    def _chosen(self, found: Mapping[str, Any]) -> dict[str, Any]:
        if self._metrics is None:
            chosen = dict(found)
        elif isinstance(self._metrics, Mapping):
            chosen = {new: found[name] for new, name in self._metrics.items()}
        else:
            chosen = {name: found[name] for name in self._metrics}
        return self._change(chosen) if self._change is not None else chosen
