"""What the controller knows, in the models of :mod:`rayjup.serve.schema`."""

from __future__ import annotations

import time
from typing import Any

from rayjup.serve import schema
from rayjup.serve._private import client
from rayjup.serve._private.placing import resources_of


def instance_details(api_type: str | None = None) -> schema.ServeInstanceDetails:
    """Everything; of applications only those that were deployed in the given way."""
    if client.controller() is None:
        return schema.ServeInstanceDetails(proxies={}, applications={})
    found = client.ask("details")
    http = {
        k: v for k, v in found["http"].items() if k in schema.HTTPOptionsSchema.model_fields and v is not None
    }
    info = found["proxy_info"]
    proxies = {}
    if info and found["proxies"]:
        status = schema.ProxyStatus(next(iter(found["proxies"].values())))
        proxies[info["node"]] = schema.ProxyDetails(
            node_id=info["node"],
            node_ip="127.0.0.1",
            actor_id=info["actor_id"],
            actor_name="SERVE_PROXY_ACTOR",
            worker_id=info["worker_id"],
            log_file_path=info["log"],
            status=status,
        )
    apps = {
        name: _application(name, app)
        for name, app in found["applications"].items()
        if api_type is None or app["details"].get("source") == api_type
    }
    began = found["controller"]["began"]
    return schema.ServeInstanceDetails(
        controller_info=schema.ServeActorDetails(actor_name="SERVE_CONTROLLER_ACTOR"),
        proxy_location=found["location"],
        http_options=schema.HTTPOptionsSchema(**http),
        grpc_options=schema.gRPCOptionsSchema(**found["grpc"]) if found["grpc"] else None,
        proxies=proxies,
        applications=apps,
        target_groups=_targets(found, http),
        controller_health_metrics=schema.ControllerHealthMetrics(
            timestamp=time.time(),
            controller_start_time=began,
            uptime_s=time.time() - began,
            num_control_loops=found["controller"]["loops"],
        ),
    )


def _targets(found: dict[str, Any], http: dict[str, Any]) -> list[schema.TargetGroup]:
    if not found["proxies"]:
        return []
    host, port = http.get("host", "127.0.0.1"), http["port"]
    return [
        schema.TargetGroup(
            targets=[schema.Target(ip=host, port=port, instance_id="", name="SERVE_PROXY_ACTOR")],
            route_prefix=app["route_prefix"],
            protocol=schema.RequestProtocol.HTTP,
            app_name=name,
            ingress_deployment_name=app["ingress"],
        )
        for name, app in found["applications"].items()
        if app["route_prefix"] is not None
    ]


def _application(name: str, app: dict[str, Any]) -> schema.ApplicationDetails:
    config = app["details"].get("config")
    return schema.ApplicationDetails(
        name=name,
        route_prefix=app["route_prefix"],
        docs_path=app.get("docs_path"),
        status=app["status"],
        message=app["message"],
        last_deployed_time_s=app["last_deployed_time_s"],
        deployed_app_config=schema.ServeApplicationSchema(**config) if config else None,
        source=schema.APIType(app["details"].get("source", "unknown")),
        deployments={one: _deployment(one, d) for one, d in app["deployments"].items()},
        external_scaler_enabled=bool(app["details"].get("external_scaler_enabled")),
        deployment_topology=schema.DeploymentTopology(
            app_name=name,
            nodes={
                one: schema.DeploymentNode(name=one, app_name=name, is_ingress=one == app["ingress"])
                for one in app["deployments"]
            },
            ingress_deployment=app["ingress"],
        ),
    )


def _deployment(name: str, found: dict[str, Any]) -> schema.DeploymentDetails:
    config = found["config"]
    known = schema.DeploymentSchema.model_fields
    shown = {k: v for k, v in config.items() if k in known and v is not None}
    detail = None
    if found["decisions"] is not None:
        shown.pop("num_replicas", None)
        shown["autoscaling_config"] = found["autoscaling_config"]
        last = found["decisions"][-1] if found["decisions"] else None
        running = sum(r["state"] == "RUNNING" for r in found["replicas"])
        direction = (running < found["target"]) - (running > found["target"])
        detail = schema.DeploymentAutoscalingDetail(
            scaling_status=["STABLE", "UPSCALING", "DOWNSCALING"][direction],
            decisions=[
                schema.ScalingDecision(
                    timestamp_s=d["time"],
                    reason=d["reason"],
                    prev_num_replicas=d["before"],
                    curr_num_replicas=d["after"],
                    policy=d["policy"],
                )
                for d in found["decisions"]
            ],
            metrics={"running": found["load"][0], "queued": found["load"][1]}
            if last or found["load"]
            else None,
            errors=[found["scaling_error"]] if found["scaling_error"] else [],
        )
    return schema.DeploymentDetails(
        name=name,
        status=found["status"],
        status_trigger=found["status_trigger"],
        message=found["message"],
        deployment_config=schema.DeploymentSchema(name=name, **shown),
        target_num_replicas=found["target"],
        required_resources=resources_of(config),
        replicas=[_replica(r) for r in found["replicas"]],
        recent_dead_replicas=[
            schema.ReplicaDetails(
                replica_id=d["id"], state="STOPPED", pid=d.get("pid"), start_time_s=d["started"]
            )
            for d in found["dead"]
        ],
        autoscaling_detail=detail,
    )


def _replica(found: dict[str, Any]) -> schema.ReplicaDetails:
    info = found["info"]
    return schema.ReplicaDetails(
        replica_id=found["id"],
        state=found["state"],
        pid=info.get("pid"),
        start_time_s=found["started"],
        node_id=info.get("node"),
        actor_id=info.get("actor_id"),
        actor_name=found["actor"],
        worker_id=info.get("worker_id"),
        log_file_path=info.get("log"),
    )
