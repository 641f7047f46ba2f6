"""Who prints how an experiment goes: tables in a terminal, one table that changes in a notebook."""

from __future__ import annotations

import collections
import datetime
import numbers
import sys
import time
from collections.abc import Mapping
from typing import Any

from rayjup.base import notebook
from rayjup.runs.callback import Callback
from rayjup.runs.checkpoints import flatten, look_up
from rayjup.runs.errors import must_define
from rayjup.runs.progress import AUTO_KEYS
from rayjup.tune.experiment.trial import Trial

_ORDER = (Trial.RUNNING, Trial.PAUSED, Trial.PENDING, Trial.TERMINATED, Trial.ERROR)


class ProgressReporter:
    """Prints how an experiment goes; a subclass says when (`should_report`) and what (`report`)."""

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Called once, before the first trial."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        """Whether to report now; asked after each turn of the driver."""
        raise must_define(self, "should_report(trials, done)")

    def report(self, trials: list[Trial], done: bool, *sys_info: str) -> None:
        """Report."""
        raise must_define(self, "report(trials, done)")


class TuneReporterBase(ProgressReporter):
    """What reporters with a table share.

    Parameters
    ----------
    metric_columns, parameter_columns
        Columns of the table: names, or a dictionary of names and headings. Found out by default.
    total_samples
        How many trials there will be.
    max_progress_rows, max_error_rows
        So many rows are shown.
    max_column_length
        Longer values are cut.
    max_report_frequency
        Seconds between two reports.
    infer_limit
        So many metrics are found out.
    print_intermediate_tables
        Whether tables are printed before the end.
    metric, mode
        What is best.
    sort_by_metric
        Whether the best trials come first.
    """

    def __init__(
        self,
        *,
        metric_columns: list[str] | dict[str, str] | None = None,
        parameter_columns: list[str] | dict[str, str] | None = None,
        total_samples: int | None = None,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_column_length: int = 20,
        max_report_frequency: int = 5,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
    ) -> None:
        self._metric_columns = metric_columns
        self._parameter_columns = parameter_columns
        self._total_samples = total_samples
        self._max_rows = max_progress_rows
        self._max_errors = max_error_rows
        self._max_length = max_column_length
        self._frequency = max_report_frequency
        self._infer_limit = infer_limit
        self._intermediate = True if print_intermediate_tables is None else print_intermediate_tables
        self._metric, self._mode = metric, mode
        self._sort = sort_by_metric
        self._started = time.time()
        self._reported_at = 0.0

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take what the experiment knows."""
        self.set_start_time(start_time)
        if total_samples is not None and self._total_samples is None:
            self.set_total_samples(total_samples)
        self.set_search_properties(metric, mode)

    def set_search_properties(self, metric: str | None, mode: str | None) -> bool:
        """Take metric and mode, unless there are others; False then."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric = metric or self._metric
        self._mode = mode or self._mode
        return True

    def set_start_time(self, timestamp: float | None = None) -> None:
        """When the experiment began; now by default."""
        self._started = timestamp if timestamp is not None else time.time()

    def set_total_samples(self, total_samples: int) -> None:
        """How many trials there will be."""
        self._total_samples = total_samples

    def add_metric_column(self, metric: str, representation: str | None = None) -> None:
        """Show one more metric."""
        self._metric_columns = _added(self._metric_columns, metric, representation, "metric")

    def add_parameter_column(self, parameter: str, representation: str | None = None) -> None:
        """Show one more parameter."""
        self._parameter_columns = _added(self._parameter_columns, parameter, representation, "parameter")

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        """At most so often, and at the end."""
        now = time.monotonic()
        if done or now - self._reported_at >= self._frequency:
            self._reported_at = now
            return True
        return False

    def _progress_str(self, trials: list[Trial], done: bool, *sys_info: str, delim: str = "\n") -> str:
        lines = ["== Status ==", self._time_line(), *sys_info, self._count_line(trials)]
        best = self._best(trials)
        if best is not None:
            lines.append(best)
        if self._intermediate or done:
            header, rows, more = self._table(trials)
            if rows:
                lines.append(table(header, rows))
            if more:
                lines.append(f"... {more} more trials not shown")
            failed = [trial for trial in trials if trial.status == Trial.ERROR]
            if failed:
                lines.append(f"Number of errored trials: {len(failed)}")
                errors = [
                    [str(t), str(t.num_failures), str(t.error)[:60], t.error_file or ""]
                    for t in failed[: self._max_errors]
                ]
                lines.append(table(["Trial name", "# failures", "error", "error file"], errors))
        return delim.join(lines) + delim

    def _time_line(self) -> str:
        now = datetime.datetime.now()
        seconds = time.time() - self._started
        return (
            f"Current time: {now:%Y-%m-%d %H:%M:%S} (running for {datetime.timedelta(seconds=int(seconds))})"
        )

    def _count_line(self, trials: list[Trial]) -> str:
        counts = collections.Counter(trial.status for trial in trials)
        parts = ", ".join(f"{counts[status]} {status}" for status in _ORDER if counts[status])
        total = self._total_samples
        of = f"{len(trials)}/{total}" if total and total > 0 else str(len(trials))
        return f"Number of trials: {of} ({parts})"

    def _best(self, trials: list[Trial]) -> str | None:
        if not self._metric or self._mode not in ("min", "max"):
            return None
        found = [
            (look_up(trial._last_result, self._metric), trial)
            for trial in trials
            if isinstance(look_up(trial._last_result, self._metric), (int, float))
        ]
        if not found:
            return None
        value, trial = (max if self._mode == "max" else min)(found, key=lambda pair: pair[0])
        config = trial.evaluated_params or trial.config
        return f"Current best trial: {trial.trial_id} with {self._metric}={value} and parameters={config}"

    def _table(self, trials: list[Trial]) -> tuple[list[str], list[list[str]], int]:
        shown = sorted(trials, key=lambda trial: _ORDER.index(trial.status))
        if self._sort and self._metric:
            sign = -1.0 if self._mode == "max" else 1.0

            def key(trial: Trial) -> tuple[bool, float]:
                value = look_up(trial._last_result, self._metric or "")
                known = isinstance(value, (int, float))
                return (not known, sign * value if known else 0.0)

            shown = sorted(trials, key=key)
        more = max(0, len(shown) - self._max_rows)
        shown = shown[: self._max_rows]
        params = _columns(self._parameter_columns) or {
            name: name for trial in shown for name in trial.evaluated_params
        }
        metrics = _columns(self._metric_columns) or self._found_metrics(shown)
        rows = []
        for trial in shown:
            result = trial._last_result
            config = {**flatten(trial.config), **trial.evaluated_params}
            row = [str(trial), trial.status, trial.node_ip or ""]
            row += [self._cut(look_up(config, name)) for name in params]
            row += [self._cut(look_up(result, name)) for name in metrics]
            rows.append(row)
        return ["Trial name", "status", "loc", *params.values(), *metrics.values()], rows, more

    def _found_metrics(self, trials: list[Trial]) -> dict[str, str]:
        own: dict[str, str] = {}
        for trial in trials:
            for name, value in flatten(
                {k: v for k, v in trial._last_result.items() if k not in AUTO_KEYS}
            ).items():
                if isinstance(value, numbers.Number) and len(own) < self._infer_limit:
                    own.setdefault(name, name)
        if any(trial.has_reported_at_least_once for trial in trials):
            own = {"training_iteration": "iter", "time_total_s": "total time (s)", **own}
        return own

    def _cut(self, value: Any) -> str:
        if value is None:
            return ""
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        return text if len(text) <= self._max_length else "..." + text[-self._max_length + 3 :]


class CLIReporter(TuneReporterBase):
    """Prints a table now and then.

    Examples
    --------
    >>> from rayjup import tune
    >>> reporter = tune.CLIReporter(metric_columns=["loss"], max_report_frequency=30)
    """

    def report(self, trials: list[Trial], done: bool, *sys_info: str) -> None:
        """Print."""
        sys.stdout.write(self._progress_str(trials, done, *sys_info) + "\n")
        sys.stdout.flush()


class RemoteReporterMixin:
    """What reporters have that show their text elsewhere: by a queue, if one was set."""

    _output_queue: Any = None

    @property
    def output_queue(self) -> Any:
        """Where text is put instead of being shown here."""
        return self._output_queue

    @output_queue.setter
    def output_queue(self, value: Any) -> None:
        self._output_queue = value

    def display(self, string: str) -> None:
        """Show the text."""
        raise must_define(self, "display(string)")


class JupyterNotebookReporter(TuneReporterBase, RemoteReporterMixin):
    """Shows one table in a notebook cell, which changes in place.

    Parameters
    ----------
    overwrite
        Whether the table takes the place of the one before.
    """

    def __init__(
        self,
        *,
        overwrite: bool = True,
        metric_columns: list[str] | dict[str, str] | None = None,
        parameter_columns: list[str] | dict[str, str] | None = None,
        total_samples: int | None = None,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_column_length: int = 20,
        max_report_frequency: int = 5,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
    ) -> None:
        super().__init__(
            metric_columns=metric_columns,
            parameter_columns=parameter_columns,
            total_samples=total_samples,
            max_progress_rows=max_progress_rows,
            max_error_rows=max_error_rows,
            max_column_length=max_column_length,
            max_report_frequency=max_report_frequency,
            infer_limit=infer_limit,
            print_intermediate_tables=print_intermediate_tables,
            metric=metric,
            mode=mode,
            sort_by_metric=sort_by_metric,
        )
        self._overwrite = overwrite
        self._handle: Any = None
        self.row: dict[str, Any] | None = None  # the experiment as displays see it, set before each report

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Take what the experiment knows; it begins now."""
        super().setup(start_time, total_samples, metric, mode, **kwargs)
        if notebook.on_display is not None:
            notebook.on_display()

    def report(self, trials: list[Trial], done: bool, *sys_info: str) -> None:
        """Show the table."""
        text = self._progress_str(trials, done, *sys_info)
        if self.output_queue is not None:
            self.output_queue.put(text)
            return
        self.display(text)

    def display(self, string: str) -> None:
        """Show a text in place of the last one, with the same as a table for front ends that show HTML."""
        from IPython.display import display

        from rayjup.tune.shown import html_of
        from rayjup.tune.utils.log import ipython_disabled

        data = {"text/plain": string}
        if self.row is not None and not ipython_disabled():
            data["text/html"] = html_of(self.row)
        if self._handle is None or not self._overwrite:
            self._handle = display(data, raw=True, display_id=True)
        else:
            self._handle.update(data, raw=True)


class TrialProgressCallback(Callback):
    """Prints each trial's results as they come (``verbose=2``).

    Parameters
    ----------
    metric
        What is optimized; always shown.
    progress_metrics
        Which metrics are shown; the trial's own by default.
    """

    def __init__(self, metric: str | None = None, progress_metrics: list[str] | None = None) -> None:
        self._metric = metric
        self._metrics = progress_metrics
        self._printed: dict[str, float] = {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Print it, not too often."""
        self.log_result(trial, result, error=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print that it failed."""
        self.log_result(trial, trial.last_result, error=True)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Print its last result."""
        self.print_result(trial, trial.last_result, error=False, done=True)

    def log_result(self, trial: Any, result: dict[str, Any], error: bool = False) -> None:
        """Print a result unless the trial has printed one a moment ago."""
        now = time.monotonic()
        if error or now - self._printed.get(trial.trial_id, -10.0) > 1.0:
            self._printed[trial.trial_id] = now
            self.print_result(trial, result, error, bool(result.get("done")))

    def print_result(self, trial: Any, result: dict[str, Any], error: bool, done: bool) -> None:
        """Print one line about a result."""
        self.display_result(trial, result, error, done)

    def display_result(self, trial: Any, result: dict[str, Any], error: bool, done: bool) -> None:
        """Write one line about a result to the standard output."""
        names = self._metrics or [k for k in result if k not in AUTO_KEYS]
        shown = ", ".join(f"{name}={look_up(result, name)}" for name in names[:8])
        state = "failed" if error else "finished" if done else "reports"
        sys.stdout.write(f"Trial {trial} {state}: iteration {result.get('training_iteration', 0)}, {shown}\n")

    def generate_trial_table(self, trials: dict[Any, dict[str, Any]], columns: list[str]) -> str:
        """A table of trials and metrics."""
        rows = [[str(trial), *(str(look_up(result, c)) for c in columns)] for trial, result in trials.items()]
        return table(["Trial name", *columns], rows)


class Reporting:
    """Asks a reporter after each turn whether it has something to show."""

    def __init__(
        self, reporter: Any, controller: Any, state: Any, metric: Any, mode: Any, verbose: Any
    ) -> None:
        self._reporter = reporter
        self._controller = controller
        self._state = state
        self._next = 0.0
        if reporter is not None:
            one = metric if isinstance(metric, str) else None
            total = controller.search_alg.total_samples
            reporter.setup(
                start_time=time.time(), total_samples=total, metric=one, mode=mode if one else None
            )

    def turn(self, done: bool) -> None:
        """Report, if it is time."""
        if self._reporter is None:
            return
        now = time.monotonic()
        if not done and now < self._next:
            return  # making the list of ten thousand trials costs more than asking
        self._next = now + 0.2
        trials = self._controller.get_trials()
        if self._reporter.should_report(trials, done=done):
            if isinstance(self._reporter, JupyterNotebookReporter):
                self._reporter.row = self._state.row(self._controller)
            self._reporter.report(trials, done, f"Using {type(self._controller.scheduler).__name__}")


def default_reporter(verbose: Any) -> ProgressReporter | None:
    """The reporter that fits where we are; none for ``verbose=0``."""
    level = getattr(verbose, "value", verbose)
    if level == 0:
        return None
    return detect_reporter()


def detect_reporter(**kwargs: Any) -> TuneReporterBase:
    """A reporter for notebooks in a kernel, for terminals elsewhere."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    in_kernel = shell is not None and hasattr(shell, "kernel")
    if in_kernel:
        return JupyterNotebookReporter(**{"max_report_frequency": 1, **kwargs})
    return CLIReporter(**kwargs)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns of text under headings.

    Examples
    --------
    >>> from rayjup.tune.progress_reporter import table
    >>> print(table(["a", "b"], [["1", "long"]]))
    a  b
    -  ----
    1  long
    """
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _columns(given: list[str] | dict[str, str] | None) -> dict[str, str]:
    if not given:
        return {}
    return dict(given) if isinstance(given, Mapping) else {name: name for name in given}


def _added(
    given: list[str] | dict[str, str] | None, name: str, heading: str | None, kind: str
) -> list[str] | dict[str, str]:
    if given is not None and name in given:
        raise ValueError(f"the {kind} {name!r} has a column already")
    if isinstance(given, dict):
        return {**given, name: heading or name}
    if heading is not None and given:
        raise ValueError(f"columns are a list: give no heading for {name!r}, or make them a dictionary")
    return {name: heading} if heading is not None else [*(given or []), name]
