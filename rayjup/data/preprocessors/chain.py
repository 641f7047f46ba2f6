"""Several preprocessors, one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rayjup.data.preprocessor import Preprocessor, SerializablePreprocessorBase, stored_as

if TYPE_CHECKING:
    import pyarrow as pa

    from rayjup.data.dataset import Dataset


@stored_as("io.ray.preprocessors.chain")
class Chain(SerializablePreprocessorBase):
    """Preprocessors applied one after another; each is fitted on what those before it make.

    Parameters
    ----------
    *preprocessors
        In order.

    Examples
    --------
    >>> import pandas as pd, rayjup.data
    >>> from rayjup.data.preprocessors import Chain, SimpleImputer, MaxAbsScaler
    >>> ds = rayjup.data.from_pandas(pd.DataFrame({"x": [1.0, None, 3.0]}))
    >>> Chain(SimpleImputer(["x"]), MaxAbsScaler(["x"])).fit_transform(ds).take(2)[1]["x"]
    0.6666666666666666
    """

    def __init__(self, *preprocessors: Preprocessor) -> None:
        self._preprocessors = tuple(preprocessors)

    @property
    def preprocessors(self) -> tuple[Preprocessor, ...]:
        """The preprocessors, in order."""
        return self._preprocessors

    def fit_status(self) -> Preprocessor.FitStatus:
        """As far as all of them are."""
        status = Preprocessor.FitStatus
        fittable = [one.fit_status() for one in self._preprocessors]
        fittable = [one for one in fittable if one is not status.NOT_FITTABLE]
        if not fittable:
            return status.NOT_FITTABLE
        if all(one is status.FITTED for one in fittable):
            return status.FITTED
        if any(one in (status.FITTED, status.PARTIALLY_FITTED) for one in fittable):
            return status.PARTIALLY_FITTED
        return status.NOT_FITTED

    def fit(self, ds: Dataset) -> Preprocessor:
        """Fit one after another; one pass for each that has something to fit."""
        status = Preprocessor.FitStatus
        last = max(
            (
                place
                for place, one in enumerate(self._preprocessors)
                if one.fit_status() is not status.NOT_FITTABLE
            ),
            default=-1,
        )
        for place, one in enumerate(self._preprocessors[: last + 1]):
            one.fit(ds)
            if place < last:
                ds = one.transform(ds)
        return self

    def fit_transform(self, ds: Dataset, **options: Any) -> Dataset:
        """Fit, and transform the same dataset."""
        self.fit(ds)
        return self.transform(ds)

    def _transform_arrow(self, table: pa.Table) -> pa.Table:
        for one in self._preprocessors:
            table = one._transform_table(table)
        return table

    def transform_batch(self, data: Any) -> Any:
        """A batch prepared by one after another."""
        self._check_fitted("transform_batch")
        for one in self._preprocessors:
            data = one.transform_batch(data)
        return data

    def _get_serializable_fields(self) -> dict[str, Any]:
        return {"preprocessors": [one.serialize() for one in self._preprocessors]}

    def _set_serializable_fields(self, fields: dict[str, Any], version: int) -> None:
        self._preprocessors = tuple(Preprocessor.deserialize(one) for one in fields["preprocessors"])

    def get_input_columns(self) -> list[str]:
        """The columns that are read and that no earlier one makes."""
        made: set[str] = set()
        needed: dict[str, None] = {}
        for one in self._preprocessors:
            needed.update((name, None) for name in one.get_input_columns() if name not in made)
            made.update(one.get_output_columns())
        return list(needed)

    def get_output_columns(self) -> list[str]:
        """The columns that are made."""
        return list(dict.fromkeys(name for one in self._preprocessors for name in one.get_output_columns()))

    def __repr__(self) -> str:
        return f"Chain({', '.join(repr(one) for one in self._preprocessors)})"
