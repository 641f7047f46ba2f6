"""Train: one function on several workers, with checkpoints, data and recovery.

========================  ==================================================================
`data_parallel_trainer`   `DataParallelTrainer`, of which all trainers are made
`base_trainer`            `BaseTrainer`: what trainers share
`torch`, `tensorflow`,    trainers of frameworks
`xgboost`, `lightgbm`,
`sklearn`, `v2.jax`
`lightning`,              helpers for trainers of other packages
`huggingface`
`functions`, `context`    what training functions call: ``report``, ``get_context`` …
`collective`              barrier and broadcast among the workers
`backend`                 what is set up on workers before training
`data_config`             how data sets are divided
`controller`              leading a run: state machine, workers, checkpoints
`worker`                  what runs on a worker
`display`                 how a run looks in a notebook
`predictor`,              the older API's predictors
`batch_predictor`
`trainer`                 Ray 1.x's Trainer
========================  ==================================================================

Importing this loads no framework.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    **dict.fromkeys(
        ("CheckpointConfig", "FailureConfig", "RunConfig", "ScalingConfig", "SyncConfig"),
        "rayjup.runs.config",
    ),
    "Checkpoint": "rayjup.runs.checkpoint",
    "Result": "rayjup.runs.result",
    **dict.fromkeys(
        (
            "report",
            "get_checkpoint",
            "get_dataset_shard",
            "get_all_reported_checkpoints",
            "get_preemption_info",
        ),
        "rayjup.train.functions",
    ),
    **dict.fromkeys(("TrainContext", "get_context"), "rayjup.train.context"),
    **dict.fromkeys(("Backend", "BackendConfig"), "rayjup.train.backend"),
    **dict.fromkeys(("DataConfig", "TRAIN_DATASET_KEY"), "rayjup.train.data_config"),
    **dict.fromkeys(
        (
            "CheckpointConsistencyMode",
            "CheckpointUploadMode",
            "ReportedCheckpoint",
            "ReportedCheckpointStatus",
            "ValidationConfig",
            "ValidationFn",
            "ValidationTaskConfig",
        ),
        "rayjup.train.reporting",
    ),
    **dict.fromkeys(
        (
            "ControllerError",
            "NCCLHangError",
            "PreemptionError",
            "SessionMisuseError",
            "TrainingFailedError",
            "WorkerGroupError",
        ),
        "rayjup.train.exceptions",
    ),
    "PreemptionInfo": "rayjup.train.preemption",
    **dict.fromkeys(("UserCallback", "RayTrainCallback"), "rayjup.train.callbacks"),
    "LoggingConfig": "rayjup.train.logging_config",
    **dict.fromkeys(("Trainer", "TrainingIterator"), "rayjup.train.trainer"),
    **dict.fromkeys(
        (
            "load_checkpoint",
            "save_checkpoint",
            "local_rank",
            "local_world_size",
            "node_rank",
            "size",
            "world_rank",
            "world_size",
        ),
        "rayjup.train.session",
    ),
}
_MODULES = {
    "backend",
    "base_trainer",
    "batch_predictor",
    "collective",
    "context",
    "data_parallel_trainer",
    "error",
    "gbdt_trainer",
    "huggingface",
    "lightgbm",
    "lightning",
    "predictor",
    "session",
    "sklearn",
    "tensorflow",
    "torch",
    "trainer",
    "v2",
    "xgboost",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if (where := _WHERE.get(name)) is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"rayjup.train.{name}")
    raise AttributeError(f"module 'rayjup.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
