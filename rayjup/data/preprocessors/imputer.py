"""Filling in missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate import Mean, ValueCounter
from rayjup.data.aggregate.base import without_nan
from rayjup.data.preprocessor import stored_as
from rayjup.data.preprocessors.columns import ColumnPreprocessor, numbers

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.preprocessor import Preprocessor


def most_frequent(counts: dict[str, list[Any]] | None) -> Any:
    """The value that occurs most often; of several the least, as scikit-learn has it."""
    pairs = [] if counts is None else zip(counts["values"], counts["counts"], strict=True)
    present = [(value, count) for value, count in pairs if value is not None and value == value]
    if not present:
        return None
    most = max(count for _, count in present)
    candidates = [value for value, count in present if count == most]
    try:
        return min(candidates)
    except TypeError:  # of several types
        return candidates[0]


@stored_as("io.ray.preprocessors.simple_imputer")
class SimpleImputer(ColumnPreprocessor):
    """Missing values (null and NaN) replaced.

    Parameters
    ----------
    columns
        The columns.
    strategy
        ``"mean"``, ``"most_frequent"`` or ``"constant"``.
    fill_value
        The constant.
    output_columns
        Where to put the results; by default in their place.
    """

    def __init__(
        self,
        columns: list[str],
        strategy: str = "mean",
        fill_value: Any = None,
        *,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        if strategy not in ("mean", "most_frequent", "constant"):
            raise ValueError(f"strategy={strategy!r} is not one of mean, most_frequent, constant.")
        if strategy == "constant" and fill_value is None:
            raise ValueError("strategy='constant' needs a fill_value.")
        self._strategy, self._fill_value = strategy, fill_value
        self._is_fittable = strategy != "constant"

    @property
    def strategy(self) -> str:
        """What missing values are replaced with."""
        return self._strategy

    @property
    def fill_value(self) -> Any:
        """The constant."""
        return self._fill_value

    def _settings(self) -> dict[str, Any]:
        return {"strategy": self._strategy, "fill_value": self._fill_value}

    def _fit(self, dataset: Dataset) -> Preprocessor:
        for name in self._columns:
            if self._strategy == "mean":
                self.stat_computation_plan.add(without_nan(Mean(name)))
            else:
                self.stat_computation_plan.add(
                    ValueCounter(name),
                    lambda counts, name=name: {f"most_frequent({name})": most_frequent(counts)},  # type: ignore[misc]
                )
        return self

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        value = self._fill_value
        if self._strategy != "constant":
            value = self._stats()[f"{self._strategy}({name})"]
            if value is None:
                raise ValueError(
                    f"Column {name!r} had nothing but missing values when {self!r} was fitted; "
                    "there is nothing to fill it with. Use strategy='constant'."
                )
        if pa.types.is_floating(column.type):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pa.types.is_null(column.type):
            column = column.cast(pa.scalar(value).type)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if self._strategy == "mean":
            return pc.fill_null(numbers(column, name, self), float(value))
        try:
            return pc.fill_null(column, pa.scalar(value, column.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            if isinstance(value, float) and pa.types.is_integer(column.type):
                return pc.fill_null(column.cast(pa.float64()), value)
            raise ValueError(
                f"Column {name!r} is of type {column.type}; it cannot be filled with {value!r}. "
                "Convert the column before, or give another fill_value."
            ) from None
