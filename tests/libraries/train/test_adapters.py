"""Lightning, Transformers, TensorFlow and JAX, where they are installed; and what is set up for them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rayjup import train


def settings(path: Path, workers: int = 2) -> dict[str, Any]:
    return {
        "scaling_config": train.ScalingConfig(num_workers=workers),
        "run_config": train.RunConfig(storage_path=str(path)),
    }


def test_tensorflow_workers_know_each_others_addresses(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from rayjup.train.tensorflow import TensorflowTrainer

    def function() -> Any:
        import os

        from rayjup.train.collective import broadcast_from_rank_zero

        mine = json.loads(os.environ["TF_CONFIG"])
        rank = train.get_context().get_world_rank()
        assert mine["task"] == {"type": "worker", "index": rank}
        assert broadcast_from_rank_zero(mine["cluster"]) == mine["cluster"]
        return mine["cluster"]["worker"]

    addresses = TensorflowTrainer(function, **settings(tmp_path)).fit().return_value
    assert len(set(addresses)) == 2 and all(":" in address for address in addresses)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tensorflow_trains_on_all_workers_together(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from rayjup.train.tensorflow import TensorflowPredictor, TensorflowTrainer

    def function() -> list[float]:
        import tensorflow as tf

        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        assert strategy.num_replicas_in_sync == 2
        rank = train.get_context().get_world_rank()
        with strategy.scope():
            weight = tf.Variable(0.0)

        @tf.function
        def step():  # type: ignore[no-untyped-def]  # TensorFlow reads its source
            # The gradient of (weight - target)^2, with another target on each worker.
            found = strategy.run(lambda: 2 * (weight - (1.0 + 2 * rank)))
            return strategy.reduce(tf.distribute.ReduceOp.MEAN, found, axis=None)

        for _ in range(20):
            weight.assign_sub(0.2 * step())
        return [round(float(weight.numpy()), 3), rank]

    assert TensorflowTrainer(function, **settings(tmp_path)).fit().return_value == [2.0, 0]

    def with_keras() -> None:
        import keras
        import numpy as np

        from rayjup.train.tensorflow.keras import ReportCheckpointCallback

        inputs = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
        model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        callback = ReportCheckpointCallback(metrics={"mse": "loss"})
        model.fit(inputs, inputs.sum(axis=1), epochs=3, verbose=0, callbacks=[callback])

    result = TensorflowTrainer(with_keras, **settings(tmp_path, workers=1)).fit()
    assert list(result.metrics) == ["mse"] and len(result.metrics_dataframe) == 3
    import numpy

    found = TensorflowPredictor.from_checkpoint(result.checkpoint).predict(numpy.ones((2, 3), "float32"))
    assert found["predictions"].shape == (2, 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_lightning_trains_on_all_workers_together(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from rayjup.train.torch import TorchTrainer

    def function() -> None:
        import lightning.pytorch as pl
        import torch

        from rayjup.train.lightning import (
            RayDDPStrategy,
            RayLightningEnvironment,
            RayTrainReportCallback,
            prepare_trainer,
        )

        class Line(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.line = torch.nn.Linear(3, 1)

            def training_step(self, batch: Any, number: int) -> Any:
                loss = ((self.line(batch[0]) - batch[0].sum(1, keepdim=True)) ** 2).mean()
                self.log("loss", loss)
                return loss

            def configure_optimizers(self) -> Any:
                return torch.optim.SGD(self.parameters(), 0.05)

        data = torch.utils.data.TensorDataset(torch.randn(64, 3))
        trainer = prepare_trainer(
            pl.Trainer(
                max_epochs=2,
                accelerator="cpu",
                devices="auto",
                strategy=RayDDPStrategy(),
                plugins=[RayLightningEnvironment()],
                callbacks=[RayTrainReportCallback()],
                enable_checkpointing=False,
                enable_progress_bar=False,
                logger=False,
            )
        )
        assert trainer.world_size == 2
        trainer.fit(Line(), torch.utils.data.DataLoader(data, batch_size=8))
        assert trainer.global_step == 2 * 4  # each worker has half of the eight batches
        with pytest.raises(RuntimeError, match="RayDDPStrategy"):
            prepare_trainer(pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, devices=1))

    result = TorchTrainer(function, **settings(tmp_path)).fit()
    assert {"loss", "epoch", "step"} <= set(result.metrics)
    assert result.metrics["epoch"] == 1 and len(result.best_checkpoints) == 2
    with result.checkpoint.as_directory() as directory:
        assert [p.name for p in Path(directory).iterdir()] == ["checkpoint.ckpt"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_transformers_trains_on_all_workers_together(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from rayjup.train.torch import TorchTrainer

    def function(config: dict[str, Any]) -> None:
        import torch
        import transformers

        from rayjup.train.huggingface.transformers import RayTrainReportCallback, prepare_trainer

        settings = transformers.BertConfig(
            vocab_size=20,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            max_position_embeddings=8,
        )
        model = transformers.BertForSequenceClassification(settings)
        rows = [{"input_ids": torch.tensor([i % 20, 1, 2]), "labels": torch.tensor(i % 2)} for i in range(16)]
        arguments = transformers.TrainingArguments(
            output_dir=config["directory"],
            num_train_epochs=2,
            per_device_train_batch_size=4,
            save_strategy="epoch",
            logging_strategy="epoch",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
        trainer.add_callback(RayTrainReportCallback())
        trainer = prepare_trainer(trainer)
        assert arguments.world_size == 2
        trainer.train()
        assert trainer.state.global_step == 2 * 2

    config = {"directory": str(tmp_path / "transformers")}
    result = TorchTrainer(function, train_loop_config=config, **settings(tmp_path)).fit()
    assert result.metrics["epoch"] == 2 and "loss" in result.metrics
    with result.checkpoint.as_directory() as directory:
        assert (Path(directory) / "checkpoint" / "model.safetensors").exists()


def test_jax_workers_are_one_system(ray_cluster: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    from rayjup.train.v2.jax import JaxTrainer

    def function() -> tuple[int, int]:
        import jax

        return jax.process_count(), jax.process_index()

    assert JaxTrainer(function, **settings(tmp_path)).fit().return_value == (2, 0)


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("keras", lambda: __import__("rayjup.runs.keras", fromlist=["x"]).ReportCheckpointCallback()),
        ("lightning", lambda: train.lightning.RayLightningEnvironment()),
        ("transformers", lambda: train.huggingface.transformers.RayTrainReportCallback()),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(package: str, make: Any) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ImportError, match=rf"(?s){package}.*pip install"):
        make()
