"""Predictors of the older API, without a cluster."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from rayjup import train
from rayjup.train import batch_predictor
from rayjup.train.batch_predictor import BatchPredictor
from rayjup.train.predictor import Predictor, PredictorNotSerializableException

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")


class Times(Predictor):
    """Multiplies by what its checkpoint says."""

    def __init__(self, factor: float, preprocessor: Any = None) -> None:
        super().__init__(preprocessor)
        self.factor = factor

    @classmethod
    def from_checkpoint(cls, checkpoint: train.Checkpoint, **kwargs: Any) -> Times:
        return cls(checkpoint.to_dict()["factor"], checkpoint.get_preprocessor())

    def _predict_numpy(self, data: Any, **kwargs: Any) -> Any:
        return data * self.factor


def test_predictions_come_in_the_form_of_the_batch() -> None:
    predictor = Times.from_checkpoint(train.Checkpoint.from_dict({"factor": 3.0}))
    assert predictor.predict(numpy.array([1.0, 2.0]))["predictions"].tolist() == [3.0, 6.0]
    table = predictor.predict(pandas.DataFrame({"x": [1.0, 2.0]}))
    assert table["predictions"].tolist() == [3.0, 6.0]
    assert Times.preferred_batch_format() == "numpy"
    with pytest.raises(PredictorNotSerializableException, match="send its checkpoint"):
        pickle.dumps(predictor)


def test_a_function_is_a_predictor() -> None:
    predictor = Predictor.from_pandas_udf(lambda table: table.rename(columns={"x": "predictions"}))
    assert predictor.predict(pandas.DataFrame({"x": [1]}))["predictions"].tolist() == [1]


def test_torch_models_from_parameters_and_whole() -> None:
    torch = pytest.importorskip("torch")
    from rayjup.train.torch import TorchCheckpoint, TorchPredictor

    model = torch.nn.Linear(2, 1)
    rows = numpy.array([[1.0, 2.0], [3.0, 4.0]])
    with torch.no_grad():
        expected = model(torch.tensor(rows, dtype=torch.float32)).numpy()
    whole = TorchCheckpoint.from_model(model)
    assert (TorchPredictor.from_checkpoint(whole).predict(rows)["predictions"] == expected).all()
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    parts = train.Checkpoint.from_dict({"model": wrapped, "epoch": 1})
    with pytest.raises(ValueError, match="pass an instance of it as model="):
        TorchPredictor.from_checkpoint(parts)
    predictor = TorchPredictor.from_checkpoint(parts, model=torch.nn.Linear(2, 1))
    table = predictor.predict(pandas.DataFrame(rows, columns=["a", "b"]))
    assert numpy.stack(table["predictions"]).tolist() == expected.tolist()
    same = TorchCheckpoint.from_checkpoint(train.Checkpoint(whole.path))
    assert same.get_model()(torch.ones(1, 2)).shape == (1, 1)
    with pytest.raises(ValueError, match="sees no GPU"):
        TorchPredictor(model, use_gpu=True)


def test_checkpoints_of_trees(tmp_path: Path) -> None:
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    from rayjup.train.lightgbm import LightGBMCheckpoint
    from rayjup.train.xgboost import XGBoostCheckpoint, XGBoostPredictor

    table = pandas.DataFrame({"x": range(50), "y": [i % 2 for i in range(50)]})
    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(table[["x"]], table["y"]), 2)
    checkpoint = XGBoostCheckpoint.from_model(booster, path=str(tmp_path / "x"), preprocessor=None)
    assert checkpoint.get_model().num_boosted_rounds() == 2
    found = XGBoostPredictor.from_checkpoint(train.Checkpoint(checkpoint.path)).predict(table[["x"]])
    assert (found["predictions"] == booster.predict(xgboost.DMatrix(table[["x"]]))).all()
    with pytest.raises(FileNotFoundError, match="no XGBoost model"):
        XGBoostPredictor.from_checkpoint(train.Checkpoint.from_dict({}))
    model = lightgbm.train({"verbose": -1}, lightgbm.Dataset(table[["x"]], table["y"]), 2)
    assert LightGBMCheckpoint.from_model(model).get_model().num_trees() == model.num_trees()


def test_whole_data_sets() -> None:
    class Rows:
        """Applies a class to batches as a data set does, here."""

        def map_batches(self, cls: type, **options: Any) -> Any:
            self.options = options
            return cls(*options["fn_constructor_args"])(pandas.DataFrame({"x": [1.0, 2.0], "id": [7, 8]}))

    rows = Rows()
    batch_predictor._warned.clear()  # it is said once in a process
    with pytest.warns(DeprecationWarning, match="map_batches"):
        predictor = BatchPredictor.from_checkpoint(train.Checkpoint.from_dict({"factor": 2.0}), Times)
    found = predictor.predict(rows, feature_columns=["x"], keep_columns=["id"], min_scoring_workers=2)
    assert found["predictions"].tolist() == [2.0, 4.0] and found["id"].tolist() == [7, 8]
    assert rows.options["concurrency"] == (2, 2) and rows.options["batch_format"] == "pandas"
    with pytest.raises(TypeError, match="must be a Predictor class"):
        BatchPredictor(train.Checkpoint.from_dict({}), dict)  # type: ignore[arg-type]
