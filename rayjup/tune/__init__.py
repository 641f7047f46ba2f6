"""Tune: tries a trainable with many configurations (mirrors ``ray.tune``); everything is loaded when first
used.

=====================  ==================================================================
`tuner`, `tune`        `Tuner`; the older `run` and `run_experiments`. Both end in `running`
`tune_config`          `TuneConfig`, `ResumeConfig`
`experiment`           `Experiment` and `Trial`
`search`               search spaces and searchers, one file per library
`schedulers`           who decides result by result, one file each
`stopper`              who ends trials and experiments
`execution`            the trial loop: state machine, runners, journal
`analysis`             `ExperimentAnalysis`; `result_grid`: `ResultGrid`
`progress_reporter`    who prints how it goes
`logger`, `callback`   what is told of events (from `rayjup.runs`)
`trainable`            `Trainable`, `with_parameters`, `with_resources`
`integration`          callbacks for XGBoost, LightGBM, Keras, Lightning and Train
=====================  ==================================================================
"""

from __future__ import annotations

import importlib
from typing import Any

_SAMPLE = (
    "choice",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
)
_WHERE = {
    "Tuner": "rayjup.tune.tuner",
    "TuneConfig": "rayjup.tune.tune_config",
    "ResumeConfig": "rayjup.tune.tune_config",
    "run": "rayjup.tune.tune",
    "run_experiments": "rayjup.tune.tune",
    "Experiment": "rayjup.tune.experiment",
    "ExperimentAnalysis": "rayjup.tune.analysis",
    "ResultGrid": "rayjup.tune.result_grid",
    "Trainable": "rayjup.runs.trainable",
    "Callback": "rayjup.runs.callback",
    "TuneError": "rayjup.runs.errors",
    "PlacementGroupFactory": "rayjup.runs.placement",
    "register_env": "rayjup.runs.registry",
    "register_trainable": "rayjup.runs.registry",
    "Result": "rayjup.runs.result",
    "Checkpoint": "rayjup.runs.checkpoint",
    **dict.fromkeys(("RunConfig", "CheckpointConfig", "FailureConfig", "SyncConfig"), "rayjup.runs.config"),
    **dict.fromkeys(_SAMPLE, "rayjup.tune.search.sample"),
    "grid_search": "rayjup.tune.search.variants",
    "create_searcher": "rayjup.tune.search",
    "create_scheduler": "rayjup.tune.schedulers",
    "Stopper": "rayjup.tune.stopper",
    **dict.fromkeys(
        ("CLIReporter", "JupyterNotebookReporter", "ProgressReporter"), "rayjup.tune.progress_reporter"
    ),
    **dict.fromkeys(("with_parameters", "with_resources"), "rayjup.tune.trainable"),
    **dict.fromkeys(("report", "get_checkpoint", "get_context", "TuneContext"), "rayjup.tune.context"),
}
_MODULES = {
    "analysis",
    "callback",
    "context",
    "error",
    "execution",
    "experiment",
    "integration",
    "logger",
    "progress_reporter",
    "registry",
    "result_grid",
    "schedulers",
    "search",
    "stopper",
    "syncer",
    "trainable",
    "tune",
    "tune_config",
    "tuner",
    "utils",
}

__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    where = _WHERE.get(name)
    if where is not None:
        value = getattr(importlib.import_module(where), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"rayjup.tune.{name}")
    raise AttributeError(f"module 'rayjup.tune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})
