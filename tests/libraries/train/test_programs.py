"""Programs of Ray's documentation, old and new, run as they are; the data is local."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

PROGRAM = '''
import sys
import warnings

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ray
from ray import train
from ray.train.torch import TorchTrainer


def data():
    torch.manual_seed(0)
    images = torch.rand(256, 1, 8, 8)
    return TensorDataset(images, (images.mean((1, 2, 3)) > 0.5).long())


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, inputs):
        return self.stack(inputs)


def train_func_distributed():
    loader = DataLoader(data(), batch_size=32, shuffle=True)
    loader = train.torch.prepare_data_loader(loader)
    model = train.torch.prepare_model(Network())
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for epoch in range(3):
        if train.get_context().get_world_size() > 1:
            loader.sampler.set_epoch(epoch)
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
        print(f"epoch: {epoch}, loss: {loss.item()}")


def with_air(config):
    """As in 2.0 to 2.6."""
    from ray.air import Checkpoint, session

    model = train.torch.prepare_model(Network())
    for epoch in range(config["epochs"]):
        state = {"epoch": epoch, "model": model.module.state_dict()}
        session.report({"loss": 1.0 / (epoch + 1)}, checkpoint=Checkpoint.from_dict(state))
    assert session.get_world_size() == 2


if __name__ == "__main__":
    ray.init(num_cpus=4)
    today = TorchTrainer(train_func_distributed, scaling_config=train.ScalingConfig(num_workers=4))
    results = today.fit()
    assert results.error is None

    warnings.simplefilter("ignore")
    from ray.air.config import ScalingConfig
    from ray.train.torch import TorchCheckpoint, TorchPredictor

    result = TorchTrainer(
        train_loop_per_worker=with_air,
        train_loop_config={"epochs": 2},
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
    ).fit()
    assert result.metrics["loss"] == 0.5 and result.checkpoint.to_dict()["epoch"] == 1
    model = TorchCheckpoint.from_checkpoint(result.checkpoint).get_model(Network())
    predictor = TorchPredictor.from_checkpoint(result.checkpoint, model=Network())
    images = data().tensors[0][:4].numpy()
    expected = model(torch.tensor(images)).detach().numpy()
    assert (predictor.predict(images)["predictions"] == expected).all()

    from ray.train import Trainer  # 1.x

    trainer = Trainer(backend="torch", num_workers=2)
    trainer.start()
    print("ranks", trainer.run(lambda: train.world_rank()))
    trainer.shutdown()
'''


def test_torch_quick_start_in_three_spellings(tmp_path: Path) -> None:
    program = tmp_path / "quick_start.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "rayjup.as_ray", str(program)],
        env={**os.environ, "RAY_AIR_LOCAL_CACHE_DIR": str(tmp_path / "results")},
        capture_output=True,
        text=True,
        timeout=80,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "ranks [0, 1]" in done.stdout
    assert "epoch: 2, loss:" in done.stdout + done.stderr
