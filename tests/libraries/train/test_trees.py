"""XGBoost, LightGBM and scikit-learn: several workers find what one finds; predictors predict as the
libraries."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rayjup import train

pandas = pytest.importorskip("pandas")
xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
datasets = pytest.importorskip("sklearn.datasets")


@pytest.fixture(scope="module")
def tables() -> tuple[Any, Any]:
    found = datasets.load_breast_cancer(as_frame=True).frame
    found = found.sample(frac=1.0, random_state=0).reset_index(drop=True)
    return found.iloc[:400], found.iloc[400:]


def settings(path: Path, workers: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "scaling_config": train.ScalingConfig(num_workers=workers),
        "run_config": train.RunConfig(storage_path=str(path), **more),
    }


XGB = {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "tree_method": "hist", "seed": 1}
LGB = {"objective": "binary", "metric": ["binary_logloss"], "verbose": -1, "seed": 1, "min_data_in_leaf": 5}


def accuracy(found: Any, truth: Any) -> float:
    return float(((found > 0.5).astype(int) == truth.to_numpy()).mean())


def test_xgboost_in_the_older_spelling(ray_cluster: ModuleType, tmp_path: Path, tables: Any) -> None:
    from rayjup.train.xgboost import XGBoostPredictor, XGBoostTrainer

    learnt, other = tables
    result = XGBoostTrainer(
        params=XGB,
        label_column="target",
        num_boost_round=20,
        datasets={"train": learnt, "valid": other},
        **settings(tmp_path),
    ).fit()
    assert set(result.metrics) == {"train-logloss", "train-error", "valid-logloss", "valid-error"}
    assert result.metrics["valid-error"] < 0.06
    # The same by hand, on all rows at once: quantiles of divided data may differ a little.
    whole = xgboost.train(XGB, xgboost.DMatrix(learnt.drop(columns="target"), learnt["target"]), 20)
    features = other.drop(columns="target")
    ours = XGBoostTrainer.get_model(result.checkpoint)
    assert ours.num_boosted_rounds() == 20
    both = [accuracy(m.predict(xgboost.DMatrix(features)), other["target"]) for m in (ours, whole)]
    assert abs(both[0] - both[1]) < 0.03
    predictor = XGBoostPredictor.from_checkpoint(result.checkpoint)
    expected = ours.predict(xgboost.DMatrix(features))
    assert (predictor.predict(features)["predictions"] == expected).all()
    assert (predictor.predict(other)["predictions"] == expected).all()  # the label is left out
    assert "predictions_3" in predictor.predict(features, pred_contribs=True).columns
    # It goes on from a checkpoint to the number of rounds that is asked for.
    more = XGBoostTrainer(
        params=XGB,
        label_column="target",
        num_boost_round=25,
        datasets={"train": learnt},
        resume_from_checkpoint=result.checkpoint,
        **settings(tmp_path),
    ).fit()
    assert len(more.metrics_dataframe) == 5 + 1
    assert XGBoostTrainer.get_model(more.checkpoint).num_boosted_rounds() == 25


def test_xgboost_with_a_function_gives_equal_models_on_all_ranks(
    ray_cluster: ModuleType, tmp_path: Path, tables: Any
) -> None:
    from rayjup.train.xgboost import RayTrainReportCallback, XGBoostTrainer

    def function(config: dict[str, Any]) -> None:
        import hashlib

        import xgboost
        from xgboost import collective

        from rayjup.train.collective import broadcast_from_rank_zero
        from rayjup.train.xgboost import RayTrainReportCallback

        context = train.get_context()
        assert collective.get_world_size() == 2 and collective.get_rank() == context.get_world_rank()
        share = train.get_dataset_shard("train").iloc[context.get_world_rank() :: 2]
        matrix = xgboost.DMatrix(share.drop(columns="target"), share["target"])
        report = RayTrainReportCallback(
            metrics={"loss": "train-logloss"},
            frequency=2,
            results_postprocessing_fn=lambda m: {**m, "twice": 2 * m["loss"]},
        )
        model = xgboost.train(
            config, matrix, 5, evals=[(matrix, "train")], callbacks=[report], verbose_eval=False
        )
        digest = hashlib.sha256(model.save_raw()).hexdigest()
        assert broadcast_from_rank_zero(digest) == digest

    result = XGBoostTrainer(
        function, train_loop_config=XGB, datasets={"train": tables[0]}, **settings(tmp_path)
    ).fit()
    assert set(result.metrics) == {"loss", "twice"}
    assert len(result.best_checkpoints) == 3  # rounds 2 and 4, and the end
    assert RayTrainReportCallback.get_model(result.checkpoint).num_boosted_rounds() == 5


def test_lightgbm_in_the_older_spelling(ray_cluster: ModuleType, tmp_path: Path, tables: Any) -> None:
    from rayjup.train.lightgbm import LightGBMPredictor, LightGBMTrainer

    learnt, other = tables
    result = LightGBMTrainer(
        params=LGB,
        label_column="target",
        num_boost_round=20,
        datasets={"train": learnt, "valid": other},
        **settings(tmp_path),
    ).fit()
    assert set(result.metrics) == {"train-binary_logloss", "valid-binary_logloss"}
    features = other.drop(columns="target")
    whole = lightgbm.train(LGB, lightgbm.Dataset(learnt.drop(columns="target"), learnt["target"]), 20)
    ours = LightGBMTrainer.get_model(result.checkpoint)
    assert ours.num_trees() == 20
    assert (
        abs(
            accuracy(ours.predict(features), other["target"])
            - accuracy(whole.predict(features), other["target"])
        )
        < 0.04
    )
    found = LightGBMPredictor.from_checkpoint(result.checkpoint).predict(features)["predictions"]
    assert (found == ours.predict(features)).all()


def test_lightgbm_with_a_function(ray_cluster: ModuleType, tmp_path: Path, tables: Any) -> None:
    from rayjup.train.lightgbm import LightGBMTrainer

    def function(config: dict[str, Any]) -> None:
        import lightgbm

        from rayjup.train.lightgbm import RayTrainReportCallback, get_network_params

        context = train.get_context()
        share = train.get_dataset_shard("train").iloc[context.get_world_rank() :: 2]
        data = lightgbm.Dataset(share.drop(columns="target"), share["target"])
        network = get_network_params()
        assert network["num_machines"] == 2
        params = {**config, "tree_learner": "data_parallel", "pre_partition": True, **network}
        lightgbm.train(
            params,
            data,
            num_boost_round=4,
            valid_sets=[data],
            valid_names=["train"],
            callbacks=[RayTrainReportCallback(metrics=["train-binary_logloss"])],
        )

    result = LightGBMTrainer(
        function, train_loop_config=LGB, datasets={"train": tables[0]}, **settings(tmp_path)
    ).fit()
    assert list(result.metrics) == ["train-binary_logloss"]
    assert len(result.best_checkpoints) == 1


def test_sklearn_with_cross_validation(ray_cluster: ModuleType, tmp_path: Path, tables: Any) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from rayjup.train.sklearn import SklearnPredictor, SklearnTrainer

    learnt, other = tables
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    result = SklearnTrainer(
        estimator=estimator,
        label_column="target",
        datasets={"train": learnt, "valid": other},
        params={"logisticregression__C": 0.5},
        scoring=["accuracy", "roc_auc"],
        cv=3,
        **settings(tmp_path, workers=1),
    ).fit()
    assert result.metrics["valid"]["test_accuracy"] > 0.93
    assert len(result.metrics["cv"]["test_roc_auc"]) == 3
    features = other.drop(columns="target")
    by_hand = estimator.set_params(logisticregression__C=0.5).fit(
        learnt.drop(columns="target"), learnt["target"]
    )
    predictor = SklearnPredictor.from_checkpoint(result.checkpoint)
    assert (predictor.predict(features)["predictions"] == by_hand.predict(features)).all()
    with pytest.raises(ValueError, match="num_workers is 2"):
        SklearnTrainer(
            estimator=estimator, datasets={"train": learnt}, scaling_config=train.ScalingConfig(num_workers=2)
        )


def test_bad_input_is_named(tables: Any) -> None:
    from rayjup.train.xgboost import XGBoostConfig, XGBoostTrainer

    with pytest.raises(TypeError, match="needs a train_loop_per_worker, or params"):
        XGBoostTrainer()
    with pytest.raises(TypeError, match="not both"):
        XGBoostTrainer(lambda: None, params={})
    with pytest.raises(ValueError, match="label_column=None"):
        XGBoostTrainer(params={}, datasets={"train": tables[0]})
    with pytest.raises(ValueError, match="rabit"):
        XGBoostConfig(xgboost_communicator="carrier pigeon")


def test_a_column_that_is_not_there_is_named(ray_cluster: ModuleType, tmp_path: Path, tables: Any) -> None:
    from rayjup.train.xgboost import XGBoostTrainer

    trainer = XGBoostTrainer(
        params=XGB, label_column="no such", datasets={"train": tables[0]}, **settings(tmp_path, workers=1)
    )
    with pytest.raises(train.WorkerGroupError, match="no label_column 'no such'"):
        trainer.fit()


def test_a_preprocessor_is_fitted_applied_and_kept(
    ray_cluster: ModuleType, tmp_path: Path, tables: Any
) -> None:
    from rayjup.train.xgboost import XGBoostPredictor, XGBoostTrainer

    class Halve:
        """As a preprocessor of data sets, for tables."""

        fitted = False

        def fit(self, table: Any) -> None:
            self.fitted = True

        def transform(self, table: Any) -> Any:
            assert self.fitted
            return self.transform_batch(table)

        def transform_batch(self, table: Any) -> Any:
            return table.assign(**{"mean radius": table["mean radius"] / 2})

    learnt, other = tables
    result = XGBoostTrainer(
        params=XGB,
        label_column="target",
        num_boost_round=3,
        datasets={"train": learnt},
        preprocessor=Halve(),
        **settings(tmp_path, workers=1),
    ).fit()
    features = other.drop(columns="target")
    found = XGBoostPredictor.from_checkpoint(result.checkpoint).predict(features)["predictions"]
    model = XGBoostTrainer.get_model(result.checkpoint)
    assert (found == model.predict(xgboost.DMatrix(Halve().transform_batch(features)))).all()
