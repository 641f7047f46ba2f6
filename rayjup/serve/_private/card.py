"""What a notebook shows for a handle: where the application answers, and how it is."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.exceptions import RayError
from rayjup.serve._private import client
from rayjup.serve._private.describing import read_view

if TYPE_CHECKING:
    from rayjup.serve.handle import DeploymentHandle

_STYLE = "border-collapse:collapse;font-size:90%"


def facts(handle: DeploymentHandle) -> dict[str, Any] | None:
    """The application of a handle as displays show it; None where it cannot be asked for."""
    if not rayjup.is_initialized() or client.controller() is None:
        return None
    try:
        view = read_view() or {"applications": {}}
        status = client.ask("status", timeout=2.0)["applications"].get(handle.app_name)
        details = client.ask("details", timeout=2.0)
    except RayError:
        return None
    if status is None:
        return None
    app = details["applications"][handle.app_name]
    http = details["http"]
    prefix = app.get("route_prefix")
    scheme = "https" if http.get("ssl_certfile") else "http"
    url = None
    if prefix is not None and details["location"] != "Disabled":
        url = f"{scheme}://{http['host'] or '127.0.0.1'}:{http['port']}{prefix}"
    numbers = view["applications"].get(handle.app_name, {}).get("deployments", {})
    return {
        "name": handle.app_name,
        "status": status["status"],
        "message": status["message"],
        "url": url,
        "docs": url.rstrip("/") + app["docs_path"] if url and app.get("docs_path") else None,
        "port": http["port"],
        "deployments": {
            name: {**numbers.get(name, {}), **d, "target": app["deployments"][name]["target"]}
            for name, d in status["deployments"].items()
        },
    }


def bundle(handle: DeploymentHandle) -> dict[str, str]:
    """Text and HTML of a handle."""
    found = facts(handle)
    if found is None:
        return {"text/plain": repr(handle)}
    return {"text/plain": _text(handle, found), "text/html": _html(found)}


def _numbers(deployment: dict[str, Any]) -> list[str]:
    running = deployment["replica_states"].get("RUNNING", 0)
    return [
        f"{running}/{deployment['target']}",
        f"{deployment.get('per_s', 0.0):g}",
        f"{deployment.get('p50_ms', 0.0):.3g}",
        f"{deployment.get('p99_ms', 0.0):.3g}",
        str(deployment.get("errors", 0)),
    ]


def _text(handle: DeploymentHandle, found: dict[str, Any]) -> str:
    lines = [f"{handle!r}: {found['status']}" + (f" at {found['url']}" if found["url"] else "")]
    for name, deployment in found["deployments"].items():
        replicas, per_s, p50, p99, errors = _numbers(deployment)
        lines.append(
            f"  {name}: {deployment['status']}, {replicas} replicas, {per_s} requests/s, p50 {p50} ms, "
            f"p99 {p99} ms, {errors} errors"
        )
    return "\n".join(lines)


def _html(found: dict[str, Any]) -> str:
    link = ""
    if found["url"]:
        url = html.escape(found["url"])
        link = f' &middot; <a href="{url}" target="_blank">{url}</a>'
        if found["docs"]:
            link += f' &middot; <a href="{html.escape(found["docs"])}" target="_blank">try it</a>'
        # Behind Jupyter the same is reached through its proxy, where one is installed.
        link += f" &middot; <small>behind Jupyter: <code>proxy/{int(found['port'])}/</code></small>"
    head = "".join(
        f"<th style='text-align:left'>{title}</th>"
        for title in ("deployment", "status", "replicas", "requests/s", "p50 ms", "p99 ms", "errors")
    )
    rows = ""
    for name, deployment in found["deployments"].items():
        cells = [html.escape(name), html.escape(deployment["status"]), *_numbers(deployment)]
        rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    message = f"<pre>{html.escape(found['message'])}</pre>" if found["message"] else ""
    return (
        f"<div><b>{html.escape(found['name'])}</b>: {html.escape(found['status'])}{link}"
        f"<table style='{_STYLE}'><tr>{head}</tr>{rows}</table>{message}</div>"
    )
