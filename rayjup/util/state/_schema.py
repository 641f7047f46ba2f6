"""Rows of the state API are dataclasses whose columns say what may be done with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

_Self = TypeVar("_Self", bound="StateSchema")


def state_column(
    *, filterable: bool, detail: bool = False, format_fn: Callable[[Any], Any] | None = None, **kwargs: Any
) -> Any:
    """A dataclass field of a row.

    Parameters
    ----------
    filterable
        Whether ``filters`` may name it.
    detail
        Whether it is given only with ``detail=True``; then None is its default.
    format_fn
        Makes a value readable for people; used by ``humanify``.
    **kwargs
        For :func:`dataclasses.field`.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from rayjup.util.state.common import StateSchema, state_column
    >>> @dataclass
    ... class Row(StateSchema):
    ...     name: str = state_column(filterable=True)
    >>> Row.filterable_columns()
    {'name'}
    """
    if detail and "default" not in kwargs and "default_factory" not in kwargs:
        kwargs["default"] = None
    metadata = {**kwargs.pop("metadata", {}), "filterable": filterable, "detail": detail}
    return dataclasses.field(metadata={**metadata, "format_fn": format_fn}, **kwargs)


class StateSchema:
    """What all rows have: names of their columns, and access to values like a dict's."""

    @classmethod
    def _fields(cls) -> tuple[dataclasses.Field[Any], ...]:
        return dataclasses.fields(cls)  # type: ignore[arg-type]  # all subclasses are dataclasses

    @classmethod
    def humanify(cls, state: dict[str, Any]) -> dict[str, Any]:
        """A copy of a row, given as a dict, in which times and sizes can be read by people."""
        readable = dict(state)
        for field in cls._fields():
            format_fn = field.metadata.get("format_fn")
            if format_fn is not None and readable.get(field.name) is not None:
                readable[field.name] = format_fn(readable[field.name])
        return readable

    @classmethod
    def list_columns(cls, detail: bool = True) -> list[str]:
        """Names of the columns in order, without the detailed ones if ``detail`` is false."""
        return [f.name for f in cls._fields() if detail or not f.metadata.get("detail")]

    @classmethod
    def columns(cls) -> set[str]:
        """Names of all columns."""
        return set(cls.list_columns())

    @classmethod
    def filterable_columns(cls) -> set[str]:
        """Names of the columns by which rows can be selected."""
        return {f.name for f in cls._fields() if f.metadata.get("filterable")}

    @classmethod
    def base_columns(cls) -> set[str]:
        """Names of the columns that are always given."""
        return set(cls.list_columns(detail=False))

    @classmethod
    def detail_columns(cls) -> set[str]:
        """Names of the columns given with ``detail=True``: all of them."""
        return cls.columns()

    def asdict(self) -> dict[str, Any]:
        """The row as a dict."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a column; ``default`` where there is no such column."""
        return getattr(self, key, default)

    def __getitem__(self, key: str) -> Any:
        if key not in self.columns():
            raise KeyError(f"{type(self).__name__} has no column {key!r}: {', '.join(self.list_columns())}")
        return getattr(self, key)


class Humanify:
    """How values are written for people."""

    @staticmethod
    def timestamp(x: float) -> str:
        """Milliseconds since 1970 as date and time (UTC)."""
        moment = datetime.fromtimestamp(x / 1000, tz=timezone.utc)
        return str(moment.replace(tzinfo=None))

    @staticmethod
    def memory(x: int) -> str:
        """Bytes as KiB, MiB or GiB."""
        amount = float(x)
        for unit in ("B", "KiB", "MiB"):
            if abs(amount) < 1024:
                return f"{amount:.3f} {unit}"
            amount /= 1024
        return f"{amount:.3f} GiB"

    @staticmethod
    def duration(x: int) -> str:
        """Milliseconds as hours, minutes and seconds."""
        return str(timedelta(milliseconds=x))

    @staticmethod
    def events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Events with readable times."""
        return [{**event, "created_ms": Humanify.timestamp(event["created_ms"])} for event in events]

    @staticmethod
    def node_resources(resources: dict[str, Any]) -> dict[str, Any]:
        """Resources with readable amounts of memory."""
        return {
            name: Humanify.memory(amount) if name.endswith("memory") else amount
            for name, amount in resources.items()
        }
