"""Selecting rows by the filters of a request."""

from __future__ import annotations

import enum
from typing import Any

from rayjup.util.state._options import Filter
from rayjup.util.state._schema import StateSchema
from rayjup.util.state.exception import RayStateApiException

_TRUE, _FALSE = ("true", "1"), ("false", "0")


def check_columns(schema: type[StateSchema], filters: list[Filter]) -> None:
    """Raise RayStateApiException for a filter on a column that cannot be filtered by."""
    for column, _, _ in filters:
        if column not in schema.filterable_columns():
            possible = ", ".join(c for c in schema.list_columns() if c in schema.filterable_columns())
            raise RayStateApiException(
                f"rows cannot be selected by {column!r}: filters may name {possible}. List without that "
                "filter, and select in Python."
            )


def matches(row: dict[str, Any], filters: list[Filter]) -> bool:
    """Whether a row passes all filters; text is compared without regard to case."""
    return all(_equal(column, row.get(column), value) == (op == "=") for column, op, value in filters)


def _equal(column: str, have: Any, wanted: Any) -> bool:
    if isinstance(have, enum.Enum):
        have = have.value
    if isinstance(wanted, enum.Enum):
        wanted = wanted.value
    if have is None:
        return wanted is None
    if isinstance(have, bool):
        return have == _boolean(column, wanted)
    if isinstance(have, (int, float)):
        try:
            return bool(have == type(have)(wanted))
        except (TypeError, ValueError):
            raise RayStateApiException(
                f"the filter on {column!r} compares numbers with {wanted!r}, which is no "
                f"{type(have).__name__}: give one."
            ) from None
    if isinstance(have, str):
        return have.lower() == str(wanted).lower()
    return bool(have == wanted) or str(have) == str(wanted)


def _boolean(column: str, wanted: Any) -> bool:
    text = str(wanted).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise RayStateApiException(
        f"the filter on {column!r} compares with {wanted!r}, which is neither true nor false: give "
        "True or False."
    )
