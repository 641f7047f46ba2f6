"""TorchTrainer on a cluster: results as without it, whatever fails on the way."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")


def train_function(config: dict[str, Any]) -> Any:
    """Linear regression with DDP; checkpoints each epoch; can be told to die or to raise."""
    import os
    import signal
    import tempfile

    import torch

    from rayjup import train
    from rayjup.train.torch import prepare_data_loader, prepare_model

    rank = train.get_context().get_world_rank()
    torch.manual_seed(0)
    inputs = torch.randn(64, 3)
    labels = inputs @ torch.tensor([[1.0], [-2.0], [0.5]])
    data = torch.utils.data.TensorDataset(inputs, labels)
    loader = prepare_data_loader(torch.utils.data.DataLoader(data, batch_size=8, shuffle=True))
    model = prepare_model(torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    first = 0
    if (checkpoint := train.get_checkpoint()) is not None:
        with checkpoint.as_directory() as directory:
            state = torch.load(os.path.join(directory, "state.pt"))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
    for epoch in range(first, 5):
        if hasattr(loader.sampler, "set_epoch"):
            loader.sampler.set_epoch(epoch)
        if epoch == config.get("dies_at") and rank == 1 and not os.path.exists(config["marker"]):
            with open(config["marker"], "w"):
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        for batch, label in loader:
            loss = ((model(batch) - label) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with tempfile.TemporaryDirectory() as directory:
            checkpoint = None
            if rank == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
                torch.save(state, os.path.join(directory, "state.pt"))
                checkpoint = train.Checkpoint.from_directory(directory)
            train.report({"loss": loss.item(), "epoch": epoch, "first": first}, checkpoint=checkpoint)
    return [p.tolist() for p in model.parameters()]


def trainer(path: Path, config: dict[str, Any] | None = None, **more: Any) -> Any:
    from rayjup import train
    from rayjup.train.torch import TorchTrainer

    failures = more.pop("max_failures", 0)
    return TorchTrainer(
        train_function,
        train_loop_config=config or {},
        scaling_config=train.ScalingConfig(num_workers=more.pop("num_workers", 2)),
        run_config=train.RunConfig(
            storage_path=str(path), failure_config=train.FailureConfig(max_failures=failures), **more
        ),
    )


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run in which nothing happens."""
    return trainer(tmp_path_factory.mktemp("undisturbed")).fit()


def test_losses_fall_and_every_epoch_has_its_checkpoint(undisturbed: Any) -> None:
    frame = undisturbed.metrics_dataframe
    assert list(frame["epoch"]) == [0, 1, 2, 3, 4]
    assert frame["loss"].iloc[-1] < frame["loss"].iloc[0]
    assert undisturbed.metrics["epoch"] == 4
    assert len(undisturbed.best_checkpoints) == 5
    with undisturbed.checkpoint.as_directory() as directory:
        assert os.listdir(directory) == ["state.pt"]


def test_a_killed_worker_leads_to_the_same_weights(
    ray_cluster: ModuleType, undisturbed: Any, tmp_path: Path
) -> None:
    config = {"dies_at": 3, "marker": str(tmp_path / "died")}
    result = trainer(tmp_path, config, max_failures=1).fit()
    assert os.path.exists(config["marker"])
    assert result.metrics["first"] == 3  # went on from epoch 2's checkpoint
    assert result.return_value == undisturbed.return_value
    assert list(result.metrics_dataframe["epoch"]) == [0, 1, 2, 3, 4]


def test_one_worker_needs_no_other(ray_cluster: ModuleType, tmp_path: Path) -> None:
    result = trainer(tmp_path, num_workers=1).fit()
    assert result.metrics["epoch"] == 4


def test_a_run_of_the_same_name_goes_on(ray_cluster: ModuleType, undisturbed: Any, tmp_path: Path) -> None:
    from rayjup import train

    config = {"dies_at": 2, "marker": str(tmp_path / "died")}
    with pytest.raises(train.WorkerGroupError) as caught:
        trainer(tmp_path, config, name="mine").fit()
    assert "rank 1" in str(caught.value) and "has ended" in str(caught.value)
    result = trainer(tmp_path, config, name="mine").fit()
    assert result.metrics["first"] == 2
    assert result.return_value == undisturbed.return_value
    again = train.Result.from_path(str(tmp_path / "mine"))
    assert again.metrics["loss"] == result.metrics["loss"]
    assert len(again.best_checkpoints) == 5


def test_devices_strategies_and_mixed_precision(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup import train
    from rayjup.train.torch import TorchTrainer

    def function() -> None:
        import torch

        from rayjup import train
        from rayjup.train import torch as train_torch

        train_torch.enable_reproducibility(3)
        torch.use_deterministic_algorithms(False)
        assert train_torch.get_device() == torch.device("cpu") == train_torch.get_devices()[0]
        sharded = train_torch.prepare_model(torch.nn.Linear(4, 2), parallel_strategy="fsdp2")
        sharded(torch.ones(2, 4)).sum().backward()
        kinds = {type(p).__name__ for p in sharded.parameters()}
        train_torch.accelerate(amp=True)
        model = train_torch.prepare_model(torch.nn.Linear(4, 2))
        optimizer = train_torch.prepare_optimizer(torch.optim.SGD(model.parameters(), 0.1))
        found = model(torch.ones(2, 4))
        train_torch.backward(found.sum())
        optimizer.step()
        train.report({"kinds": sorted(kinds), "dtype": str(found.dtype), "inner": str(type(model).__name__)})

    result = TorchTrainer(
        function,
        scaling_config=train.ScalingConfig(num_workers=2),
        run_config=train.RunConfig(storage_path=str(tmp_path)),
    ).fit()
    assert result.metrics == {
        "kinds": ["DTensor"],
        "dtype": "torch.float32",
        "inner": "DistributedDataParallel",
    }


def test_a_rank_that_hangs_is_named_with_its_place(
    ray_cluster: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from rayjup import train
    from rayjup.train.data_parallel_trainer import DataParallelTrainer

    monkeypatch.setenv("RAYJUP_TRAIN_HANG_WARNING_S", "0.5")
    told = tmp_path / "told"

    def said() -> str:
        return "\n".join(record.getMessage() for record in list(caplog.records))

    def release() -> None:
        deadline = time.monotonic() + 40
        while "the_slow_place" not in said() and time.monotonic() < deadline:
            time.sleep(0.05)
        told.touch()

    def function() -> None:
        import time

        from rayjup import train

        def the_slow_place() -> None:
            while not told.exists():
                time.sleep(0.05)

        if train.get_context().get_world_rank() == 1:
            the_slow_place()
        train.report({"done": 1})

    caplog.set_level("WARNING", "rayjup.train")
    thread = threading.Thread(target=release)
    thread.start()
    DataParallelTrainer(
        function,
        scaling_config=train.ScalingConfig(num_workers=2),
        run_config=train.RunConfig(storage_path=str(tmp_path)),
    ).fit()
    thread.join()
    assert "rank 1 on" in said() and "the_slow_place" in said()


def test_an_interrupt_ends_the_group_and_leaves_the_last_checkpoint(
    ray_cluster: ModuleType, tmp_path: Path
) -> None:
    from rayjup import train
    from rayjup.train.data_parallel_trainer import DataParallelTrainer

    reached = str(tmp_path / "reached")

    def function() -> None:
        import time

        from rayjup import train

        train.report({"step": 0}, checkpoint=train.Checkpoint.from_dict({"step": 0}))
        if train.get_context().get_world_rank() == 0:
            with open(reached, "w"):
                pass
        time.sleep(110)

    def interrupt() -> None:
        deadline = time.monotonic() + 50
        while not os.path.exists(reached) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        DataParallelTrainer(
            function,
            scaling_config=train.ScalingConfig(num_workers=2),
            run_config=train.RunConfig(storage_path=str(tmp_path), name="interrupted"),
        ).fit()
    thread.join()
    assert time.monotonic() - began < 90
    result = train.Result.from_path(str(tmp_path / "interrupted"))
    assert result.checkpoint is not None and result.checkpoint.to_dict() == {"step": 0}
