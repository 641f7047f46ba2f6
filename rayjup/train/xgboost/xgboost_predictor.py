"""Predictions of XGBoost models (older API)."""

from __future__ import annotations

from typing import Any

from rayjup.runs.checkpoint import Checkpoint
from rayjup.train.predictor import Predictor, feature_columns_of
from rayjup.train.xgboost.xgboost_checkpoint import model_of


class XGBoostPredictor(Predictor):
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, preprocessor={self._preprocessor!r})"

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> XGBoostPredictor:
        """The predictor of a checkpoint."""
        return cls(model_of(checkpoint), checkpoint.get_preprocessor())

    def _predict_pandas(
        self,
        data: Any,
        feature_columns: list[str] | list[int] | None = None,
        dmatrix_kwargs: dict[str, Any] | None = None,
        **predict_kwargs: Any,
    ) -> Any:
        import pandas
        import xgboost

        features = feature_columns_of(data, feature_columns)
        if self.model.feature_names and set(self.model.feature_names) < set(features.columns):
            features = features[self.model.feature_names]  # the label may still be there
        elif not self.model.feature_names:
            features = features.to_numpy()
        matrix = xgboost.DMatrix(features, **(dmatrix_kwargs or {}))
        found = self.model.predict(matrix, **predict_kwargs)
        if found.ndim == 1:
            return pandas.DataFrame({"predictions": found}, index=data.index)
        names = [f"predictions_{i}" for i in range(found.shape[1])]
        return pandas.DataFrame(
            found.reshape(len(found), -1)[:, : len(names)], columns=names, index=data.index
        )
