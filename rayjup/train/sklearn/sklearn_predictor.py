"""Predictions of scikit-learn's estimators (older API)."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.predictor import Predictor, feature_columns_of
from rayjup.train.sklearn.sklearn_checkpoint import estimator_of


class SklearnPredictor(Predictor):
    """Applies an estimator to tables.

    Parameters
    ----------
    estimator
        The fitted estimator.
    preprocessor
        Applied before.
    """

    def __init__(self, estimator: Any, preprocessor: Any = None) -> None:
        super().__init__(preprocessor)
        self.estimator = estimator

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> SklearnPredictor:
        """The predictor of a checkpoint."""
        return cls(estimator_of(checkpoint), checkpoint.get_preprocessor())

    def _predict_pandas(
        self,
        data: Any,
        feature_columns: list[str] | list[int] | None = None,
        num_estimator_cpus: int | None = None,
        **predict_kwargs: Any,
    ) -> Any:
        import pandas

        features = feature_columns_of(data, feature_columns)
        known = getattr(self.estimator, "feature_names_in_", None)
        if known is None:
            features = features.to_numpy()
        elif set(known) < set(features.columns):
            features = features[list(known)]
        if num_estimator_cpus is not None and "n_jobs" in self.estimator.get_params():
            self.estimator.set_params(n_jobs=num_estimator_cpus)
        found = self.estimator.predict(features, **predict_kwargs)
        if found.ndim == 1:
            return pandas.DataFrame({"predictions": found}, index=data.index)
        names = [f"predictions_{i}" for i in range(found.shape[1])]
        return pandas.DataFrame(found, columns=names, index=data.index)
