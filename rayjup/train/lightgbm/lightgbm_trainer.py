"""`LightGBMTrainer`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.data_config import TRAIN_DATASET_KEY, DataConfig
from rayjup.train.gbdt_trainer import GBDTTrainer, features_and_label
from rayjup.train.lightgbm.config import LightGBMConfig, get_network_params
from rayjup.train.reporting import ValidationConfig


class LightGBMTrainer(GBDTTrainer):
    """Trains LightGBM on several workers, which work together through its sockets.

    Parameters
    ----------
    train_loop_per_worker, train_loop_config
        The training function and its argument; `get_network_params` gives it what ``lightgbm.train`` needs.
    lightgbm_config
        Settings of the network.
    scaling_config, run_config, datasets, dataset_config, validation_config, metadata, resume_from_checkpoint
        As of `rayjup.train.data_parallel_trainer.DataParallelTrainer`.
    label_column, params, num_boost_round
        The older spelling: instead of a function, what ``lightgbm.train`` gets.
    preprocessor, train_kwargs
        Of the older spelling: applied to the data; further arguments of ``lightgbm.train``.

    Examples
    --------
    >>> import tempfile
    >>> import pandas
    >>> from rayjup import train
    >>> from rayjup.train.lightgbm import LightGBMTrainer
    >>> table = pandas.DataFrame({"x": range(200), "y": [i % 2 for i in range(200)]})
    >>> trainer = LightGBMTrainer(
    ...     params={"objective": "binary", "verbose": -1},
    ...     label_column="y",
    ...     num_boost_round=2,
    ...     datasets={"train": table},
    ...     scaling_config=train.ScalingConfig(num_workers=0),  # here; several elsewhere
    ...     run_config=train.RunConfig(storage_path=tempfile.mkdtemp()),
    ... )
    >>> sorted(trainer.fit().metrics)
    ['train-binary_logloss']
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[..., Any] | None = None,
        *,
        train_loop_config: dict[str, Any] | None = None,
        lightgbm_config: LightGBMConfig | None = None,
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
            backend_config=lightgbm_config or LightGBMConfig(),
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
        from rayjup.train.lightgbm.callback import RayTrainReportCallback

        return RayTrainReportCallback.get_model(checkpoint)

    def _rounds(self) -> Callable[..., None]:
        return train_rounds


def train_rounds(
    label_column: str, params: dict[str, Any], rounds: int, names: list[str], kwargs: dict[str, Any]
) -> None:
    """On a worker: what the older spelling does."""
    import lightgbm

    from rayjup.train.lightgbm.callback import RayTrainReportCallback
    from rayjup.train.lightgbm.tables import normalize_pandas_for_lightgbm

    run = session.require("LightGBMTrainer")
    checkpoint = run.get_checkpoint()
    started = RayTrainReportCallback.get_model(checkpoint) if checkpoint is not None else None
    if started is not None:
        rounds -= started.num_trees() // max(started.num_model_per_iteration(), 1)
    data = {}
    for name in names:
        features, label = features_and_label(run.get_dataset_shard(name), label_column)
        data[name] = (normalize_pandas_for_lightgbm(features), label)
    features, label = data.pop(TRAIN_DATASET_KEY)
    learnt = lightgbm.Dataset(features, label=label)
    others = {n: lightgbm.Dataset(f, label=y, reference=learnt) for n, (f, y) in data.items()}
    network = get_network_params()
    if network:
        network = {"tree_learner": "data_parallel", "pre_partition": True, **network}
    frequency, at_end = kwargs.pop("_frequency", 0), kwargs.pop("_at_end", True)
    callbacks = list(kwargs.pop("callbacks", None) or [])
    if not any(isinstance(one, RayTrainReportCallback) for one in callbacks):
        callbacks.append(RayTrainReportCallback(frequency=frequency, checkpoint_at_end=at_end))
    lightgbm.train(
        {**network, **params},
        learnt,
        num_boost_round=max(rounds, 0),
        valid_sets=[learnt, *others.values()],
        valid_names=[TRAIN_DATASET_KEY, *others],
        init_model=started,
        callbacks=callbacks,
        **kwargs,
    )
