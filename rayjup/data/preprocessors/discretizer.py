"""Numbers sorted into bins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rayjup.data.aggregate import Max, Min
from rayjup.data.aggregate.base import without_nan
from rayjup.data.preprocessor import stored_as
from rayjup.data.preprocessors.columns import ColumnPreprocessor, numbers

if TYPE_CHECKING:
    import pandas as pd

    from rayjup.data.dataset import Dataset
    from rayjup.data.preprocessor import Preprocessor


class _Discretizer(ColumnPreprocessor):
    """What both kinds share; bins are those of ``pandas.cut``."""

    def __init__(
        self,
        columns: list[str],
        bins: Any,
        right: bool,
        include_lowest: bool,
        duplicates: str,
        dtypes: dict[str, Any] | None,
        output_columns: list[str] | None,
    ) -> None:
        super().__init__(columns, output_columns)
        if duplicates not in ("raise", "drop"):
            raise ValueError(f"duplicates={duplicates!r} is neither 'raise' nor 'drop'.")
        if isinstance(bins, dict):
            missing = [name for name in columns if name not in bins]
            if missing:
                raise ValueError(f"bins says nothing about column {missing[0]!r}.")
        self._bins, self._right, self._include_lowest = bins, right, include_lowest
        self._duplicates, self._dtypes = duplicates, dtypes

    @property
    def bins(self) -> Any:
        """The bins."""
        return self._bins

    @property
    def right(self) -> bool:
        """Whether a bin includes its right edge."""
        return self._right

    @property
    def include_lowest(self) -> bool:
        """Whether the first bin includes its left edge."""
        return self._include_lowest

    @property
    def duplicates(self) -> str:
        """What to do with edges that are the same."""
        return self._duplicates

    @property
    def dtypes(self) -> dict[str, Any] | None:
        """The types of the results, by column."""
        return self._dtypes

    def _settings(self) -> dict[str, Any]:
        return {
            "bins": self._bins,
            "right": self._right,
            "include_lowest": self._include_lowest,
            "duplicates": self._duplicates,
            "dtypes": self._dtypes,
        }

    def _edges(self, name: str) -> Any:
        return self._bins[name] if isinstance(self._bins, dict) else self._bins

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        import pandas as pd

        values = pd.Series(numbers(column, name, self).to_numpy())
        dtype = (self._dtypes or {}).get(name)
        edges = self._edges(name)
        labels: Any = False
        ordered = True
        if isinstance(dtype, pd.CategoricalDtype):
            labels, ordered = list(dtype.categories), bool(dtype.ordered)
        if isinstance(edges, pd.IntervalIndex):
            cut = pd.cut(values, edges, duplicates=self._duplicates).cat.codes
            codes = pa.array(np.where(cut < 0, 0, cut), mask=np.asarray(cut < 0))
        else:
            cut = pd.cut(
                values,
                edges,
                right=self._right,
                labels=labels,
                ordered=ordered,
                include_lowest=self._include_lowest,
                duplicates=self._duplicates,
            )
            if labels is not False:
                return pa.array(cut.astype(dtype))
            codes = pa.array(cut, from_pandas=True)
        codes = codes.cast(pa.int64())
        if dtype is None or isinstance(dtype, pd.CategoricalDtype):
            return codes
        return codes.cast(pa.from_numpy_dtype(np.dtype(dtype)))


@stored_as("io.ray.preprocessors.custom_kbins_discretizer")
class CustomKBinsDiscretizer(_Discretizer):
    """Numbers replaced by the position of the bin in which they lie; null outside of all bins.

    Parameters
    ----------
    columns
        The columns.
    bins
        The edges, or a ``pandas.IntervalIndex``; by column where they differ.
    right
        Whether a bin includes its right edge, instead of its left one.
    include_lowest
        Whether the first bin includes its left edge.
    duplicates
        ``"raise"`` or ``"drop"``: edges that are the same.
    dtypes
        By column, a ``pandas.CategoricalDtype`` with labels for the bins, or an integer type.
    output_columns
        Where to put the results; by default in their place.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        bins: Iterable[float] | pd.IntervalIndex | dict[str, Iterable[float] | pd.IntervalIndex],
        *,
        right: bool = True,
        include_lowest: bool = False,
        duplicates: str = "raise",
        dtypes: dict[str, Any] | None = None,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, bins, right, include_lowest, duplicates, dtypes, output_columns)


@stored_as("io.ray.preprocessors.uniform_kbins_discretizer")
class UniformKBinsDiscretizer(_Discretizer):
    """Numbers replaced by the position of the bin in which they lie; the bins are equally wide.

    Parameters
    ----------
    columns
        The columns.
    bins
        How many; by column where they differ.
    right, include_lowest, duplicates, dtypes, output_columns
        As for ``CustomKBinsDiscretizer``.
    """

    def __init__(
        self,
        columns: list[str],
        bins: int | dict[str, int],
        *,
        right: bool = True,
        include_lowest: bool = False,
        duplicates: str = "raise",
        dtypes: dict[str, Any] | None = None,
        output_columns: list[str] | None = None,
    ) -> None:
        counts = bins.values() if isinstance(bins, dict) else [bins]
        if not all(isinstance(count, int) and count > 0 for count in counts):
            raise ValueError(f"bins={bins!r} is not a positive number, or one for each column.")
        super().__init__(columns, bins, right, include_lowest, duplicates, dtypes, output_columns)

    def _fit(self, dataset: Dataset) -> Preprocessor:
        for name in self._columns:
            self.stat_computation_plan.add(without_nan(Min(name)))
            self.stat_computation_plan.add(without_nan(Max(name)))
        return self

    def _finish_stats(self, computed: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._even(name, computed[f"min({name})"], computed[f"max({name})"])
            for name in self._columns
        }

    def _even(self, name: str, low: float | None, high: float | None) -> np.ndarray:
        if low is None or high is None:
            raise ValueError(f"Column {name!r} has no value to make bins of.")
        count = self._bins[name] if isinstance(self._bins, dict) else self._bins
        if low == high:  # as pandas does: a little on both sides
            low -= 0.001 * abs(low) if low else 0.001
            high += 0.001 * abs(high) if high else 0.001
            return np.linspace(low, high, count + 1)
        edges = np.linspace(low, high, count + 1)
        # The outermost value would lie outside: a bin does not include both edges.
        margin = (high - low) * 0.001
        if self._right:
            edges[0] -= margin
        else:
            edges[-1] += margin
        return edges

    def _edges(self, name: str) -> Any:
        return self._stats()[name]
