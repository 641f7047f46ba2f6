"""Report callbacks of XGBoost and LightGBM, and the vocabulary of Ray 2.0 to 2.6, in a session that only
records."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from rayjup.runs import session


class Recording(session.RunSession):
    trial_name, trial_id, trial_dir, experiment_name = "t_1", "1", "/tmp/t", "e"

    def __init__(self):
        self.reports = []

    def report(self, metrics, checkpoint=None, **options):
        kept = None
        if checkpoint is not None:
            kept = checkpoint.to_bytes()  # its directory goes when the callback returns
        self.reports.append((metrics, kept))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3))
    return features, (features[:, 0] > 0).astype(int)


def test_xgboost_reports_and_leaves_its_model(data):
    xgboost = pytest.importorskip("xgboost")
    from rayjup.runs.checkpoint import Checkpoint
    from rayjup.tune.integration.xgboost import TuneReportCheckpointCallback

    matrix = xgboost.DMatrix(*data)
    params = {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "nthread": 1}
    with session.use(Recording()) as mine:
        callback = TuneReportCheckpointCallback({"loss": "train-logloss"}, frequency=2)
        xgboost.train(params, matrix, 3, evals=[(matrix, "train")], verbose_eval=False, callbacks=[callback])
    assert [set(metrics) for metrics, _ in mine.reports] == [{"loss"}] * 4
    assert [kept is not None for _, kept in mine.reports] == [False, True, False, True]
    model = TuneReportCheckpointCallback.get_model(Checkpoint.from_bytes(mine.reports[-1][1]))
    assert model.num_boosted_rounds() == 3


def test_lightgbm_reports_and_leaves_its_model(data):
    lightgbm = pytest.importorskip("lightgbm")
    from rayjup.runs.checkpoint import Checkpoint
    from rayjup.tune.integration.lightgbm import TuneReportCheckpointCallback

    dataset = lightgbm.Dataset(*data)
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    with session.use(Recording()) as mine:
        callback = TuneReportCheckpointCallback()
        lightgbm.train(params, dataset, 3, valid_sets=[dataset], valid_names=["train"], callbacks=[callback])
    assert [sorted(metrics) for metrics, _ in mine.reports] == [["train-binary_logloss"]] * 4
    model = TuneReportCheckpointCallback.get_model(Checkpoint.from_bytes(mine.reports[-1][1]))
    assert model.num_trees() == 3
    with session.use(Recording()), pytest.raises(KeyError, match="no \\['nope'\\]"):
        callback = TuneReportCheckpointCallback("nope")
        lightgbm.train(params, dataset, 1, valid_sets=[dataset], callbacks=[callback])


def test_the_older_vocabulary_is_translated_and_says_so_once():
    from rayjup import air

    air._said.clear()
    with session.use(Recording()) as mine:
        with pytest.warns(DeprecationWarning, match=r"ray.train.report or ray.tune.report"):
            air.session.report({"x": 1})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            air.session.report({"x": 2})
        with pytest.warns(DeprecationWarning, match="get_trial_name"):
            assert air.session.get_trial_name() == "t_1"
    assert [metrics for metrics, _ in mine.reports] == [{"x": 1}, {"x": 2}]
    with pytest.warns(DeprecationWarning, match=r"ray.train.Checkpoint"):
        assert air.Checkpoint.from_dict({"a": 1}).to_dict() == {"a": 1}
    assert air.RunConfig is not None and air.ScalingConfig(num_workers=2).total_resources == {"CPU": 2}


def test_trackers_that_are_not_installed_say_what_to_install():
    from rayjup.air.integrations.comet import CometLoggerCallback
    from rayjup.runs.extras import load
    from rayjup.tune.logger.aim import AimLoggerCallback

    for callback, package in ((CometLoggerCallback(), "comet_ml"), (AimLoggerCallback(), "aim")):
        try:
            load(package, "test", package)
        except ImportError:
            with pytest.raises(ImportError, match=f"pip install '{package}'"):
                callback.setup()
