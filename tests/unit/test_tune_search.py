"""Search spaces, searchers, stoppers, loggers and reporters, without a cluster."""

from __future__ import annotations

import csv
import json
from collections import Counter
from datetime import timedelta

import numpy as np
import pytest

from rayjup import tune
from rayjup.runs.loggers import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback
from rayjup.tune.execution import journal
from rayjup.tune.experiment import Experiment, Trial
from rayjup.tune.progress_reporter import TrialProgressCallback
from rayjup.tune.search import (
    BasicVariantGenerator,
    ConcurrencyLimiter,
    Repeater,
    Searcher,
    SearchGenerator,
    create_searcher,
)
from rayjup.tune.search.sample import Categorical, Float, Integer, Quantized
from rayjup.tune.search.variants import RecursiveDependencyError, count_variants, variants
from rayjup.tune.stopper import (
    CombinedStopper,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    TimeoutStopper,
    TrialPlateauStopper,
)


@pytest.mark.parametrize(
    ("domain", "check"),
    [
        (tune.uniform(-5, -1), lambda v: -5 <= v <= -1),
        (tune.quniform(3.2, 5.4, 0.2), lambda v: 3.2 <= v <= 5.4 and abs(v / 0.2 - round(v / 0.2)) < 1e-9),
        (tune.loguniform(1e-4, 1e-2), lambda v: 1e-4 <= v <= 1e-2),
        (tune.qloguniform(1e-4, 1e-1, 5e-5), lambda v: 1e-4 <= v <= 1e-1),
        (tune.randint(-9, 15), lambda v: -9 <= v < 15 and isinstance(v, int)),
        (tune.qrandint(-21, 12, 3), lambda v: v % 3 == 0 and -21 <= v <= 12),
        (tune.lograndint(1, 10), lambda v: 1 <= v <= 10 and isinstance(v, int)),
        (tune.qlograndint(2, 10, 2), lambda v: v % 2 == 0 and 2 <= v <= 10),
        (tune.choice(["a", "b"]), lambda v: v in "ab"),
        (tune.randn(10, 2), lambda v: isinstance(v, float)),
        (tune.qrandn(10, 2, 0.2), lambda v: abs(v / 0.2 - round(v / 0.2)) < 1e-6),
    ],
)
def test_domains_draw_what_they_promise(domain, check):
    values = domain.sample(size=200, random_state=1)
    assert all(check(value) for value in values)
    assert len(set(values)) > 1
    assert domain.sample(size=200, random_state=1) == values
    assert domain.sample(size=3, random_state=np.random.RandomState(1)) is not None
    assert domain.is_valid(values[0])


def test_the_upper_bound_of_quantized_integers_belongs_to_them():
    counts = Counter(tune.qrandint(1, 3, 1).sample(size=600, random_state=0))
    assert set(counts) == {1, 2, 3} and min(counts.values()) > 150
    assert set(tune.randint(1, 3).sample(size=100, random_state=0)) == {1, 2}


def test_wrong_domains_are_refused():
    for make, message in (
        (lambda: tune.loguniform(0, 1), "above 0"),
        (lambda: tune.quniform(0, 1, 0.3), "no multiple"),
        (lambda: tune.randint(3, 3), "no whole numbers"),
        (lambda: tune.choice([]), "at least one value"),
        (lambda: tune.uniform(2, 1), "lies above"),
        (lambda: Quantized(tune.uniform(0, 1).get_sampler(), 0), "quantum"),
        (lambda: Float(0, 1).normal(0, 0), "sd must be"),
        (lambda: tune.uniform(0, 1).set_sampler(None), "allow_override"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    assert Integer(0, 5).domain_str == "(0, 5)" and Categorical([1, 2]).grid().is_grid()


def test_grids_samples_and_functions_together():
    space = {
        "a": tune.grid_search([1, 2]),
        "b": [tune.grid_search(["x", "y"]), 5],
        "c": {"d": tune.uniform(0, 1)},
        "e": tune.sample_from(lambda spec: spec.config.a * 10),
        "f": tune.sample_from(lambda config: config["e"] + 1),
    }
    found = [config for config, _ in variants(space, np.random.default_rng(0))]
    assert [(c["a"], c["b"][0]) for c in found] == [(1, "x"), (2, "x"), (1, "y"), (2, "y")]
    assert all(c["e"] == c["a"] * 10 and c["f"] == c["e"] + 1 and c["b"][1] == 5 for c in found)
    assert len({c["c"]["d"] for c in found}) == 4
    assert count_variants(space, 3) == 12
    constant = [c["c"]["d"] for c, _ in variants(space, np.random.default_rng(0), constant_grid=True)]
    assert len(set(constant)) == 1


def test_a_choice_may_be_a_space_itself():
    space = {"net": tune.choice([{"kind": "mlp", "width": tune.randint(1, 9)}])}
    config, decided = next(variants(space))
    assert 1 <= config["net"]["width"] < 9
    assert ("net", "width") in decided


def test_functions_that_need_each_other_are_found_out():
    space = {"a": tune.sample_from(lambda c: c["b"]), "b": tune.sample_from(lambda c: c["a"])}
    with pytest.raises(RecursiveDependencyError, match="need each other"):
        next(variants(space))


def experiment(tmp_path, space, **options):
    return Experiment("exp", lambda config: None, config=space, storage_path=str(tmp_path), **options)


def test_points_come_first_and_count(tmp_path):
    search = BasicVariantGenerator(points_to_evaluate=[{"x": 0.5}], random_state=1)
    search.add_configurations(
        experiment(tmp_path, {"x": tune.uniform(0, 1), "g": tune.grid_search([1, 2])}, num_samples=2)
    )
    trials = []
    while (trial := search.next_trial()) is not None:
        trials.append(trial)
    assert search.total_samples == len(trials) == 4 and search.is_finished()
    assert [t.config["x"] for t in trials[:2]] == [0.5, 0.5]
    assert trials[0].evaluated_params == {"x": 0.5, "g": 1}
    assert trials[0].experiment_tag == "0_g=1,x=0.5000"


class Counting(Searcher):
    def __init__(self):
        super().__init__("y", "max")
        self.suggested, self.learnt = 0, []

    def suggest(self, trial_id):
        self.suggested += 1
        return {"x": self.suggested}

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.learnt.append((trial_id, result and result["y"], error))


def test_a_limiter_lets_only_so_many_through():
    inner = Counting()
    limited = ConcurrencyLimiter(inner, 2)
    assert [limited.suggest(t) for t in "abc"] == [{"x": 1}, {"x": 2}, None]
    limited.on_trial_complete("a", {"y": 1})
    assert limited.suggest("c") == {"x": 3} and inner.learnt == [("a", 1, False)]
    batch = ConcurrencyLimiter(Counting(), 2, batch=True)
    for t in "ab":
        batch.suggest(t)
    batch.on_trial_complete("a", {"y": 1})
    assert batch.suggest("c") is None and batch.searcher.learnt == []
    batch.on_trial_complete("b", {"y": 2})
    assert len(batch.searcher.learnt) == 2 and batch.suggest("c") == {"x": 3}


def test_a_repeater_reports_averages(tmp_path):
    inner = Counting()
    repeated = Repeater(inner, repeat=3)
    configs = [repeated.suggest(t) for t in "abcd"]
    assert [c["x"] for c in configs] == [1, 1, 1, 2]
    assert [c["__trial_index__"] for c in configs] == [0, 1, 2, 0]
    for t, y in zip("abc", [1, 2, 6], strict=True):
        repeated.on_trial_complete(t, {"y": y})
    assert inner.learnt == [("a", 3, False)]
    state = repeated.get_state()
    fresh = Repeater(Counting(), repeat=3)
    fresh.set_state(state)
    assert fresh.suggest("e")["__trial_index__"] == 1
    repeated.save_to_dir(str(tmp_path))
    fresh.restore_from_dir(str(tmp_path))


def test_optuna_learns_and_is_put_back_by_telling_it_again():
    optuna = pytest.importorskip("optuna")
    from rayjup.tune.search.optuna import OptunaSearch

    space = {
        "a": {"x": tune.uniform(0, 1)},
        "n": tune.randint(0, 4),
        "c": tune.choice(["p", "q"]),
        "fixed": 3,
    }
    search = OptunaSearch(seed=1, points_to_evaluate=[{"a": {"x": 0.25}, "n": 1, "c": "p"}])
    assert search.set_search_properties("loss", "min", space)
    told = {}
    for i in range(15):
        told[f"t{i}"] = config = search.suggest(f"t{i}")
        assert 0 <= config["n"] < 4
        search.on_trial_result(f"t{i}", {"loss": config["a/x"], "training_iteration": 1})
        search.on_trial_complete(f"t{i}", {"loss": config["a/x"]})
    assert told["t0"]["a/x"] == 0.25
    again = OptunaSearch(seed=1)
    again.set_search_properties("loss", "min", space)
    for trial_id, config in told.items():
        again.on_trial_suggested_again(trial_id, config)
        again.on_trial_complete(trial_id, {"loss": config["a/x"]})
    states = [t.state for t in again._study.trials]
    assert states == [optuna.trial.TrialState.COMPLETE] * 15
    assert again._study.best_value == search._study.best_value
    assert again.suggest("next")["a/x"] not in {config["a/x"] for config in told.values()}


def test_optuna_with_several_objectives_and_a_space_made_by_running_it():
    pytest.importorskip("optuna")
    from rayjup.tune.search.optuna import OptunaSearch

    def space(trial):
        kind = trial.suggest_categorical("kind", ["a", "b"])
        if kind == "a":
            trial.suggest_float("x", 0, 1)
        return {"constant": 7}

    search = OptunaSearch(space, metric=["u", "v"], mode=["min", "max"], seed=2)
    for i in range(6):
        config = search.suggest(f"t{i}")
        assert config["constant"] == 7 and ("x" in config) == (config["kind"] == "a")
        search.on_trial_complete(f"t{i}", {"u": i, "v": -i} if i else None, error=not i)
    assert len(search._study.best_trials) == 1
    import cloudpickle

    assert cloudpickle.loads(cloudpickle.dumps(OptunaSearch(space, seed=1)))._space is not None


def test_wrong_use_of_optuna_is_refused():
    pytest.importorskip("optuna")
    from rayjup.tune.search.optuna import OptunaSearch

    with pytest.raises(ValueError, match="can't search the grid"):
        OptunaSearch(metric="l", mode="min").set_search_properties(None, None, {"a": tune.grid_search([1])})
    with pytest.raises(ValueError, match="can't sample"):
        OptunaSearch(metric="l", mode="min").set_search_properties(None, None, {"a": tune.randn()})
    with pytest.raises(ValueError, match="what to optimize"):
        OptunaSearch().set_search_properties(None, None, {"a": tune.uniform(0, 1)})
    with pytest.raises(RuntimeError, match="no search space"):
        OptunaSearch(metric="l", mode="min").suggest("a")
    with pytest.raises(TypeError, match="sampler"):
        OptunaSearch(sampler=3)


@pytest.mark.parametrize("name", ["ax", "bayesopt", "bohb", "hebo", "hyperopt", "nevergrad", "zoopt"])
def test_searchers_say_what_to_install_or_work(name):
    options = {"zoopt": {"budget": 4}}.get(name, {})
    try:
        search = create_searcher(name, **options)
    except ImportError as error:
        assert "pip install" in str(error)
        return
    assert search.set_search_properties("loss", "min", {"x": tune.uniform(-1, 1)})
    config = search.suggest("a")
    assert -1 <= config["x"] <= 1
    search.on_trial_complete("a", {"loss": config["x"] ** 2})


def test_searchers_by_name():
    assert isinstance(create_searcher("random", random_state=1, nonsense=2), BasicVariantGenerator)
    with pytest.raises(ValueError, match="no search algorithm 'nope'"):
        create_searcher("nope")
    with pytest.raises(TypeError, match="Searcher"):
        SearchGenerator(3)


# ------------------------------------------------------------ stoppers


def test_stoppers():
    assert [MaximumIterationStopper(2)("a", {}) for _ in range(1)] == [False]
    by_trial = MaximumIterationStopper(2)
    assert [by_trial(t, {}) for t in "aab"] == [False, True, False]
    both = CombinedStopper(by_trial, FunctionStopper(lambda trial_id, result: result["x"] > 1))
    assert both("c", {"x": 2}) and not both("d", {"x": 0})
    plateau = TrialPlateauStopper("x", std=0.01, num_results=3, grace_period=3)
    assert [plateau("a", {"x": x}) for x in (1, 5, 2, 2, 2)] == [False, False, False, False, True]
    whole = ExperimentPlateauStopper("x", std=0.01, top=3)
    assert [whole("a", {"x": x}) for x in (1, 5, 1, 1)] == [False, False, False, True] and whole.stop_all()
    assert not TimeoutStopper(timedelta(seconds=100)).stop_all()
    for make in (
        lambda: TimeoutStopper(0),
        lambda: ExperimentPlateauStopper("x", top=0),
        lambda: ExperimentPlateauStopper("x", mode="up"),
        lambda: TrialPlateauStopper("x", metric_threshold=1.0),
        lambda: FunctionStopper.is_valid_function(lambda only: True),
    ):
        with pytest.raises(ValueError, match=r"must|at least|above"):
            make()


# ------------------------------------------------------------ files and reports


@pytest.fixture
def trial(tmp_path):
    made = experiment(tmp_path, {}).make_trial({"lr": 0.1, "deep": {"er": np.float32(2)}}, tag="lr=0.1")
    return made


def test_loggers_write_what_ray_does(trial, tmp_path):
    pytest.importorskip("tensorboardX")
    loggers = [JsonLoggerCallback(), CSVLoggerCallback(), TBXLoggerCallback()]
    for logger in loggers:
        logger.on_trial_start(0, [], trial)
        for i in range(3):
            result = {
                "loss": np.float32(i),
                "done": False,
                "training_iteration": i + 1,
                "config": trial.config,
            }
            logger.on_trial_result(i, [], trial, result)
        logger.on_step_end(0, [])
        logger.on_trial_complete(3, [], trial)
    folder = tmp_path / "exp" / trial.dirname
    rows = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [0, 1, 2] and rows[0]["config"]["deep"]["er"] == 2
    with open(folder / "progress.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["loss"] for row in table] == ["0.0", "1.0", "2.0"] and table[0]["config/deep/er"] == "2.0"
    (events,) = folder.glob("events.out.tfevents*")
    assert read_scalars(events)["ray/tune/loss"] == [0.0, 1.0, 2.0]


def read_scalars(path):
    import struct

    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found: dict[str, list[float]] = {}
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc32c(data[:8])
        body = data[12 : 12 + length]
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc32c(body)
        event = Event.FromString(body)
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                found.setdefault(value.tag, []).append(value.simple_value)
        data = data[16 + length :]
    return found


def test_reporters_show_trials(trial, capsys):
    trial.set_status(Trial.RUNNING)
    trial.evaluated_params = {"lr": 0.1}
    trial.update_last_result({"loss": 0.5, "training_iteration": 1, "time_total_s": 1.0})
    reporter = tune.CLIReporter(metric="loss", mode="min", max_report_frequency=100)
    reporter.add_metric_column("loss")
    with pytest.raises(ValueError, match="has a column"):
        reporter.add_metric_column("loss")
    reporter.setup(total_samples=3)
    assert reporter.should_report([trial]) and not reporter.should_report([trial])
    reporter.report([trial], True)
    shown = capsys.readouterr().out
    assert "1/3 (1 RUNNING)" in shown and "Current best trial" in shown and "0.5" in shown
    callback = TrialProgressCallback()
    callback.on_trial_result(1, [trial], trial, {"loss": 0.5, "training_iteration": 1})
    callback.on_trial_complete(1, [trial], trial)
    assert "finished: iteration 1, loss=0.5" in capsys.readouterr().out


# ------------------------------------------------------------ the journal


def test_a_torn_journal_is_good_up_to_the_last_batch(tmp_path):
    path = str(tmp_path / "j")
    written = journal.Journal(path)
    written.add("a", 1)
    written.add("b", lambda: 2)
    written.flush()
    written.add("c", {"x": 3})
    written.close()
    size = (tmp_path / "j").stat().st_size
    assert [record[0] for record in journal.read(path)] == ["a", "b", "c"]
    for cut in (5,):
        with open(path, "r+b") as stream:
            stream.truncate(size - cut)
        assert [record[0] for record in journal.read(path)] == ["a", "b"]
        again = journal.Journal(path)
        again.add("d")
        again.close()
        assert [record[0] for record in journal.read(path)] == ["a", "b", "d"]
