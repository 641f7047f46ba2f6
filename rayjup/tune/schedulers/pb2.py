"""Population based bandits: PBT whose new parameters come from a Gaussian process.

After Parker-Holder et al., "Provably Efficient Online Hyperparameter Optimization with Population-Based
Bandits".
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rayjup.runs.errors import TuneError
from rayjup.runs.extras import load
from rayjup.tune.schedulers.pbt import PopulationBasedTraining
from rayjup.tune.schedulers.trial_scheduler import value_of
from rayjup.tune.search.sample import uniform

if TYPE_CHECKING:
    from rayjup.tune.execution.controller import TuneController
    from rayjup.tune.experiment.trial import Trial

_MOST_POINTS = 80
_CANDIDATES = 500


def import_pb2_dependencies() -> tuple[Any, Any]:
    """The Gaussian process of scikit-learn and its kernels; ImportError that says what to install."""
    load("sklearn", "PB2", "scikit-learn")
    from sklearn import gaussian_process
    from sklearn.gaussian_process import kernels

    return gaussian_process, kernels


class PB2(PopulationBasedTraining):
    """PBT that learns which parameters improve most, instead of changing them at random; for small
    populations.

    Parameters
    ----------
    hyperparam_bounds
        The bounds of each parameter: ``{"lr": [1e-4, 1e-1]}``.

    The others are those of `PopulationBasedTraining`.

    Examples
    --------
    >>> from rayjup.tune.schedulers.pb2 import PB2
    >>> pb2 = PB2(time_attr="training_iteration", hyperparam_bounds={"lr": [0.001, 0.1]})
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        perturbation_interval: float = 60.0,
        hyperparam_bounds: dict[str, Any] | None = None,
        quantile_fraction: float = 0.25,
        log_config: bool = True,
        require_attrs: bool = True,
        synch: bool = False,
        custom_explore_fn: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        import_pb2_dependencies()
        bounds = hyperparam_bounds or {}
        if not bounds:
            raise TuneError("PB2 needs hyperparam_bounds, such as {'lr': [1e-4, 1e-1]}")
        for name, pair in bounds.items():
            if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not pair[0] < pair[1]:
                raise ValueError(f"PB2: hyperparam_bounds[{name!r}] must be [least, most], not {pair!r}")
        super().__init__(
            time_attr=time_attr,
            metric=metric,
            mode=mode,
            perturbation_interval=perturbation_interval,
            hyperparam_mutations={name: uniform(*pair) for name, pair in bounds.items()},
            quantile_fraction=quantile_fraction,
            resample_probability=0,
            custom_explore_fn=custom_explore_fn,
            log_config=log_config,
            require_attrs=require_attrs,
            synch=synch,
        )
        self._bounds = {name: (float(pair[0]), float(pair[1])) for name, pair in bounds.items()}
        self._history: list[tuple[str, float, float, list[float]]] = []  # trial, time, score, parameters

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """Remember it for the model."""
        now, score = value_of(result, self._time_attr), value_of(result, self._metric)
        if now is not None and score is not None and self._sign is not None:
            parameters = [float(trial.config[name]) for name in self._bounds]
            self._history.append((trial.trial_id, float(now), self._sign * float(score), parameters))
            del self._history[: -10 * _MOST_POINTS]
        return super().on_trial_result(tune_controller, trial, result)

    def _explored(self, tune_controller: TuneController, trial: Trial, donor: Trial) -> dict[str, Any]:
        config = copy.deepcopy(donor.config)
        running = [
            [float(t.config[name]) for name in self._bounds]
            for t in tune_controller.get_live_trials()
            if t not in (trial, donor)
        ]
        now, score = self._members[donor.trial_id].time, self._members[donor.trial_id].score or 0.0
        found = suggest(self._history, list(self._bounds.values()), now, score, running, self._seed())
        for name, value in zip(self._bounds, found, strict=True):
            config[name] = int(value) if isinstance(donor.config.get(name), int) else float(value)
        if self._custom is not None:
            config = self._custom(config)
        return config

    def _seed(self) -> int:
        return self._random.getrandbits(32)


def suggest(
    history: list[tuple[str, float, float, list[float]]],
    bounds: list[tuple[float, float]],
    now: float,
    score: float,
    running: list[list[float]],
    seed: int,
) -> np.ndarray:
    """Parameters whose improvement has the highest upper confidence bound, according to all changes so far.

    What is modelled is the change of the score per unit of time, as a function of time, score and
    parameters; results that are awaited count as observed at their predicted value, so that trials do not
    all go to the same place.
    """
    rng = np.random.default_rng(seed)
    low, high = np.array(bounds, dtype=float).T
    rows, changes = _changes(history)
    if len(rows) < 4:
        drawn: np.ndarray = rng.uniform(low, high)
        return drawn
    gaussian_process, kernels = import_pb2_dependencies()
    points = np.array(rows[-_MOST_POINTS:], dtype=float)
    targets = np.array(changes[-_MOST_POINTS:], dtype=float)
    base = np.vstack([points[:, :2], [[now, score]]])
    least, span = base.min(axis=0), np.ptp(base, axis=0) + 1e-8
    inputs = np.hstack([(points[:, :2] - least) / span, (points[:, 2:] - low) / (high - low)])
    targets = (targets - targets.mean()) / (targets.std() + 1e-8)
    kernel = kernels.ConstantKernel(1.0) * kernels.RBF(np.full(inputs.shape[1], 1.0)) + kernels.WhiteKernel(
        0.1
    )
    import warnings

    model = gaussian_process.GaussianProcessRegressor(kernel, alpha=1e-6, random_state=seed % 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of length scales at their bounds, which does no harm
        model.fit(inputs, targets)
        fixed = (np.array([now, score]) - least) / span
        if running:
            awaited = np.hstack([np.tile(fixed, (len(running), 1)), (np.array(running) - low) / (high - low)])
            guessed = model.predict(awaited)
            model = gaussian_process.GaussianProcessRegressor(model.kernel_, alpha=1e-6, optimizer=None)
            model.fit(np.vstack([inputs, awaited]), np.concatenate([targets, guessed]))
        candidates = rng.uniform(size=(_CANDIDATES, len(bounds)))
        mean, deviation = model.predict(
            np.hstack([np.tile(fixed, (_CANDIDATES, 1)), candidates]), return_std=True
        )
    chosen: np.ndarray = candidates[int(np.argmax(mean + 2.0 * deviation))] * (high - low) + low
    return chosen


def _changes(history: list[tuple[str, float, float, list[float]]]) -> tuple[list[list[float]], list[float]]:
    last: dict[str, tuple[float, float]] = {}
    rows: list[list[float]] = []
    changes: list[float] = []
    for trial_id, at, score, parameters in history:
        if trial_id in last and at > last[trial_id][0]:
            before, was = last[trial_id]
            rows.append([before, was, *parameters])
            changes.append((score - was) / (at - before))
        last[trial_id] = (at, score)
    return rows, changes
