"""Pages about what runs on the cluster: trials, training runs, deployments."""

from __future__ import annotations

import html
import math
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource, FixedTicker

from rayjup.dashboard.pages.feed import Feed
from rayjup.dashboard.pages.frame import (
    COLOURS,
    WIDGET,
    Build,
    Table,
    Update,
    number,
    plot,
    rows,
    span,
    text,
    tiles,
)

_COUNTERS = ("training_iteration", "timestamp", "epoch", "step", "pid")
_MOST_CURVES = 6


def trials(feed: Feed) -> tuple[Any, Update]:
    """Experiments: the best so far, curves, parallel coordinates, a table to stop trials from."""
    chosen = pn.widgets.Select(name="Experiment", options=[], width=320, stylesheets=[WIDGET])
    head = text()
    curves = ColumnDataSource({"xs": [], "ys": [], "colour": [], "trial": []})
    course = plot("Course of the metric", tooltips=[("trial", "@trial")])
    course.multi_line("xs", "ys", color="colour", line_width=1.5, source=curves)
    lines = ColumnDataSource({"xs": [], "ys": [], "colour": [], "trial": []})
    parallel = plot("Settings and result", tools="hover", tooltips=[("trial", "@trial")])
    parallel.multi_line("xs", "ys", color="colour", line_width=1.5, alpha=0.8, source=lines)
    parallel.yaxis.visible = False
    table = Table(
        {
            "trial_id": ("trial", 140),
            "status": ("state", 110),
            "value": ("metric", 100),
            "iteration": ("reports", 80),
            "settings": ("settings", 420),
            "error": ("error", 260),
        },
        key="trial_id",
    )
    stop = pn.widgets.Button(name="Stop the selected trial", button_type="danger", button_style="outline")
    stop_all = pn.widgets.Button(name="Stop the experiment", button_type="danger", button_style="outline")
    _remember(chosen, "run")

    async def on_stop(_: Any) -> None:
        if chosen.value and table.selected is not None:
            await feed.requests.stop_run("tune", chosen.value, table.selected)

    async def on_stop_all(_: Any) -> None:
        if chosen.value:
            await feed.requests.stop_run("tune", chosen.value)

    stop.on_click(on_stop)
    stop_all.on_click(on_stop_all)

    async def update() -> None:
        found = {one["run_id"]: one for one in (await feed.get("trials"))["experiments"]}
        _offer(chosen, {one.get("name") or key: key for key, one in found.items()})
        run = found.get(chosen.value)
        stop.disabled = stop_all.disabled = run is None or run["ended"] is not None
        if run is None:
            head.object = '<p class="soft">No experiments yet: Tuner(…).fit() shows its trials here.</p>'
            return
        metric, best = run["metric"] or "result", run["best"]
        head.object = tiles(
            {
                "state": run["state"],
                "trials": f"{len(run['trials'])} / {run['total']}",
                **{status.lower(): count for status, count in run["counts"].items()},
                f"best {metric}": number(best["value"]) if best else "–",
                "of trial": best["trial_id"] if best else "–",
            }
        )
        shown = run["trials"]
        colours = _by_value([trial["metrics"].get(metric) for trial in shown], run["mode"])
        with_curve = [(t, c) for t, c in zip(shown, colours, strict=True) if len(t["curve"]) > 1]
        curves.data = {
            "xs": [
                list(range(t["iteration"] - len(t["curve"]) + 1, t["iteration"] + 1)) for t, _ in with_curve
            ],
            "ys": [t["curve"] for t, _ in with_curve],
            "colour": [c for _, c in with_curve],
            "trial": [t["trial_id"] for t, _ in with_curve],
        }
        axes, points = coordinates(shown, metric)
        if axes:
            lines.data = {
                "xs": [list(range(len(axes)))] * len(shown),
                "ys": points,
                "colour": colours,
                "trial": [trial["trial_id"] for trial in shown],
            }
            parallel.xaxis.ticker = FixedTicker(ticks=list(range(len(axes))))
            parallel.xaxis.major_label_overrides = dict(enumerate(axes))
        table.show(
            [
                {
                    **trial,
                    "value": number(trial["metrics"].get(metric)),
                    "settings": ", ".join(f"{k}={number(v)}" for k, v in trial["config"].items()),
                    "error": trial["error"] or "",
                }
                for trial in shown
            ]
        )

    plots = pn.Row(pn.pane.Bokeh(course), pn.pane.Bokeh(parallel), sizing_mode="stretch_width")
    buttons = pn.Row(chosen, stop, stop_all)
    return pn.Column(buttons, head, plots, table.model, sizing_mode="stretch_width"), update


def coordinates(trials: list[dict[str, Any]], metric: str) -> tuple[list[str], list[list[float]]]:
    """Axes of parallel coordinates and, per trial, where it lies on each, from 0 to 1.

    Numbers lie where they are between the smallest and the largest, on a logarithmic axis where they span
    more than two powers of ten; other values in the order of their names. What is the same everywhere has
    no axis.
    """
    names = dict.fromkeys(name for trial in trials for name in trial["config"])
    columns: dict[str, list[float]] = {}
    for name in names:
        values = [trial["config"].get(name) for trial in trials]
        if len({str(value) for value in values}) > 1:
            columns[name] = _placed(values)
    if not columns:
        return [], []
    columns[metric] = _placed([trial["metrics"].get(metric) for trial in trials])
    return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]


def _placed(values: list[Any]) -> list[float]:
    numeric = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numeric) < sum(v is not None for v in values):
        names = sorted({str(v) for v in values})
        return [names.index(str(v)) / max(1, len(names) - 1) for v in values]
    finite = [v for v in numeric if math.isfinite(v)]
    if not finite:
        return [math.nan] * len(values)
    scale = math.log10 if min(finite) > 0 and max(finite) / min(finite) > 100 else float
    low, high = scale(min(finite)), scale(max(finite))
    return [
        (scale(v) - low) / (high - low or 1.0) if v is not None and math.isfinite(v) else math.nan
        for v in values
    ]


def _by_value(values: list[Any], mode: str | None) -> list[str]:
    """Colours from good (blue) to bad (grey)."""
    places = _placed(values)
    good = [1 - place if mode == "min" else place for place in places]
    return ["#8a8a8a55" if math.isnan(g) else f"#4a7fb5{int(60 + 195 * g):02x}" for g in good]


def training(feed: Feed) -> tuple[Any, Update]:
    """Training runs: workers, newest metrics, their curves, checkpoints."""
    chosen = pn.widgets.Select(name="Run", options=[], width=320, stylesheets=[WIDGET])
    head, workers = text(), text()
    drawings = pn.GridBox(ncols=2, sizing_mode="stretch_width")
    sources: dict[str, ColumnDataSource] = {}
    stop = pn.widgets.Button(name="Stop the run", button_type="danger", button_style="outline")
    _remember(chosen, "run")
    kinds: dict[str, str] = {}

    async def on_stop(_: Any) -> None:
        if chosen.value:
            await feed.requests.stop_run(kinds[chosen.value], chosen.value)

    stop.on_click(on_stop)

    async def update() -> None:
        found = {one["run_id"]: one for one in (await feed.get("training"))["runs"]}
        kinds.update({key: one["kind"] for key, one in found.items()})
        before = chosen.value
        _offer(chosen, {one.get("name") or key: key for key, one in found.items()})
        run = found.get(chosen.value)
        stop.disabled = run is None or run["ended"] is not None
        if run is None:
            head.object = (
                '<p class="soft">No training runs yet: TorchTrainer(…).fit() shows its run here.</p>'
            )
            return
        if chosen.value != before:
            sources.clear()
            drawings.clear()
        head.object = tiles(
            {
                "state": run["state"],
                "reports": run.get("iteration", "–"),
                "workers": len(run.get("workers") or ()),
                "failures": run.get("failures", 0),
                "checkpoints": len(run.get("checkpoints") or ()),
                "runs for": span((run["ended"] or run["updated"]) - run["started"]),
            }
        )
        points = run.get("history") or []
        for name in _curves_of(points):
            if name not in sources:
                colour = COLOURS[len(sources) % len(COLOURS)]
                sources[name] = ColumnDataSource({"x": [], "y": []})
                made = plot(name, tooltips=[("", "@y{0.0000}")])
                made.line("x", "y", source=sources[name], color=colour, line_width=2)
                drawings.append(pn.pane.Bokeh(made))
            values = [point.get(name) for point in points]
            first = run.get("iteration", len(values)) - len(values) + 1
            sources[name].data = {"x": list(range(first, first + len(values))), "y": values}
        ranks = [
            (w["rank"], w["host"], w["pid"], ", ".join(map(str, w["gpus"])) or "–", w["state"])
            for w in run.get("workers") or ()
        ]
        note = f"<pre>{html.escape(run['note'])}</pre>" if run.get("note") else ""
        workers.object = (rows(("rank", "host", "pid", "GPUs", "state"), ranks) if ranks else "") + note

    return pn.Column(pn.Row(chosen, stop), head, drawings, workers, sizing_mode="stretch_width"), update


def _curves_of(points: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for point in points for name in point)
    shown = [name for name in names if name not in _COUNTERS and not name.startswith("time_")]
    return sorted(shown, key=lambda name: ("loss" not in name, name))[:_MOST_CURVES]


def deployments(feed: Feed) -> tuple[Any, Update]:
    """What Serve serves: replicas, requests, latencies, errors."""
    head = text()
    table = Table(
        {
            "application": ("application", 150),
            "name": ("deployment", 180),
            "status": ("state", 120),
            "replicas": ("replicas", 90),
            "per_s": ("requests/s", 100),
            "p50": ("p50", 90),
            "p99": ("p99", 90),
            "errors": ("errors", 80),
            "waiting": ("waiting", 80),
            "message": ("message", 260),
        }
    )
    remove = pn.widgets.Button(
        name="Take the selected application down", button_type="danger", button_style="outline"
    )

    async def on_remove(_: Any) -> None:
        if table.selected is not None:
            await feed.requests.delete_application(table.selected.split("/")[0])

    remove.on_click(on_remove)

    async def update() -> None:
        found = await feed.get("deployments")
        apps = found["applications"]
        remove.disabled = not apps
        head.object = (
            rows(
                ("application", "state", "route", "message"),
                [
                    (a["name"], a["status"], a.get("route_prefix") or "–", a.get("message") or "")
                    for a in apps
                ],
            )
            if apps
            else '<p class="soft">Nothing is served: serve.run(app) shows its deployments here.</p>'
        )
        table.show(
            [
                {
                    **one,
                    "key": f"{app['name']}/{one['name']}",
                    "application": app["name"],
                    "replicas": f"{one['replica_states'].get('RUNNING', 0)} / {one.get('target', '?')}",
                    "per_s": number(one.get("per_s")),
                    "p50": f"{number(one.get('p50_ms'))} ms",
                    "p99": f"{number(one.get('p99_ms'))} ms",
                }
                for app in apps
                for one in app["deployments"]
            ]
        )

    return pn.Column(head, table.model, remove, sizing_mode="stretch_width"), update


def _remember(widget: Any, name: str) -> None:
    """Keep a choice in the page's address, so that a link leads to what was shown."""
    location = pn.state.location

    def changed(event: Any) -> None:
        if event.new and location is not None:
            location.update_query(**{name: event.new})

    widget.param.watch(changed, "value")


def _offer(widget: Any, options: dict[str, str]) -> None:
    """Offer other choices, if they are others; what was chosen stays."""
    if widget.options == options:
        return
    wanted = widget.value or _asked("run")
    widget.options = options
    widget.value = wanted if wanted in options.values() else next(iter(options.values()), None)


def _asked(name: str) -> str | None:
    found = (pn.state.session_args or {}).get(name)
    return found[0].decode() if found else None


PAGES: dict[str, Build] = {"trials": trials, "training": training, "deployments": deployments}
