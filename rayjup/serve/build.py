"""Applications from configuration files, and files from applications.

What the command line and the REST interface do is here as functions.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from rayjup.serve._private import client
from rayjup.serve._private.build import build
from rayjup.serve.api import _deploy, _options, delete
from rayjup.serve.deployment import Application, Deployment
from rayjup.serve.schema import ServeApplicationSchema, ServeDeploySchema, ServeInstanceDetails

__all__ = ["application_from", "build_config", "current_config", "deploy", "load_config", "run_target"]


def application_from(import_path: str, args: dict[str, Any] | None = None) -> Application:
    """The application at ``module:name``; a function there is called with ``args``.

    Parameters
    ----------
    import_path
        ``package.module:app``, of an application, a deployment, or a function that makes an application.
    args
        The function's argument, as its parameter's type where that is a model of pydantic's.

    Raises
    ------
    TypeError
        There is something else.
    """
    module_name, colon, name = import_path.partition(":")
    if not colon:
        module_name, _, name = import_path.rpartition(".")
    found: Any = importlib.import_module(module_name)
    for part in name.split("."):
        found = getattr(found, part)
    if inspect.isfunction(found):
        parameters = list(inspect.signature(found, eval_str=True).parameters.values())
        if not parameters:
            found = found()
        else:
            model = parameters[0].annotation
            given: Any = args or {}
            if inspect.isclass(model) and hasattr(model, "model_validate"):
                given = model.model_validate(given)
            found = found(given)
    elif args:
        raise ValueError(f"{import_path} takes no arguments: only functions that make applications do.")
    if isinstance(found, Deployment):
        found = found.bind()
    if not isinstance(found, Application):
        raise TypeError(
            f"{import_path!r} is {type(found).__name__}: expected an Application (from .bind()), or a "
            "function that "
            "returns one."
        )
    return found


def load_config(path: str | Path) -> ServeDeploySchema:
    """A configuration file of YAML, checked.

    Raises
    ------
    ValueError
        Something in it is not as it should be; the text says what.
    """
    import yaml  # only files need it

    data = yaml.safe_load(Path(path).read_text()) or {}
    return ServeDeploySchema.model_validate(data)


def deploy(config: ServeDeploySchema | dict[str, Any], wait: bool = False) -> None:
    """Make what is served what the configuration says: applications that it does not name end.

    Parameters
    ----------
    wait
        Wait until all applications run.
    """
    given = config
    _deploy_config(
        given if isinstance(given, ServeDeploySchema) else ServeDeploySchema.model_validate(given), wait
    )


def _deploy_config(config: ServeDeploySchema, wait: bool) -> None:
    http = config.http_options.model_dump()
    grpc = config.grpc_options.model_dump() if config.grpc_options.grpc_servicer_functions else None
    client.start(
        _options(config.proxy_location, http, grpc, config.logging_config, config.controller_options)
    )
    packed = [_packed(app, config) for app in config.applications]
    before = client.ask("details")["applications"]
    for name, app in before.items():
        if app["details"].get("source") == "declarative" and name not in {p["name"] for p in packed}:
            delete(name, _blocking=False)
    _deploy(packed, wait)


def _packed(app: ServeApplicationSchema, config: ServeDeploySchema) -> dict[str, Any]:
    built = build(application_from(app.import_path, app.args), app.name)
    changes = {one.name: one.given() for one in app.deployments}
    unknown = set(changes) - {name for _, name in built.deployments}
    if unknown:
        raise ValueError(
            f"application {app.name!r} has no deployments {', '.join(sorted(unknown))}: it has "
            f"{', '.join(name for _, name in built.deployments)}."
        )
    logging = app.logging_config or config.logging_config
    deployments = []
    for deployment, name in built.deployments:
        changed = deployment.options(**changes.get(name, {}))
        if logging is not None and "logging_config" not in changed._options:
            changed = changed.options(logging_config=logging.model_dump(mode="json"))
        if app.runtime_env:
            options = dict(changed.ray_actor_options or {})
            options.setdefault("runtime_env", app.runtime_env)
            changed = changed.options(ray_actor_options=options)
        # The same import path and arguments are taken for the same code: only changed settings act.
        version = deployment._version or _version(app, changed)
        deployments.append((changed.options(version=version), name))
    built.deployments = deployments
    shown = app.model_dump(mode="json", exclude_unset=True, exclude={"deployments"})
    shown["deployments"] = [
        {"name": one.name, **{k: v for k, v in one.given().items() if _plain(v)}} for one in app.deployments
    ]
    return {
        "name": app.name,
        "route_prefix": app.route_prefix,
        "ingress": built.ingress,
        "deployments": built.packed(),
        "details": {
            "source": "declarative",
            "config": shown,
            "external_scaler_enabled": app.external_scaler_enabled,
        },
    }


def _version(app: ServeApplicationSchema, deployment: Deployment) -> str:
    import hashlib

    parts = (
        app.import_path,
        sorted(app.args.items()),
        app.runtime_env,
        deployment.ray_actor_options,
        deployment._options.get("placement_group_bundles"),
        deployment._options.get("deployment_actors"),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, list, dict))


def build_config(import_paths: list[str], app_dir: str = ".") -> dict[str, Any]:
    """The configuration of applications, with all options as the code has them."""
    before = sys.path[:]
    sys.path.insert(0, str(Path(app_dir).resolve()))
    try:
        return _configured(import_paths)
    finally:
        sys.path[:] = before  # tasks of this process look in its first entry, too


def _configured(import_paths: list[str]) -> dict[str, Any]:
    applications: list[dict[str, Any]] = []
    for number, path in enumerate(import_paths):
        name = f"app{number + 1}" if len(import_paths) > 1 else "default"
        built = build(application_from(path), name)
        deployments = []
        for deployment, chosen in built.deployments:
            options = {k: v for k, v in deployment._options.items() if _plain(v)}
            deployments.append({"name": chosen, **options})
        applications.append(
            {
                "name": f"app{number + 1}",
                "route_prefix": "/" if len(import_paths) == 1 else f"/app{number + 1}",
                "import_path": path,
                "runtime_env": {},
                "deployments": deployments,
            }
        )
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "127.0.0.1", "port": 8000},
        "grpc_options": {"port": 9000, "grpc_servicer_functions": []},
        "logging_config": {
            "encoding": "TEXT",
            "log_level": "INFO",
            "logs_dir": None,
            "enable_access_log": True,
        },
        "applications": applications,
    }


def run_target(target: str, args: dict[str, Any], name: str, route_prefix: str | None) -> Any:
    """Serve what an import path names, or a configuration file; the handle in the first case."""
    from rayjup.serve.api import run

    if target.endswith((".yaml", ".yml")):
        deploy(load_config(target), wait=True)
        return None
    return run(application_from(target, args), name=name, route_prefix=route_prefix)


def current_config() -> dict[str, Any]:
    """The configurations with which applications were deployed, by name."""
    apps = client.ask("details")["applications"]
    return {
        name: app["details"]["config"]
        for name, app in apps.items()
        if app["details"].get("config") is not None
    }


def instance_details(api_type: str | None = None) -> ServeInstanceDetails:
    """All about what is served, as the REST interface says it."""
    from rayjup.serve._private.reports import instance_details as made

    return made(api_type)
