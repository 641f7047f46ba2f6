"""Serving applications: the functions of ``rayjup.serve`` (mirrors ``ray.serve.api``)."""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rayjup
from rayjup.serve import context as contexts
from rayjup.serve._private import client
from rayjup.serve._private.build import build, own_paths
from rayjup.serve._private.common import CONTROLLER, DEFAULT_APP, NAMESPACE, UNSET, DeploymentID
from rayjup.serve._private.ingress import INGRESS, SELF
from rayjup.serve._private.placing import shared_name
from rayjup.serve._private.table import table
from rayjup.serve.batching import batch
from rayjup.serve.context import get_deployment_actor_context, get_multiplexed_model_id, get_replica_context
from rayjup.serve.deployment import Application, Deployment, make
from rayjup.serve.exceptions import RayServeException
from rayjup.serve.handle import DeploymentHandle
from rayjup.serve.multiplex import multiplexed

__all__ = [
    "RunTarget",
    "batch",
    "delete",
    "deployment",
    "get_app_handle",
    "get_deployment_actor",
    "get_deployment_actor_context",
    "get_deployment_handle",
    "get_multiplexed_model_id",
    "get_replica_context",
    "ingress",
    "multiplexed",
    "run",
    "run_many",
    "shutdown",
    "shutdown_async",
    "start",
    "status",
]

_TURN_S = 30.0


def start(
    proxy_location: Any = None,
    http_options: Any = None,
    grpc_options: Any = None,
    logging_config: Any = None,
    tracing_config: Any = None,
    controller_options: Any = None,
    **kwargs: Any,
) -> None:
    """Start serving, with options; ``run`` does it with the usual ones where nothing was started.

    Parameters
    ----------
    proxy_location
        ``"HeadOnly"`` or ``"EveryNode"`` (on one machine the same), or ``"Disabled"``: no HTTP.
    http_options, grpc_options
        See :class:`rayjup.serve.config.HTTPOptions` and :class:`~rayjup.serve.config.gRPCOptions`.
    logging_config, tracing_config
        See :class:`rayjup.serve.schema.LoggingConfig` and :class:`~rayjup.serve.schema.TracingConfig`.

    Raises
    ------
    OSError
        Another program has the port.
    """
    kwargs.pop("detached", None)  # everything is, as in Ray since 2.0
    kwargs.pop("dedicated_cpu", None)
    if kwargs:
        raise TypeError(f"serve.start() got options that it does not know: {', '.join(sorted(kwargs))}.")
    client.start(_options(proxy_location, http_options, grpc_options, logging_config, controller_options))


def _options(
    location: Any = None, http: Any = None, grpc: Any = None, logging: Any = None, controller: Any = None
) -> dict[str, Any]:
    from rayjup.serve import config  # pydantic, where something is started

    given = http if isinstance(http, config.HTTPOptions) else config.HTTPOptions(**(http or {}))
    chosen = location if location is not None else given.location
    if grpc is not None and not isinstance(grpc, config.gRPCOptions):
        grpc = config.gRPCOptions(**grpc)
    plain: dict[str, Any] = given.model_dump(mode="json", exclude={"middlewares", "location"})
    if given.middlewares:
        from rayjup.serve._private.packing import dumps

        plain["middlewares"] = dumps(given.middlewares)
    if given.middlewares or grpc is not None:  # the proxy imports what they name
        plain["sys_path"] = own_paths()
    found: dict[str, Any] = {"http": plain}
    if chosen is not None:
        found["location"] = config.ProxyLocation(chosen).value
    if grpc is not None:
        found["grpc"] = grpc.model_dump(mode="json")
    if logging is not None:
        from rayjup.serve.schema import LoggingConfig

        given_log = logging if isinstance(logging, LoggingConfig) else LoggingConfig(**logging)
        found["logging"] = given_log.model_dump(mode="json")
    if controller is not None:
        settings = (
            controller
            if isinstance(controller, config.ControllerOptions)
            else config.ControllerOptions(**controller)
        )
        if settings.runtime_env:
            found["controller"] = {"runtime_env": settings.runtime_env}
    return found


def _url(prefix: str = "/") -> str | None:
    """Where an application is reached over HTTP; None when it is not."""
    details = client.ask("details")
    if details["location"] == "Disabled":
        return None
    http = details["http"]
    host = http["host"] or "127.0.0.1"
    scheme = "https" if http.get("ssl_certfile") else "http"
    return f"{scheme}://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{http['port']}{prefix}"


def deployment(
    _func_or_class: Callable[..., Any] | None = None,
    name: Any = UNSET,
    version: Any = UNSET,
    num_replicas: Any = UNSET,
    ray_actor_options: Any = UNSET,
    placement_group_bundles: Any = UNSET,
    placement_group_strategy: Any = UNSET,
    placement_group_bundle_label_selector: Any = UNSET,
    max_replicas_per_node: Any = UNSET,
    user_config: Any = UNSET,
    max_ongoing_requests: Any = UNSET,
    max_queued_requests: Any = UNSET,
    backpressure_config: Any = UNSET,
    autoscaling_config: Any = UNSET,
    graceful_shutdown_wait_loop_s: Any = UNSET,
    graceful_shutdown_timeout_s: Any = UNSET,
    health_check_period_s: Any = UNSET,
    health_check_timeout_s: Any = UNSET,
    logging_config: Any = UNSET,
    request_router_config: Any = UNSET,
    max_constructor_retry_count: Any = UNSET,
    gang_scheduling_config: Any = UNSET,
    deployment_actors: Any = UNSET,
    rolling_update_percentage: Any = UNSET,
    max_surge_percent: Any = UNSET,
    route_prefix: Any = UNSET,
    max_concurrent_queries: Any = UNSET,
) -> Any:
    """Make a deployment of a class or function; use it as a decorator.

    Parameters
    ----------
    name
        Its name within an application; by default that of the class or function.
    version
        As long as it is the same, ``run`` changes settings in place and restarts nothing.
    num_replicas
        How many copies run, or ``"auto"``.
    ray_actor_options
        What each needs: ``num_cpus`` (1), ``num_gpus``, ``memory``, ``resources``, ``runtime_env`` …
    max_ongoing_requests
        Requests at a replica at once; others wait.
    max_queued_requests
        Requests that may wait at each caller; beyond that they are refused (503). -1: any number.
    user_config
        Given to the class's ``reconfigure(config)``, also while it runs.
    autoscaling_config
        See :class:`rayjup.serve.config.AutoscalingConfig`.
    health_check_period_s, health_check_timeout_s
        How often the class's ``check_health()`` is called, and how long it may take.
    graceful_shutdown_wait_loop_s, graceful_shutdown_timeout_s
        How long a replica that is to end waits for more requests, and for those that run.
    rolling_update_percentage, max_surge_percent
        How many replicas are replaced at a time, and how many more than usual may run meanwhile. At
        least one new replica starts before an old one goes, where the cluster has room for it.
    route_prefix
        Where it is served over HTTP (older spelling; ``run(route_prefix=…)`` says that now).

    Raises
    ------
    ValueError, TypeError
        A value out of its range, or options that exclude each other.

    Examples
    --------
    >>> from rayjup import serve
    >>> @serve.deployment(num_replicas=2)
    ... class Doubler:
    ...     def __call__(self, x):
    ...         return 2 * x
    >>> Doubler.num_replicas
    2
    """
    given = dict(locals())
    for other in ("_func_or_class", "name", "version", "route_prefix"):
        given.pop(other)

    def decorate(source: Any) -> Deployment:
        return make(source, name, version, route_prefix, given)

    return decorate if _func_or_class is None else decorate(_func_or_class)


def ingress(app: Any = None) -> Callable[[type], type]:
    """Serve an application of ASGI, such as FastAPI's, from a deployment: decorate its class with this.

    Parameters
    ----------
    app
        The application: its routes may be methods of the class. Or a function that makes it, with or
        without the class's instance as an argument. Nothing: instances are applications themselves.

    Examples
    --------
    >>> from fastapi import FastAPI
    >>> from rayjup import serve
    >>> app = FastAPI()
    >>> @serve.deployment
    ... @serve.ingress(app)
    ... class Greeter:
    ...     @app.get("/hello/{name}")
    ...     def hello(self, name: str) -> str:
    ...         return f"Hello {name}!"
    """

    def decorate(class_: Any) -> Any:
        if isinstance(class_, Deployment):
            raise ValueError("@serve.ingress belongs below @serve.deployment: it decorates the class itself.")
        if not inspect.isclass(class_):
            raise ValueError("@serve.ingress must be used with a class.")
        if issubclass(class_, object) and app is not None and not callable(app):
            raise TypeError(
                f"@serve.ingress takes an application of ASGI or a function that makes one, got {app!r}."
            )
        setattr(
            class_, INGRESS, staticmethod(app) if inspect.isfunction(app) else (SELF if app is None else app)
        )
        return class_

    return decorate


@dataclass
class RunTarget:
    """One of the applications that :func:`run_many` runs."""

    target: Application
    name: str = DEFAULT_APP
    route_prefix: str | None = "/"
    logging_config: Any = None
    external_scaler_enabled: bool = False


def run(
    target: Application,
    blocking: bool = False,
    name: str = DEFAULT_APP,
    route_prefix: str | None = UNSET,  # type: ignore[assignment]
    logging_config: Any = None,
    _local_testing_mode: bool = False,
    external_scaler_enabled: bool = False,
    controller_options: Any = None,
    **older: Any,
) -> DeploymentHandle:
    """Serve an application, in place of what has its name; returns when it runs.

    Parameters
    ----------
    target
        What ``bind`` made.
    blocking
        Wait until interrupted.
    route_prefix
        Where it answers over HTTP; ``"/"`` by default, None: not over HTTP.

    Returns
    -------
    DeploymentHandle
        Calls the application's outermost deployment.

    Raises
    ------
    RuntimeError
        It cannot be deployed; its cause is what a constructor raised.

    Examples
    --------
    >>> from rayjup import serve
    >>> @serve.deployment
    ... def hello(name):
    ...     return f"hello {name}"
    >>> serve.run(hello.bind(), _local_testing_mode=True).remote("you").result()
    'hello you'
    """
    http: dict[str, Any] = {key: older.pop(key) for key in ("host", "port") if key in older}
    if older:
        raise TypeError(f"serve.run() got options that it does not know: {', '.join(sorted(older))}.")
    if http:
        warnings.warn(
            "host and port belong to serve.start(http_options=…).", DeprecationWarning, stacklevel=2
        )
    return run_many(
        [RunTarget(target, name, route_prefix, logging_config, external_scaler_enabled)],
        blocking=blocking,
        _local_testing_mode=_local_testing_mode,
        controller_options=controller_options,
        _http=http,
    )[0]


def run_many(
    targets: Sequence[RunTarget],
    blocking: bool = False,
    wait_for_ingress_deployment_creation: bool = True,
    wait_for_applications_running: bool = True,
    _local_testing_mode: bool = False,
    controller_options: Any = None,
    _http: dict[str, Any] | None = None,
) -> list[DeploymentHandle]:
    """:func:`run` for several applications, which start side by side."""
    if not targets:
        raise ValueError("No applications provided.")
    for one in targets:
        _check_target(one)
    if _local_testing_mode:
        from rayjup.serve._private.local import run_locally  # only tests use it

        return [run_locally(one.target, one.name) for one in targets]
    client.start(_options(http=_http or None, controller=controller_options))
    packed: list[dict[str, Any]] = []
    for one in targets:
        logging = {"logging_config": one.logging_config} if one.logging_config is not None else {}
        built = build(one.target, one.name, options=logging)
        packed.append(
            {
                "name": one.name,
                "route_prefix": _prefix(one),
                "ingress": built.ingress,
                "deployments": built.packed(),
                "details": {"source": "imperative", "external_scaler_enabled": one.external_scaler_enabled},
            }
        )
    _deploy(packed, wait_for_applications_running)
    handles = [DeploymentHandle(p["ingress"], p["name"]) for p in packed]
    if blocking:
        _block()
    return handles


def _check_target(one: RunTarget) -> None:
    if not isinstance(one.target, Application):
        if isinstance(one.target, Deployment):
            raise TypeError(
                f"`serve.run` expects an application: write serve.run({one.target.name}.bind(…)), with the "
                "arguments "
                "of its constructor."
            )
        raise TypeError(
            "`serve.run` expects an `Application` returned by `Deployment.bind()`, got "
            f"{type(one.target).__name__}."
        )
    if not isinstance(one.name, str) or not one.name:
        raise RayServeException("Application name must a non-empty string.")
    prefix = one.route_prefix
    if prefix is not None and prefix is not UNSET:
        if not isinstance(prefix, str) or not prefix.startswith("/"):
            raise ValueError(f"The route_prefix must start with a forward slash ('/'), got {prefix!r}.")
        if prefix != "/" and prefix.endswith("/"):
            raise ValueError(f"The route_prefix may not end with a trailing slash ('/'), got {prefix!r}.")
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"The route_prefix may not contain wildcards, got {prefix!r}.")


def _prefix(one: RunTarget) -> str | None:
    """The route prefix; where ``run`` was given none, the older decorator's counts."""
    if one.route_prefix is not UNSET:
        return one.route_prefix
    older = one.target._bound_deployment._route_prefix
    return "/" if older is UNSET else older  # type: ignore[no-any-return]


def _deploy(apps: list[dict[str, Any]], wait: bool = True) -> None:
    try:
        client.ask("deploy", apps)
    except rayjup.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, ValueError):
            raise cause from None
        raise
    if wait:
        for app in apps:
            _wait(app["name"])
    table().refresh(wait=True)  # handles of this process are to call what is new


def _wait(name: str) -> None:
    """Wait until an application runs; raise what keeps it from that."""
    told = ""
    while True:
        found = client.ask("wait_app", name, _TURN_S, told)
        status, message = found["status"], found["message"]
        if status == "RUNNING":
            return
        if status in ("DEPLOY_FAILED", "NOT_STARTED", "UNHEALTHY"):
            raise RuntimeError(f"Deploying application {name} failed: {message}") from found["error"]
        if message and message != told:
            told = message
            warnings.warn(f"application {name!r} is not up yet: {message}", stacklevel=4)


def _deploy_alone(one: Deployment, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    prefix = one.route_prefix
    run(one.bind(*args, **kwargs), name=one.name, route_prefix=prefix)


def _block() -> None:
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        shutdown()


def delete(name: str, _blocking: bool = True) -> None:
    """End an application; those that are not there are none to end."""
    if client.controller() is not None:
        client.ask("delete", [name], 60.0 if _blocking else 0.0)
        table().refresh(wait=True)


def shutdown() -> None:
    """End all applications, and what serves them."""
    client.shutdown()


async def shutdown_async() -> None:
    """:func:`shutdown` for coroutines."""
    import asyncio

    await asyncio.get_running_loop().run_in_executor(None, shutdown)


def status() -> Any:
    """What is served, and how it is: a :class:`rayjup.serve.schema.ServeStatus`."""
    from rayjup.serve.schema import ServeStatus

    if client.controller() is None:
        return ServeStatus()
    return ServeStatus.from_plain(client.ask("status"))


def get_app_handle(name: str) -> DeploymentHandle:
    """A handle to an application's outermost deployment.

    Raises
    ------
    RayServeException
        There is no such application.
    """
    found = client.ask("details")["applications"].get(name)
    if found is None:
        raise RayServeException(f"Application '{name}' does not exist.")
    return DeploymentHandle(found["ingress"], name)


def get_deployment_handle(
    deployment_name: str,
    app_name: str | None = None,
    _check_exists: bool = True,
    _record_telemetry: bool = True,
) -> DeploymentHandle:
    """A handle to a deployment; in a replica the application is by default its own.

    Raises
    ------
    RayServeException
        There is no such deployment, or no application was named outside of a replica.
    """
    if app_name is None:
        replica = contexts.current_replica()
        if replica is None:
            raise RayServeException(
                "Please specify an application name when getting a deployment handle outside of a Serve "
                "application."
            )
        app_name = replica.app_name
    if _check_exists:
        found = client.ask("details")["applications"].get(app_name) or {"deployments": {}}
        if deployment_name not in found["deployments"]:
            raise RayServeException(f"{DeploymentID(deployment_name, app_name)} does not exist.")
    return DeploymentHandle(deployment_name, app_name)


def get_handle(deployment_name: str, missing_ok: bool = False, sync: bool | None = None) -> DeploymentHandle:
    """A handle to a deployment by its name alone (the spelling before applications)."""
    warnings.warn("get_handle() is the older spelling of get_app_handle().", DeprecationWarning, stacklevel=2)
    for name, app in client.ask("details")["applications"].items():
        if deployment_name in app["deployments"]:
            return DeploymentHandle(deployment_name, name)
    if not missing_ok:
        raise KeyError(f"Deployment '{deployment_name}' does not exist.")
    return DeploymentHandle(deployment_name)


def get_deployment_actor(actor_name: str) -> Any:
    """One of the actors that the deployment's replicas share (``deployment_actors``).

    Raises
    ------
    RayServeException
        Not called in a replica.
    ValueError
        There is no such actor, or it is just being made anew.
    """
    replica = get_replica_context()
    name = shared_name(replica.replica_id.deployment_id, replica.code_version or "", actor_name)
    return rayjup.get_actor(name, namespace=NAMESPACE)


def controller_actor() -> Any:
    """The controller's actor (for tests of faults).

    Raises
    ------
    ValueError
        Nothing is served.
    """
    return rayjup.get_actor(CONTROLLER, namespace=NAMESPACE)
