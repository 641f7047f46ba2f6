"""Pages about programs and what they print: jobs, logs."""

from __future__ import annotations

import html
import time
from typing import Any

import panel as pn

from rayjup.dashboard.pages.feed import Feed
from rayjup.dashboard.pages.frame import WIDGET, Build, Table, Update, span, text

_LINES = 1000


def jobs(feed: Feed) -> tuple[Any, Update]:
    """Submitted jobs and connected drivers; submitting one; the log of the selected one."""
    table = Table(
        {
            "id": ("job", 220),
            "type": ("kind", 100),
            "status": ("state", 110),
            "entrypoint": ("program", 360),
            "took": ("time", 110),
            "message": ("message", 300),
        },
        key="id",
        height=320,
    )
    entrypoint = pn.widgets.TextInput(
        placeholder="python program.py", sizing_mode="stretch_width", stylesheets=[WIDGET]
    )
    submit = pn.widgets.Button(name="Submit", button_type="primary")
    stop = pn.widgets.Button(name="Stop the selected job", button_type="danger", button_style="outline")
    answer, log = text(), text()
    document = pn.state.curdoc

    def say(content: str) -> None:
        document.add_next_tick_callback(lambda: setattr(answer, "object", content))

    async def on_submit(_: Any) -> None:
        try:
            made = await feed.requests.jobs.submit(entrypoint.value_input or entrypoint.value)
        except ValueError as error:
            say(f'<p class="bad">{html.escape(str(error))}</p>')
        else:
            say(f"<p>Submitted {html.escape(made)}.</p>")

    async def on_stop(_: Any) -> None:
        if table.selected is not None:
            try:
                await feed.requests.jobs.stop(table.selected)
            except LookupError as error:
                say(f'<p class="bad">{html.escape(str(error.args[0]))}</p>')

    submit.on_click(on_submit)
    stop.on_click(on_stop)

    async def update() -> None:
        found = (await feed.get("jobs"))["jobs"]
        now = time.time() * 1000
        table.show(
            [
                {
                    **job,
                    "type": job["type"].lower(),
                    "took": span(((job["end_time"] or now) - job["start_time"]) / 1000),
                    "message": job["message"] or "",
                }
                for job in found
            ]
        )
        chosen = next((job for job in found if job["id"] == table.selected), None)
        stop.disabled = chosen is None or chosen["submission_id"] is None or chosen["end_time"] is not None
        if chosen is None or chosen["submission_id"] is None:
            log.object = ""
            return
        printed = await feed.requests.jobs.logs(chosen["submission_id"])
        log.object = _pre("\n".join(printed.splitlines()[-_LINES:]))

    return pn.Column(
        pn.Row(entrypoint, submit, stop, sizing_mode="stretch_width"),
        answer,
        table.model,
        log,
        sizing_mode="stretch_width",
    ), update


def logs(feed: Feed) -> tuple[Any, Update]:
    """The log files of the nodes; the last lines of the chosen one, filtered."""
    node = pn.widgets.Select(name="Node", options={}, width=220, stylesheets=[WIDGET])
    file = pn.widgets.Select(name="File", options=[], width=320, stylesheets=[WIDGET])
    wanted = pn.widgets.TextInput(name="Filter", placeholder="part of a line", stylesheets=[WIDGET])
    shown, note = text(), text()
    first = {name: _asked(name) for name in ("node", "file")}
    location = pn.state.location
    if location is not None:
        location.sync(wanted, {"value": "filter"})

    async def update() -> None:
        nodes = {one["name"]: one for one in (await feed.get("logs"))["nodes"]}
        places = {name: one["node_id"] for name, one in nodes.items()}
        if node.options != places:
            keep = node.value or first["node"]
            node.options = places
            node.value = keep if keep in places.values() else next(iter(places.values()), None)
        files: list[str] = next((one["files"] for one in nodes.values() if one["node_id"] == node.value), [])
        if file.options != files:
            keep = file.value or first["file"] or "cluster.log"
            file.options = files
            file.value = keep if keep in files else next(iter(files), None)
        if not node.value or not file.value:
            return
        if location is not None:
            location.update_query(node=node.value, file=file.value)
        lines = (await feed.log(node.value, file.value, _LINES)).splitlines()
        part = (wanted.value_input or wanted.value).lower()
        found = [line for line in lines if part in line.lower()]
        note.object = f'<span class="soft">{len(found)} of the last {len(lines)} lines</span>'
        shown.object = _pre("\n".join(found))

    return pn.Column(pn.Row(node, file, wanted), note, shown, sizing_mode="stretch_width"), update


def _pre(content: str) -> str:
    return f'<pre style="max-height:640px">{html.escape(content)}</pre>'


def _asked(name: str) -> str | None:
    found = (pn.state.session_args or {}).get(name)
    return found[0].decode() if found else None


PAGES: dict[str, Build] = {"jobs": jobs, "logs": logs}
