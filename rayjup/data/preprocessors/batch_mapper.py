"""A function as a preprocessor (of Ray's older vocabulary)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rayjup.data.block.convert import to_batch, to_table
from rayjup.data.preprocessor import SerializablePreprocessorBase, stored_as


@stored_as("io.ray.preprocessors.batch_mapper")
class BatchMapper(SerializablePreprocessorBase):
    """Applies a function to batches.

    Parameters
    ----------
    fn
        Is given a batch, and gives one.
    batch_format
        ``"pandas"``, ``"numpy"`` or ``"pyarrow"``: what the function is given.
    batch_size
        Rows at a time; whole blocks by default.

    Examples
    --------
    >>> import pandas as pd
    >>> from rayjup.data.preprocessors import BatchMapper
    >>> double = BatchMapper(lambda df: df * 2, batch_format="pandas")
    >>> double.transform_batch(pd.DataFrame({"x": [1, 2]}))["x"].tolist()
    [2, 4]
    """

    _is_fittable = False

    def __init__(
        self,
        fn: Callable[[Any], Any],
        batch_format: str | None = "pandas",
        batch_size: int | str | None = "default",
    ) -> None:
        if batch_format not in ("pandas", "numpy", "pyarrow", "default", None):
            raise ValueError(f"batch_format={batch_format!r} is not one of 'pandas', 'numpy', 'pyarrow'.")
        self.fn, self.batch_format, self.batch_size = fn, batch_format, batch_size

    def transform(self, ds: Any, *, batch_size: int | None = None, **options: Any) -> Any:
        """The dataset with the function applied."""
        if batch_size is None and isinstance(self.batch_size, int):
            batch_size = self.batch_size
        return super().transform(ds, batch_size=batch_size, **options)

    def _transform_arrow(self, table: Any) -> Any:
        return to_table(self.fn(to_batch(table, self.batch_format)))

    def __repr__(self) -> str:
        return f"BatchMapper(fn={getattr(self.fn, '__name__', self.fn)})"
