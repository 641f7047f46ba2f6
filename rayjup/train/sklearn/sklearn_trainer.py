"""`SklearnTrainer` (older API)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rayjup.runs import session
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import RunConfig, ScalingConfig
from rayjup.train.data_config import TRAIN_DATASET_KEY, DataConfig
from rayjup.train.data_parallel_trainer import DataParallelTrainer
from rayjup.train.gbdt_trainer import table_of


class SklearnTrainer(DataParallelTrainer):
    """Fits an estimator on one worker, evaluates it on the other data sets and by cross-validation.

    Parameters
    ----------
    estimator
        The estimator; a copy is fitted.
    datasets
        ``"train"``, and others that are scored.
    label_column
        Column with the label; None if the data has none.
    params
        Parameters of the estimator.
    scoring
        As in scikit-learn: a name, a function, several, or a dictionary.
    cv
        Folds of a cross-validation before the fit; or ``{data set: folds}``.
    return_train_score_cv
        Whether training scores are reported, too.
    parallelize_cv
        Whether folds run at once (by default if the worker has several CPUs).
    set_estimator_cpus
        Whether ``n_jobs`` is set to the worker's CPUs.
    scaling_config, run_config, preprocessor, fit_params
        What the worker gets; where the run is kept; applied to the data; arguments of ``fit``.
    """

    def __init__(
        self,
        *,
        estimator: Any,
        datasets: dict[str, Any],
        label_column: str | None = None,
        params: dict[str, Any] | None = None,
        scoring: Any = None,
        cv: Any = None,
        return_train_score_cv: bool = False,
        parallelize_cv: bool | None = None,
        set_estimator_cpus: bool = True,
        scaling_config: ScalingConfig | None = None,
        run_config: RunConfig | None = None,
        preprocessor: Any = None,
        metadata: dict[str, Any] | None = None,
        resume_from_checkpoint: Checkpoint | None = None,
        **fit_params: Any,
    ) -> None:
        if TRAIN_DATASET_KEY not in datasets:
            raise KeyError(f"SklearnTrainer needs datasets={{'train': ...}}; there are {sorted(datasets)}")
        if cv is not None and TRAIN_DATASET_KEY == "cv":
            raise ValueError("a data set can't be called 'cv'")
        scaling = scaling_config or ScalingConfig()
        if scaling.num_workers not in (0, 1):
            raise ValueError(
                f"SklearnTrainer fits on one worker, and num_workers is {scaling.num_workers}; give "
                f"that one more "
                "CPUs with resources_per_worker"
            )
        super().__init__(
            _nothing,
            scaling_config=scaling,
            run_config=run_config,
            datasets=datasets,
            dataset_config=DataConfig(datasets_to_split=[]),
            preprocessor=preprocessor,
            metadata=metadata,
            resume_from_checkpoint=resume_from_checkpoint,
        )
        self.estimator = estimator
        self.label_column = label_column
        self.params = params or {}
        self.scoring = scoring
        self.cv = cv
        self.return_train_score_cv = return_train_score_cv
        self.parallelize_cv = parallelize_cv
        self.set_estimator_cpus = set_estimator_cpus
        self.fit_params = fit_params

    def _training_function(self) -> tuple[Callable[..., Any], dict[str, Any] | None]:
        settings = {
            name: getattr(self, name)
            for name in (
                "estimator",
                "label_column",
                "params",
                "scoring",
                "cv",
                "return_train_score_cv",
                "parallelize_cv",
                "set_estimator_cpus",
                "fit_params",
            )
        }
        settings["cpus"] = int(self.scaling_config._worker_resources.get("CPU", 1)) or 1
        settings["names"] = sorted(self.datasets)
        return fit_estimator, settings


def _nothing() -> None:
    """Stands for the training function, which is made from the settings."""


def fit_estimator(settings: dict[str, Any]) -> None:
    """On the worker: cross-validate, fit, score, report."""
    from sklearn.base import clone

    from rayjup.train.sklearn.sklearn_checkpoint import SklearnCheckpoint

    run = session.require("SklearnTrainer")
    tables = {
        name: _parts(run.get_dataset_shard(name), settings["label_column"]) for name in settings["names"]
    }
    features, label = tables.pop(TRAIN_DATASET_KEY)
    estimator = clone(settings["estimator"]).set_params(**settings["params"])
    if settings["set_estimator_cpus"] and "n_jobs" in estimator.get_params():
        estimator.set_params(n_jobs=settings["cpus"])
    found: dict[str, Any] = {}
    if settings["cv"] is not None:
        found["cv"] = _cross_validated(estimator, features, label, settings)
    began = time.perf_counter()
    estimator.fit(features, *(() if label is None else (label,)), **settings["fit_params"])
    found["fit_time"] = time.perf_counter() - began
    for name, (others, truth) in tables.items():
        found[name] = _scored(estimator, others, truth, settings["scoring"])
    session.report(found, checkpoint=SklearnCheckpoint.from_estimator(estimator))


def _parts(shard: Any, label_column: str | None) -> tuple[Any, Any]:
    table = table_of(shard)
    if label_column is None:
        return table, None
    if label_column not in table.columns:
        raise KeyError(f"there is no label_column {label_column!r}; the data has {list(table.columns)[:20]}")
    return table.drop(columns=[label_column]), table[label_column]


def _cross_validated(estimator: Any, features: Any, label: Any, settings: dict[str, Any]) -> dict[str, Any]:
    from sklearn.model_selection import cross_validate

    cv = settings["cv"]
    if isinstance(cv, dict):
        cv = cv.get(TRAIN_DATASET_KEY)
    at_once = settings["parallelize_cv"]
    if at_once is None:
        at_once = settings["cpus"] > 1 and "n_jobs" not in estimator.get_params()
    scores = cross_validate(
        estimator,
        features,
        label,
        cv=cv,
        scoring=settings["scoring"],
        params=settings["fit_params"] or None,
        n_jobs=settings["cpus"] if at_once else None,
        return_train_score=settings["return_train_score_cv"],
    )
    found: dict[str, Any] = {}
    for name, values in scores.items():
        found[name] = [float(v) for v in values]
        found[f"{name}_mean"] = float(values.mean())
        found[f"{name}_std"] = float(values.std())
    return found


def _scored(estimator: Any, features: Any, label: Any, scoring: Any) -> dict[str, Any]:
    from sklearn.metrics import check_scoring, get_scorer

    began = time.perf_counter()
    if isinstance(scoring, (list, tuple, set)):
        scorers = {str(name): get_scorer(name) for name in scoring}
    elif isinstance(scoring, dict):
        scorers = {name: get_scorer(one) if isinstance(one, str) else one for name, one in scoring.items()}
    else:
        scorers = {"score": check_scoring(estimator, scoring=scoring)}
    key = (lambda name: name) if set(scorers) == {"score"} else (lambda name: f"test_{name}")
    found: dict[str, Any] = {
        key(name): float(scorer(estimator, features, label)) for name, scorer in scorers.items()
    }
    found["score_time"] = time.perf_counter() - began
    return {k if k.startswith(("test_", "score_time")) else f"test_{k}": v for k, v in found.items()}
