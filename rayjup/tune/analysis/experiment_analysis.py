"""`ExperimentAnalysis`: trials, results and checkpoints of an experiment, from memory or from its
directory."""

from __future__ import annotations

import math
import os
import posixpath
import tempfile
from typing import TYPE_CHECKING, Any

from rayjup.runs import storage
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.extras import pandas
from rayjup.runs.result import frame_of
from rayjup.runs.storage import StorageContext
from rayjup.tune.execution import journal
from rayjup.tune.execution.replay import Replay
from rayjup.tune.experiment.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

_SCOPES = ("all", "last", "avg", "last-5-avg", "last-10-avg")


class ExperimentAnalysis:
    """What came out of an experiment; ``tune.run`` returns one.

    Parameters
    ----------
    experiment_checkpoint_path
        The experiment's directory.
    storage_filesystem
        Filesystem on which that is a path.
    trials
        Its trials, if they are at hand.
    default_metric, default_mode
        What "best" means where it is not said.
    """

    def __init__(
        self,
        experiment_checkpoint_path: str | os.PathLike[str],
        *,
        storage_filesystem: Any = None,
        trials: list[Trial] | None = None,
        default_metric: str | None = None,
        default_mode: str | None = None,
    ) -> None:
        self.default_metric = default_metric
        self.default_mode = default_mode
        if default_mode not in (None, "min", "max"):
            raise ValueError(f"default_mode is {default_mode!r}; it must be 'min' or 'max'")
        self._filesystem, self._path = storage.resolve(experiment_checkpoint_path, storage_filesystem)
        if posixpath.basename(self._path) == journal.FILE:
            self._path = posixpath.dirname(self._path)
        self.trials = trials if trials is not None else self._read()
        self._frames: dict[str, pd.DataFrame] | None = None

    def _read(self) -> list[Trial]:
        file = posixpath.join(self._path, journal.FILE)
        if not storage.exists(self._filesystem, file):
            raise ValueError(
                f"there is no experiment at {self._path!r}: it has no {journal.FILE}. Give the directory "
                f"that "
                "contains the trials' directories."
            )
        place = StorageContext(
            posixpath.dirname(self._path), posixpath.basename(self._path), self._filesystem
        )
        replay = Replay(place)
        if storage.is_local(self._filesystem):
            return list(replay.read(file).values())
        with tempfile.NamedTemporaryFile() as local:
            local.write(storage.read_bytes(self._filesystem, file))
            local.flush()
            return list(replay.read(local.name).values())

    # ------------------------------------------------------------ the whole experiment

    @property
    def experiment_path(self) -> str:
        """The experiment's directory on its filesystem."""
        return self._path

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The last result of every trial, by id."""
        return {trial.trial_id: trial.last_result for trial in self.trials}

    @property
    def results_df(self) -> pd.DataFrame:
        """The last results as a table, one row per trial."""
        rows = [flatten(trial.last_result) for trial in self.trials]
        frame = pandas("ExperimentAnalysis.results_df").DataFrame.from_records(rows)
        frame.index = [trial.trial_id for trial in self.trials]
        frame.index.name = "trial_id"
        if "trial_id" in frame.columns:
            frame = frame.drop(columns="trial_id")
        return frame

    @property
    def trial_dataframes(self) -> dict[str, pd.DataFrame]:
        """All results of every trial as a table, by id (read from the trials' files)."""
        if self._frames is None:
            empty = pandas("ExperimentAnalysis.trial_dataframes").DataFrame
            self._frames = {}
            for trial in self.trials:
                found = frame_of(self._filesystem, trial.path)
                self._frames[trial.trial_id] = found if found is not None else empty()
        return self._frames

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> pd.DataFrame:
        """A table with one row per trial: its last result, or the one with the best value of a metric."""
        if mode not in (None, "min", "max"):
            raise ValueError(f"mode is {mode!r}; it must be 'min' or 'max'")
        if (metric is None) is not (mode is None):
            raise ValueError("give metric and mode, or neither")
        rows = []
        for trial in self.trials:
            if metric is None or trial._results <= 1:
                row = flatten(trial.last_result) if trial.has_reported_at_least_once else {}
            else:
                frame = self.trial_dataframes[trial.trial_id]
                if metric not in frame.columns or frame[metric].dropna().empty:
                    raise KeyError(
                        f"the trial {trial} has no metric {metric!r}; it has {sorted(frame.columns)}"
                    )
                values = frame[metric]
                row = frame.iloc[int(values.argmin() if mode == "min" else values.argmax())].to_dict()
            row = {name: value for name, value in row.items() if not name.startswith("config/")}
            row.pop("config", None)
            row.update({f"config/{name}": value for name, value in flatten(trial.config).items()})
            row["logdir"] = trial.path
            rows.append(row)
        frame = pandas("ExperimentAnalysis.dataframe()").DataFrame(rows)
        return frame

    def get_all_configs(self, prefix: bool = False) -> dict[str, dict[str, Any]]:
        """The parameters of every trial, by directory; ``prefix`` puts ``config/`` before their names."""
        return {
            trial.path: {f"config/{k}": v for k, v in trial.config.items()} if prefix else trial.config
            for trial in self.trials
        }

    # ------------------------------------------------------------ the best

    @property
    def best_trial(self) -> Trial:
        """The trial with the best last value."""
        self._require("best_trial", "get_best_trial")
        found = self.get_best_trial()
        if found is None:
            raise RuntimeError(f"no trial has reported the metric {self.default_metric!r}")
        return found

    @property
    def best_config(self) -> dict[str, Any]:
        """Its parameters."""
        self._require("best_config", "get_best_config")
        return self.best_trial.config

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """Its best checkpoint."""
        self._require("best_checkpoint", "get_best_checkpoint")
        return self.get_best_checkpoint(self.best_trial)

    @property
    def best_result(self) -> dict[str, Any]:
        """Its last result."""
        self._require("best_result", "get_best_trial(...).last_result")
        return self.best_trial.last_result

    @property
    def best_dataframe(self) -> pd.DataFrame:
        """All its results."""
        self._require("best_dataframe", "trial_dataframes")
        return self.trial_dataframes[self.best_trial.trial_id]

    @property
    def best_result_df(self) -> pd.DataFrame:
        """Its last result as a table of one row."""
        self._require("best_result_df", "results_df")
        row = flatten(self.best_result)
        frame = pandas("ExperimentAnalysis.best_result_df").DataFrame.from_records([row])
        return frame.set_index("trial_id") if "trial_id" in frame.columns else frame

    @property
    def best_logdir(self) -> str:
        """Its directory."""
        return self.best_trial.path

    def get_best_trial(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str = "last",
        filter_nan_and_inf: bool = True,
    ) -> Trial | None:
        """The trial with the best value; None if no trial has one. ``scope`` is as in
        `ResultGrid.get_best_result`."""
        metric, mode = self._metric(metric), self._mode(mode)
        if scope not in _SCOPES:
            raise ValueError(f"scope is {scope!r}; it must be one of {_SCOPES}")
        best: tuple[float, Trial] | None = None
        sign = 1.0 if mode == "max" else -1.0
        for trial in self.trials:
            stats = trial.metric_analysis.get(metric)
            if stats is None:
                value = look_up(trial._last_result, metric)
                if not isinstance(value, (int, float)) or isinstance(value, bool):
                    continue
                stats = dict.fromkeys((mode, *_SCOPES), float(value))
            value = stats[mode] if scope == "all" else stats[scope]
            if filter_nan_and_inf and not math.isfinite(value):
                continue
            if math.isnan(value):
                continue
            if best is None or sign * value > sign * best[0]:
                best = (value, trial)
        return best[1] if best is not None else None

    def get_best_config(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last"
    ) -> dict[str, Any] | None:
        """The best trial's parameters."""
        best = self.get_best_trial(metric, mode, scope)
        return best.config if best is not None else None

    def get_best_logdir(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last"
    ) -> str | None:
        """The best trial's directory (older API)."""
        best = self.get_best_trial(metric, mode, scope)
        return best.path if best is not None else None

    def get_best_checkpoint(
        self, trial: Trial, metric: str | None = None, mode: str | None = None
    ) -> Checkpoint | None:
        """The checkpoint of a trial that was reported with the best value."""
        metric, mode = self._metric(metric), self._mode(mode)
        found = [
            (look_up(one.metrics, metric), one.checkpoint)
            for one in trial.checkpoints.kept
            if isinstance(look_up(one.metrics, metric), (int, float))
        ]
        found = [(value, checkpoint) for value, checkpoint in found if not math.isnan(value)]
        if not found:
            return None
        return (max if mode == "max" else min)(found, key=lambda pair: pair[0])[1]

    def get_last_checkpoint(
        self, trial: Trial | None = None, metric: str = "training_iteration", mode: str = "max"
    ) -> Checkpoint | None:
        """The newest checkpoint of a trial, by default of the one that has run longest."""
        trial = trial or self.get_best_trial(metric, mode)
        return self.get_best_checkpoint(trial, "training_iteration", "max") if trial is not None else None

    def get_trial_checkpoints_paths(self, trial: Trial, metric: str | None = None) -> list[tuple[str, Any]]:
        """Paths of a trial's checkpoints with their values (older API)."""
        name = metric or self.default_metric or "training_iteration"
        return [(one.checkpoint.path, look_up(one.metrics, name)) for one in trial.checkpoints.kept]

    def stats(self) -> dict[str, Any]:
        """When the experiment began and how many trials it has (older API)."""
        starts = [trial.start_time for trial in self.trials if trial.start_time]
        return {"start_time": min(starts) if starts else None, "trials": len(self.trials)}

    # ------------------------------------------------------------ inside

    def _metric(self, metric: str | None) -> str:
        if metric is None and self.default_metric is None:
            raise ValueError("no metric is given, and the experiment was run without one: pass metric=...")
        return metric or str(self.default_metric)

    def _mode(self, mode: str | None) -> str:
        if mode is not None and mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; it must be 'min' or 'max'")
        if mode is None and self.default_mode is None:
            raise ValueError(
                "no mode is given, and the experiment was run without one: pass mode='min' or 'max'"
            )
        return mode or str(self.default_mode)

    def _require(self, name: str, instead: str) -> None:
        if not self.default_metric or not self.default_mode:
            raise ValueError(
                f"{name} needs metric and mode, which the experiment was run without; use "
                f"{instead}(metric, mode)"
            )
