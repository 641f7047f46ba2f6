"""Pickling the code of deployments, applications of FastAPI included.

An application is not data: it has locks, caches and validators that cannot be pickled, above all
where it is defined in a notebook. What it was made from can: its routes are pickled as the
arguments they were made with, and made anew; locks come back as new, free ones.
"""

from __future__ import annotations

import inspect
import io
import threading
from typing import Any

import cloudpickle

_LOCK = type(threading.Lock())
_RLOCK = type(threading.RLock())
_ROUTES = ("APIRoute", "APIWebSocketRoute")
_APPS = ("FastAPI", "Starlette")


def dumps(value: Any) -> bytes:
    """Pickle code or arguments of a deployment."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


loads = cloudpickle.loads


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is _LOCK:
            return threading.Lock, ()
        if kind is _RLOCK:
            return threading.RLock, ()
        names = {
            c.__name__ for c in kind.__mro__ if c.__module__.partition(".")[0] in ("fastapi", "starlette")
        }
        if not names.isdisjoint(_ROUTES):
            return _route, (kind, route_arguments(obj))
        if "State" in names:  # looks for its own dictionary in itself while it is unpickled
            return kind, (), dict(obj._state), None, None, _set_state
        if not names.isdisjoint(_APPS):
            state = dict(obj.__dict__)
            state["middleware_stack"] = None  # made when first used
            return _empty, (kind,), state
        return super().reducer_override(obj)


def route_arguments(route: Any) -> dict[str, Any]:
    """The arguments with which a route of FastAPI can be made anew."""
    wanted = inspect.signature(type(route).__init__).parameters
    given = {name: getattr(route, name) for name in wanted if name != "self" and hasattr(route, name)}
    # The application itself, which is being pickled; and what the constructor finds out by itself.
    given.pop("dependency_overrides_provider", None)
    return given


def _route(kind: type, arguments: dict[str, Any]) -> Any:
    return kind(**arguments)


def _empty(kind: type) -> Any:
    return object.__new__(kind)


def _set_state(state: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(state, name, value)
