"""`XGBoostTrainer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.data_config import TRAIN_DATASET_KEY, DataConfig
from rayjup.train.gbdt_trainer import GBDTTrainer, features_and_label
from rayjup.train.reporting import ValidationConfig
from rayjup.train.xgboost.config import XGBoostConfig


class XGBoostTrainer(GBDTTrainer):
    """Trains XGBoost on several workers, which are members of its collective.

    Parameters
    ----------
    train_loop_per_worker, train_loop_config
        The training function and its argument; in it ``xgboost.train`` works on all workers together.
    xgboost_config
        How workers find each other.
    scaling_config, run_config, datasets, dataset_config, validation_config, metadata, resume_from_checkpoint
        As of `rayjup.train.data_parallel_trainer.DataParallelTrainer`.
    label_column, params, num_boost_round
        The older spelling: instead of a function, what ``xgboost.train`` gets.
    preprocessor, train_kwargs
        Of the older spelling: applied to the data; further arguments of ``xgboost.train``.

    Examples
    --------
    >>> import tempfile
    >>> import pandas
    >>> from rayjup import train
    >>> from rayjup.train.xgboost import XGBoostTrainer
    >>> table = pandas.DataFrame({"x": range(100), "y": [i % 2 for i in range(100)]})
    >>> trainer = XGBoostTrainer(
    ...     params={"objective": "binary:logistic", "eval_metric": "error"},
    ...     label_column="y",
    ...     num_boost_round=2,
    ...     datasets={"train": table},
    ...     scaling_config=train.ScalingConfig(num_workers=0),  # here; several elsewhere
    ...     run_config=train.RunConfig(storage_path=tempfile.mkdtemp()),
    ... )
    >>> sorted(trainer.fit().metrics)
    ['train-error']
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any] | None = None,
        *,
        train_loop_config: dict[str, Any] | None = None,
        xgboost_config: XGBoostConfig | None = None,
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
        super().__init__(
            train_loop_per_worker,
            train_loop_config=train_loop_config,
            backend_config=xgboost_config or XGBoostConfig(),
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            dataset_config=dataset_config,
            validation_config=validation_config,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
            label_column=label_column,
            params=params,
            num_boost_round=num_boost_round,
            preprocessor=preprocessor,
            **train_kwargs,
        )

    @staticmethod
    def get_model(checkpoint: Checkpoint) -> Any:
        """The booster in a checkpoint (older API; today ``RayTrainReportCallback.get_model``)."""
        from rayjup.train.xgboost.callback import RayTrainReportCallback

        return RayTrainReportCallback.get_model(checkpoint)

    def _rounds(self) -> Callable[..., None]:
        return train_rounds


def train_rounds(
    label_column: str, params: dict[str, Any], rounds: int, names: list[str], kwargs: dict[str, Any]
) -> None:
    """On a worker: what the older spelling does."""
    import xgboost

    from rayjup.train.xgboost.callback import RayTrainReportCallback

    run = session.require("XGBoostTrainer")
    checkpoint = run.get_checkpoint()
    started = RayTrainReportCallback.get_model(checkpoint) if checkpoint is not None else None
    if started is not None:
        rounds -= started.num_boosted_rounds()
    matrices = {}
    for name in names:
        features, label = features_and_label(run.get_dataset_shard(name), label_column)
        matrices[name] = xgboost.DMatrix(features, label=label)
    learnt = matrices.pop(TRAIN_DATASET_KEY)
    frequency, at_end = kwargs.pop("_frequency", 0), kwargs.pop("_at_end", True)
    kwargs.setdefault("verbose_eval", False)
    callbacks = list(kwargs.pop("callbacks", None) or [])
    if not any(isinstance(one, RayTrainReportCallback) for one in callbacks):
        callbacks.append(RayTrainReportCallback(frequency=frequency, checkpoint_at_end=at_end))
    xgboost.train(
        params,
        learnt,
        num_boost_round=max(rounds, 0),
        evals=[(learnt, TRAIN_DATASET_KEY), *((matrix, name) for name, matrix in matrices.items())],
        xgb_model=started,
        callbacks=callbacks,
        **kwargs,
    )
