"""Search algorithms, schedulers and stoppers."""

import os

import pytest

pytest.importorskip("pandas")


@pytest.fixture
def fit(ray_cluster, tmp_path):
    from ray import tune

    def run(trainable, space=None, *, name="experiment", run=None, **settings):
        return tune.Tuner(
            trainable,
            param_space=space or {},
            tune_config=tune.TuneConfig(**settings),
            run_config=tune.RunConfig(name=name, storage_path=str(tmp_path), verbose=0, **(run or {})),
        ).fit()

    return run


def test_asha_spends_its_time_on_the_good_ones(fit):
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    def train(config):
        for i in range(16):
            tune.report({"score": config["x"] * (i + 1)})

    grid = fit(
        train,
        {"x": tune.grid_search([8, 4, 2, 1])},
        metric="score",
        mode="max",
        scheduler=ASHAScheduler(max_t=16, grace_period=1, reduction_factor=2),
        max_concurrent_trials=1,
    )
    lengths = {result.config["x"]: result.metrics["training_iteration"] for result in grid}
    assert lengths[8] == 16 and lengths[1] == 1 and lengths[2] == 1


def test_optuna_suggests(fit):
    pytest.importorskip("optuna")
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    def train(config):
        return {"loss": (config["x"] - 0.5) ** 2 + config["deep"]["n"]}

    search = ConcurrencyLimiter(OptunaSearch(seed=1), max_concurrent=2)
    space = {"x": tune.uniform(0, 1), "deep": {"n": tune.randint(0, 3)}, "constant": "here"}
    grid = fit(train, space, metric="loss", mode="min", num_samples=8, search_alg=search)
    assert len(grid) == 8 and grid.num_errors == 0
    assert all(result.config["constant"] == "here" for result in grid)
    assert all(0 <= result.config["x"] <= 1 and result.config["deep"]["n"] in (0, 1, 2) for result in grid)


def test_a_searcher_of_the_user(fit):
    from ray.tune.search import Searcher

    class Halving(Searcher):
        def __init__(self):
            super().__init__(metric="y", mode="min")
            self.at = 8.0
            self.learnt = []

        def suggest(self, trial_id):
            self.at /= 2
            return {"x": self.at}

        def on_trial_complete(self, trial_id, result=None, error=False):
            self.learnt.append(result["y"])

    search = Halving()
    grid = fit(lambda config: {"y": config["x"]}, num_samples=3, search_alg=search, max_concurrent_trials=1)
    assert sorted(result.config["x"] for result in grid) == [1.0, 2.0, 4.0]


def test_points_to_evaluate_come_first(fit):
    from ray import tune
    from ray.tune.search.basic_variant import BasicVariantGenerator

    search = BasicVariantGenerator(points_to_evaluate=[{"x": 0.25}, {"x": 0.75}])
    grid = fit(lambda config: {"y": 1}, {"x": tune.uniform(0, 1)}, num_samples=3, search_alg=search)
    assert [result.config["x"] for result in grid][:2] == [0.25, 0.75] and len(grid) == 3


def test_hyperband_and_median_stopping_come_to_an_end(fit):
    from ray import tune
    from ray.tune.schedulers import HyperBandScheduler, MedianStoppingRule

    class Climb(tune.Trainable):
        def setup(self, config):
            self.at = 0

        def step(self):
            self.at += 1
            return {"score": self.at * self.config["x"]}

        def save_checkpoint(self, checkpoint_dir):
            return {"at": self.at}

        def load_checkpoint(self, checkpoint):
            self.at = checkpoint["at"]

    space = {"x": tune.grid_search([1, 2, 3, 4])}
    grid = fit(
        Climb,
        space,
        name="hyperband",
        metric="score",
        mode="max",
        scheduler=HyperBandScheduler(max_t=4),
        reuse_actors=False,
    )
    assert grid.num_errors == 0 and max(r.metrics["training_iteration"] for r in grid) == 4
    grid = fit(
        Climb,
        space,
        name="median",
        metric="score",
        mode="max",
        run={"stop": {"training_iteration": 6}},
        scheduler=MedianStoppingRule(time_attr="training_iteration", grace_period=1),
    )
    assert grid.num_errors == 0
    assert grid.get_best_result().metrics["score"] == 24


def test_a_population_shares_its_best(fit, tmp_path):
    import time

    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    marks = tmp_path / "marks"
    marks.mkdir()

    def keep_together(trial, iteration):
        """Return as soon as the other trial is no more than four iterations behind."""
        (marks / f"{trial}.{iteration}").touch()
        deadline = time.monotonic() + 60
        while not any(
            other != trial and int(reached) >= iteration - 4
            for other, reached in (name.split(".") for name in os.listdir(marks))
        ):
            assert time.monotonic() < deadline, "the other trial does not come along"
            time.sleep(0.005)

    class Toy(tune.Trainable):
        def setup(self, config):
            self.value = 0.0

        def step(self):
            keep_together(self.trial_id, self.iteration)
            self.value += self.config["rate"]
            return {"value": self.value}

        def save_checkpoint(self, checkpoint_dir):
            with open(os.path.join(checkpoint_dir, "value"), "w") as stream:
                stream.write(str(self.value))

        def load_checkpoint(self, checkpoint_dir):
            with open(os.path.join(checkpoint_dir, "value")) as stream:
                self.value = float(stream.read())

        def reset_config(self, new_config):
            self.config = new_config
            return True

    pbt = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"rate": [0.1, 1.0]},
        quantile_fraction=0.5,
        resample_probability=0.5,
    )
    grid = fit(
        Toy,
        {"rate": tune.grid_search([0.1, 1.0])},
        metric="value",
        mode="max",
        scheduler=pbt,
        reuse_actors=True,
        run={"stop": {"training_iteration": 30}},
    )
    assert grid.num_errors == 0
    assert min(result.metrics["value"] for result in grid) > 3.5


def test_names_make_schedulers_and_searchers(ray_cluster):
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler
    from ray.tune.search import BasicVariantGenerator

    assert isinstance(tune.create_scheduler("async_hyperband", max_t=5), AsyncHyperBandScheduler)
    assert isinstance(tune.create_scheduler("fifo"), FIFOScheduler)
    assert isinstance(tune.create_searcher("random"), BasicVariantGenerator)
    with pytest.raises(ValueError):
        tune.create_scheduler("nothing")


def test_domains_sample_within_their_bounds(ray_cluster):
    from ray import tune

    for domain, low, high in (
        (tune.uniform(1, 2), 1, 2),
        (tune.quniform(1, 2, 0.5), 1, 2),
        (tune.loguniform(0.1, 10), 0.1, 10),
        (tune.randint(3, 6), 3, 5),
        (tune.qrandint(2, 8, 2), 2, 8),
        (tune.lograndint(1, 100), 1, 100),
    ):
        values = domain.sample(size=50)
        assert len(values) == 50 and all(low <= value <= high for value in values)
    assert {tune.choice([1, 2]).sample() for _ in range(60)} == {1, 2}


def test_stoppers_by_themselves(ray_cluster):
    from ray.tune.stopper import (
        CombinedStopper,
        FunctionStopper,
        MaximumIterationStopper,
        TrialPlateauStopper,
    )

    stopper = CombinedStopper(
        MaximumIterationStopper(max_iter=3), FunctionStopper(lambda trial_id, result: result["x"] > 5)
    )
    assert [stopper("a", {"x": x}) for x in (0, 0, 0)] == [False, False, True]
    assert stopper("b", {"x": 6}) and not stopper.stop_all()
    plateau = TrialPlateauStopper(metric="x", std=0.01, num_results=2, grace_period=2)
    assert [plateau("a", {"x": x}) for x in (1, 2, 2)] == [False, False, True]


def test_experiments_and_their_trials(ray_cluster, tmp_path):
    from ray import tune

    def train(config):
        return {"y": config["x"]}

    one = tune.Experiment("one", train, config={"x": tune.grid_search([1, 2])}, storage_path=str(tmp_path))
    trials = tune.run_experiments(one, verbose=0)
    assert sorted(trial.last_result["y"] for trial in trials) == [1, 2]
    assert all(trial.status == "TERMINATED" for trial in trials)
