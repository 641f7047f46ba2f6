"""Deployments and applications: what is to be served (mirrors ``ray.serve.deployment``)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from rayjup.serve._private.callables import check_source
from rayjup.serve._private.common import UNSET
from rayjup.serve._private.options import DEFAULTS, checked

__all__ = ["Application", "Deployment"]


class Application:
    """A deployment with the arguments of its constructor, ready for :func:`rayjup.serve.run`.

    Made by :meth:`Deployment.bind`; may be an argument of another ``bind``, whose constructor then
    gets a :class:`~rayjup.serve.handle.DeploymentHandle`.
    """

    def __init__(self, bound_deployment: Deployment) -> None:
        self._bound_deployment = bound_deployment

    def __getattr__(self, name: str) -> Any:
        if name == "remote":
            raise AttributeError(
                "an Application has no 'remote': run it first, handle = serve.run(app), and call "
                "handle.remote()."
            )
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"Application({self._bound_deployment.name!r})"


class Deployment:
    """A class or function, with the options with which it is served.

    Made by the decorator :func:`rayjup.serve.deployment`.
    """

    def __init__(
        self,
        name: str,
        source: Any,
        options: dict[str, Any] | None = None,
        version: str | None = None,
        init_args: tuple[Any, ...] = (),
        init_kwargs: dict[str, Any] | None = None,
        route_prefix: Any = UNSET,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"the name of a deployment must be a string that is not empty, got {name!r}.")
        if "#" in name:
            raise ValueError(f"the name of a deployment must not contain '#', got {name!r}.")
        self._name = name
        self._source = source
        self._options = options or {}
        self._version = version
        self._init_args = init_args
        self._init_kwargs = init_kwargs or {}
        self._route_prefix = route_prefix
        for attribute in ("__doc__", "__module__"):
            setattr(self, attribute, getattr(source, attribute, None))

    def _value(self, option: str) -> Any:
        return self._options.get(option, DEFAULTS[option])

    @property
    def name(self) -> str:
        """Its name within an application."""
        return self._name

    @property
    def version(self) -> str | None:
        """The version it was given: as long as that is the same, replicas are not restarted."""
        return self._version

    @property
    def func_or_class(self) -> Any:
        """What was decorated."""
        return self._source

    @property
    def num_replicas(self) -> int:
        """How many replicas there are to be."""
        return self._value("num_replicas") or 1  # type: ignore[no-any-return]

    @property
    def user_config(self) -> Any:
        """What ``reconfigure`` gets."""
        return self._value("user_config")

    @property
    def max_ongoing_requests(self) -> int:
        """Requests at a replica at once."""
        return self._value("max_ongoing_requests")  # type: ignore[no-any-return]

    @property
    def max_concurrent_queries(self) -> int:
        """What ``max_ongoing_requests`` was called."""
        return self.max_ongoing_requests

    @property
    def max_queued_requests(self) -> int:
        """Requests that may wait at each caller; -1: any number."""
        return self._value("max_queued_requests")  # type: ignore[no-any-return]

    @property
    def backpressure_config(self) -> Any:
        """What clients get when the queue is full."""
        return self._value("backpressure_config")

    @property
    def ray_actor_options(self) -> dict[str, Any] | None:
        """Options of the replicas' actors."""
        return self._value("ray_actor_options")  # type: ignore[no-any-return]

    @property
    def logging_config(self) -> Any:
        """How replicas log."""
        return self._value("logging_config")

    def set_logging_config(self, logging_config: dict[str, Any]) -> None:
        """Have replicas log differently."""
        self._options["logging_config"] = logging_config

    @property
    def init_args(self) -> tuple[Any, ...]:
        """Arguments of the constructor (older spelling; ``bind`` takes them now)."""
        return self._init_args

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """Arguments of the constructor by name (older spelling)."""
        return self._init_kwargs

    @property
    def route_prefix(self) -> str | None:
        """Where it is served, by an older spelling; ``run`` and ``RunTarget`` say that now."""
        if self._route_prefix is UNSET:
            return "/" + self._name
        return self._route_prefix  # type: ignore[no-any-return]

    @property
    def url(self) -> str | None:
        """Where it is served when it is deployed with :meth:`deploy`."""
        from rayjup.serve import api

        prefix = self.route_prefix
        return None if prefix is None else api._url(prefix)

    def bind(self, *args: Any, **kwargs: Any) -> Application:
        """An application whose constructor gets these arguments."""
        if not args and not kwargs:
            args, kwargs = self._init_args, self._init_kwargs
        init = getattr(self._source, "__init__", None)
        if isinstance(self._source, type) and init is not object.__init__ and init is not None:
            _check_arguments(self._source, init, args, kwargs)
        return Application(
            Deployment(
                self._name, self._source, self._options, self._version, args, kwargs, self._route_prefix
            )
        )

    def options(
        self,
        func_or_class: Callable[..., Any] | None = None,
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
        init_args: Any = UNSET,
        init_kwargs: Any = UNSET,
        max_concurrent_queries: Any = UNSET,
        _init_args: Any = UNSET,
        _init_kwargs: Any = UNSET,
        _internal: bool = False,
    ) -> Deployment:
        """The same deployment with other options; see :func:`rayjup.serve.deployment`."""
        values = dict(locals())
        for other in ("self", "func_or_class", "name", "version", "route_prefix", "init_args", "init_kwargs"):
            values.pop(other)
        for private in ("_init_args", "_init_kwargs", "_internal"):
            values.pop(private)
        changes = checked({**values, "version": version}, f"deployment {self._name!r}")
        changes.pop("version", None)
        merged = {**self._options, **changes}
        if "num_replicas" in changes and changes["num_replicas"] not in (None, "auto"):
            merged.pop("autoscaling_config", None)
        elif "autoscaling_config" in changes and "num_replicas" not in changes:
            merged.pop("num_replicas", None)
        return Deployment(
            self._name if name is UNSET else name,
            self._source if func_or_class is None else func_or_class,
            merged,
            self._version if version is UNSET else version,
            self._init_args if init_args is UNSET else tuple(init_args or ()),
            self._init_kwargs if init_kwargs is UNSET else init_kwargs,
            self._route_prefix if route_prefix is UNSET else route_prefix,
        )

    def deploy(self, *init_args: Any, _blocking: bool = True, **init_kwargs: Any) -> None:
        """Serve this deployment as an application of its own (the spelling before ``serve.run``)."""
        from rayjup.serve import api

        warnings.warn(
            "Deployment.deploy() is the older spelling of serve.run(deployment.bind(…)).",
            DeprecationWarning,
            stacklevel=2,
        )
        api._deploy_alone(self, init_args, init_kwargs)

    def delete(self) -> None:
        """End what :meth:`deploy` has begun."""
        from rayjup.serve import api

        api.delete(self._name)

    def get_handle(self, sync: bool | None = True) -> Any:
        """A handle to what :meth:`deploy` has begun."""
        from rayjup.serve.handle import DeploymentHandle

        return DeploymentHandle(self._name, self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"Deployment {self._name!r} cannot be constructed directly. Use {self._name}.bind(…) and "
            "serve.run(), "
            f"or {self._name}.func_or_class(…) for the plain object."
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deployment) and (
            self._name,
            self._version,
            self._options,
            self._init_args,
            self._init_kwargs,
            self._source,
        ) == (
            other._name,
            other._version,
            other._options,
            other._init_args,
            other._init_kwargs,
            other._source,
        )

    __hash__ = object.__hash__

    def __str__(self) -> str:
        return f"Deployment(name={self._name})"

    __repr__ = __str__


def _check_arguments(source: type, init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(init)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{source.__name__}.bind(): {error} of its constructor.") from None


def make(source: Any, name: Any, version: Any, route_prefix: Any, given: dict[str, Any]) -> Deployment:
    """The deployment that the decorator makes of ``source``."""
    check_source(source)
    chosen = source.__name__ if name is UNSET or name is None else name
    options = checked({**given, "version": version}, f"deployment {chosen!r}")
    options.pop("version", None)
    return Deployment(
        chosen, source, options, None if version is UNSET else version, route_prefix=route_prefix
    )
