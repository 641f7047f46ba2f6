"""Applications of ASGI on deployments: what ``@serve.ingress`` notes, and how it lives in a replica."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from rayjup.serve._private.packing import route_arguments

ASGIApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]
INGRESS = "__serve_ingress__"  # attribute of the class: the application, or a function that makes it
SELF = object()  # … or this: its instances are applications themselves
_log = logging.getLogger("rayjup.serve")


def is_factory(app: Any) -> bool:
    """Whether ``app`` makes an application, rather than being one."""
    return inspect.isfunction(app) and not inspect.iscoroutinefunction(app)


def application_of(instance: Any) -> ASGIApp:
    """The application of a deployment's instance, with its methods in the routes.

    Parameters
    ----------
    instance
        An object whose class was decorated with ``@serve.ingress``.
    """
    app = getattr(type(instance), INGRESS)
    if app is SELF:
        return instance  # type: ignore[no-any-return]
    if is_factory(app):
        app = app(instance) if inspect.signature(app).parameters else app()
    bind_routes(app, instance)
    return app  # type: ignore[no-any-return]


def bind_routes(app: Any, instance: Any) -> None:
    """Let routes whose functions are methods of the instance's class call them on the instance."""
    methods: dict[Any, str] = {}
    for base in reversed(type(instance).__mro__):
        for name, member in vars(base).items():
            if inspect.isfunction(member):
                methods[member] = name
    for route in _routes(app):
        chosen = methods.get(getattr(route, "endpoint", None))
        if chosen is None or not hasattr(route, "dependant"):
            continue
        arguments = route_arguments(route)
        arguments["endpoint"] = getattr(instance, chosen)
        provider = getattr(route, "dependency_overrides_provider", None)
        # In place: routers that include this one know the route as the object that it is.
        type(route).__init__(route, **arguments, dependency_overrides_provider=provider)


def _routes(app: Any) -> Iterator[Any]:
    for route in list(getattr(getattr(app, "router", app), "routes", ())):
        yield route
        inner = getattr(route, "original_router", None) or getattr(route, "app", None)
        if inner is not None and inner is not app and hasattr(inner, "routes"):
            yield from _routes(inner)


class Lifespan:
    """Tells an application that it starts, and that it ends."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the application.

        Raises
        ------
        RuntimeError
            It says that it cannot start.
        """
        self._task = asyncio.ensure_future(self._run())
        await self._events.put({"type": "lifespan.startup"})
        await self._started

    async def end(self) -> None:
        """End it, where it takes part in this."""
        if self._task is not None and not self._task.done():
            await self._events.put({"type": "lifespan.shutdown"})
            await self._ended

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        problem: BaseException | None = None
        try:
            await self.app(scope, self._events.get, self._hear)
        except BaseException as error:  # noqa: BLE001 - applications without a lifespan raise anything
            problem = error
        # An application that knows nothing of lifespans ends here; that is no failure.
        if not self._started.done():
            if problem is not None:
                _log.debug("no lifespan: %r", problem)
            self._started.set_result(None)
        if not self._ended.done():
            self._ended.set_result(None)

    async def _hear(self, message: MutableMapping[str, Any]) -> None:
        kind = message["type"]
        if kind == "lifespan.startup.complete":
            self._started.set_result(None)
        elif kind == "lifespan.startup.failed":
            self._started.set_exception(
                RuntimeError(f"the application could not start: {message.get('message', '')}")
            )
        elif kind.startswith("lifespan.shutdown") and not self._ended.done():
            self._ended.set_result(None)
