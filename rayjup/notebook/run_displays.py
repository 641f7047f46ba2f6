"""Runs of Tune, Train and RLlib, seen from any notebook, also after its kernel was restarted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from rayjup.notebook import session
from rayjup.notebook.table import Column, Table
from rayjup.notebook.table_displays import LiveTables, TableDisplay
from rayjup.observe import ClusterView, current
from rayjup.runs.parallel import parallel_coordinates

_CONFIG_COLUMNS = 4
_METRIC_COLUMNS = 3
_WORKERS = [
    Column("rank", "rank", kind="number"),
    Column("host", "host"),
    Column("pid", "pid", kind="number"),
    Column("state", "state", kind="state"),
]
_LOSSES = [
    Column("module", "module"),
    Column("loss", "loss"),
    Column("last", "last", kind="number"),
    Column("curve", "curve", kind="spark"),
]
_METRICS = [
    Column("metric", "metric"),
    Column("last", "last", kind="number"),
    Column("curve", "curve", kind="spark"),
]


def runs() -> TableDisplay:
    """The runs of this cluster, as a table: those that go on, and the last ones that ended."""
    rows = [
        {
            "name": row.get("name") or row["run_id"],
            "kind": row["kind"],
            "state": row["state"],
            "what": _what(row),
            "took": (row["ended"] or time.time()) - row["started"],
        }
        for row in _rows()
    ]
    columns = [
        Column("name", "run"),
        Column("kind", "kind"),
        Column("state", "state", kind="state"),
        Column("what", "so far"),
        Column("took", "time", kind="seconds"),
    ]
    return TableDisplay(
        Table(columns, rows, title="runs", empty="No run of Tune, Train or RLlib in this cluster yet.")
    )


def find(name: str) -> dict[str, Any] | None:
    """The newest run with this name or id; None when there is none."""
    return next((row for row in reversed(_rows()) if name in (row.get("name"), row["run_id"])), None)


def watch_run(name: str) -> LiveTables:
    """A live display of a run: its trials, or its workers, metrics and checkpoints.

    Parameters
    ----------
    name : str
        Name or id of the run; of several the newest.

    Raises
    ------
    KeyError
        There is no such run in this cluster.
    """
    _, snapshot = session.watched()
    found = find(name)
    if found is None:
        there = ", ".join(str(row.get("name") or row["run_id"]) for row in _rows()) or "none"
        raise KeyError(f"there is no run {name!r} in this cluster (runs: {there})")
    kind, run_id = found["kind"], found["run_id"]
    view = _view()

    def newest() -> dict[str, Any]:
        return next((each for each in view.runs(kind) if each["run_id"] == run_id), found)

    if kind == "tune":
        return LiveTrials(newest, lambda request: view.ask_run(kind, run_id, request), snapshot)
    return LiveTables(lambda _: tables(newest()), snapshot)


class LiveTrials(LiveTables):
    """The trials of a tuning run: sortable, filtered on request, with parallel coordinates below.

    Made by `watch_run`; ``shown.stop("c1f0a_00002")`` ends one trial, ``shown.stop()`` all of them.
    """

    def __init__(
        self,
        newest: Callable[[], dict[str, Any]],
        ask: Callable[[dict[str, Any]], None],
        snapshot: Mapping[str, Any],
    ) -> None:
        self._newest, self._ask = newest, ask
        self._row: dict[str, Any] = {}
        self._wanted = ""
        super().__init__(self._chosen, snapshot)

    def only(self, text: str) -> None:
        """Show only trials that have ``text`` in some column; an empty text shows all."""
        self._wanted = text.strip().lower()
        self.refresh(self._snapshot)
        self._send_live(self.live_html())

    def stop(self, trial_id: str = "*") -> None:
        """Ask the run to end one trial, or all; it hears of it within about a second.

        Raises
        ------
        KeyError
            The run shows no such trial.
        """
        known = [trial["trial_id"] for trial in self._row.get("trials") or []]
        if trial_id != "*" and trial_id not in known:
            raise KeyError(f"the run shows no trial {trial_id!r} (trials: {', '.join(known) or 'none yet'})")
        self._ask({"stop": trial_id})

    def controls(self) -> list[Any]:
        """Buttons to sort by, a field to filter with, and one to stop a trial."""
        import ipywidgets

        low = ipywidgets.Layout(width="200px", height="28px")
        wanted = ipywidgets.Text(placeholder="show trials with …", continuous_update=True, layout=low)
        wanted.observe(lambda change: self.only(change["new"]), "value")
        trial = ipywidgets.Text(placeholder="trial to stop", layout=low)
        button = ipywidgets.Button(description="stop trial", layout=ipywidgets.Layout(width="auto"))
        said = ipywidgets.HTML()

        def stop(_: Any) -> None:
            try:
                self.stop(trial.value.strip())
            except (KeyError, ConnectionError) as error:
                said.value = f"<small>{escape(str(error.args[0]))}</small>"
            else:
                said.value = f"<small>asked to stop {escape(trial.value.strip())}</small>"

        button.on_click(stop)
        return [*super().controls(), ipywidgets.HBox([wanted, trial, button, said])]

    def _chosen(self, _: Mapping[str, Any]) -> list[Table]:
        self._row = self._newest()
        (trials,) = tables(self._row)
        if self._wanted:
            shown = [column.key for column in trials.columns if column.kind != "spark"]
            trials.rows = [
                row for row in trials.rows if any(self._wanted in str(row.get(key)).lower() for key in shown)
            ]
        return [trials]

    def _more_html(self) -> str:
        metric = self._row.get("metric")
        if not isinstance(metric, str):
            return ""
        trials = [(trial["config"], trial["metrics"].get(metric)) for trial in self._row.get("trials") or []]
        return parallel_coordinates(
            [(config, value) for config, value in trials if value is not None],
            metric,
            self._row.get("mode") or "min",
        )


def tables(row: Mapping[str, Any]) -> list[Table]:
    """A run's row on the board as tables."""
    title = f"{row.get('name') or row['run_id']}: {row['state']}, {_what(row)}"
    if row["kind"] == "tune":
        return [_trials(row, title)]
    if row["kind"] == "rllib":
        return _learning(row, title)
    history = list(row.get("history") or [])
    metrics = [
        {
            "metric": name,
            "last": value,
            "curve": [point[name] for point in history if _number(point.get(name))],
        }
        for name, value in (row.get("metrics") or {}).items()
        if _number(value)
    ]
    return [
        Table(_WORKERS, list(row.get("workers") or []), title=title, empty="Its workers have ended."),
        Table(_METRICS, metrics, title="metrics", empty="Nothing was reported yet."),
    ]


def _learning(row: Mapping[str, Any], title: str) -> list[Table]:
    curve = [mean for _, mean in row.get("curve") or []]
    facts = [
        {"metric": "return, mean", "last": row.get("return_mean"), "curve": curve},
        {"metric": "steps per s", "last": row.get("steps_per_s"), "curve": row.get("rates") or []},
    ]
    losses = [
        {"module": module, "loss": name, "last": values[-1], "curve": values}
        for module, named in (row.get("losses") or {}).items()
        for name, values in named.items()
        if values
    ]
    return [
        Table(_METRICS, facts, title=title),
        Table(_LOSSES, losses, title="losses", empty="Nothing was learnt yet."),
    ]


def stop_run(name: str) -> None:
    """Ask a run of Train or RLlib to stop. `Algorithm.train` then ends its iteration with ``done`` in the
    result; calling it again goes on.

    Parameters
    ----------
    name : str
        Name or id of the run; of several the newest.
    """
    found = find(name)
    if found is None:
        raise KeyError(f"there is no run {name!r} in this cluster")
    if found["kind"] == "tune":
        raise ValueError(f"{name!r} is a run of Tune: it is stopped by interrupting its cell.")
    _view().ask_run(found["kind"], found["run_id"], {"action": "stop"})


def _trials(row: Mapping[str, Any], title: str) -> Table:
    trials: Sequence[Mapping[str, Any]] = row.get("trials") or []
    configs = list(dict.fromkeys(name for trial in trials for name in trial["config"]))[:_CONFIG_COLUMNS]
    metric = row.get("metric")
    names = list(dict.fromkeys(name for trial in trials for name in trial["metrics"]))
    names.sort(key=lambda name: name != metric)
    columns = [Column("trial", "trial"), Column("state", "state", kind="state")]
    columns += [Column(f"config {name}", name) for name in configs]
    columns += [Column(f"metric {name}", name, kind="number") for name in names[:_METRIC_COLUMNS]]
    columns += [
        Column("iteration", "iteration", kind="number"),
        Column("seconds", "time", kind="seconds"),
        Column("curve", str(metric or "curve"), kind="spark"),
    ]
    rows = [
        {
            "trial": trial["trial_id"],
            "state": trial["status"].lower(),
            **{f"config {name}": _shown(trial["config"].get(name)) for name in configs},
            **{f"metric {name}": trial["metrics"].get(name) for name in names[:_METRIC_COLUMNS]},
            "iteration": trial["iteration"],
            "seconds": trial["seconds"],
            "curve": trial["curve"],
        }
        for trial in trials
    ]
    sort = f"metric {metric}" if metric in names else None
    return Table(
        columns, rows, title=title, sort=sort, descending=row.get("mode") == "max", empty="No trial yet."
    )


def _rows() -> list[dict[str, Any]]:
    return _view().runs()


def _view() -> ClusterView:
    view = current()
    if view is None:
        raise ConnectionError("this notebook is connected to no cluster: run %ray_init first")
    return view


def _what(row: Mapping[str, Any]) -> str:
    if row["kind"] == "tune":
        counts = row.get("counts") or {}
        so_far = ", ".join(f"{count} {state.lower()}" for state, count in counts.items()) or "no trial yet"
        best = row.get("best")
        return f"{so_far}, best {best['value']:.6g} in {best['trial_id']}" if best else so_far
    if row["kind"] == "rllib":
        return f"iteration {row.get('iteration', 0)}, {row.get('steps', 0)} steps"
    return f"{row.get('iteration', 0)} reports, {len(row.get('workers') or [])} workers"


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
