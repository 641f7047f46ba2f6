"""Predictions of LightGBM models (older API)."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.lightgbm.lightgbm_checkpoint import model_of
from rayjup.train.lightgbm.tables import normalize_pandas_for_lightgbm
from rayjup.train.predictor import Predictor, feature_columns_of


class LightGBMPredictor(Predictor):
    """Applies a booster to tables.

    Parameters
    ----------
    model
        The booster.
    preprocessor
        Applied before.
    """

    def __init__(self, model: Any, preprocessor: Any = None) -> None:
        super().__init__(preprocessor)
        self.model = model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> LightGBMPredictor:
        """The predictor of a checkpoint."""
        return cls(model_of(checkpoint), checkpoint.get_preprocessor())

    def _predict_pandas(
        self, data: Any, feature_columns: list[str] | None = None, **predict_kwargs: Any
    ) -> Any:
        import pandas

        features = feature_columns_of(data, feature_columns)
        known = self.model.feature_name()
        if set(known) < set(features.columns):
            features = features[known]  # the label may still be there
        found = self.model.predict(normalize_pandas_for_lightgbm(features), **predict_kwargs)
        if found.ndim == 1:
            return pandas.DataFrame({"predictions": found}, index=data.index)
        return pandas.DataFrame(
            found, columns=[f"predictions_{i}" for i in range(found.shape[1])], index=data.index
        )
