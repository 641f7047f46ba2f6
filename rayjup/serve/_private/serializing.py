"""Other ways to serialize arguments and answers, where a handle asks for them."""

from __future__ import annotations

import importlib
import pickle
from typing import Any

_MARK = "\0packed"


class Serializing:
    """Packs and unpacks by name."""

    WAYS = ("cloudpickle", "pickle", "msgpack", "orjson")

    @staticmethod
    def checked(request: str, response: str) -> tuple[str, str]:
        """The two names; raises ValueError for one that is not known."""
        for way in (request, response):
            if way not in Serializing.WAYS:
                raise ValueError(
                    f"unknown serialization {way!r}: choose one of {', '.join(Serializing.WAYS)}."
                )
        return request, response

    @staticmethod
    def dumps(value: Any, way: str) -> bytes:
        """``value`` in one of the ways."""
        if way == "pickle":
            return pickle.dumps(value, 5)
        if way == "orjson":
            return importlib.import_module("orjson").dumps(value)  # type: ignore[no-any-return]
        if way == "msgpack":
            return importlib.import_module("msgpack").packb(value)  # type: ignore[no-any-return]
        return importlib.import_module("cloudpickle").dumps(value)  # type: ignore[no-any-return]

    @staticmethod
    def loads(data: bytes, way: str) -> Any:
        """What :meth:`dumps` packed."""
        if way == "orjson":
            return importlib.import_module("orjson").loads(data)
        if way == "msgpack":
            return importlib.import_module("msgpack").unpackb(data)
        return pickle.loads(data)

    @staticmethod
    def pack(
        args: tuple[Any, ...], kwargs: dict[str, Any], way: str
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of a call, packed one by one: refs and responses among them stay what they are."""

        def one(value: Any) -> Any:
            if hasattr(value, "_call") or hasattr(value, "add_waiter"):
                return value
            return _Packed(way, Serializing.dumps(value, way))

        if way == "cloudpickle":
            return args, kwargs  # what the lane does anyway
        return tuple(one(a) for a in args), {k: one(a) for k, a in kwargs.items()}

    @staticmethod
    def load(value: Any) -> Any:
        """A value that may have been packed."""
        return value.load() if type(value) is _Packed else value

    @staticmethod
    def wrap(value: Any, way: str) -> Any:
        """An answer, packed where the handle asked for that."""
        return value if way == "cloudpickle" else _Packed(way, Serializing.dumps(value, way))


class _Packed:
    """A value and the way in which it is packed."""

    __slots__ = ("data", "way")

    def __init__(self, way: str, data: bytes) -> None:
        self.way = way
        self.data = data

    def load(self) -> Any:
        return Serializing.loads(self.data, self.way)

    def __reduce__(self) -> Any:
        return _Packed, (self.way, self.data)
