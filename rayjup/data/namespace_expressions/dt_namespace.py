"""Functions for dates and times: ``expr.dt``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import pyarrow.compute as pc

from rayjup.data.datatype import DataType
from rayjup.data.expressions.compute import compute

if TYPE_CHECKING:
    from rayjup.data.expressions.nodes import Expr, PyArrowComputeUDFExpr

TemporalUnit = Literal[
    "year",
    "quarter",
    "month",
    "week",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "microsecond",
    "nanosecond",
]


def _unit(unit: str) -> str:
    known = get_args(TemporalUnit)
    if unit not in known:
        raise ValueError(f"unit={unit!r} is not one of {', '.join(known)}.")
    return unit


class _DatetimeNamespace:
    """Functions for dates and times."""

    def __init__(self, expr: Expr) -> None:
        self._expr = expr

    def year(self) -> PyArrowComputeUDFExpr:
        """The year."""
        return compute(self._expr, pc.year, returns=DataType.int64())

    def month(self) -> PyArrowComputeUDFExpr:
        """The month, from 1."""
        return compute(self._expr, pc.month, returns=DataType.int64())

    def day(self) -> PyArrowComputeUDFExpr:
        """The day of the month, from 1."""
        return compute(self._expr, pc.day, returns=DataType.int64())

    def hour(self) -> PyArrowComputeUDFExpr:
        """The hour."""
        return compute(self._expr, pc.hour, returns=DataType.int64())

    def minute(self) -> PyArrowComputeUDFExpr:
        """The minute."""
        return compute(self._expr, pc.minute, returns=DataType.int64())

    def second(self) -> PyArrowComputeUDFExpr:
        """The second, without its fraction."""
        return compute(self._expr, pc.second, returns=DataType.int64())

    def strftime(self, fmt: str) -> PyArrowComputeUDFExpr:
        """As text, in this format."""
        return compute(self._expr, pc.strftime, format=fmt, returns=DataType.string())

    def ceil(self, unit: TemporalUnit) -> PyArrowComputeUDFExpr:
        """The beginning of the next unit."""
        return compute(self._expr, pc.ceil_temporal, unit=_unit(unit))

    def floor(self, unit: TemporalUnit) -> PyArrowComputeUDFExpr:
        """The beginning of the unit."""
        return compute(self._expr, pc.floor_temporal, unit=_unit(unit))

    def round(self, unit: TemporalUnit) -> PyArrowComputeUDFExpr:
        """The nearest beginning of a unit."""
        return compute(self._expr, pc.round_temporal, unit=_unit(unit))
