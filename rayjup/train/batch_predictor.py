"""Predictions for whole data sets (older API; today ``Dataset.map_batches`` with a class)."""

from __future__ import annotations

import warnings
from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.predictor import Predictor


class BatchPredictor:
    """Applies a predictor to a data set, on as many workers as it pays.

    Parameters
    ----------
    checkpoint
        The model's checkpoint.
    predictor_cls
        The class of the predictor.
    predictor_kwargs
        Further arguments of its ``from_checkpoint``.
    """

    def __init__(
        self, checkpoint: Checkpoint, predictor_cls: type[Predictor], **predictor_kwargs: Any
    ) -> None:
        if not (isinstance(predictor_cls, type) and issubclass(predictor_cls, Predictor)):
            raise TypeError(f"BatchPredictor: predictor_cls must be a Predictor class, not {predictor_cls!r}")
        _warn_once()
        self._checkpoint = checkpoint
        self._predictor_cls = predictor_cls
        self._predictor_kwargs = predictor_kwargs
        self._override_preprocessor: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(checkpoint={self._checkpoint}, predictor_cls={self._predictor_cls})"

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, predictor_cls: type[Predictor], **kwargs: Any
    ) -> BatchPredictor:
        """The batch predictor of a checkpoint."""
        return cls(checkpoint, predictor_cls, **kwargs)

    @classmethod
    def from_pandas_udf(cls, pandas_udf: Any) -> BatchPredictor:
        """A batch predictor that applies a function from table to table."""
        from rayjup.train.predictor import _FunctionPredictor

        return cls(Checkpoint.from_dict({}), _FunctionPredictor, pandas_udf=pandas_udf)

    def get_preprocessor(self) -> Any:
        """The preprocessor that is applied before."""
        if self._override_preprocessor is not None:
            return self._override_preprocessor
        return self._checkpoint.get_preprocessor()

    def set_preprocessor(self, preprocessor: Any) -> None:
        """Apply another preprocessor from now on."""
        self._override_preprocessor = preprocessor

    def predict(
        self,
        data: Any,
        *,
        feature_columns: list[str] | None = None,
        keep_columns: list[str] | None = None,
        batch_size: int = 4096,
        min_scoring_workers: int = 1,
        max_scoring_workers: int | None = None,
        num_cpus_per_worker: float | None = None,
        num_gpus_per_worker: float | None = None,
        separate_gpu_stage: bool = True,
        ray_remote_args: dict[str, Any] | None = None,
        **predict_kwargs: Any,
    ) -> Any:
        """Predictions for a data set, as a data set.

        Parameters
        ----------
        data
            A `rayjup.data.Dataset`.
        feature_columns
            Columns that the model gets; all by default.
        keep_columns
            Columns that come along with the predictions.
        batch_size
            Rows per call.
        min_scoring_workers, max_scoring_workers
            How many processes hold the model.
        num_cpus_per_worker, num_gpus_per_worker, ray_remote_args
            What each of them gets.
        predict_kwargs
            Passed to the predictor.
        """
        least = min_scoring_workers
        options = dict(ray_remote_args or {})
        if num_cpus_per_worker is not None:
            options["num_cpus"] = num_cpus_per_worker
        if num_gpus_per_worker is not None:
            options["num_gpus"] = num_gpus_per_worker
        return data.map_batches(
            ScoringWorker,
            fn_constructor_args=(
                self._checkpoint,
                self._predictor_cls,
                self._predictor_kwargs,
                self._override_preprocessor,
                feature_columns,
                keep_columns,
                predict_kwargs,
            ),
            batch_size=batch_size,
            batch_format="pandas",
            concurrency=(least, max(max_scoring_workers or least, least)),
            **options,
        )

    def predict_pipelined(self, data: Any, *, blocks_per_window: int | None = None, **kwargs: Any) -> Any:
        """As `predict`: data sets are executed as a stream, so nothing else is needed."""
        return self.predict(data, **kwargs)


class ScoringWorker:
    """Holds the model in one process."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        predictor_cls: type[Predictor],
        predictor_kwargs: dict[str, Any],
        preprocessor: Any,
        feature_columns: list[str] | None,
        keep_columns: list[str] | None,
        predict_kwargs: dict[str, Any],
    ) -> None:
        self._predictor = predictor_cls.from_checkpoint(checkpoint, **predictor_kwargs)
        if preprocessor is not None:
            self._predictor.set_preprocessor(preprocessor)
        self._feature_columns = feature_columns
        self._keep_columns = keep_columns
        self._predict_kwargs = predict_kwargs

    def __call__(self, batch: Any) -> Any:
        """Predictions for one batch."""
        features = batch[self._feature_columns] if self._feature_columns else batch
        found = self._predictor.predict(features, **self._predict_kwargs)
        for name in self._keep_columns or ():
            found[name] = batch[name].to_numpy()
        return found


_warned: list[bool] = []


def _warn_once() -> None:
    if not _warned:
        _warned.append(True)
        warnings.warn(
            "BatchPredictor is now Dataset.map_batches(Class, concurrency=n, batch_size=...), with "
            "the model loaded in "
            "the class's __init__",
            DeprecationWarning,
            stacklevel=3,
        )
