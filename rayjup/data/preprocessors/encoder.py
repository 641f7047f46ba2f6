"""Categories as numbers: positions, vectors of zeros and ones, pandas' categories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayjup.data.aggregate import Unique, ValueCounter
from rayjup.data.preprocessor import stored_as
from rayjup.data.preprocessors.columns import ColumnPreprocessor, as_lists, get, is_list, key, lookup, put

if TYPE_CHECKING:
    import pandas as pd

    from rayjup.data.dataset import Dataset
    from rayjup.data.preprocessor import Preprocessor


def _ordered(values: Any, name: str, who: Any) -> list[Any]:
    """Distinct values in order; nulls are refused."""
    plain = [key(value) for value in values]
    if any(value is None or value != value for value in plain):
        raise ValueError(
            f"{type(who).__name__} cannot encode column {name!r}: it has missing values. "
            "Fill them in before, for example with SimpleImputer."
        )
    try:
        return sorted(plain)
    except TypeError as error:
        kinds = sorted({type(value).__name__ for value in plain})
        raise TypeError(
            f"Column {name!r} has values of several types ({', '.join(kinds)}) without order."
        ) from error


def _most_common(counts: dict[str, list[Any]], most: int | None, name: str, who: Any) -> list[Any]:
    pairs = sorted(zip(counts["values"], counts["counts"], strict=True), key=lambda pair: -pair[1])
    if any(value is None or value != value for value, _ in pairs):
        _ordered([None], name, who)
    return _ordered([value for value, _ in pairs[:most]], name, who)


class _Encoder(ColumnPreprocessor):
    """An encoder that learns the distinct values of its columns."""

    _flatten = False

    def _limits(self) -> dict[str, int]:
        return {}

    def _fit(self, dataset: Dataset) -> Preprocessor:
        limits = self._limits()
        unknown = [name for name in limits if name not in self._columns]
        if unknown:
            raise ValueError(
                f"max_categories names column {unknown[0]!r}; the columns are {', '.join(self._columns)}."
            )
        for name in self._columns:
            if name in limits:
                counter = ValueCounter(name)
                counter._flatten = self._flatten
                self.stat_computation_plan.add(counter, self._using(name, limits[name]))
            else:
                aggregation = Unique(name, encode_lists=self._flatten)
                self.stat_computation_plan.add(aggregation, self._using(name, None))
        return self

    def _using(self, name: str, most: int | None) -> Any:
        def use(found: Any) -> dict[str, Any]:
            values = (
                _most_common(found, most, name, self)
                if isinstance(found, dict)
                else _ordered(found or [], name, self)
            )
            return {f"unique_values({name})": {value: place for place, value in enumerate(values)}}

        return use

    def _categories(self, name: str) -> dict[Any, int]:
        return self._stats()[f"unique_values({name})"]


@stored_as("io.ray.preprocessors.ordinal_encoder")
class OrdinalEncoder(_Encoder):
    """Values replaced by their positions in order; null for values that were not there when it was fitted.

    Parameters
    ----------
    columns
        The columns.
    encode_lists
        For columns of lists: whether to replace their elements, instead of whole lists.
    output_columns
        Where to put the results; by default in their place.

    Examples
    --------
    >>> import pandas as pd, rayjup.data
    >>> from rayjup.data.preprocessors import OrdinalEncoder
    >>> ds = rayjup.data.from_pandas(pd.DataFrame({"size": ["S", "L", "M"]}))
    >>> OrdinalEncoder(["size"]).fit_transform(ds).take_all()
    [{'size': 2}, {'size': 0}, {'size': 1}]
    """

    def __init__(
        self, columns: list[str], *, encode_lists: bool = True, output_columns: list[str] | None = None
    ) -> None:
        super().__init__(columns, output_columns)
        self._encode_lists = self._flatten = encode_lists

    @property
    def encode_lists(self) -> bool:
        """Whether elements of lists are replaced."""
        return self._encode_lists

    def _settings(self) -> dict[str, Any]:
        return {"encode_lists": self._encode_lists}

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        categories = self._categories(name)
        if self._encode_lists and is_list(column.type):
            found = [
                None if items is None else [categories.get(key(item)) for item in items]
                for items in as_lists(column)
            ]
            return pa.array(found, pa.list_(pa.int64()))
        return lookup(column, list(categories))


@stored_as("io.ray.preprocessors.one_hot_encoder")
class OneHotEncoder(_Encoder):
    """Values replaced by vectors with a one at their position; zeros for values that are not known.

    Parameters
    ----------
    columns
        The columns.
    max_categories
        How many of the most frequent values to keep, by column.
    output_columns
        Where to put the results; by default in their place.
    """

    def __init__(
        self,
        columns: list[str],
        *,
        max_categories: dict[str, int] | None = None,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self._max_categories = dict(max_categories or {})

    @property
    def max_categories(self) -> dict[str, int]:
        """How many values are kept, by column."""
        return self._max_categories

    def _limits(self) -> dict[str, int]:
        return self._max_categories

    def _settings(self) -> dict[str, Any]:
        return {"max_categories": self._max_categories}

    def safe_get(self, v: Any, stats: dict[Any, int]) -> int:
        """The position of a value; -1 where it is not known."""
        return stats.get(key(v), -1)

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        from rayjup.data.extensions import ArrowTensorArray

        categories = list(self._categories(name))
        places = pc.fill_null(lookup(column, categories), -1).to_numpy()
        vectors = np.zeros((len(places), len(categories)), dtype=np.uint8)
        known = np.flatnonzero(places >= 0)
        vectors[known, places[known]] = 1
        return ArrowTensorArray.from_numpy(vectors)


@stored_as("io.ray.preprocessors.multi_hot_encoder")
class MultiHotEncoder(_Encoder):
    """Lists of values replaced by vectors that count how often each value occurs.

    Parameters
    ----------
    columns, max_categories, output_columns
        As for ``OneHotEncoder``.
    """

    _flatten = True

    def __init__(
        self,
        columns: list[str],
        *,
        max_categories: dict[str, int] | None = None,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self._max_categories = dict(max_categories or {})

    @property
    def max_categories(self) -> dict[str, int]:
        """How many values are kept, by column."""
        return self._max_categories

    def _limits(self) -> dict[str, int]:
        return self._max_categories

    def _settings(self) -> dict[str, Any]:
        return {"max_categories": self._max_categories}

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        from rayjup.data.extensions import ArrowTensorArray

        categories = self._categories(name)
        vectors = np.zeros((len(column), len(categories)), dtype=np.int64)
        for row, items in enumerate(as_lists(column)):
            for item in items if isinstance(items, (list, tuple)) else [] if items is None else [items]:
                place = categories.get(key(item))
                if place is not None:
                    vectors[row, place] += 1
        return ArrowTensorArray.from_numpy(vectors)


@stored_as("io.ray.preprocessors.label_encoder")
class LabelEncoder(_Encoder):
    """A column of labels replaced by their positions in order.

    Parameters
    ----------
    label_column
        The column.
    output_column
        Where to put the result; by default in its place.
    """

    def __init__(self, label_column: str, *, output_column: str | None = None) -> None:
        if not isinstance(label_column, str):
            raise TypeError(f"label_column is the name of a column, not {label_column!r}.")
        super().__init__([label_column], None if output_column is None else [output_column])

    @property
    def label_column(self) -> str:
        """The column."""
        return self._columns[0]

    @property
    def output_column(self) -> str:
        """Where the result goes."""
        return self._output_columns[0]

    def __repr__(self) -> str:
        return f"LabelEncoder(label_column={self.label_column!r}, output_column={self.output_column!r})"

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        return lookup(column, list(self._categories(name)))

    def inverse_transform(self, ds: Dataset) -> Dataset:
        """The dataset with labels in place of positions.

        Parameters
        ----------
        ds
            A dataset as ``transform`` makes it.
        """
        self._check_fitted("inverse_transform")
        labels = pa.array(list(self._categories(self.label_column)))
        source, target = self.output_column, self.label_column

        def inverse(table: pa.Table) -> pa.Table:
            return put(table, target, labels.take(get(table, source, self).combine_chunks()))

        return ds.map_batches(inverse, batch_format="pyarrow", batch_size=None)


@stored_as("io.ray.preprocessors.categorizer")
class Categorizer(ColumnPreprocessor):
    """Columns turned into pandas' categories.

    Parameters
    ----------
    columns
        The columns.
    dtypes
        Categories by column; the others are found out when it is fitted.
    output_columns
        Where to put the results; by default in their place.
    """

    def __init__(
        self,
        columns: list[str],
        dtypes: dict[str, pd.CategoricalDtype] | None = None,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, output_columns)
        self._dtypes = dict(dtypes or {})

    @property
    def dtypes(self) -> dict[str, pd.CategoricalDtype]:
        """Categories given, by column."""
        return self._dtypes

    def _settings(self) -> dict[str, Any]:
        return {"dtypes": self._dtypes}

    def _fit(self, dataset: Dataset) -> Preprocessor:
        self.stats_ = dict(self._dtypes)
        for name in self._columns:
            if name not in self._dtypes:
                self.stat_computation_plan.add(Unique(name, ignore_nulls=True), self._using(name))
        return self

    def _using(self, name: str) -> Any:
        def use(found: list[Any] | None) -> dict[str, Any]:
            import pandas as pd

            present = [value for value in found or [] if value == value]
            return {name: pd.CategoricalDtype(_ordered(present, name, self))}

        return use

    def _finish_stats(self, computed: dict[str, Any]) -> dict[str, Any]:
        return {**self._dtypes, **computed}

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        dtype = self._stats()[name]
        places = lookup(column, list(dtype.categories)).cast(pa.int32())
        arrays = [
            pa.DictionaryArray.from_arrays(chunk, pa.array(dtype.categories), ordered=bool(dtype.ordered))
            for chunk in places.chunks
        ]
        kind = pa.dictionary(pa.int32(), pa.array(dtype.categories).type, bool(dtype.ordered))
        return pa.chunked_array(arrays, kind)
