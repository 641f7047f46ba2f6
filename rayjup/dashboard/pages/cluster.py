"""Pages about the cluster itself: overview, nodes, tasks and actors, objects, timeline."""

from __future__ import annotations

import html
from typing import Any

import panel as pn
from bokeh.models import ColumnDataSource, FactorRange

from rayjup.dashboard.pages.feed import Feed
from rayjup.dashboard.pages.frame import (
    COLOURS,
    WIDGET,
    Build,
    Markup,
    Table,
    Update,
    bar,
    plot,
    rows,
    size,
    span,
    text,
    tiles,
)

_CURVES = {
    "CPUs in use": "cpus",
    "Processors busy, %": "cpu_percent",
    "GPUs busy, %": "gpu_percent",
    "Object store, MB": "store",
    "Tasks running": "running",
}
_LANES = 60


def overview(feed: Feed) -> tuple[Any, Update]:
    """The whole cluster at a glance, and its load over the last minutes."""
    head = text()
    source = ColumnDataSource({"time": [], **{key: [] for key in _CURVES.values()}})
    plots = []
    for (title, key), colour in zip(_CURVES.items(), COLOURS, strict=False):
        made = plot(title, 160, x_axis_type="datetime", tooltips=[("", f"@{key}{{0.0}}")])
        made.y_range.start = 0
        made.line("time", key, source=source, color=colour, line_width=2)
        plots.append(made)
    waiting = text()

    async def update() -> None:
        snapshot = await feed.get("snapshot")
        total, free = snapshot["resources_total"], snapshot["resources_available"]
        values: dict[str, Any] = {
            "cluster": snapshot["name"],
            "up for": span(snapshot["uptime_s"]),
            "nodes": len(snapshot["nodes"]),
            "CPUs in use": f"{total.get('CPU', 0) - free.get('CPU', 0):g} / {total.get('CPU', 0):g}",
        }
        if total.get("GPU"):
            values["GPUs in use"] = f"{total['GPU'] - free.get('GPU', 0):g} / {total['GPU']:g}"
        values["actors alive"] = sum(actor["state"] == "ALIVE" for actor in snapshot["actors"])
        values["drivers"] = len(snapshot["drivers"])
        values["tasks done"] = sum(row["finished"] for row in snapshot["tasks"])
        values["tasks failed"] = sum(row["failed"] for row in snapshot["tasks"])
        head.object = tiles(values)
        history = feed.history
        source.data = {
            "time": [point["time"] * 1000 for point in history],
            **{key: [point[key] for point in history] for key in _CURVES.values()},
            "store": [point["store"] / 2**20 for point in history],
        }
        demand = [
            (", ".join(f"{v:g} {k}" for k, v in one["resources"].items()), one["count"])
            for one in snapshot["demand"]
        ]
        waiting.object = (
            f"<h3>Waiting for resources</h3>{rows(('resources', 'calls'), demand)}" if demand else ""
        )

    grid = pn.GridBox(*(pn.pane.Bokeh(one) for one in plots), ncols=2, sizing_mode="stretch_width")
    return pn.Column(head, waiting, grid, sizing_mode="stretch_width"), update


def nodes(feed: Feed) -> tuple[Any, Update]:
    """Machines with processors, memory, object store and GPUs."""
    table, gpus = text(), text()

    async def update() -> None:
        found = (await feed.get("snapshot"))["nodes"]
        lines, cards = [], []
        for node in found:
            total, free = node["resources_total"], node["resources_available"]
            lines.append(
                (
                    node["name"] + (" (head)" if node["is_head"] else ""),
                    node["host"],
                    f"{total.get('CPU', 0) - free.get('CPU', 0):g} / {total.get('CPU', 0):g}",
                    Markup(f"{bar(node['cpu_percent'] / 100)} {node['cpu_percent']:.0f} %"),
                    _share(node["mem_used"], node["mem_total"]),
                    _share(node["store_used"], node["store_capacity"]),
                    size(node.get("store_spilled", 0)),
                    node["executors"],
                    _gpus(node),
                )
            )
            cards += [
                (
                    node["name"],
                    gpu["index"],
                    gpu["name"],
                    Markup(f"{bar((gpu['utilization'] or 0) / 100)} {gpu['utilization'] or 0:.0f} %"),
                    _share(gpu["mem_used"] or 0, gpu["mem_total"] or 0),
                    "–" if gpu["temperature"] is None else f"{gpu['temperature']:.0f} °C",
                )
                for gpu in node["gpus"]
            ]
        heads = (
            "node",
            "host",
            "CPUs in use",
            "busy",
            "memory",
            "object store",
            "on disk",
            "processes",
            "GPUs",
        )
        table.object = rows(heads, lines)
        gpus.object = (
            "<h3>GPUs</h3>" + rows(("node", "index", "name", "busy", "memory", "temperature"), cards)
            if cards
            else ""
        )

    return pn.Column(table, gpus, sizing_mode="stretch_width"), update


def _share(used: float, total: float) -> Markup:
    return Markup(f"{bar(used / total if total else 0.0)} {size(used)} / {size(total)}")


def _gpus(node: dict[str, Any]) -> Markup:
    """A strip: how busy each GPU is; of those that cannot be measured, how many are taken."""
    total = node["resources_total"].get("GPU", 0)
    used = total - node["resources_available"].get("GPU", 0)
    shares = [(gpu["utilization"] or 0) / 100 for gpu in node["gpus"]] or [
        min(1.0, max(0.0, used - index)) for index in range(int(total))
    ]
    cells = "".join(f'<div class="gpu"><i style="height:{share * 100:.0f}%"></i></div>' for share in shares)
    return Markup(f'<div class="gpus" title="{used:g} of {total:g} in use">{cells or "–"}</div>')


def tasks(feed: Feed) -> tuple[Any, Update]:
    """Remote functions by name, and actors."""
    counts = {name: (name, 90) for name in ("pending", "running", "finished", "failed")}
    functions = Table({"name": ("function", 340), **counts}, key="name", height=320)
    actors = Table(
        {
            "label": ("actor", 240),
            "class_name": ("class", 200),
            "state": ("state", 140),
            "node": ("node", 160),
            "pid": ("pid", 80),
            "pending": ("pending", 80),
            "actor_id": ("id", 260),
        },
        key="actor_id",
    )
    wanted = pn.widgets.TextInput(
        name="Filter", placeholder="part of a name, a state or an id", stylesheets=[WIDGET]
    )
    pn.state.location.sync(wanted, {"value": "filter"})

    async def update() -> None:
        snapshot = await feed.get("snapshot")
        places = {node["node_id"]: node["name"] for node in snapshot["nodes"]}
        part = wanted.value_input or wanted.value

        def matches(row: dict[str, Any]) -> bool:
            return not part or any(part.lower() in str(value).lower() for value in row.values())

        functions.show([row for row in snapshot["tasks"] if matches(row)])
        found = [
            {**row, "label": row["name"] or row["class_name"], "node": places.get(row["node_id"], "")}
            for row in snapshot["actors"]
        ]
        actors.show([row for row in found if matches(row)])

    parts = (wanted, text("<h3>Functions</h3>"), functions.model, text("<h3>Actors</h3>"), actors.model)
    return pn.Column(*parts, sizing_mode="stretch_width"), update


def objects(feed: Feed) -> tuple[Any, Update]:
    """What lies in object stores and processes, the largest first."""
    head = text()
    table = Table(
        {
            "object_id": ("object", 320),
            "size": ("size", 100),
            "reference_type": ("held as", 180),
            "type": ("by", 90),
            "pid": ("pid", 80),
            "ip": ("host", 120),
            "call_site": ("made at", 260),
        },
        height=560,
    )

    async def update() -> None:
        found = await feed.get("objects")
        values = {f"{kind['reference_type'].lower()}": kind["count"] for kind in found["kinds"]}
        values["bytes"] = size(sum(kind["bytes"] for kind in found["kinds"]))
        warning = f'<p class="soft">{html.escape(found["warning"])}</p>' if found["warning"] else ""
        head.object = tiles(values) + warning
        table.show([{**row, "size": size(max(0, row["object_size"]))} for row in found["objects"]])

    return pn.Column(head, table.model, sizing_mode="stretch_width"), update


def timeline(feed: Feed) -> tuple[Any, Update]:
    """What ran where and when."""
    lanes = FactorRange(factors=["–"])
    drawn = plot(
        "",
        420,
        x_axis_type="datetime",
        y_range=lanes,
        tools="hover,xpan,xwheel_zoom,reset,tap",
        tooltips=[("", "@name"), ("took", "@took"), ("state", "@state")],
    )
    source = ColumnDataSource(
        {name: [] for name in ("left", "right", "y", "name", "took", "state", "colour")}
    )
    drawn.hbar(
        y="y",
        left="left",
        right="right",
        height=0.7,
        color="colour",
        line_color=None,
        alpha=0.85,
        source=source,
    )
    note = text()
    download = text('<a href="../api/v0/tasks/timeline?download=1">download for Perfetto</a>')

    async def update() -> None:
        found = await feed.get("timeline")
        now = (await feed.get("snapshot"))["time"]
        spans = found["spans"]
        places = list(dict.fromkeys(one["place"] for one in spans))[-_LANES:]
        shown = [one for one in spans if one["place"] in set(places)]
        if lanes.factors != places:
            lanes.factors = places
            drawn.height = 90 + 22 * max(4, len(places))
        source.data = {
            "left": [one["start"] * 1000 for one in shown],
            "right": [(one["end"] or now) * 1000 for one in shown],
            "y": [one["place"] for one in shown],
            "name": [one["name"] for one in shown],
            "took": [f"{((one['end'] or now) - one['start']) * 1000:.1f} ms" for one in shown],
            "state": [one["state"].lower() for one in shown],
            "colour": [
                "#c0392b" if one["state"] == "FAILED" else COLOURS[sum(one["name"].encode()) % len(COLOURS)]
                for one in shown
            ],
        }
        note.object = f'<span class="soft">{found["total"]} calls remembered, {len(shown)} shown</span>'

    return pn.Column(pn.Row(note, download), pn.pane.Bokeh(drawn), sizing_mode="stretch_width"), update


PAGES: dict[str, Build] = {
    "overview": overview,
    "nodes": nodes,
    "tasks": tasks,
    "objects": objects,
    "timeline": timeline,
}
