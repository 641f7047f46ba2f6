"""What all trainers share, with plain functions as training: checkpoints, data, errors, watchers."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.clusters import poll

from rayjup import train
from rayjup.train.data_parallel_trainer import DataParallelTrainer


def run(function: Any, path: Path, workers: Any = 2, **more: Any) -> Any:
    settings = {name: more.pop(name) for name in list(more) if name in RUN_SETTINGS}
    scaling = more.pop("scaling_config", None) or train.ScalingConfig(num_workers=workers)
    return DataParallelTrainer(
        function,
        scaling_config=scaling,
        run_config=train.RunConfig(storage_path=str(path), **settings),
        **more,
    )


RUN_SETTINGS = {
    "name",
    "failure_config",
    "checkpoint_config",
    "callbacks",
    "storage_filesystem",
    "worker_runtime_env",
}


@pytest.fixture(params=[0, 2], ids=["in process", "two workers"])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


# ---------------------------------------------------------------- reports and checkpoints


def test_checkpoints_of_all_ranks_go_into_one_directory(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> None:
        import tempfile
        from pathlib import Path

        rank = train.get_context().get_world_rank()
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, f"shard-{rank}").write_text(str(rank))
            train.report({"rank": rank}, checkpoint=train.Checkpoint.from_directory(directory))

    result = run(function, tmp_path).fit()
    assert result.metrics == {"rank": 0}
    with result.checkpoint.as_directory() as directory:
        assert sorted(os.listdir(directory)) == ["shard-0", "shard-1"]


def test_the_best_are_kept_and_the_newest(ray_cluster: ModuleType, tmp_path: Path, workers: int) -> None:
    def function() -> None:
        for score in (1, 5, 3, 2):
            train.report({"score": score}, checkpoint=train.Checkpoint.from_dict({"score": score}))

    config = train.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="score")
    result = run(function, tmp_path, workers, checkpoint_config=config).fit()
    assert [metrics["score"] for _, metrics in result.best_checkpoints] == [5, 2]
    assert result.checkpoint.to_dict() == {"score": 2}
    assert result.get_best_checkpoint("score", "max").to_dict() == {"score": 5}
    assert len([n for n in os.listdir(result.path) if n.startswith("checkpoint_")]) == 2


def test_asynchronous_uploads_let_training_go_on(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> dict[str, Any]:
        import os
        import tempfile
        import time

        go = str(tmp_path / "go")

        def slow(checkpoint: Any, name: str) -> Any:
            deadline = time.monotonic() + 30
            while not os.path.exists(go) and time.monotonic() < deadline:
                time.sleep(0.02)
            place = os.path.join(str(tmp_path), name)
            checkpoint.to_directory(place)
            return train.Checkpoint.from_directory(place)

        began = time.monotonic()
        for step in range(2):
            directory = tempfile.mkdtemp()
            with open(os.path.join(directory, "step"), "w") as file:
                file.write(str(step))
            train.report(
                {"step": step},
                checkpoint=train.Checkpoint.from_directory(directory),
                checkpoint_dir_name=f"mine-{step}",
                checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
                checkpoint_upload_fn=slow,
            )
        took = time.monotonic() - began  # none of them is uploaded before both are reported
        open(go, "w").close()
        found = train.get_all_reported_checkpoints()
        return {
            "took": took,
            "removed": not os.path.exists(directory),
            "found": [(c.metrics["step"], c.status.value) for c in found],
        }

    result = run(function, tmp_path, workers=1).fit()
    assert result.return_value["took"] < 25
    assert result.return_value["removed"]
    assert result.return_value["found"] == [(0, "COMMITTED"), (1, "COMMITTED")]
    assert Path(result.checkpoint.path).name == "mine-1"
    assert Path(result.checkpoint.path, "step").read_text() == "1"


def test_any_filesystem_keeps_runs(ray_cluster: ModuleType, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.dirfs import DirFileSystem

    filesystem = DirFileSystem(str(tmp_path), fsspec.filesystem("file"))

    def function() -> None:
        for step in range(3):
            train.report({"step": step}, checkpoint=train.Checkpoint.from_dict({"step": step}))

    result = run(function, Path("runs"), name="far", storage_filesystem=filesystem).fit()
    assert (tmp_path / "runs" / "far").is_dir()
    assert result.checkpoint.to_dict() == {"step": 2}
    assert list(result.metrics_dataframe["step"]) == [0, 1, 2]
    again = train.Result.from_path("runs/far", storage_filesystem=filesystem)
    assert again.checkpoint.to_dict() == {"step": 2}


def test_validations_run_beside_training(ray_cluster: ModuleType, tmp_path: Path, workers: int) -> None:
    def validate(checkpoint: Any, scale: int = 1) -> dict[str, Any]:
        value = checkpoint.to_dict()["value"]
        if value == 3:
            raise ValueError("can't be validated")
        return {"score": value * scale}

    def function() -> None:
        for value in (1, 2):
            train.report(
                {"value": value},
                checkpoint=train.Checkpoint.from_dict({"value": value}),
                validation=train.ValidationTaskConfig(fn_kwargs={"scale": value}),
            )

    config = train.ValidationConfig(validate, train.ValidationTaskConfig(fn_kwargs={"scale": 7}))
    result = run(function, tmp_path, workers, validation_config=config).fit()
    assert [metrics["score"] for _, metrics in result.best_checkpoints] == [1, 4]


def test_a_failed_validation_fails_nothing_else(
    ray_cluster: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def validate(checkpoint: Any) -> dict[str, Any]:
        raise ValueError("not this one")

    def function() -> list[str]:
        train.report({}, checkpoint=train.Checkpoint.from_dict({}), validation=True)
        return [one.status.value for one in train.get_all_reported_checkpoints(timeout_s=20)]

    result = run(function, tmp_path, 1, validation_config=train.ValidationConfig(validate)).fit()
    assert result.return_value == ["VALIDATION_FAILED"]
    assert any("not this one" in record.getMessage() for record in caplog.records)


def test_functions_may_yield_or_return_their_metrics(
    ray_cluster: ModuleType, tmp_path: Path, workers: int
) -> None:
    def yields(config: dict[str, Any]) -> Any:
        for step in range(config["steps"]):
            yield {"step": step}

    result = run(yields, tmp_path, workers, train_loop_config={"steps": 3}).fit()
    assert result.metrics == {"step": 2}
    assert run(lambda: {"loss": 0.5}, tmp_path, workers).fit().metrics == {"loss": 0.5}


# ---------------------------------------------------------------- workers among themselves


def test_workers_meet_and_rank_zero_tells_the_others(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> None:
        import numpy

        from rayjup.train.collective import barrier, broadcast_from_rank_zero

        rank = train.get_context().get_world_rank()
        small = broadcast_from_rank_zero({"from": rank})
        barrier()
        large = broadcast_from_rank_zero(numpy.full(100_000, rank, dtype="float64"))
        assert train.get_preemption_info() is None
        train.report({"rank": rank, "small": small, "large": float(large.sum())})

    taken: list[Any] = []

    class Take(train.UserCallback):
        def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:
            taken.append((run_context.train_loop_config, metrics, checkpoint))

    run(function, tmp_path, callbacks=[Take()]).fit()
    ((config, metrics, checkpoint),) = taken
    assert config is None and checkpoint is None
    assert metrics == [{"rank": r, "small": {"from": 0}, "large": 0.0} for r in (0, 1)]


def test_workers_that_meet_for_different_things_are_told(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> None:
        from rayjup.train.collective import barrier, broadcast_from_rank_zero

        barrier() if train.get_context().get_world_rank() else broadcast_from_rank_zero(1)

    with pytest.raises(train.WorkerGroupError, match="must make the same calls"):
        run(function, tmp_path).fit()


def test_ranks_sizes_and_names(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> None:
        context = train.get_context()
        train.report(
            {
                "world": (context.get_world_rank(), context.get_world_size()),
                "local": (context.get_local_rank(), context.get_local_world_size()),
                "node": context.get_node_rank(),
                "name": context.get_experiment_name(),
                "metadata": context.get_metadata(),
            },
            checkpoint=train.Checkpoint.from_dict({}) if context.get_world_rank() == 0 else None,
        )

    result = run(function, tmp_path, name="called", metadata={"a": 1}).fit()
    assert result.metrics == {
        "world": (0, 2),
        "local": (0, 2),
        "node": 0,
        "name": "called",
        "metadata": {"a": 1},
    }
    assert result.checkpoint.get_metadata() == {"a": 1}


def test_data_sets_are_divided_or_given_whole(ray_cluster: ModuleType, tmp_path: Path) -> None:
    class Numbers:
        """Divides itself as a data set does."""

        def __init__(self, values: list[int]) -> None:
            self.values = values

        def streaming_split(self, n: int, *, equal: bool, locality_hints: Any) -> list[list[int]]:
            return [self.values[rank::n] for rank in range(n)]

    def function() -> list[Any]:
        return [train.get_dataset_shard("train"), train.get_dataset_shard("whole")]

    datasets = {"train": Numbers([1, 2, 3, 4]), "whole": lambda: [9]}
    result = run(function, tmp_path, datasets=datasets).fit()
    assert result.return_value == [[1, 3], [9]]

    def wrong() -> None:
        train.get_dataset_shard("valid")

    with pytest.raises(train.WorkerGroupError, match="no data set 'valid'"):
        run(wrong, tmp_path, datasets=datasets).fit()
    config = train.DataConfig(datasets_to_split=["other"])
    with pytest.raises(train.ControllerError, match="'other'"):
        run(function, tmp_path, datasets=datasets, dataset_config=config).fit()


# ---------------------------------------------------------------- failures


def test_the_traceback_is_the_users_with_rank_and_node(
    ray_cluster: ModuleType, tmp_path: Path, workers: int
) -> None:
    def the_users_code() -> None:
        raise ValueError("the reason")

    def function() -> None:
        if train.get_context().get_world_rank() == 0:
            the_users_code()

    seen: list[dict[int, Exception]] = []

    class Take(train.UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            seen.append(worker_exceptions)

    with pytest.raises(train.TrainingFailedError) as caught:
        run(function, tmp_path, workers, callbacks=[Take()]).fit()
    text = str(caught.value)
    assert "rank 0 " in text and "the_users_code" in text and "ValueError: the reason" in text
    assert "actor.py" not in text and "calling.py" not in text
    assert isinstance(caught.value, train.WorkerGroupError)
    assert isinstance(caught.value.worker_failures[0], ValueError)
    assert isinstance(seen[0][0], ValueError)
    (directory,) = tmp_path.iterdir()
    assert "the reason" in (directory / "error.txt").read_text()
    assert isinstance(train.Result.from_path(directory).error, train.WorkerGroupError)


def test_more_workers_than_fit_are_refused_at_once_or_share(
    ray_cluster: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with pytest.raises(train.ControllerError, match=r"CPU: 6 needed, 4 in the cluster"):
        run(lambda: None, tmp_path, workers=6).fit()
    assert time.monotonic() - began < 30
    monkeypatch.setenv("RAYJUP_TRAIN_OVERSUBSCRIBE", "1")

    def function() -> int:
        return train.get_context().get_world_size()

    assert run(function, tmp_path, workers=6).fit().return_value == 6


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (lambda p: run(lambda a, b: None, p), ValueError, "needs the arguments"),
        (lambda p: run("no function", p), TypeError, "must be a function"),
        (lambda p: run(lambda: None, p, datasets=[1]), TypeError, "datasets must be a dictionary"),
        (lambda p: DataParallelTrainer(lambda: None, run_config={"name": "x"}), TypeError, "RunConfig"),
        (lambda p: run(lambda: None, Path("/proc/nowhere")).fit(), RuntimeError, "can't be written"),
    ],
)
def test_bad_input_is_named(ray_cluster: ModuleType, tmp_path: Path, bad: Any, kind: type, says: str) -> None:
    with pytest.raises(kind, match=says):
        bad(tmp_path)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda: train.report("text"), "needs a dictionary"),
        (lambda: train.report({}, checkpoint="/tmp"), "Checkpoint.from_directory"),
        (lambda: train.report({}, validation=True), "needs a checkpoint"),
        (lambda: train.report({"lock": __import__("threading").Lock()}), "metric 'lock' can't be sent"),
        (lambda: train.report({}, checkpoint=train.Checkpoint("/nowhere/at/all")), "is no directory"),
    ],
)
def test_bad_reports_are_named(ray_cluster: ModuleType, tmp_path: Path, function: Any, says: str) -> None:
    with pytest.raises(train.WorkerGroupError, match=says):
        run(function, tmp_path, workers=1).fit()


def test_ranks_that_report_less_often_are_named(
    ray_cluster: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def function() -> None:
        if train.get_context().get_world_rank() == 0:
            train.report({"step": 0})

    assert run(function, tmp_path).fit().metrics == {"step": 0}
    assert any("rank 0: 1, rank 1: 0" in record.getMessage() for record in caplog.records)


def test_an_elastic_run_grows_after_a_checkpoint(ray_cluster: ModuleType, tmp_path: Path) -> None:
    """A task holds three of four CPUs at first; when it has ended the run takes two workers."""
    hold = str(tmp_path / "hold")
    Path(hold).touch()

    @ray_cluster.remote(num_cpus=3)
    def keeper() -> None:
        import os
        import time

        deadline = time.monotonic() + 80
        while os.path.exists(hold) and time.monotonic() < deadline:
            time.sleep(0.02)

    ref = keeper.remote()
    poll(lambda: ray_cluster.available_resources().get("CPU", 0) <= 1, 30)

    def function() -> list[int]:
        import os
        import time

        sizes = []
        checkpoint = train.get_checkpoint()
        if checkpoint is not None:
            sizes = checkpoint.to_dict()["sizes"]
        size = train.get_context().get_world_size()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sizes = [*sizes, size]
            train.report({"size": size}, checkpoint=train.Checkpoint.from_dict({"sizes": sizes}))
            if os.path.exists(hold):
                os.remove(hold)
            if size == 2:
                return sizes
            time.sleep(0.1)
        return sizes

    scaling = train.ScalingConfig(num_workers=(1, 2), elastic_resize_monitor_interval_s=0.3)
    result = run(
        function,
        tmp_path,
        scaling_config=scaling,
        checkpoint_config=train.CheckpointConfig(num_to_keep=2),
    ).fit()
    ray_cluster.get(ref)
    sizes = result.return_value
    assert sizes[0] == 1 and sizes[-1] == 2 and sizes == sorted(sizes)


def test_a_preemption_notice_reaches_the_workers(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup.train.preemption import announce

    def function() -> Any:
        import os
        import signal
        import time

        if train.get_checkpoint() is not None:
            return train.get_checkpoint().to_dict()["ranks"]
        train.report({"running": 1})
        deadline = time.monotonic() + 40
        while (info := train.get_preemption_info()) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        train.report({}, checkpoint=train.Checkpoint.from_dict({"ranks": info.preempted_ranks}))
        os.kill(os.getpid(), signal.SIGKILL)

    class Announce(train.UserCallback):
        def after_report(self, run_context: Any, metrics: list[Any], checkpoint: Any) -> None:
            if checkpoint is None:
                node = ray_cluster.get_runtime_context().get_node_id()
                announce([node], deadline_ms=int(time.time() * 1000) + 1000)

    result = run(function, tmp_path, callbacks=[Announce()]).fit()
    assert result.return_value == [0, 1]  # and max_failures is 0


# ---------------------------------------------------------------- watchers


def test_a_run_is_seen_on_the_board_and_can_be_stopped(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup.runs import board

    class Stop(train.UserCallback):
        def after_report(self, run_context: Any, metrics: list[Any], checkpoint: Any) -> None:
            if metrics[0]["step"] == 0:
                board.ask("train", run_context.run_id, {"action": "stop"})

    def function() -> None:
        import time

        for step in range(600):
            train.report({"step": step, "loss": 1.0 / (step + 1)})
            time.sleep(0.05)

    with pytest.raises(KeyboardInterrupt):
        run(function, tmp_path, name="watched", callbacks=[Stop()]).fit()
    row = next(row for row in reversed(board.rows("train")) if row["name"] == "watched")
    assert row["state"] == "stopped" and row["ended"]
    assert [w["rank"] for w in row["workers"]] == [0, 1]
    assert row["history"][0]["loss"] == 1.0
    assert json.dumps(row)


def test_displays_need_no_widgets(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function() -> None:
        for step in range(3):
            train.report({"loss": 1.0 / (step + 1), "<b>": "x"})

    result = run(function, tmp_path, workers=0).fit()
    bundle = result._repr_mimebundle_()
    assert "<svg" in bundle["text/html"] and "loss: 1 → 0.3333" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"].replace("<b>Result", "")
    assert bundle["text/plain"].startswith("Result(")


# ---------------------------------------------------------------- the oldest vocabulary


def test_the_trainer_of_ray_1(ray_cluster: ModuleType, tmp_path: Path) -> None:
    def function(config: dict[str, Any]) -> int:
        import warnings

        warnings.simplefilter("ignore")
        for step in range(2):
            train.save_checkpoint(step=step)
            train.report(loss=config["lr"] * step)
        return train.world_rank()

    with pytest.warns(DeprecationWarning, match="TorchTrainer"):
        trainer = train.Trainer(backend=train.BackendConfig(), num_workers=2, logdir=str(tmp_path))
    with pytest.raises(RuntimeError, match="call start"):
        trainer.run(function)
    trainer.start()
    assert trainer.run(function, config={"lr": 0.5}) == [0, 1]
    assert trainer.latest_checkpoint == {"step": 1}
    reports = [report for report in trainer.run_iterator(function, config={"lr": 0.5}) if report[0]]
    assert reports == [[{"loss": 0.0}] * 2, [{"loss": 0.5}] * 2]
    trainer.shutdown()


def test_sessions_outside_of_training(recwarn: pytest.WarningsRecorder) -> None:
    assert train.get_context().get_world_rank() == 0 and train.get_context().get_world_size() == 1
    with pytest.raises(train.SessionMisuseError, match="inside of a training function"):
        train.get_all_reported_checkpoints()
    with pytest.raises(RuntimeError, match="works only inside"):
        train.get_dataset_shard()
