"""Many models in one deployment, loaded when they are asked for (mirrors ``@serve.multiplexed``)."""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

__all__ = ["multiplexed"]


def multiplexed(func: Callable[..., Any] | None = None, max_num_models_per_replica: int = 3) -> Any:
    """Keep what a coroutine function returns for a model id; the least recently used goes first.

    Parameters
    ----------
    max_num_models_per_replica
        Models kept by one replica; -1: any number.

    Requests name their model by the header ``serve_multiplexed_model_id`` or
    ``handle.options(multiplexed_model_id=…)``, and go to replicas that have it.

    Examples
    --------
    >>> from rayjup import serve
    >>> @serve.deployment
    ... class Models:
    ...     @serve.multiplexed(max_num_models_per_replica=2)
    ...     async def load(self, model_id: str):
    ...         return lambda x: f"{model_id}: {x}"
    ...     async def __call__(self, x):
    ...         model = await self.load(serve.get_multiplexed_model_id())
    ...         return model(x)
    """
    if func is not None:
        _check(func)
    if not isinstance(max_num_models_per_replica, int):
        raise TypeError("max_num_models_per_replica must be an integer.")
    if max_num_models_per_replica != -1 and max_num_models_per_replica <= 0:
        raise ValueError("max_num_models_per_replica must be positive, or -1 for any number.")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        _check(function)
        caches = _Caches(function, max_num_models_per_replica)
        method = next(iter(inspect.signature(function).parameters), None) == "self"

        @functools.wraps(function)
        async def load(*args: Any, **kwargs: Any) -> Any:
            owner = args[0] if method else None
            rest = list(args[1:] if method else args) + list(kwargs.values())
            if len(rest) != 1 or not isinstance(rest[0], str):
                raise TypeError(f"{function.__name__} takes one argument, the model id, a string.")
            return await caches.of(owner).get(rest[0])

        load.__serve_multiplexed__ = True  # type: ignore[attr-defined]
        return load

    return decorate if func is None else decorate(func)


def _check(function: Any) -> None:
    if not callable(function):
        raise TypeError("The `multiplexed` decorator must be used with a function or method.")
    if not inspect.iscoroutinefunction(function):
        raise TypeError("@serve.multiplexed can only be used to decorate async functions or methods.")
    names = [n for n in inspect.signature(function).parameters if n != "self"]
    if len(names) != 1:
        raise TypeError(
            "@serve.multiplexed can only be used to decorate functions with exactly one argument: the model "
            "id."
        )


class _Caches:
    """The models of one decorated function, for each instance."""

    def __init__(self, function: Callable[..., Any], most: int) -> None:
        self.function = function
        self.most = most
        self.by_owner: weakref.WeakKeyDictionary[Any, ModelCache] = weakref.WeakKeyDictionary()
        self.alone: ModelCache | None = None

    def of(self, owner: Any) -> ModelCache:
        if owner is None:
            if self.alone is None:
                self.alone = ModelCache(self.function, self.most)
            return self.alone
        cache = self.by_owner.get(owner)
        if cache is None:
            cache = self.by_owner[owner] = ModelCache(functools.partial(self.function, owner), self.most)
        return cache

    def __reduce__(self) -> Any:
        return _Caches, (self.function, self.most)


loaded: weakref.WeakSet[ModelCache] = weakref.WeakSet()
"""All caches of this process: which models it has."""


class ModelCache:
    """Models by id, the least recently used first."""

    def __init__(self, load: Callable[[str], Any], most: int) -> None:
        self.load = load
        self.most = most
        self.models: OrderedDict[str, Any] = OrderedDict()
        self.loading: dict[str, asyncio.Task[Any]] = {}
        loaded.add(self)

    async def get(self, model_id: str) -> Any:
        """The model, loaded where it is not there."""
        if not model_id:
            raise ValueError("The model ID cannot be empty: set the header serve_multiplexed_model_id.")
        if model_id in self.models:
            self.models.move_to_end(model_id)
            return self.models[model_id]
        task = self.loading.get(model_id)
        if task is None:  # several requests for a model that is not there load it once
            task = self.loading[model_id] = asyncio.get_running_loop().create_task(self._load(model_id))
        return await asyncio.shield(task)

    async def _load(self, model_id: str) -> Any:
        try:
            while 0 < self.most <= len(self.models):
                _, old = self.models.popitem(last=False)
                await _unload(old)
                del old
            model = await self.load(model_id)
            self.models[model_id] = model
            return model
        finally:
            self.loading.pop(model_id, None)


async def _unload(model: Any) -> None:
    """A model goes: its ``__del__`` may be a coroutine function, which nobody else would await."""
    finish = getattr(type(model), "__del__", None)
    if finish is not None and inspect.iscoroutinefunction(finish):
        await finish(model)
        type(model).__del__ = lambda self: None


def model_ids() -> list[str]:
    """The models that this process has."""
    return sorted({model for cache in list(loaded) for model in cache.models})
