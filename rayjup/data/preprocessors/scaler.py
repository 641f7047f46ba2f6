"""Scaling numbers: by deviation, by range, by quantiles, by rows; power transformations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate import AbsMax, ApproximateQuantile, Max, Mean, Min, Std
from rayjup.data.aggregate.base import without_nan
from rayjup.data.preprocessor import stored_as
from rayjup.data.preprocessors.columns import ColumnPreprocessor, get, numbers, put

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.preprocessor import Preprocessor

# Up to so many values quantiles are exact; beyond that they are off by less than 0.01 % of the ranks.
_EXACT = 2**18


def _shifted(column: pa.ChunkedArray, offset: float | None, scale: float | None) -> Any:
    """(x - offset) / scale; nulls where nothing is known, and no division by nothing."""
    if offset is None or scale is None:
        return pa.nulls(len(column), pa.float64())
    return pc.divide(pc.subtract(column, float(offset)), float(scale) or 1.0)


@stored_as("io.ray.preprocessors.standard_scaler")
class StandardScaler(ColumnPreprocessor):
    """Columns shifted to mean 0 and scaled to standard deviation 1.

    Parameters
    ----------
    columns
        The columns.
    output_columns
        Where to put the results; by default in their place.

    Examples
    --------
    >>> import pandas as pd, rayjup.data
    >>> from rayjup.data.preprocessors import StandardScaler
    >>> ds = rayjup.data.from_pandas(pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
    >>> StandardScaler(["x"]).fit_transform(ds).to_pandas()["x"].round(2).tolist()
    [-1.22, 0.0, 1.22]
    """

    def _fit(self, dataset: Dataset) -> Preprocessor:
        for name in self._columns:
            self.stat_computation_plan.add(without_nan(Mean(name)))
            self.stat_computation_plan.add(without_nan(Std(name, ddof=0)))
        return self

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        stats = self._stats()
        return _shifted(numbers(column, name, self), stats[f"mean({name})"], stats[f"std({name})"])


@stored_as("io.ray.preprocessors.min_max_scaler")
class MinMaxScaler(ColumnPreprocessor):
    """Columns scaled to the range from 0 to 1.

    Parameters
    ----------
    columns, output_columns
        As for ``StandardScaler``.
    """

    def _fit(self, dataset: Dataset) -> Preprocessor:
        for name in self._columns:
            self.stat_computation_plan.add(without_nan(Min(name)))
            self.stat_computation_plan.add(without_nan(Max(name)))
        return self

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        low, high = self._stats()[f"min({name})"], self._stats()[f"max({name})"]
        span = None if low is None else high - low
        return _shifted(numbers(column, name, self), low, span)


@stored_as("io.ray.preprocessors.max_abs_scaler")
class MaxAbsScaler(ColumnPreprocessor):
    """Columns scaled by their greatest absolute value.

    Parameters
    ----------
    columns, output_columns
        As for ``StandardScaler``.
    """

    def _fit(self, dataset: Dataset) -> Preprocessor:
        for name in self._columns:
            self.stat_computation_plan.add(without_nan(AbsMax(name)))
        return self

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        return _shifted(numbers(column, name, self), 0.0, self._stats()[f"abs_max({name})"])


class _Quantiles(ApproximateQuantile):
    """Quantiles between values, as scikit-learn takes them."""

    _interpolate = True


@stored_as("io.ray.preprocessors.robust_scaler")
class RobustScaler(ColumnPreprocessor):
    """Columns shifted by their median and scaled by the distance of two quantiles.

    Parameters
    ----------
    columns
        The columns.
    quantile_range
        The lower and the upper quantile, from 0 to 1.
    output_columns
        Where to put the results; by default in their place.
    quantile_precision
        How many values the sketch of a column keeps per level, where a column has more than 262 144.
    """

    def __init__(
        self,
        columns: list[str],
        quantile_range: tuple[float, float] = (0.25, 0.75),
        output_columns: list[str] | None = None,
        quantile_precision: int = 800,
    ) -> None:
        super().__init__(columns, output_columns)
        low, high = quantile_range
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"quantile_range={quantile_range!r} is not a pair of numbers from 0 to 1, in order."
            )
        self._quantile_range, self._quantile_precision = (low, high), quantile_precision

    @property
    def quantile_range(self) -> tuple[float, float]:
        """The lower and the upper quantile."""
        return self._quantile_range

    @property
    def quantile_precision(self) -> int:
        """How many values a level of the sketch keeps."""
        return self._quantile_precision

    def _settings(self) -> dict[str, Any]:
        return {"quantile_range": self._quantile_range, "quantile_precision": self._quantile_precision}

    def _fit(self, dataset: Dataset) -> Preprocessor:
        low, high = self._quantile_range
        for name in self._columns:
            quantiles = _Quantiles(name, [low, 0.5, high], max(self._quantile_precision, _EXACT))

            def use(found: list[float] | None, name: str = name) -> dict[str, Any]:
                values = [None] * 3 if found is None else found
                keys = (f"low_quantile({name})", f"median({name})", f"high_quantile({name})")
                return dict(zip(keys, values, strict=True))

            self.stat_computation_plan.add(without_nan(quantiles), use)
        return self

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        stats = self._stats()
        low, high = stats[f"low_quantile({name})"], stats[f"high_quantile({name})"]
        span = None if low is None else high - low
        return _shifted(numbers(column, name, self), stats[f"median({name})"], span)


_NORMS = {
    "l1": lambda rows: np.abs(rows).sum(axis=1),
    "l2": lambda rows: np.sqrt(np.square(rows).sum(axis=1)),
    "max": lambda rows: np.abs(rows).max(axis=1),
}


@stored_as("io.ray.preprocessors.normalizer")
class Normalizer(ColumnPreprocessor):
    """Rows scaled to length 1, over some columns; a row of zeros stays one.

    Parameters
    ----------
    columns
        The columns that make up a row.
    norm
        What length is: ``"l1"``, ``"l2"`` or ``"max"``.
    output_columns
        Where to put the results; by default in their place.
    """

    _is_fittable = False

    def __init__(
        self, columns: list[str], norm: str = "l2", *, output_columns: list[str] | None = None
    ) -> None:
        super().__init__(columns, output_columns)
        if norm not in _NORMS:
            raise ValueError(f"norm={norm!r} is not one of {', '.join(_NORMS)}.")
        self._norm = norm

    @property
    def norm(self) -> str:
        """What length is."""
        return self._norm

    def _settings(self) -> dict[str, Any]:
        return {"norm": self._norm}

    def _transform_arrow(self, table: pa.Table) -> pa.Table:
        rows = np.column_stack(
            [
                numbers(get(table, name, self), name, self).to_numpy(zero_copy_only=False)
                for name in self._columns
            ]
        )
        lengths = _NORMS[self._norm](rows) if table.num_rows else np.empty(0)
        scaled = rows / np.where(lengths == 0, 1.0, lengths)[:, None]
        for place, output in enumerate(self._output_columns):
            table = put(table, output, pa.array(scaled[:, place]))
        return table


@stored_as("io.ray.preprocessors.power_transformer")
class PowerTransformer(ColumnPreprocessor):
    """Columns raised to a power that makes them more like a normal distribution.

    Parameters
    ----------
    columns
        The columns.
    power
        The parameter λ.
    method
        ``"yeo-johnson"`` (any number) or ``"box-cox"`` (positive numbers).
    output_columns
        Where to put the results; by default in their place.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        power: float,
        method: str = "yeo-johnson",
        *,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        if method not in ("yeo-johnson", "box-cox"):
            raise ValueError(f"method={method!r} is neither 'yeo-johnson' nor 'box-cox'.")
        self._power, self._method = power, method

    @property
    def power(self) -> float:
        """The parameter λ."""
        return self._power

    @property
    def method(self) -> str:
        """The kind of transformation."""
        return self._method

    def _settings(self) -> dict[str, Any]:
        return {"power": self._power, "method": self._method}

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        values = numbers(column, name, self).to_numpy()
        power = self._power
        with np.errstate(divide="ignore", invalid="ignore"):
            if self._method == "box-cox":
                return pa.array(
                    np.log(values) if power == 0 else (values**power - 1) / power, from_pandas=True
                )
            out = values.copy()
            positive, negative = values >= 0, values < 0
            above, below = values[positive], values[negative]
            out[positive] = np.log1p(above) if power == 0 else ((above + 1) ** power - 1) / power
            if power == 2:
                out[negative] = -np.log1p(-below)
            else:
                out[negative] = -((-below + 1) ** (2 - power) - 1) / (2 - power)
        return pa.array(out, from_pandas=True)
