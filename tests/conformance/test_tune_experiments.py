"""Tuner, trainables, search spaces and results."""

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("pandas")


@pytest.fixture
def fit(ray_cluster, tmp_path):
    """``fit(trainable, space, name=..., **settings)``: the results of an experiment."""
    from ray import tune

    def run(trainable, space=None, *, name="experiment", run=None, **settings):
        tuner = tune.Tuner(
            trainable,
            param_space=space or {},
            tune_config=tune.TuneConfig(**settings),
            run_config=tune.RunConfig(name=name, storage_path=str(tmp_path), verbose=0, **(run or {})),
        )
        return tuner.fit()

    return run


def test_a_grid_is_tried_and_the_best_is_found(fit):
    from ray import tune

    def objective(config):
        return {"score": config["a"] ** 2 + config["b"]}

    grid = fit(objective, {"a": tune.grid_search([0.001, 0.1, 1.0]), "b": tune.choice([1, 1])})
    assert len(grid) == 3
    assert grid.num_errors == 0 and grid.num_terminated == 3
    best = grid.get_best_result(metric="score", mode="min")
    assert best.config == {"a": 0.001, "b": 1}
    frame = grid.get_dataframe()
    assert sorted(frame["config/a"]) == [0.001, 0.1, 1.0]
    assert {"score", "trial_id", "training_iteration"} <= set(frame.columns)


def test_grid_times_samples_with_nested_and_dependent_parameters(fit):
    from ray import tune

    def objective(config):
        return {"y": config["outer"]["inner"], "z": config["double"] - 2 * config["outer"]["inner"]}

    space = {
        "outer": {"inner": tune.randint(0, 1000), "fixed": "text"},
        "kind": tune.grid_search(["a", "b"]),
        "double": tune.sample_from(lambda config: config["outer"]["inner"] * 2),
    }
    grid = fit(objective, space, num_samples=3)
    assert len(grid) == 6
    assert [result.metrics["z"] for result in grid] == [0] * 6
    assert sorted(result.config["kind"] for result in grid) == ["a"] * 3 + ["b"] * 3
    assert all(result.config["outer"]["fixed"] == "text" for result in grid)


def test_reports_of_a_function_are_counted_and_kept(fit):
    from ray import tune

    def train(config):
        for i in range(4):
            tune.report({"loss": 10 - i})

    (result,) = fit(train)
    assert result.metrics["loss"] == 7 and result.metrics["training_iteration"] == 4
    assert list(result.metrics_dataframe["loss"]) == [10, 9, 8, 7]


def test_files_lie_where_ray_puts_them(fit, tmp_path):
    from ray import tune

    def train(config):
        for i in range(2):
            tune.report({"loss": i, "deep": {"er": 1}})

    (result,) = fit(train, {"lr": tune.choice([0.5])}, name="files")
    assert os.path.dirname(result.path) == str(tmp_path / "files")
    names = os.listdir(result.path)
    assert {"result.json", "progress.csv", "params.json", "params.pkl"} <= set(names)
    assert any(name.startswith("events.out.tfevents") for name in names)
    with open(os.path.join(result.path, "result.json")) as stream:
        rows = [json.loads(line) for line in stream]
    assert [row["loss"] for row in rows] == [0, 1]
    assert rows[0]["config"] == {"lr": 0.5} and rows[0]["deep"] == {"er": 1}
    with open(os.path.join(result.path, "params.json")) as stream:
        assert json.load(stream) == {"lr": 0.5}
    with open(os.path.join(result.path, "progress.csv")) as stream:
        assert "deep/er" in stream.readline()


def test_a_class_is_set_up_stepped_and_saved(fit):
    from ray import tune

    class Counter(tune.Trainable):
        def setup(self, config):
            self.at = config["start"]

        def step(self):
            self.at += 1
            return {"at": self.at}

        def save_checkpoint(self, checkpoint_dir):
            with open(os.path.join(checkpoint_dir, "at"), "w") as stream:
                stream.write(str(self.at))

        def load_checkpoint(self, checkpoint_dir):
            with open(os.path.join(checkpoint_dir, "at")) as stream:
                self.at = int(stream.read())

    run = {
        "stop": {"training_iteration": 5},
        "checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=2, checkpoint_at_end=True),
    }
    grid = fit(Counter, {"start": tune.grid_search([0, 10])}, run=run)
    assert sorted(result.metrics["at"] for result in grid) == [5, 15]
    with grid[0].checkpoint.as_directory() as directory:
        assert Path(directory, "at").read_text() == "5"
    assert len(grid[0].best_checkpoints) == 3


def test_a_failed_trial_goes_on_from_its_checkpoint(fit, tmp_path):
    from ray import tune

    marker = str(tmp_path / "failed-once")

    def train(config):
        start = 0
        checkpoint = tune.get_checkpoint()
        if checkpoint:
            with checkpoint.as_directory() as directory, open(os.path.join(directory, "i")) as stream:
                start = int(stream.read()) + 1
        for i in range(start, 4):
            if i == 2 and not os.path.exists(marker):
                open(marker, "w").close()
                raise RuntimeError("once")
            os.makedirs("saved", exist_ok=True)
            with open(os.path.join("saved", "i"), "w") as stream:
                stream.write(str(i))
            tune.report(
                {"i": i, "started_at": start},
                checkpoint=tune.Checkpoint.from_directory(os.path.abspath("saved")),
            )

    (result,) = fit(train, run={"failure_config": tune.FailureConfig(max_failures=1)})
    assert result.error is None
    assert result.metrics["i"] == 3 and result.metrics["started_at"] == 2
    assert result.metrics["training_iteration"] == 4


def test_other_trials_go_on_when_one_fails(fit):
    from ray import tune

    def train(config):
        if config["x"] == 1:
            raise ValueError("wrong in trial one")
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search([0, 1, 2])})
    assert grid.num_errors == 1 and grid.num_terminated == 2
    assert "wrong in trial one" in str(grid.errors[0])
    assert grid.get_best_result("x", "max").config == {"x": 2}
    assert os.path.exists(os.path.join(grid[1].path, "error.txt"))


def test_the_best_checkpoints_are_kept(fit, tmp_path):
    from ray import tune

    def train(config):
        for i, score in enumerate([1, 5, 3, 4, 2]):
            os.makedirs("c", exist_ok=True)
            with open("c/i", "w") as stream:
                stream.write(str(i))
            tune.report({"score": score}, checkpoint=tune.Checkpoint.from_directory(os.path.abspath("c")))

    config = tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score")
    (result,) = fit(train, run={"checkpoint_config": config})
    scores = sorted(metrics["score"] for _, metrics in result.best_checkpoints)
    assert scores[-2:] == [4, 5] and len(scores) <= 3
    best = result.get_best_checkpoint("score", "max")
    assert Path(best.path, "i").read_text() == "1"


def test_what_a_trial_knows_of_itself(fit):
    from ray import tune

    def train(config):
        context = tune.get_context()
        tune.report(
            {
                "name": context.get_trial_name(),
                "id": context.get_trial_id(),
                "experiment": context.get_experiment_name(),
                "cpus": context.get_trial_resources().required_resources["CPU"],
                "directory": os.path.basename(context.get_trial_dir()),
                "in_its_directory": os.path.realpath(os.getcwd())
                == os.path.realpath(context.get_trial_dir()),
            }
        )

    (result,) = fit(tune.with_resources(train, {"cpu": 2}), name="known")
    metrics = result.metrics
    assert metrics["experiment"] == "known" and metrics["id"] == metrics["trial_id"]
    assert metrics["name"].startswith("train_") and metrics["cpus"] == 2
    assert metrics["directory"] == os.path.basename(result.path)


def test_parameters_of_any_size_are_shared(fit):
    from ray import tune

    def train(config, data=None):
        return {"sum": sum(data) * config["x"]}

    grid = fit(tune.with_parameters(train, data=list(range(1000))), {"x": tune.grid_search([1, 2])})
    assert [result.metrics["sum"] for result in grid] == [499500, 999000]


def test_trials_stop_by_functions_and_stoppers(fit):
    from ray import tune
    from ray.tune.stopper import MaximumIterationStopper

    def train(config):
        for i in range(1000):
            tune.report({"i": i})

    (result,) = fit(train, name="by-function", run={"stop": lambda trial_id, result: result["i"] >= 3})
    assert result.metrics["i"] == 3
    (result,) = fit(train, name="by-stopper", run={"stop": MaximumIterationStopper(2)})
    assert result.metrics["training_iteration"] == 2


def test_callbacks_hear_of_everything(fit):
    from ray import tune

    events = []

    class Listener(tune.Callback):
        def on_trial_start(self, iteration, trials, trial, **info):
            events.append("start")

        def on_trial_result(self, iteration, trials, trial, result, **info):
            events.append(result["x"])

        def on_trial_complete(self, iteration, trials, trial, **info):
            events.append("complete")

        def on_experiment_end(self, trials, **info):
            events.append(len(trials))

    fit(lambda config: {"x": 7}, run={"callbacks": [Listener()]})
    assert events[0] == "start" and 7 in events and events[-2:] == ["complete", 1]


def test_names_of_trials_can_be_chosen(fit):
    from ray import tune

    grid = fit(
        lambda config: {"x": config["x"]},
        {"x": tune.grid_search([1, 2])},
        trial_name_creator=lambda trial: f"mine-{trial.config['x']}",
        trial_dirname_creator=lambda trial: f"dir-{trial.config['x']}",
    )
    assert [os.path.basename(result.path) for result in grid] == ["dir-1", "dir-2"]


def test_results_are_read_from_their_directory(fit):
    from ray import tune

    def train(config):
        for i in range(3):
            tune.report({"i": i})

    (result,) = fit(train, {"a": 1})
    again = tune.Result.from_path(result.path)
    assert again.metrics["i"] == 2 and again.config == {"a": 1}
    assert list(again.metrics_dataframe["i"]) == [0, 1, 2]


def test_a_finished_experiment_is_found_again(fit):
    from ray import tune

    def train(config):
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search([1, 2])}, metric="x", mode="max")
    assert tune.Tuner.can_restore(grid.experiment_path)
    again = tune.Tuner.restore(grid.experiment_path, trainable=train).get_results()
    assert again.get_best_result().metrics["x"] == 2


def test_wrong_settings_are_refused(ray_cluster, tmp_path):
    from ray import tune

    with pytest.raises(ValueError):
        tune.FailureConfig(max_failures=2, fail_fast=True)


def test_the_older_way_to_run(ray_cluster, tmp_path):
    from ray import tune

    def train(config):
        for i in range(3):
            tune.report({"loss": config["alpha"] * (3 - i)})

    analysis = tune.run(
        train,
        config={"alpha": tune.grid_search([0.1, 0.01])},
        metric="loss",
        mode="min",
        verbose=0,
        storage_path=str(tmp_path),
        name="older",
    )
    assert analysis.best_config == {"alpha": 0.01}
    assert analysis.get_best_trial("loss", "max").config == {"alpha": 0.1}
    assert set(analysis.results_df["loss"].round(3)) == {0.1, 0.01}
    assert sorted(len(frame) for frame in analysis.trial_dataframes.values()) == [3, 3]
    assert len(analysis.trials) == 2
