"""The user's object in a replica: made from its class, called by method, and as an application of ASGI."""

from __future__ import annotations

import asyncio
import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any

from rayjup.serve._private import ingress
from rayjup.serve._private.answers import is_stream, items_of
from rayjup.serve._private.pool import Pool, is_plain


class UserObject:
    """An instance of a deployment's class, or its function.

    Parameters
    ----------
    source
        The class or function.
    args, kwargs
        Of the constructor.
    pool
        Runs methods that are plain functions; None: they run where they are called.
    """

    def __init__(
        self, source: Any, args: tuple[Any, ...], kwargs: dict[str, Any], pool: Pool | None = None
    ) -> None:
        self.source = source
        self.pool = pool
        self.args = args
        self.kwargs = kwargs
        self.is_function = inspect.isfunction(source) or not isinstance(source, type)
        self.instance: Any = source if self.is_function else None
        self.app: Any = None
        self.lifespan: ingress.Lifespan | None = None
        self.takes_request = True
        self._methods: dict[str, Callable[..., Any]] = {}

    async def start(self) -> None:
        """Make the object; an application starts, too."""
        if not self.is_function:
            instance = self.source.__new__(self.source)
            outcome = instance.__init__(*self.args, **self.kwargs)
            if inspect.isawaitable(outcome):  # an `async def __init__`, as Ray allows
                await outcome
            self.instance = instance
            if getattr(self.source, ingress.INGRESS, None) is not None:
                self.app = ingress.application_of(instance)
                self.lifespan = ingress.Lifespan(self.app)
                await self.lifespan.start()
        if self.app is None:
            entry = self._own("__call__")
            if entry is not None:
                try:
                    self.takes_request = bool(inspect.signature(entry).parameters)
                except (TypeError, ValueError):
                    self.takes_request = True

    def find(self, name: str) -> Callable[..., Any] | None:
        """The method ``name``; None when there is none."""
        found = self._methods.get(name)
        if found is None:
            found = self._own(name)
            if found is not None:
                if self.pool is not None and is_plain(found) and not inspect.isgeneratorfunction(found):
                    found = _on_threads(self.pool, found)
                self._methods[name] = found
        return found

    def _own(self, name: str) -> Callable[..., Any] | None:
        """The method as the user wrote it."""
        if self.is_function and name == "__call__":
            found = self.instance
        elif name == "__call__" and not callable(self.instance):
            return None
        else:
            found = getattr(self.instance, name, None)
        return found if callable(found) else None

    def method(self, name: str) -> Callable[..., Any]:
        """The method ``name``.

        Raises
        ------
        AttributeError
            There is none; the text says which there are.
        """
        found = self._methods.get(name) or self.find(name)
        if found is None:
            what = getattr(self.source, "__name__", "the deployment")
            if self.is_function:
                raise AttributeError(f"{what} is a function: call it with handle.remote(), not by a method.")
            there = sorted(
                n for n in dir(self.instance) if not n.startswith("_") and callable(getattr(self.instance, n))
            )
            raise AttributeError(
                f"Tried to call a method '{name}' that does not exist on {what}. "
                f"Available methods: {', '.join(there) or '(none)'}."
            )
        return found

    async def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The value of a method."""
        value = (self._methods.get(name) or self.method(name))(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
        if is_stream(value):
            raise TypeError(
                f"Method '{name}' returned a generator. You must use `handle.options(stream=True)` to call "
                "generators on a deployment."
            )
        return value

    async def stream(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The items of a method that is a generator."""
        value = self.method(name)(*args, **kwargs)
        if inspect.isawaitable(value):
            value = await value
        if not is_stream(value):
            raise TypeError(
                f"`handle.options(stream=True)` was used, but method '{name}' returned "
                f"{type(value).__name__}: "
                "it has to be a generator (use yield), or call it without stream=True."
            )
        async for item in items_of(value):
            yield item

    async def reconfigure(self, user_config: Any) -> None:
        """Give the object its ``user_config``."""
        if user_config is None:
            return
        method = None if self.is_function else self._own("reconfigure")
        if method is None:
            raise ValueError(
                f"user_config is set, but {getattr(self.source, '__name__', 'the deployment')} has no method "
                "reconfigure(self, config) that takes it."
            )
        outcome = method(user_config)
        if inspect.isawaitable(outcome):
            await outcome

    async def check(self) -> None:
        """The object's own health check; raises what is wrong."""
        method = None if self.is_function else self.find("check_health")
        if method is not None:
            outcome = method()
            if inspect.isawaitable(outcome):
                await outcome

    async def record(self, name: str) -> Any:
        """What the object reports of itself (``record_routing_stats`` and the like), if it does."""
        method = None if self.is_function else self.find(name)
        if method is None:
            return None
        outcome = method()
        return await outcome if inspect.isawaitable(outcome) else outcome

    async def end(self) -> None:
        """Let go of the object: its application ends, its ``__del__`` runs."""
        if self.lifespan is not None:
            await self.lifespan.end()
        instance, self.instance = self.instance, None
        self._methods.clear()
        finish = None if self.is_function else getattr(type(instance), "__del__", None)
        if finish is not None:
            try:
                outcome = finish(instance)
                if inspect.isawaitable(outcome):
                    await outcome
            except Exception:  # noqa: BLE001 - the process ends anyway; what went wrong is printed
                traceback.print_exc()
            type(instance).__del__ = lambda self: None  # not twice


def _on_threads(pool: Pool, function: Callable[..., Any]) -> Callable[..., Any]:
    run = pool.run

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        return run(function, *args, **kwargs)

    return call


def check_source(source: Any) -> None:
    """Refuse what cannot be a deployment.

    Raises
    ------
    TypeError
        It is neither a class nor a function.
    """
    if not inspect.isclass(source) and not callable(source):
        raise TypeError(f"@serve.deployment must be called on a class or function, got {type(source)}.")
    if asyncio.iscoroutine(source):
        raise TypeError("@serve.deployment was given a coroutine: decorate the function itself.")
