"""What a notebook shows for a handle: where the application answers, and how it is."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.exceptions import RayError
from rayjup.serve._private import client
from rayjup.serve._private.describing import read_view

if TYPE_CHECKING:
    from rayjup.serve.handle import DeploymentHandle

_STYLE = "border-collapse:collapse;font-size:90%"
_TAIL_BYTES = 4096
TAIL_LINES = 5


def facts(handle: DeploymentHandle) -> dict[str, Any] | None:
    """The application of a handle as displays show it; None where it cannot be asked for."""
    if not rayjup.is_initialized() or client.controller() is None:
        return None
    try:
        view = client.ask("view", timeout=2.0)
    except RayError:
        return None
    return facts_in(view, handle.app_name)


def latest(app_name: str) -> dict[str, Any] | None:
    """What the controller has published of an application, without asking it."""
    view = read_view()
    return facts_in(view, app_name) if view is not None else None


def facts_in(view: Mapping[str, Any], app_name: str) -> dict[str, Any] | None:
    """An application in what the controller publishes; None when it is not there."""
    app = view["applications"].get(app_name)
    if app is None:
        return None
    prefix, port = app.get("route_prefix"), view.get("port")
    url = None
    if prefix is not None and port and view.get("location") != "Disabled":
        scheme = "https" if view.get("tls") else "http"
        url = f"{scheme}://{view.get('host') or '127.0.0.1'}:{port}{prefix}"
    deployments = app["deployments"]
    return {
        "name": app_name,
        "status": app["status"],
        "message": app["message"],
        "url": url,
        "docs": url.rstrip("/") + app["docs_path"] if url and app.get("docs_path") else None,
        "port": port,
        "deployments": deployments,
        "tail": tail([path for one in deployments.values() for path in one.get("logs", ())]),
    }


def tail(paths: list[str]) -> list[str]:
    """The last lines of the access logs that lie on this machine, in the order of their time."""
    lines: list[tuple[str, str]] = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            continue  # nothing was logged yet, or the replica runs elsewhere
        found = text.splitlines()
        if size > _TAIL_BYTES:
            found = found[1:]  # begins in the middle
        lines += [(" ".join(line.split(" ", 3)[1:3]), line) for line in found[-TAIL_LINES:]]
    return [line for _, line in sorted(lines)][-TAIL_LINES:]


def bundle(handle: DeploymentHandle) -> dict[str, str]:
    """Text and HTML of a handle."""
    found = facts(handle)
    if found is None:
        return {"text/plain": repr(handle)}
    return {"text/plain": as_text(found, repr(handle)), "text/html": as_html(found)}


def _numbers(deployment: Mapping[str, Any]) -> list[str]:
    running = deployment["replica_states"].get("RUNNING", 0)
    return [
        f"{running}/{deployment['target']}",
        f"{deployment.get('per_s', 0.0):g}",
        f"{deployment.get('p50_ms', 0.0):.3g}",
        f"{deployment.get('p99_ms', 0.0):.3g}",
        str(deployment.get("errors", 0)),
    ]


def as_text(found: Mapping[str, Any], title: str) -> str:
    """The card as text."""
    lines = [f"{title}: {found['status']}" + (f" at {found['url']}" if found["url"] else "")]
    for name, deployment in found["deployments"].items():
        replicas, per_s, p50, p99, errors = _numbers(deployment)
        lines.append(
            f"  {name}: {deployment['status']}, {replicas} replicas, {per_s} requests/s, p50 {p50} ms, "
            f"p99 {p99} ms, {errors} errors"
        )
    return "\n".join([*lines, *(f"  {line}" for line in found["tail"])])


def as_html(found: Mapping[str, Any]) -> str:
    """The card as HTML."""
    link = ""
    if found["url"]:
        url = html.escape(found["url"])
        link = f' &middot; <a href="{url}" target="_blank">{url}</a>'
        if found["docs"]:
            link += f' &middot; <a href="{html.escape(found["docs"])}" target="_blank">try it</a>'
        # Behind Jupyter the same is reached through its proxy, where one is installed.
        link += f" &middot; <small>behind Jupyter: <code>proxy/{int(found['port'])}/</code></small>"
        link += f"<br><small><code>curl {url}</code></small>"
    head = "".join(
        f"<th style='text-align:left'>{title}</th>"
        for title in ("deployment", "status", "replicas", "requests/s", "p50 ms", "p99 ms", "errors")
    )
    rows = ""
    for name, deployment in found["deployments"].items():
        cells = [html.escape(name), html.escape(deployment["status"]), *_numbers(deployment)]
        rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    messages = [found["message"], *(d["message"] for d in found["deployments"].values())]
    message = "".join(f"<pre>{html.escape(m)}</pre>" for m in dict.fromkeys(messages) if m)
    log = "\n".join(map(html.escape, found["tail"]))
    shown_log = f"<pre style='font-size:85%;margin:2px 0'>{log}</pre>" if log else ""
    return (
        f"<div><b>{html.escape(found['name'])}</b>: {html.escape(found['status'])}{link}"
        f"<table style='{_STYLE}'><tr>{head}</tr>{rows}</table>{message}{shown_log}</div>"
    )
