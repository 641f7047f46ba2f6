"""Serializers of one's own (mirrors ``ray.util.serialization``)."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

from rayjup.base import serialization as base
from rayjup.core import session as sessions


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Have instances of exactly ``cls`` travel through a serializer.

    It holds in this process and in the tasks and actors that it starts, or sends such an instance to.

    Parameters
    ----------
    cls
        A class.
    serializer
        Turns an instance into something that can be pickled.
    deserializer
        Makes an instance of that again. Both must be picklable themselves.

    Examples
    --------
    >>> import threading
    >>> import rayjup as ray
    >>> class Guarded:
    ...     def __init__(self, x):
    ...         self.x = x
    ...         self.lock = threading.Lock()
    >>> ray.util.register_serializer(Guarded, serializer=lambda g: g.x, deserializer=Guarded)
    >>> ray.get(ray.put(Guarded(3))).x
    3
    >>> ray.util.deregister_serializer(Guarded)
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer() needs a class, got {cls!r}")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(f"register_serializer({name}=…) must be callable, got {function!r}")
    base.register_serializer(cls, serializer=serializer, deserializer=deserializer)
    sessions.renew()


def deregister_serializer(cls: type) -> None:
    """Undo :func:`register_serializer` in this process; processes that know it go on with it."""
    base.deregister_serializer(cls)
    sessions.renew()


class StandaloneSerializationContext:
    """While entered, plain ``pickle`` uses the registered serializers too, with or without a cluster.

    Examples
    --------
    >>> import pickle
    >>> from rayjup.util.serialization import StandaloneSerializationContext
    >>> with StandaloneSerializationContext():
    ...     data = pickle.dumps([1, 2])
    """

    def __init__(self) -> None:
        self._replaced: dict[type, Any] = {}

    def __enter__(self) -> StandaloneSerializationContext:
        for kind, (serializer, deserializer) in base._custom.items():
            self._replaced[kind] = copyreg.dispatch_table.get(kind)
            copyreg.pickle(kind, _reducer(serializer, deserializer))
        return self

    def __exit__(self, *exc_info: Any) -> None:
        for kind, before in self._replaced.items():
            if before is None:
                copyreg.dispatch_table.pop(kind, None)
            else:
                copyreg.dispatch_table[kind] = before
        self._replaced.clear()


def _reducer(serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: (deserializer, (serializer(value),))
