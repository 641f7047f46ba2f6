"""Text as tokens, as counts of tokens, as hashed counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rayjup.data.aggregate import AggregateFnV2
from rayjup.data.preprocessor import stored_as
from rayjup.data.preprocessors.columns import ColumnPreprocessor, get, numbers, put
from rayjup.data.preprocessors.hashing import bucket

if TYPE_CHECKING:
    from rayjup.data.dataset import Dataset
    from rayjup.data.preprocessor import Preprocessor


def simple_split_tokenizer(value: str) -> list[str]:
    """Tokens between single spaces."""
    return value.split(" ")


class _Tokenizing(ColumnPreprocessor):
    """What works on the tokens of its columns."""

    def __init__(
        self,
        columns: list[str],
        tokenization_fn: Callable[[str], list[str]] | None,
        output_columns: list[str] | None,
    ) -> None:
        super().__init__(columns, output_columns)
        self._tokenization_fn = tokenization_fn or simple_split_tokenizer

    @property
    def tokenization_fn(self) -> Callable[[str], list[str]]:
        """What makes tokens of a text."""
        return self._tokenization_fn

    def _settings(self) -> dict[str, Any]:
        return {"tokenization_fn": getattr(self._tokenization_fn, "__name__", self._tokenization_fn)}

    def _tokens(self, column: pa.ChunkedArray) -> list[list[str] | None]:
        tokenize = self._tokenization_fn
        return [None if text is None else list(tokenize(text)) for text in column.to_pylist()]


@stored_as("io.ray.preprocessors.tokenizer")
class Tokenizer(_Tokenizing):
    """Texts replaced by lists of their tokens.

    Parameters
    ----------
    columns
        The columns.
    tokenization_fn
        Makes tokens of a text; by default those between spaces.
    output_columns
        Where to put the results; by default in their place.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        tokenization_fn: Callable[[str], list[str]] | None = None,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, tokenization_fn, output_columns)

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        return pa.array(self._tokens(column), pa.list_(pa.string()))


class _TokenCounter(AggregateFnV2[Any, Any]):
    """How often each token occurs."""

    def __init__(self, column: str, tokenize: Callable[[str], list[str]]) -> None:
        super().__init__(f"token_counts({column})", Counter, on=column, ignore_nulls=True)
        self._tokenize = tokenize

    def aggregate_block(self, block: Any) -> Counter[str]:
        counts: Counter[str] = Counter()
        for text in self._column(block).to_pylist():
            if text is not None:
                counts.update(self._tokenize(text))
        return counts

    def combine(self, current_accumulator: Counter[str], new: Counter[str]) -> Counter[str]:
        current_accumulator.update(new)
        return current_accumulator

    def finalize(self, accumulator: Counter[str]) -> dict[str, list[Any]]:
        # Two lists, and not a record with a field per token.
        return {"tokens": list(accumulator), "counts": list(accumulator.values())}


@stored_as("io.ray.preprocessors.count_vectorizer")
class CountVectorizer(_Tokenizing):
    """Texts replaced by vectors that count the tokens known from fitting, the most frequent first.

    Parameters
    ----------
    columns
        The columns.
    tokenization_fn
        Makes tokens of a text; by default those between spaces.
    max_features
        How many of the most frequent tokens to keep.
    output_columns
        Where to put the results; by default in their place.
    """

    def __init__(
        self,
        columns: list[str],
        tokenization_fn: Callable[[str], list[str]] | None = None,
        max_features: int | None = None,
        *,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, tokenization_fn, output_columns)
        self._max_features = max_features

    @property
    def max_features(self) -> int | None:
        """How many tokens are kept."""
        return self._max_features

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "max_features": self._max_features}

    def _fit(self, dataset: Dataset) -> Preprocessor:
        for name in self._columns:
            self.stat_computation_plan.add(
                _TokenCounter(name, self._tokenization_fn),
                lambda found, name=name: {f"token_counts({name})": self._kept(found)},  # type: ignore[misc]
            )
        return self

    def _kept(self, found: Any) -> Counter[str]:
        counts = dict(zip(found["tokens"], found["counts"], strict=True)) if found is not None else {}
        return Counter(dict(Counter(counts).most_common(self._max_features)))

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        kept = self._stats()[f"token_counts({name})"]
        places = {token: place for place, (token, _) in enumerate(kept.most_common())}
        vectors = np.zeros((len(column), len(places)), dtype=np.int64)
        for row, tokens in enumerate(self._tokens(column)):
            for token in tokens or ():
                place = places.get(token)
                if place is not None:
                    vectors[row, place] += 1
        return _vectors(vectors)


@stored_as("io.ray.preprocessors.hashing_vectorizer")
class HashingVectorizer(_Tokenizing):
    """Texts replaced by vectors that count tokens at the places that their hashes say.

    Parameters
    ----------
    columns
        The columns.
    num_features
        The length of the vectors.
    tokenization_fn
        Makes tokens of a text; by default those between spaces.
    output_columns
        Where to put the results; by default in their place.
    """

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        num_features: int,
        tokenization_fn: Callable[[str], list[str]] | None = None,
        *,
        output_columns: list[str] | None = None,
    ) -> None:
        super().__init__(columns, tokenization_fn, output_columns)
        self._num_features = _positive(num_features)

    @property
    def num_features(self) -> int:
        """The length of the vectors."""
        return self._num_features

    def _settings(self) -> dict[str, Any]:
        return {"num_features": self._num_features, **super()._settings()}

    def _transform_column(self, name: str, column: pa.ChunkedArray) -> Any:
        vectors = np.zeros((len(column), self._num_features), dtype=np.int64)
        for row, tokens in enumerate(self._tokens(column)):
            for token in tokens or ():
                vectors[row, bucket(token, self._num_features)] += 1
        return _vectors(vectors)


@stored_as("io.ray.preprocessors.feature_hasher")
class FeatureHasher(ColumnPreprocessor):
    """Columns of counts joined to one vector, each added at the place that the hash of its name says.

    Parameters
    ----------
    columns
        The columns; each holds how often the feature of its name occurs.
    num_features
        The length of the vector.
    output_column
        Where to put the result.
    """

    _is_fittable = False

    def __init__(self, columns: list[str], num_features: int, output_column: str) -> None:
        super().__init__(columns)
        self._num_features, self._output_column = _positive(num_features), output_column

    @property
    def num_features(self) -> int:
        """The length of the vector."""
        return self._num_features

    @property
    def output_column(self) -> str:
        """Where the result goes."""
        return self._output_column

    def get_output_columns(self) -> list[str]:
        """The column that it makes."""
        return [self._output_column]

    def __repr__(self) -> str:
        return (
            f"FeatureHasher(columns={self._columns!r}, num_features={self._num_features}, "
            f"output_column={self._output_column!r})"
        )

    def _transform_arrow(self, table: pa.Table) -> pa.Table:
        columns = [get(table, name, self) for name in self._columns]
        whole = all(pa.types.is_integer(column.type) for column in columns)
        vectors = np.zeros((table.num_rows, self._num_features), dtype=np.int64 if whole else np.float64)
        for name, column in zip(self._columns, columns, strict=True):
            counts = numbers(column, name, self).fill_null(0.0).to_numpy()
            vectors[:, bucket(name, self._num_features)] += counts.astype(vectors.dtype)
        return put(table, self._output_column, _vectors(vectors))


def _vectors(vectors: np.ndarray) -> Any:
    from rayjup.data.extensions import ArrowTensorArray

    return ArrowTensorArray.from_numpy(vectors)


def _positive(num_features: int) -> int:
    if num_features < 1:
        raise ValueError(f"num_features={num_features} is not a positive number.")
    return num_features
