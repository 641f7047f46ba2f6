"""Train: training functions on workers, reports, checkpoints, failures."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("ray.train")
pytest.importorskip("pandas")


def make(function: Any, path: Path, workers: int = 2, **more: Any) -> Any:
    import ray.train
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    settings = {
        name: more.pop(name) for name in ("failure_config", "checkpoint_config", "callbacks") if name in more
    }
    return DataParallelTrainer(
        function,
        scaling_config=ray.train.ScalingConfig(num_workers=workers),
        run_config=ray.train.RunConfig(storage_path=str(path), name="run", **settings),
        **more,
    )


def test_ranks_metrics_and_the_config(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function(config: dict[str, Any]) -> None:
        import ray.train

        context = ray.train.get_context()
        assert context.get_world_size() == 2 and context.get_local_world_size() == 2
        assert context.get_world_rank() == context.get_local_rank()
        assert context.get_node_rank() == 0 and context.get_experiment_name() == "run"
        assert ray.train.get_checkpoint() is None
        import tempfile

        with tempfile.TemporaryDirectory() as directory:
            checkpoint = ray.train.Checkpoint.from_directory(directory)
            with open(f"{directory}/{context.get_world_rank()}", "w") as file:
                file.write("x")
            ray.train.report({"rank": context.get_world_rank(), "lr": config["lr"]}, checkpoint=checkpoint)

    result = make(function, tmp_path, train_loop_config={"lr": 0.5}).fit()
    assert result.error is None
    assert result.metrics == {"rank": 0, "lr": 0.5}
    with result.checkpoint.as_directory() as directory:
        assert {"0", "1"} <= {p.name for p in Path(directory).iterdir()}
    assert Path(result.path) == tmp_path / "run"
    (kept,) = result.best_checkpoints
    assert kept[0] == result.checkpoint and kept[1]["lr"] == 0.5


def test_a_failed_run_goes_on_from_its_checkpoint(ray_cluster: ModuleType, tmp_path: Path) -> None:
    import ray.train

    def function() -> None:
        import os
        import tempfile

        import ray.train

        first = 0
        if (checkpoint := ray.train.get_checkpoint()) is not None:
            with checkpoint.as_directory() as directory, open(os.path.join(directory, "step")) as file:
                first = int(file.read()) + 1
        for step in range(first, 4):
            if step == 2 and first == 0:
                raise RuntimeError("once")
            with tempfile.TemporaryDirectory() as directory:
                with open(os.path.join(directory, "step"), "w") as file:
                    file.write(str(step))
                rank = ray.train.get_context().get_world_rank()
                saved = ray.train.Checkpoint.from_directory(directory) if rank == 0 else None
                ray.train.report({"step": step, "first": first}, checkpoint=saved)

    result = make(function, tmp_path, failure_config=ray.train.FailureConfig(max_failures=1)).fit()
    assert result.metrics == {"step": 3, "first": 2}


def test_an_error_names_its_reason(ray_cluster: ModuleType, tmp_path: Path) -> None:
    import ray.train

    class Take(ray.train.UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            Path(tmp_path / "seen").write_text(repr(sorted(worker_exceptions)))

    def function() -> None:
        import ray.train

        if ray.train.get_context().get_world_rank() == 1:
            raise ValueError("the reason")

    with pytest.raises(ray.train.TrainingFailedError, match="the reason") as caught:
        make(function, tmp_path, callbacks=[Take()]).fit()
    assert isinstance(caught.value, ray.train.WorkerGroupError)
    assert 1 in caught.value.worker_failures
    assert "1" in Path(tmp_path / "seen").read_text()


def test_the_best_checkpoints_are_kept(ray_cluster: ModuleType, tmp_path: Path) -> None:
    import ray.train

    def function() -> None:
        import tempfile

        import ray.train

        for score in (1, 3, 2):
            with tempfile.TemporaryDirectory() as directory:
                with open(f"{directory}/score", "w") as file:
                    file.write(str(score))
                checkpoint = ray.train.Checkpoint.from_directory(directory)
                ray.train.report({"score": score}, checkpoint=checkpoint)

    config = ray.train.CheckpointConfig(
        num_to_keep=2, checkpoint_score_attribute="score", checkpoint_score_order="max"
    )
    result = make(function, tmp_path, workers=1, checkpoint_config=config).fit()
    assert sorted(metrics["score"] for _, metrics in result.best_checkpoints) == [2, 3]
    best = result.get_best_checkpoint("score", "max")
    with best.as_directory() as directory:
        assert Path(directory, "score").read_text() == "3"
    frame = result.metrics_dataframe
    assert {2, 3} <= set(frame["score"])


def test_workers_tell_each_other(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> list[Any]:
        import ray.train
        from ray.train.collective import barrier, broadcast_from_rank_zero

        rank = ray.train.get_context().get_world_rank()
        found = broadcast_from_rank_zero({"from": rank})
        barrier()
        return [rank, found]

    assert make(function, tmp_path).fit().return_value == [0, {"from": 0}]


def test_zero_workers_run_here(ray_cluster: ModuleType, tmp_path: Path) -> None:
    import os

    import ray.train

    def function() -> None:
        assert ray.train.get_context().get_world_size() == 1
        ray.train.report({"pid": os.getpid()})

    assert make(function, tmp_path, workers=0).fit().metrics == {"pid": os.getpid()}


def test_torch_reduces_over_all_workers(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import ray.train
    from ray.train.torch import TorchTrainer

    def function() -> list[Any]:
        import torch
        import torch.distributed as dist
        from ray import train
        from ray.train.torch import get_device, prepare_data_loader, prepare_model

        assert dist.get_world_size() == 2 and dist.get_rank() == train.get_context().get_world_rank()
        assert get_device().type == "cpu"
        model = prepare_model(torch.nn.Linear(2, 1))
        assert isinstance(model, torch.nn.parallel.DistributedDataParallel)
        data = torch.utils.data.TensorDataset(torch.arange(10.0))
        loader = prepare_data_loader(torch.utils.data.DataLoader(data, batch_size=5))
        (batch,) = [x for (x,) in loader]
        total = batch.sum()
        dist.all_reduce(total)
        return [len(batch), total.item()]

    trainer = TorchTrainer(
        function,
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(tmp_path)),
    )
    assert trainer.fit().return_value == [5, 45.0]


def test_xgboost_works_on_all_workers_together(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    import ray.train
    from ray.train.xgboost import RayTrainReportCallback, XGBoostTrainer

    def function(config: dict[str, Any]) -> None:
        import numpy
        import ray.train
        import xgboost
        from ray.train.xgboost import RayTrainReportCallback

        rank = ray.train.get_context().get_world_rank()
        values = numpy.arange(rank, 100, 2, dtype="float32")
        matrix = xgboost.DMatrix(values[:, None], (values > 50).astype("float32"))
        xgboost.train(
            config,
            matrix,
            3,
            evals=[(matrix, "train")],
            callbacks=[RayTrainReportCallback()],
            verbose_eval=False,
        )

    result = XGBoostTrainer(
        function,
        train_loop_config={"objective": "binary:logistic", "eval_metric": "error"},
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(tmp_path)),
    ).fit()
    assert result.metrics["train-error"] == 0
    assert RayTrainReportCallback.get_model(result.checkpoint).num_boosted_rounds() == 3
