"""`ResultGrid`: the results of all trials of an experiment."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rayjup.runs.errors import TuneError
from rayjup.runs.parallel import parallel_coordinates
from rayjup.runs.result import Result, frame_of
from rayjup.tune.analysis.experiment_analysis import ExperimentAnalysis
from rayjup.tune.experiment.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20
_DRAWN = 500  # lines of the drawing


class ResultGrid:
    """The results of an experiment, one per trial; a sequence.

    Examples
    --------
    >>> import rayjup, tempfile
    >>> from rayjup import tune
    >>> _ = rayjup.init(num_cpus=1)
    >>> run_config = tune.RunConfig(storage_path=tempfile.mkdtemp(), verbose=0)
    >>> space = {"x": tune.grid_search([3, 1, 2])}
    >>> grid = tune.Tuner(lambda config: {"y": config["x"]}, param_space=space, run_config=run_config).fit()
    >>> [result.metrics["y"] for result in grid]
    [3, 1, 2]
    >>> grid.get_best_result("y", "max").config
    {'x': 3}
    >>> rayjup.shutdown()
    """

    def __init__(self, experiment_analysis: ExperimentAnalysis) -> None:
        self._analysis = experiment_analysis
        self._made: dict[int, Result] = {}

    @property
    def experiment_path(self) -> str:
        """The experiment's directory on its filesystem."""
        return self._analysis.experiment_path

    @property
    def filesystem(self) -> Any:
        """The filesystem it is on."""
        return self._analysis._filesystem

    @property
    def _trials(self) -> list[Trial]:
        return self._analysis.trials

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, i: int) -> Result:
        if not isinstance(i, int):
            raise TypeError(f"results are numbered; {i!r} is no number")
        trials = self._trials
        if i < 0:
            i += len(trials)
        if i not in self._made:
            self._made[i] = self._result(trials[i])
        return self._made[i]

    def __iter__(self) -> Iterator[Result]:
        return (self[i] for i in range(len(self)))

    @property
    def errors(self) -> list[Exception]:
        """What trials failed with."""
        return [t.get_error() or TuneError(str(t)) for t in self._trials if t.status == Trial.ERROR]

    @property
    def num_errors(self) -> int:
        """How many trials failed."""
        return sum(t.status == Trial.ERROR for t in self._trials)

    @property
    def num_terminated(self) -> int:
        """How many trials came to their end."""
        return sum(t.status == Trial.TERMINATED for t in self._trials)

    def get_best_result(
        self,
        metric: str | None = None,
        mode: str | None = None,
        scope: str = "last",
        filter_nan_and_inf: bool = True,
    ) -> Result:
        """The result with the best value of a metric.

        Parameters
        ----------
        metric, mode
            What is compared, and ``"min"`` or ``"max"``; those of the TuneConfig by default.
        scope
            Which value of each trial: ``"last"``, ``"avg"``, ``"last-5-avg"``, ``"last-10-avg"`` or
            ``"all"`` (its best).
        filter_nan_and_inf
            Whether trials without a finite value are passed over.
        """
        analysis = self._analysis
        if len(self) == 1 and metric is None and mode is None and analysis.default_metric is None:
            return self[0]
        if (metric or analysis.default_metric) is None:
            raise ValueError(
                "no metric is given: get_best_result(metric=..., mode=...), or in the TuneConfig"
            )
        if (mode or analysis.default_mode) is None:
            raise ValueError("no mode is given: get_best_result(metric=..., mode='min' or 'max')")
        best = analysis.get_best_trial(metric, mode, scope, filter_nan_and_inf)
        if best is None:
            known = sorted({name for trial in self._trials for name in trial.metric_analysis})
            hint = "no trial has reported anything" if not known else f"trials have reported {known}"
            if self.num_errors:
                hint += f"; {self.num_errors} of {len(self)} trials failed, the first with: {self.errors[0]}"
            raise RuntimeError(
                f"there is no best trial for the metric {metric or analysis.default_metric!r}: {hint}"
            )
        return self[self._trials.index(best)]

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: str | None = None) -> pd.DataFrame:
        """A table with one row per trial: its last result, or the one with the best value of
        ``filter_metric``."""
        return self._analysis.dataframe(filter_metric, filter_mode)

    def _result(self, trial: Trial) -> Result:
        manager = trial.checkpoints
        filesystem, path = self._analysis._filesystem, trial.path
        latest = manager.latest
        return Result(
            metrics=trial.last_result if trial.has_reported_at_least_once else {},
            checkpoint=latest.checkpoint if latest is not None else None,
            error=trial.get_error() if trial.status == Trial.ERROR else None,
            path=path,
            metrics_dataframe=lambda: frame_of(filesystem, path),
            best_checkpoints=[(one.checkpoint, one.metrics) for one in manager.best()],
            _storage_filesystem=filesystem,
            config=trial.config,
        )

    # ------------------------------------------------------------ shown

    def _rows(self) -> tuple[list[str], list[list[str]]]:
        metrics: dict[str, None] = {}
        params: dict[str, None] = {}
        trials = self._trials[:_SHOWN]
        for trial in trials:
            params.update(dict.fromkeys(trial.evaluated_params))
            names = [n for n in trial.metric_analysis if n != "time_total_s"]
            metrics.update(dict.fromkeys(names[:6]))
        rows = []
        for trial in trials:
            analysis = trial.metric_analysis
            rows.append(
                [
                    trial.trial_id,
                    trial.status,
                    *(_short(trial.evaluated_params.get(name, "")) for name in params),
                    *(_short(analysis[name]["last"]) if name in analysis else "" for name in metrics),
                ]
            )
        return ["trial", "status", *params, *metrics], rows

    def __repr__(self) -> str:
        parts = [repr(self[i]) for i in range(min(len(self), 5))]
        more = f",\n… {len(self) - 5} more" if len(self) > 5 else ""
        body = ",\n".join(parts).replace("\n", "\n  ")
        return f"ResultGrid<[\n  {body}{more}\n]>" if parts else "ResultGrid<[]>"

    def _repr_html_(self) -> str:
        header, rows = self._rows()
        cells = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
        )
        more = f"<p>… and {len(self) - _SHOWN} more trials</p>" if len(self) > _SHOWN else ""
        summary = (
            f"{len(self)} trials, {self.num_terminated} finished, {self.num_errors} failed, in "
            f"<code>{html.escape(self.experiment_path)}</code>"
        )
        grid = f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>{more}"
        return f"<p>{summary}</p>{grid}{self._drawing()}"

    def _drawing(self) -> str:
        metric, mode = self._analysis.default_metric, self._analysis.default_mode
        if not isinstance(metric, str):
            return ""  # there may be several
        values = [(trial, trial.metric_analysis.get(metric, {}).get("last")) for trial in self._trials]
        ended = [(trial.evaluated_params, value) for trial, value in values if value is not None]
        return parallel_coordinates(ended[:_DRAWN], metric, mode or "min")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": self._as_text()}

    def _as_text(self) -> str:
        from rayjup.tune.progress_reporter import table

        header, rows = self._rows()
        return f"{len(self)} trials in {self.experiment_path}\n" + table(header, rows)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:30]
