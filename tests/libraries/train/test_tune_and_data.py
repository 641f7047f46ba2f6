"""Trainers as trials, and data sets in training."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rayjup import train

pytest.importorskip("pandas")
tune = pytest.importorskip("rayjup.tune")


def test_a_tuner_runs_trainers_and_merges_their_settings(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup.train.data_parallel_trainer import DataParallelTrainer

    def function(config: dict[str, Any]) -> None:
        size = train.get_context().get_world_size()
        for step in range(2):
            score = config["a"] * config["b"] + step
            checkpoint = train.Checkpoint.from_dict({"score": score})
            train.report({"score": score, "size": size}, checkpoint=checkpoint)

    trainer = DataParallelTrainer(
        function,
        train_loop_config={"a": 1, "b": 10},
        scaling_config=train.ScalingConfig(num_workers=2),
    )
    tuner = tune.Tuner(
        trainer,
        param_space={"train_loop_config": {"a": tune.grid_search([1, 2])}},
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="trainers", verbose=0),
    )
    results = tuner.fit()
    assert not results.errors, results.errors
    best = results.get_best_result()
    assert best.metrics["score"] == 21 and best.metrics["size"] == 2
    assert best.config["train_loop_config"]["a"] == 2
    assert best.checkpoint.to_dict() == {"score": 21}
    assert best.metrics["training_iteration"] == 2


def test_a_trainer_that_fails_fails_its_trial(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup.train.data_parallel_trainer import DataParallelTrainer

    def function() -> None:
        raise ValueError("the reason")

    tuner = tune.Tuner(
        DataParallelTrainer(function, scaling_config=train.ScalingConfig(num_workers=1)),
        run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
    )
    (error,) = tuner.fit().errors
    assert "the reason" in str(error)


def test_xgboost_starter(ray_cluster: ModuleType, tmp_path: Path) -> None:
    """The program of Ray's older documentation, with data of scikit-learn."""
    datasets = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("xgboost")
    import rayjup.data
    from rayjup.air.config import RunConfig, ScalingConfig
    from rayjup.train.batch_predictor import BatchPredictor
    from rayjup.train.xgboost import XGBoostPredictor, XGBoostTrainer
    from rayjup.tune.tuner import TuneConfig, Tuner

    try:
        from rayjup.data.preprocessors import StandardScaler
    except ImportError:
        scaler = None  # the program's other parts don't need it
    else:
        scaler = StandardScaler(columns=["mean radius", "mean texture"])
    found = datasets.load_breast_cancer(as_frame=True).frame
    found.to_csv(tmp_path / "breast_cancer.csv", index=False)
    dataset = rayjup.data.read_csv(str(tmp_path / "breast_cancer.csv"))
    train_dataset, valid_dataset = dataset.train_test_split(test_size=0.3)
    test_dataset = valid_dataset.drop_columns(cols=["target"])
    trainer = XGBoostTrainer(
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
        label_column="target",
        num_boost_round=5,
        params={"objective": "binary:logistic", "eval_metric": ["logloss", "error"]},
        datasets={"train": train_dataset, "valid": valid_dataset},
        preprocessor=scaler,
        run_config=RunConfig(storage_path=str(tmp_path)),
    )
    result = trainer.fit()
    assert {"train-logloss", "train-error", "valid-logloss", "valid-error"} <= set(result.metrics)
    tuner = Tuner(
        trainer,
        param_space={"params": {"max_depth": tune.grid_search([1, 4])}},
        tune_config=TuneConfig(metric="train-logloss", mode="min", max_concurrent_trials=1),
        run_config=RunConfig(storage_path=str(tmp_path), name="tuned", verbose=0),
    )
    results = tuner.fit()
    assert not results.errors, results.errors
    best = results.get_best_result()
    assert best.config["params"]["max_depth"] == 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # once per process, so perhaps not here
        predictor = BatchPredictor.from_checkpoint(best.checkpoint, XGBoostPredictor)
    rows = predictor.predict(test_dataset).take_all()
    assert len(rows) == valid_dataset.count() and 0 <= rows[0]["predictions"] <= 1


def test_workers_get_their_shares_as_batches_of_tensors(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import rayjup.data
    from rayjup.train.torch import TorchTrainer

    def function() -> None:
        from rayjup.train.collective import barrier

        seen = []
        for _ in range(2):
            rows = 0
            for batch in train.get_dataset_shard("train").iter_torch_batches(batch_size=8):
                assert batch["id"].dim() == 1
                rows += len(batch["id"])
            seen.append(rows)
            barrier()
        train.report({"seen": seen})

    result = TorchTrainer(
        function,
        datasets={"train": rayjup.data.range(64)},
        scaling_config=train.ScalingConfig(num_workers=2),
        run_config=train.RunConfig(storage_path=str(tmp_path)),
    ).fit()
    assert result.metrics == {"seen": [32, 32]}


def test_workers_that_hold_all_cpus_are_fed(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup import data
    from rayjup.train.data_parallel_trainer import DataParallelTrainer

    def function() -> None:
        total = sum(row["id"] for row in train.get_dataset_shard("train").iter_rows())
        (tmp_path / f"rank {train.get_context().get_world_rank()}").write_text(str(total))

    numbers = data.range(1000, override_num_blocks=8)
    numbers.context.local_max_bytes = (
        numbers.context.local_udf_max_bytes
    ) = -1  # in tasks, though it is little
    given = numbers.map(lambda row: row)
    DataParallelTrainer(
        function,
        scaling_config=train.ScalingConfig(num_workers=4),
        datasets={"train": given},
        run_config=train.RunConfig(storage_path=str(tmp_path), name="fed"),
    ).fit()
    assert sum(int((tmp_path / f"rank {rank}").read_text()) for rank in range(4)) == 499500
    assert given.context.execution_options.exclude_resources.cpu == 0, "the one given stays as it is"


def test_data_sets_leave_the_workers_what_they_hold() -> None:
    from rayjup import data

    class Seen(train.DataConfig):
        def _with_options(self, name: str, data: Any) -> Any:
            data = super()._with_options(name, data)
            seen[name] = data.context.execution_options.exclude_resources
            return "a"

    seen: dict[str, Any] = {}
    own = data.ExecutionOptions(exclude_resources=data.ExecutionResources(cpu=1))
    config = Seen(execution_options={"own": own})
    config.set_train_total_resources(4, 2)
    config.configure({"own": data.range(3), "other": data.range(3)}, 2, None, None)
    assert (seen["own"].cpu, seen["own"].gpu) == (1, 0)
    assert (seen["other"].cpu, seen["other"].gpu) == (4, 2)
