"""The trial loop without processes: schedulers, stoppers and failures decide on simulated trials."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.config import CheckpointConfig, FailureConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.runs.storage import StorageContext
from rayjup.tune.execution.controller import TuneController
from rayjup.tune.experiment import Experiment
from rayjup.tune.schedulers import (
    PB2,
    ASHAScheduler,
    DistributeResources,
    DistributeResourcesToTopJob,
    FIFOScheduler,
    HyperBandForBOHB,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
    create_scheduler,
)
from rayjup.tune.search import BasicVariantGenerator
from rayjup.tune.search.sample import uniform
from rayjup.tune.search.variants import grid_search
from rayjup.tune.stopper import MaximumIterationStopper


class World:
    """Runs a controller's trials: one step per turn for each that is on a runner."""

    def __init__(
        self,
        tmp_path: Path,
        value,
        *,
        config,
        scheduler=None,
        slots=4,
        samples=1,
        stop=None,
        stopper=None,
        failure=None,
        max_failures=0,
        metric="score",
        mode="max",
        state=lambda config: 0.0,
    ):
        self.value = value
        self.new_state = state
        self.slots = slots
        experiment = Experiment(
            "exp",
            lambda config: None,
            config=config,
            num_samples=samples,
            stop=stop,
            storage_path=str(tmp_path),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            max_failures=max_failures,
        )
        Path(experiment.local_path).mkdir(parents=True)
        search = BasicVariantGenerator(random_state=0)
        search.add_configurations(experiment)
        scheduler = scheduler or FIFOScheduler()
        scheduler.set_search_properties(metric, mode)
        self.controller = TuneController(
            search, scheduler, stopper or experiment.stopper, failure, room=lambda trial: len(self.on) < slots
        )
        self.controller.resources = {"CPU": 8.0}
        self.on: dict[str, dict] = {}
        self.steps = 0
        self.starts: dict[str, int] = {}
        self.events: list[str] = []
        self.checkpoints: dict[str, dict] = {}
        self.deleted: list[str] = []

    @property
    def trials(self):
        return self.controller.get_trials()

    def run(self, most=10_000):
        while not self.controller.is_finished():
            self.turn()
            assert self.steps < most, "the experiment does not end"
        return self

    def turn(self):
        self.steps += 1
        while (trial := self.controller.next_trial()) is not None:
            run = {"t": 0, "state": self.new_state(trial.config), "go": True, "save": False}
            checkpoint = trial.restore_from or (
                trial.latest_checkpoint_result.checkpoint if trial.latest_checkpoint_result else None
            )
            if checkpoint is not None:
                run.update(json.loads(json.dumps(self.checkpoints[checkpoint.path])))
            self.on[trial.trial_id] = run
            self.starts[trial.trial_id] = self.starts.get(trial.trial_id, 0) + 1
            self.controller.started(trial)
        self.obey()
        for trial_id, run in list(self.on.items()):
            if not run["go"] or trial_id not in self.on:
                continue
            trial = self.controller.get_trial(trial_id)
            run["t"] += 1
            run["go"] = False
            outcome = self.value(trial.config, run["t"], run["state"])
            if isinstance(outcome, Exception):
                del self.on[trial_id]
                self.controller.failed(trial, outcome)
            else:
                score, run["state"] = outcome if isinstance(outcome, tuple) else (outcome, run["state"])
                result = {"training_iteration": run["t"], "score": score, "time_total_s": float(run["t"])}
                self.controller.reported(trial, result)
            self.obey()
        self.obey()

    def obey(self):
        while self.controller.effects:
            for kind, about, *rest in self.controller.take_effects():
                self.events.append(kind)
                if kind == "delete":
                    self.deleted.append(about.path)
                    continue
                run = self.on.get(about.trial_id) if kind in ("go", "save", "stop") else None
                if run is None:
                    continue
                if kind == "go":
                    run["go"] = True
                elif kind == "save":
                    self.save(about, run)
                else:
                    if rest[0]:
                        self.save(about, run)
                    del self.on[about.trial_id]
                    self.controller.ended(about)

    def save(self, trial, run):
        path = f"/nowhere/{trial.trial_id}/{trial.checkpoint_index}"
        self.checkpoints[path] = {"t": run["t"], "state": run["state"]}
        self.controller.saved(trial, Checkpoint(path), {"training_iteration": run["t"]})


def climbing(config, t, state):
    return config["x"] * t


def test_all_trials_run_to_their_end(tmp_path):
    world = World(
        tmp_path, climbing, config={"x": grid_search(list(range(10)))}, stop={"training_iteration": 3}
    )
    world.run()
    assert [trial.status for trial in world.trials] == ["TERMINATED"] * 10
    assert [trial.last_result["score"] for trial in world.trials] == [3 * x for x in range(10)]
    assert max(world.starts.values()) == 1
    assert world.steps <= 10  # four at a time


def test_asha_stops_the_bad_ones_early(tmp_path):
    scheduler = ASHAScheduler(max_t=64, grace_period=1, reduction_factor=4)
    xs = list(range(40))
    random.Random(1).shuffle(xs)
    world = World(tmp_path, climbing, config={"x": grid_search(xs)}, scheduler=scheduler, slots=8).run()
    lengths = {trial.config["x"]: trial.last_result["training_iteration"] for trial in world.trials}
    assert lengths[39] == 64
    assert sum(lengths.values()) < 0.4 * 40 * 64
    assert scheduler.rungs() == [[1, 4, 16]]
    assert "num_stopped=40" in scheduler.debug_string()


def test_hyperband_halves_its_brackets(tmp_path):
    scheduler = HyperBandScheduler(max_t=9, reduction_factor=3)
    world = World(tmp_path, climbing, config={"x": grid_search(list(range(17)))}, scheduler=scheduler).run()
    lengths = sorted(trial.last_result["training_iteration"] for trial in world.trials)
    assert all(trial.status == "TERMINATED" for trial in world.trials)
    # Brackets of 9, 5 and 3 with rungs 1-3-9, 3-9 and 9.
    assert lengths.count(1) == 6 and lengths.count(3) == 5 and lengths.count(9) == 6
    assert scheduler.state()["num_brackets"] == 3


def test_hyperband_with_fewer_trials_than_places(tmp_path):
    for scheduler in (HyperBandScheduler(max_t=9), HyperBandForBOHB(max_t=9)):
        world = World(
            tmp_path / type(scheduler).__name__,
            climbing,
            config={"x": grid_search([1, 2, 3])},
            scheduler=scheduler,
        ).run()
        assert [trial.status for trial in world.trials] == ["TERMINATED"] * 3
        assert world.trials[2].last_result["training_iteration"] == 9


@pytest.mark.parametrize("hard", [True, False])
def test_the_median_rule_stops_what_lies_below(tmp_path, hard):
    scheduler = MedianStoppingRule(
        time_attr="training_iteration", grace_period=2, min_samples_required=2, hard_stop=hard
    )
    world = World(
        tmp_path,
        climbing,
        config={"x": grid_search([5, 4, 1, 6])},
        scheduler=scheduler,
        stop={"training_iteration": 10},
    ).run()
    lengths = {t.config["x"]: t.last_result["training_iteration"] for t in world.trials}
    assert lengths[6] == 10 and lengths[5] == 10
    assert (lengths[1] < 10) is hard
    assert "num_stopped" in scheduler.debug_string()


def toy(config, t, state):
    """The surrogate of the paper: what is measured is 1.2 - (a² + b²), what is followed depends on h."""
    a, b = state
    a -= 0.02 * config["h0"] * 2 * a
    b -= 0.02 * config["h1"] * 2 * b
    return 1.2 - (a * a + b * b), [a, b]


@pytest.mark.parametrize("kind", ["pbt", "synchronous pbt"])
def test_populations_solve_the_toy_of_the_paper(tmp_path, kind):
    random.seed(3)
    common = {"time_attr": "training_iteration", "perturbation_interval": 4, "quantile_fraction": 0.5}
    mutations = {"h0": uniform(0.0, 1.0), "h1": lambda: random.random()}
    scheduler = PopulationBasedTraining(hyperparam_mutations=mutations, synch=kind != "pbt", **common)
    # Neither of the two alone gets there: each learns one half only.
    world = World(
        tmp_path,
        toy,
        config={"h0": grid_search([0.0, 1.0]), "h1": grid_search([1.0, 0.0])},
        scheduler=scheduler,
        slots=4 if kind == "synchronous pbt" else 2,
        stop={"training_iteration": 200},
        state=lambda config: [0.9, 0.9],
    ).run()
    assert max(trial.last_result["score"] for trial in world.trials) >= 1.18
    assert scheduler.debug_string().split(",")[-1] != " 0 perturbs"
    assert world.deleted  # only two checkpoints of each are kept
    policies = list(Path(world.trials[0].local_experiment_path).glob("pbt_policy_*.txt"))
    assert policies


def test_bandits_go_where_improvement_was_largest(tmp_path):
    pytest.importorskip("sklearn")
    from rayjup.tune.schedulers.pb2 import suggest

    rng = random.Random(0)
    history = []
    for number in range(8):
        score = 0.0
        for at in range(4):
            rate = rng.random()
            score += 1 - 4 * (rate - 0.7) ** 2
            history.append((str(number), float(at), score, [rate]))
    found = [suggest(history, [(0.0, 1.0)], 4.0, 2.0, [[0.1]], seed)[0] for seed in range(3)]
    assert all(0.45 <= rate <= 0.95 for rate in found), found
    scheduler = PB2(
        metric="score", mode="max", hyperparam_bounds={"rate": [0.0, 1.0]}, perturbation_interval=2
    )
    world = World(
        tmp_path,
        lambda config, t, state: config["rate"] * t,
        config={"rate": grid_search([0.1, 0.9])},
        scheduler=scheduler,
        stop={"training_iteration": 6},
    ).run()
    assert "0 perturbs" not in scheduler.debug_string()
    assert all(0 <= trial.config["rate"] <= 1 for trial in world.trials)
    with pytest.raises(TuneError, match="hyperparam_bounds"):
        PB2()


def test_a_policy_is_replayed(tmp_path):
    lines = [
        ["a", "b", 4, 4, {"h0": 0.1}, {"h0": 0.5}],
        ["a", "c", 8, 8, {"h0": 0.5}, {"h0": 0.9}],
    ]
    policy = tmp_path / "pbt_policy_x.txt"
    policy.write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = []

    def record(config, t, state):
        seen.append((t, config["h0"]))
        return 0.0

    World(
        tmp_path,
        record,
        config={},
        scheduler=PopulationBasedTrainingReplay(str(policy)),
        stop={"training_iteration": 10},
        metric=None,
        mode=None,
    ).run()
    assert seen == [(t, 0.1 if t <= 4 else 0.5 if t <= 8 else 0.9) for t in range(1, 11)]
    with pytest.raises(ValueError, match="no policy file"):
        PopulationBasedTrainingReplay("/nowhere/at/all")


@pytest.mark.parametrize("allocate", [DistributeResources(), DistributeResourcesToTopJob(add_bundles=True)])
def test_resources_are_shared_anew(tmp_path, allocate):
    scheduler = ResourceChangingScheduler(ASHAScheduler(max_t=8, grace_period=8), allocate)
    world = World(tmp_path, climbing, config={"x": grid_search([1, 2])}, scheduler=scheduler).run()
    assert all(trial.status == "TERMINATED" for trial in world.trials)
    assert max(t.placement_group_factory.required_resources["CPU"] for t in world.trials) > 1
    assert sum(world.starts.values()) > 2  # paused and started again with other resources


def test_failures_are_tried_again_up_to_a_limit(tmp_path):
    failures = {"left": 2}

    def fails(config, t, state):
        if config["x"] == 1 and t == 2 and failures["left"]:
            failures["left"] -= 1
            return RuntimeError("no")
        return t

    world = World(
        tmp_path, fails, config={"x": grid_search([0, 1])}, stop={"training_iteration": 3}, max_failures=2
    ).run()
    assert [trial.status for trial in world.trials] == ["TERMINATED"] * 2
    assert world.trials[1].num_failures == 2 and world.starts[world.trials[1].trial_id] == 3
    failures["left"] = 2
    world = World(
        tmp_path / "less",
        fails,
        config={"x": grid_search([0, 1])},
        stop={"training_iteration": 3},
        max_failures=1,
    ).run()
    assert [trial.status for trial in world.trials] == ["TERMINATED", "ERROR"]


@pytest.mark.parametrize("how", [True, "raise"])
def test_the_first_failure_may_end_all(tmp_path, how):
    world = World(
        tmp_path,
        lambda config, t, state: RuntimeError("no") if config["x"] == 1 and t == 2 else t,
        config={"x": grid_search([0, 1, 2])},
        stop={"training_iteration": 100},
        failure=FailureConfig(fail_fast=how),
    ).run()
    assert [trial.status for trial in world.trials] == ["TERMINATED", "ERROR", "TERMINATED"]
    assert world.trials[0].last_result["training_iteration"] <= 2
    assert (world.controller.failure is not None) is (how == "raise")


def test_a_metric_that_is_not_reported_fails_the_trial(tmp_path):
    world = World(
        tmp_path,
        climbing,
        config={"x": 1},
        scheduler=ASHAScheduler(metric="accuracy", mode="max"),
        metric=None,
        mode=None,
    ).run()
    assert world.trials[0].status == "ERROR"
    assert "no metric 'accuracy'" in str(world.trials[0].error) and "'score'" in str(world.trials[0].error)
    world = World(tmp_path / "stop", climbing, config={"x": 1}, stop={"los": 1}).run()
    assert isinstance(world.trials[0].error, TuneError) and "stop by 'los'" in str(world.trials[0].error)


def test_stoppers_end_trials_and_experiments(tmp_path):
    world = World(
        tmp_path, climbing, config={"x": grid_search([1, 2])}, stopper=MaximumIterationStopper(4)
    ).run()
    assert {t.last_result["training_iteration"] for t in world.trials} == {4}

    class EndAll(MaximumIterationStopper):
        def stop_all(self):
            return sum(self._iterations.values()) >= 5

    world = World(
        tmp_path / "all", climbing, config={"x": uniform(0, 1)}, samples=-1, stopper=EndAll(100)
    ).run()
    assert len(world.trials) <= 5 and all(t.status == "TERMINATED" for t in world.trials)


def test_what_comes_back_with_a_lost_runner_waits_again(tmp_path):
    world = World(tmp_path, climbing, config={"x": grid_search([1, 2])}, stop={"training_iteration": 3})
    world.turn()
    trial = world.trials[0]
    del world.on[trial.trial_id]
    world.controller.lost(trial)
    assert trial.status == "PENDING" and trial.num_failures == 0
    world.run()
    assert world.starts[trial.trial_id] == 2 and trial.status == "TERMINATED"


def test_settings_of_schedulers_are_checked():
    with pytest.raises(ValueError, match="grace_period"):
        ASHAScheduler(max_t=5, grace_period=10)
    with pytest.raises(ValueError, match="reduction_factor"):
        ASHAScheduler(reduction_factor=1)
    with pytest.raises(ValueError, match="'min' or 'max'"):
        HyperBandScheduler(mode="up")
    with pytest.raises(TuneError, match="what is to be changed"):
        PopulationBasedTraining()
    with pytest.raises(ValueError, match="quantile_fraction"):
        PopulationBasedTraining(hyperparam_mutations={"a": [1]}, quantile_fraction=0.7)
    with pytest.raises(TypeError, match="hyperparam_mutations"):
        PopulationBasedTraining(hyperparam_mutations={"a": 3})
    with pytest.raises(ValueError, match="increase_by_times"):
        DistributeResources(increase_by_times=0)
    with pytest.raises(ValueError, match="no scheduler 'nope'"):
        create_scheduler("nope")
    with pytest.raises(ValueError, match="what to optimize"):
        ASHAScheduler().on_trial_add(None, None)


def test_asha_survives_its_own_pickle(tmp_path):
    scheduler = ASHAScheduler(metric="score", mode="max")
    scheduler.save(str(tmp_path / "s"))
    again = ASHAScheduler()
    again.restore(str(tmp_path / "s"))
    assert again.metric == "score"


def test_the_analysis_of_metrics(tmp_path):
    world = World(
        tmp_path,
        lambda config, t, state: math.nan if t == 2 else float(t),
        config={},
        stop={"training_iteration": 12},
    ).run()
    found = world.trials[0].metric_analysis["score"]
    assert found["max"] == 12 and found["min"] == 1 and found["last"] == 12
    assert found["last-5-avg"] == 10
    assert "pid" not in world.trials[0].metric_analysis


def test_a_trial_as_text_and_back(tmp_path):
    world = World(tmp_path, climbing, config={"x": grid_search([3])}, stop={"training_iteration": 2}).run()
    (trial,) = world.trials
    trial._manager._delete = None
    from rayjup.tune.experiment import Trial

    fixed, moving = trial.get_json_state()
    again = Trial.from_json_state(fixed)
    again.restore_run_metadata(moving)
    assert again == trial and again.config == {"x": 3} and again.last_result["score"] == 6
    again.set_storage(StorageContext(tmp_path, "exp"))
    assert again.path == trial.path
    again.status = Trial.PAUSED
    again.update_resources({"cpu": 3})
    assert again.placement_group_factory == PlacementGroupFactory([{"CPU": 3}])
