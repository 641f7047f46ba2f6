"""Predictors: a model from a checkpoint that is applied to batches (older API)."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from rayjup.runs.checkpoint import Checkpoint


class PredictorNotSerializableException(RuntimeError):
    """A predictor was to be pickled; what is sent instead is its checkpoint."""


class Predictor(abc.ABC):
    """Applies a model to batches, after the checkpoint's preprocessor.

    Subclasses define `from_checkpoint`, and `_predict_pandas` or `_predict_numpy`.

    Parameters
    ----------
    preprocessor
        Applied to each batch before.
    """

    def __init__(self, preprocessor: Any = None) -> None:
        self._preprocessor = preprocessor
        self._cast_tensor_columns = False

    @classmethod
    @abc.abstractmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Predictor:
        """The predictor of a checkpoint."""

    @classmethod
    def from_pandas_udf(cls, pandas_udf: Callable[[Any], Any]) -> Predictor:
        """A predictor that is a function from table to table."""
        return _FunctionPredictor(pandas_udf)

    def get_preprocessor(self) -> Any:
        """The preprocessor, or None."""
        return self._preprocessor

    def set_preprocessor(self, preprocessor: Any) -> None:
        """Apply another preprocessor from now on."""
        self._preprocessor = preprocessor

    @classmethod
    def preferred_batch_format(cls) -> str:
        """``"numpy"`` or ``"pandas"``: in what form batches are wanted."""
        return "numpy" if cls._predict_numpy is not Predictor._predict_numpy else "pandas"

    def predict(self, data: Any, **kwargs: Any) -> Any:
        """Predictions for a batch, in the form in which it came.

        Parameters
        ----------
        data
            A table of pandas, an array, or a dictionary of arrays.
        kwargs
            Passed to the model.

        Returns
        -------
        A table with the column ``predictions``, or a dictionary of arrays.
        """
        import numpy
        import pandas

        if self._preprocessor is not None:
            data = self._preprocessor.transform_batch(data)
        given_table = isinstance(data, pandas.DataFrame)
        if type(self)._predict_numpy is not Predictor._predict_numpy:
            if given_table:
                data = {name: data[name].to_numpy() for name in data.columns}
                data = next(iter(data.values())) if len(data) == 1 else data
            found = self._predict_numpy(data, **kwargs)
            found = found if isinstance(found, dict) else {"predictions": found}
            if not given_table:
                return found
            return pandas.DataFrame({k: list(v) if numpy.ndim(v) > 1 else v for k, v in found.items()})
        if not given_table:
            data = _as_table(data)
        table = self._predict_pandas(data, **kwargs)
        if given_table:
            return table
        return {name: table[name].to_numpy() for name in table.columns}

    def _predict_pandas(self, data: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _predict_pandas or _predict_numpy")

    def _predict_numpy(self, data: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _predict_pandas or _predict_numpy")

    def __reduce__(self) -> Any:
        raise PredictorNotSerializableException(
            f"{type(self).__name__} is not pickled, since models may be large or live on a GPU: send "
            f"its checkpoint, "
            "and make the predictor there with from_checkpoint()"
        )


class _FunctionPredictor(Predictor):
    """A function as a predictor."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self._function = function

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Predictor:
        """A predictor of the function ``pandas_udf``."""
        return cls(kwargs["pandas_udf"])

    def _predict_pandas(self, data: Any, **kwargs: Any) -> Any:
        return self._function(data, **kwargs)


def _as_table(data: Any) -> Any:
    import numpy
    import pandas

    if isinstance(data, dict):
        return pandas.DataFrame({k: list(v) if numpy.ndim(v) > 1 else v for k, v in data.items()})
    array = numpy.asarray(data)
    return pandas.DataFrame(array if array.ndim > 1 else array[:, None])


def feature_columns_of(table: Any, feature_columns: Any) -> Any:
    """The part of a table that a model is given."""
    return table[feature_columns] if feature_columns is not None else table
