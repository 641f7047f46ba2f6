"""What the controller tells others: the table for callers, the status for users, the view for displays."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from rayjup.experimental import internal_kv as kv
from rayjup.serve._private.common import DeploymentID, ReplicaID
from rayjup.serve._private.measures import difference, percentile

if TYPE_CHECKING:
    from rayjup.serve._private.controller import Controller
    from rayjup.serve._private.records import Deployment

_VIEW_EVERY_S = 1.0
_WINDOW_S = 10.0


def table(controller: Controller) -> dict[str, Any]:
    """Where replicas are, and which routes there are."""
    deployments = {}
    for id, deployment in controller.state.deployments.items():
        if deployment.deleting:
            continue
        config = deployment.config
        deployments[(id.app_name, id.name)] = {
            "replicas": [
                {
                    "id": r.id,
                    "actor": ReplicaID(r.id, id).to_full_id_str(),
                    "node": r.info.get("node", ""),
                    "host": r.info.get("host", ""),
                    "door": r.info.get("door", ""),
                    "actor_id": r.info.get("actor_id", ""),
                    "max": config["max_ongoing_requests"],
                    "models": r.info.get("models", []),
                }
                for r in deployment.running()
            ],
            "max_queued": config.get("max_queued_requests", -1),
            "back": config.get("backpressure_config") or {},
            "failed": deployment.failed and not deployment.running(),
            "router": config.get("request_router"),
        }
    apps = {
        name: {"prefix": app.route_prefix, "ingress": app.ingress}
        for name, app in controller.state.apps.items()
        if not app.deleting
    }
    return {
        "version": controller.version,
        "epoch": controller.epoch,
        "deployments": deployments,
        "apps": apps,
        "http": controller.http.options,
    }


def status(controller: Controller) -> dict[str, Any]:
    """Applications, deployments and proxies, with what they are doing."""
    apps: dict[str, Any] = {}
    for name, app in controller.state.apps.items():
        apps[name] = {
            "status": app.status,
            "message": app.message,
            "last_deployed_time_s": app.deployed_at,
            "deployments": {
                id.name: {
                    "status": d.status.value,
                    "status_trigger": d.trigger.value,
                    "message": d.message,
                    "replica_states": _states(d),
                }
                for id, d in controller.state.deployments.items()
                if id.app_name == name
            },
        }
    return {"applications": apps, "proxies": _proxies(controller)}


def _states(deployment: Deployment) -> dict[str, int]:
    counts: dict[str, int] = {}
    for replica in deployment.replicas.values():
        counts[replica.state.value] = counts.get(replica.state.value, 0) + 1
    return counts


def _proxies(controller: Controller) -> dict[str, str]:
    http = controller.http
    if not http.begun or not http.info:
        return {}
    return {http.info["node"]: "HEALTHY" if http.proxy is not None else "STARTING"}


def details(controller: Controller) -> dict[str, Any]:
    """Everything that is known."""
    found = status(controller)
    found["http"] = {**controller.http.options, **controller.http._port()}
    found["grpc"] = controller.http.grpc
    found["grpc_port"] = controller.http.grpc_port
    found["location"] = controller.http.location
    found["proxy_info"] = controller.http.info
    found["controller"] = {"began": controller.began, "loops": controller.loops, "host": controller.where()}
    for name, app in controller.state.apps.items():
        entry = found["applications"][name]
        entry["route_prefix"] = app.route_prefix
        entry["ingress"] = app.ingress
        entry["details"] = app.details
        for id, deployment in controller.state.deployments.items():
            if id.app_name == name:
                entry["deployments"][id.name].update(_deployment(controller, id, deployment))
                docs = next((r.info.get("docs") for r in deployment.running() if r.info.get("docs")), None)
                if id.name == app.ingress:
                    entry["docs_path"] = docs
    return found


def _deployment(controller: Controller, id: DeploymentID, deployment: Deployment) -> dict[str, Any]:
    scaler = controller.load.scalers.get(id)
    shown = {
        k: v
        for k, v in deployment.config.items()
        if k not in ("sys_path", "request_router", "deployment_actors", "autoscaling_config")
    }
    return {
        "config": shown,
        "autoscaling_config": (deployment.config.get("autoscaling_config") or {}).get("shown"),
        "target": deployment.target,
        "code": deployment.code,
        "replicas": [
            {
                "id": r.id,
                "actor": ReplicaID(r.id, id).to_full_id_str(),
                "state": r.state.value,
                "started": r.started,
                "rank": r.rank,
                "info": r.info,
                "poll": controller.polls.get(r.id),
                "listening": r.id in controller.http.listening,
            }
            for r in deployment.replicas.values()
        ],
        "dead": deployment.dead,
        "decisions": [vars(d) for d in scaler.decisions] if scaler is not None else None,
        "scaling_error": scaler.error if scaler is not None else "",
        "load": scaler.load() if scaler is not None else None,
    }


class View:
    """The numbers of displays: what has happened in the last ten seconds."""

    def __init__(self) -> None:
        self.written = 0.0
        self.text = b""
        self.last: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[float, dict[str, dict[str, Any]]]] = []

    def numbers(self, now: float, polls: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """By replica or proxy: requests and errors per second, median and 99th percentile in ms."""
        current = {name: poll["measures"] for name, poll in polls.items()}
        self.history.append((now, current))
        while len(self.history) > 2 and self.history[1][0] <= now - _WINDOW_S:
            self.history.pop(0)
        then, before = self.history[0]
        span = max(now - then, 1e-3)
        found = {}
        for name, measures in current.items():
            old = before.get(name, {"requests": 0, "errors": 0, "counts": {}})
            counts = difference(measures["counts"], old["counts"])
            found[name] = {
                "per_s": (measures["requests"] - old["requests"]) / span,
                "errors": measures["errors"],
                "requests": measures["requests"],
                "counts": counts,
                "p50_ms": percentile(counts, 0.5),
                "p99_ms": percentile(counts, 0.99),
            }
        return found


def publish_view(controller: Controller, at_once: bool = False) -> None:
    """Write what displays show to the cluster's table of keys, at most once a second unless ``at_once``."""
    view = _view_of(controller)
    now = time.time()
    if now - view.written >= _VIEW_EVERY_S:
        view.written = now
        view.last = view.numbers(now, {**controller.polls, **controller.http.polls})
    elif not at_once:
        return
    text = json.dumps(shown(controller), sort_keys=True).encode()
    if text != view.text:
        view.text = text
        kv._internal_kv_put("view", text, namespace="serve")


def _view_of(controller: Controller) -> View:
    found: View = controller.__dict__.setdefault("view_state", View())
    return found


def shown(controller: Controller) -> dict[str, Any]:
    """What displays show: applications as in :func:`status`, with numbers, addresses and log files."""
    numbers = _view_of(controller).last
    apps = status(controller)["applications"]
    for name, app in apps.items():
        record = controller.state.apps[name]
        app["route_prefix"] = record.route_prefix
        app["ingress"] = record.ingress
        for id, deployment in controller.state.deployments.items():
            if id.app_name != name:
                continue
            entry = app["deployments"][id.name]
            entry["target"] = deployment.target
            mine = [numbers[r] for r in deployment.replicas if r in numbers]
            counts: dict[int, int] = {}
            for one in mine:
                for slot, count in one["counts"].items():
                    counts[slot] = counts.get(slot, 0) + count
            polls = [controller.polls[r] for r in deployment.replicas if r in controller.polls]
            entry["per_s"] = round(sum(one["per_s"] for one in mine), 1)
            entry["errors"] = sum(one["errors"] for one in mine)
            entry["requests"] = sum(one["requests"] for one in mine)
            entry["p50_ms"] = round(percentile(counts, 0.5), 3)
            entry["p99_ms"] = round(percentile(counts, 0.99), 3)
            entry["ongoing"] = sum(p["ongoing"] for p in polls)
            entry["waiting"] = sum(p["waiting"] for p in polls)
            infos = [r.info for r in deployment.running()]
            entry["logs"] = [info["log"] for info in infos if info.get("log")]
            if id.name == record.ingress:
                app["docs_path"] = next((info["docs"] for info in infos if info.get("docs")), None)
    return {
        "applications": apps,
        "proxies": _proxies(controller),
        "host": controller.http.options.get("host"),
        "tls": bool(controller.http.options.get("ssl_certfile")),
        "location": controller.http.location,
        **controller.http._port(),
    }


def read_view() -> dict[str, Any] | None:
    """What :func:`publish_view` wrote last; None when nothing is served."""
    text = kv._internal_kv_get("view", namespace="serve")
    return json.loads(text) if text else None
