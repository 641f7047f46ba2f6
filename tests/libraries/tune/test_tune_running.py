"""What is rayjup's own in Tune: kept processes, lost ones, interrupts, requests of watchers, other
filesystems."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from support.disks import can_mount, small_disk

from rayjup import tune
from rayjup.runs import board, storage
from rayjup.tune.schedulers import ASHAScheduler, PopulationBasedTraining


@pytest.fixture
def fit(ray_cluster: ModuleType, tmp_path: Path):
    def run(trainable, space=None, *, name="exp", run=None, path=tmp_path, **settings):
        return tune.Tuner(
            trainable,
            param_space=space or {},
            tune_config=tune.TuneConfig(**settings),
            run_config=tune.RunConfig(name=name, storage_path=str(path), verbose=0, **(run or {})),
        ).fit()

    return run


def meet(folder, count):
    """Wait until so many processes have been here: how soon a process starts is nobody's promise."""
    Path(folder, f"here-{os.getpid()}").touch()
    deadline = time.monotonic() + 40
    while len(list(Path(folder).glob("here-*"))) < count:
        assert time.monotonic() < deadline, "the other processes do not come"
        time.sleep(0.01)


def keep_pace(folder, name):
    """Take a step, and wait for the other one as soon as it is two steps behind, unless it is at its end."""
    mine = Path(folder, f"steps-{name}")
    with mine.open("a") as file:
        file.write(".")
    deadline = time.monotonic() + 40
    while True:
        others = [path for path in Path(folder).glob("steps-*") if path != mine]
        if others and others[0].stat().st_size + 2 >= min(mine.stat().st_size, 18):
            return
        assert time.monotonic() < deadline, "the other one does not keep up"
        time.sleep(0.01)


def test_processes_are_kept_for_many_trials(fit):
    def train(config):
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search(list(range(60)))})
    assert [result.metrics["x"] for result in grid] == list(range(60))
    pids = {result.metrics["pid"] for result in grid}
    assert len(pids) <= 4
    again = fit(train, {"x": tune.grid_search([1, 2, 3])}, name="alone", reuse_actors=False)
    assert len({result.metrics["pid"] for result in again}) == 3


def test_a_process_that_dies_costs_only_its_trial(fit):
    def train(config):
        if config["x"] == 7:
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGKILL)
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search(list(range(20)))})
    assert grid.num_errors == 1 and grid.num_terminated == 19
    assert sorted(result.metrics["x"] for result in grid if not result.error) == [
        x for x in range(20) if x != 7
    ]
    assert grid[7].error is not None


def test_trials_of_a_class_are_stopped_at_the_very_result(fit):
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

    asha = ASHAScheduler(max_t=8, grace_period=1, reduction_factor=2)
    grid = fit(
        Climb,
        {"x": tune.grid_search([4, 3, 2, 1])},
        metric="score",
        mode="max",
        scheduler=asha,
        max_concurrent_trials=1,  # at the same time, the worst might be ahead of all others
    )
    lengths = [result.metrics["training_iteration"] for result in grid]
    assert lengths[0] == 8 and max(lengths[1:]) < 8
    assert all(len(r.metrics_dataframe) == r.metrics["training_iteration"] for r in grid)


@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_population_exchanges_checkpoints(fit, tmp_path, kind):
    folder = tmp_path / "pace"
    folder.mkdir()

    class Toy(tune.Trainable):
        def setup(self, config):
            self.value = 0.0

        def step(self):
            keep_pace(folder, self.trial_id)
            self.value += self.config["rate"]
            return {"value": self.value}

        def save_checkpoint(self, checkpoint_dir):
            return {"value": self.value}

        def load_checkpoint(self, checkpoint):
            self.value = checkpoint["value"]

    def toy(config):
        value = 0.0
        checkpoint = tune.get_checkpoint()
        if checkpoint:
            value = checkpoint.to_dict()["value"]
        while True:
            keep_pace(folder, tune.get_context().get_trial_id())
            value += config["rate"]
            tune.report({"value": value}, checkpoint=tune.Checkpoint.from_dict({"value": value}))

    pbt = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=3,
        hyperparam_mutations={"rate": [0.1, 1.0, 2.0]},
        quantile_fraction=0.5,
    )
    grid = fit(
        Toy if kind == "class" else toy,
        {"rate": tune.grid_search([0.1, 1.0])},
        metric="value",
        mode="max",
        scheduler=pbt,
        run={"stop": {"training_iteration": 20}, "checkpoint_config": tune.CheckpointConfig(num_to_keep=2)},
    )
    assert grid.num_errors == 0
    assert min(result.metrics["value"] for result in grid) > 20 * 0.1 + 1
    assert "perturbed" in "".join(str(result.metrics["experiment_tag"]) for result in grid)
    assert list((tmp_path / "exp").glob("pbt_policy_*.txt"))


def test_an_interrupt_ends_the_experiment_and_leaves_its_results(fit, tmp_path):
    def train(config):
        for i in range(4000):
            time.sleep(0.02)
            tune.report({"i": i})

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list((tmp_path / "exp").glob("*/result.json")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    grid = fit(train, num_samples=2)
    thread.join()
    assert len(grid) == 2 and grid.get_best_result("i", "max").metrics["i"] >= 0
    again = tune.Tuner.restore(str(tmp_path / "exp"), train)
    assert len(again.get_results()) == 2


def test_watchers_see_trials_and_stop_them(fit):
    def train(config):
        for i in range(8000):
            time.sleep(0.01)
            tune.report({"loss": 1 / (i + 1)})

    seen: list[dict] = []

    def watch() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            rows = [row for row in board.rows("tune") if row["run_id"] == "watched"]
            if rows and rows[0]["trials"] and rows[0]["trials"][0]["curve"]:
                seen.append(rows[0])
                board.ask("tune", "watched", {"stop": rows[0]["trials"][0]["trial_id"]})
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    (result,) = fit(train, name="watched", metric="loss", mode="min")
    thread.join()
    assert seen[0]["best"]["trial_id"] == result.metrics["trial_id"]
    assert result.metrics["training_iteration"] < 8000
    (row,) = [row for row in board.rows("tune") if row["run_id"] == "watched"]
    assert row["state"] == "finished" and row["counts"] == {"TERMINATED": 1}


def test_the_time_of_an_experiment_is_bounded(fit):
    def train(config):
        while True:
            time.sleep(0.02)
            tune.report({"x": 1})

    start = time.monotonic()
    grid = fit(train, num_samples=-1, time_budget_s=2.0, max_concurrent_trials=2)
    assert time.monotonic() - start < 60
    assert 1 <= len(grid) <= 4 and grid.num_errors == 0


def test_a_trial_that_never_reports_does_not_hold_up_the_others(fit):
    def train(config):
        if config["x"] == 0:
            time.sleep(1.0)
            return None
        return {"x": config["x"]}

    grid = fit(train, {"x": tune.grid_search([0, 1, 2])})
    assert grid.num_errors == 0
    assert grid.get_best_result("x", "max").config == {"x": 2}
    with pytest.raises(RuntimeError, match="trials have reported"):
        grid.get_best_result("y", "max")


def test_a_remote_storage_gets_everything(fit, tmp_path):
    def train(config):
        for i in range(2):
            tune.report({"i": i}, checkpoint=tune.Checkpoint.from_dict({"i": i}))

    target = storage.resolve("memory://")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        tuner = tune.Tuner(
            train,
            run_config=tune.RunConfig(name="remote", storage_path=f"file://{tmp_path}/up", verbose=0),
        )
        (result,) = tuner.fit()
    assert result.checkpoint.to_dict() == {"i": 1}
    assert target.type_name.startswith("py::")


def test_bundles_are_reserved_for_what_a_trial_starts(fit):
    def train(config):
        import rayjup

        @rayjup.remote(num_cpus=1)
        def child():
            return rayjup.get_runtime_context().get_placement_group_id()

        here = rayjup.get_runtime_context().get_placement_group_id()
        return {"same": here is not None and rayjup.get(child.remote()) == here}

    asking = tune.with_resources(train, tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}]))
    grid = fit(asking, num_samples=2)
    assert [result.metrics["same"] for result in grid] == [True, True], grid.errors


def test_what_a_trial_prints_and_writes_is_kept(fit):
    def train(config):
        print("hello from the trial")
        Path("artifact.txt").write_text("mine")
        return {"x": 1}

    (result,) = fit(train, run={"log_to_file": True})
    assert "hello from the trial" in Path(result.path, "stdout").read_text()
    assert Path(result.path, "artifact.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="'min' or 'max'"):
        tune.TuneConfig(metric="x", mode="largest")


def test_wrong_trainables_and_spaces_are_refused_before_anything_runs(ray_cluster, tmp_path):
    lock = threading.Lock()

    def train(config):
        return {"x": lock.locked()}

    run_config = tune.RunConfig(storage_path=str(tmp_path), verbose=0)
    with pytest.raises(tune.TuneError, match=r"can't be sent.*lock"):
        tune.Tuner(train, run_config=run_config).fit()
    with pytest.raises(tune.TuneError, match=r"with_parameters"):
        tune.Tuner(lambda config, data: None)
    with pytest.raises(tune.TuneError, match="needs a list"):
        tune.Tuner(
            lambda config: None, param_space={"x": tune.grid_search("ab")}, run_config=run_config
        ).fit()
    with pytest.raises(tune.TuneError, match=r"can't search (a|the) grid"):
        tune.Tuner(
            lambda config: None,
            param_space={"x": tune.grid_search([1])},
            tune_config=tune.TuneConfig(search_alg=Fixed(), metric="x", mode="max"),
            run_config=run_config,
        ).fit()


class Fixed(tune.search.Searcher):
    """A searcher that can't use a search space."""

    def suggest(self, trial_id):
        return {"x": 1}

    def on_trial_complete(self, trial_id, result=None, error=False):
        pass


def test_a_searcher_of_the_user_is_asked(fit):
    grid = fit(lambda config: {"y": config["x"] + config["z"]}, {"z": 5}, num_samples=3, search_alg=Fixed())
    assert [result.metrics["y"] for result in grid] == [6, 6, 6]


def test_optuna_finds_the_minimum_with_all_cores_at_work(fit, tmp_path):
    from rayjup.tune.search.optuna import OptunaSearch

    folder = tmp_path / "cores"
    folder.mkdir()

    def train(config):
        meet(folder, 4)
        return {"loss": (config["x"] - 0.3) ** 2 + (config["deep"]["y"] - 2) ** 2}

    space = {"x": tune.uniform(0, 1), "deep": {"y": tune.randint(0, 5)}}
    grid = fit(train, space, metric="loss", mode="min", num_samples=40, search_alg=OptunaSearch(seed=1))
    best = grid.get_best_result()
    assert best.metrics["loss"] < 0.1 and best.config["deep"]["y"] == 2
    assert len({result.metrics["pid"] for result in grid}) == 4


def test_results_show_themselves(fit):
    grid = fit(lambda config: {"y": 1.5}, {"x": tune.grid_search([1, 2])})
    bundle = grid._repr_mimebundle_()
    assert "2 trials" in bundle["text/html"] and "<td>1.5</td>" in bundle["text/html"]
    assert "TERMINATED" in bundle["text/plain"] and "ResultGrid" in repr(grid)


def test_what_can_not_be_written_down_is_said(fit):
    class Locked(tune.Callback):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.warns(UserWarning, match="goes on without them"):
        grid = fit(lambda config: {"y": 1}, run={"callbacks": [Locked()]})
    assert grid.num_terminated == 1
    with pytest.raises(tune.TuneError, match="can't be written down"):
        fit(lambda config: {"y": 1}, {"x": threading.Lock()}, name="locked")


def test_a_full_disk_ends_no_trial_that_writes_nothing(fit, tmp_path, caplog):
    if why := can_mount(tmp_path / "try"):
        pytest.skip(why)

    def train(config):
        mine = Path(tune.get_context().get_trial_dir())
        for i in range(3):
            tune.report({"i": i})
        if config["fills"]:
            with open(mine / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError):
                while True:
                    ballast.write(bytes(4096))
            with open(mine / "ballast", "ab", buffering=0) as ballast, pytest.raises(OSError):
                ballast.write(b"x" * 4096)  # what was left of the last page, too
        for i in range(40):
            time.sleep(0.01)
            tune.report({"i": i, "padding": "x" * 200})
        (mine / "ballast").unlink(missing_ok=True)

    with small_disk(tmp_path / "small", 1) as small:
        grid = fit(train, {"fills": tune.grid_search([True, False])}, path=small)
        assert [result.metrics["i"] for result in grid] == [39, 39] and not grid.errors
        assert caplog.text.count("no space is left for ") == 1 and str(small / "exp") in caplog.text
        again = tune.Tuner.restore(str(small / "exp"), train).get_results()
        assert [result.metrics["i"] for result in again] == [39, 39], (
            "the journal was written when there was room"
        )


def test_a_checkpoint_that_does_not_fit_fails_its_trial_only(fit, tmp_path):
    if why := can_mount(tmp_path / "try"):
        pytest.skip(why)

    def train(config):
        with tempfile.TemporaryDirectory() as directory:
            Path(directory, "weights").write_bytes(bytes(config["size"]))
            tune.report({"size": config["size"]}, checkpoint=tune.Checkpoint.from_directory(directory))

    with small_disk(tmp_path / "small", 1) as small:
        grid = fit(train, {"size": tune.grid_search([2 << 20, 1000])}, path=small, max_concurrent_trials=1)
        failed, good = grid
        assert "could not be copied to" in str(failed.error) and "weights: [Errno 28]" in str(failed.error)
        assert good.error is None and good.checkpoint is not None


class Counting(tune.search.Searcher):
    """Notes how many of its suggestions were without a result when it made the next."""

    def __init__(self) -> None:
        super().__init__(metric="x", mode="max")
        self.open: set[str] = set()
        self.most = 0

    def suggest(self, trial_id):
        self.open.add(trial_id)
        self.most = max(self.most, len(self.open))
        return {"x": 1}

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.open.discard(trial_id)

    def save(self, checkpoint_path):
        pass

    def restore(self, checkpoint_path):
        pass


@pytest.mark.parametrize(("limit", "most"), [(None, 8), (1, 1)])
def test_a_searcher_is_asked_for_one_short_trial_more_than_run(fit, limit, most):
    """Four CPUs, one trial each, and one behind each; none where the user has said how many at a time."""

    def train(config):
        time.sleep(0.01)
        return {"x": config["x"]}

    searcher = Counting()
    grid = fit(train, {}, num_samples=60, search_alg=searcher, max_concurrent_trials=limit)
    assert len(grid) == 60 and not grid.num_errors
    assert searcher.most == 1 if limit == 1 else 4 < searcher.most <= most
