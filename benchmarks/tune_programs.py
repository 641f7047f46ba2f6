"""The programs of the Tune benchmark; run in a process of its own per engine: ``python tune_programs.py
ENGINE PROGRAM``."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

ENGINE, PROGRAM = sys.argv[1], sys.argv[2]
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
if ENGINE == "rayjup":
    import rayjup.as_ray  # noqa: F401 - from here on `import ray` means rayjup


def fit(train, space, *, storage, run=None, **settings):
    from ray import tune

    tuner = tune.Tuner(
        train,
        param_space=space,
        tune_config=tune.TuneConfig(**settings),
        run_config=tune.RunConfig(storage_path=storage, verbose=0, **(run or {})),
    )
    start = time.perf_counter()
    grid = tuner.fit()
    return grid, time.perf_counter() - start


def reports(config):
    from ray import tune

    for i in range(10):
        tune.report({"loss": config["x"] * i})


def nothing(config):
    return {"loss": config["x"]}


def busy(config):
    """About 20 ms of work."""
    end = time.process_time() + 0.02
    while time.process_time() < end:
        sum(range(1000))
    return {"loss": (config["x"] - 0.3) ** 2}


def fast_reports(config):
    from ray import tune

    start = time.perf_counter()
    for i in range(config["n"]):
        ahead = start + i / 500 - time.perf_counter()
        if ahead > 0:
            time.sleep(ahead)
        tune.report({"i": i})
    tune.report({"i": config["n"], "seconds": time.perf_counter() - start})


def in_ray(storage):
    import ray
    from ray import tune

    ray.init(num_cpus=2)
    space = {"x": tune.uniform(0, 1)}
    common = {"metric": "loss", "mode": "min", "storage": storage}
    fit(nothing, space, num_samples=2, **common)  # imports
    if PROGRAM == "reports":
        _, seconds = fit(reports, space, num_samples=64, **common)
        return {"seconds": seconds}
    if PROGRAM == "many":
        count = 10_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grid, seconds = fit(nothing, space, num_samples=count, run={"name": "many"}, **common)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        written = len(list((Path(storage) / "many").glob("*/result.json")))
        assert grid.num_terminated == count == written, (grid.num_terminated, written)
        return {"seconds": seconds, "kb_per_trial": (after - before) / count}
    if PROGRAM == "rate":
        grid, seconds = fit(
            fast_reports, {"n": tune.grid_search([1000, 1000])}, storage=storage, metric="i", mode="max"
        )
        return {"seconds": max(result.metrics["seconds"] for result in grid), "whole": seconds}
    if PROGRAM == "search":
        from ray.tune.search.optuna import OptunaSearch

        count = 200
        fit(busy, space, num_samples=8, **common)
        _, at_random = fit(busy, space, num_samples=count, **common)
        _, by_optuna = fit(busy, space, num_samples=count, search_alg=OptunaSearch(seed=1), **common)
        return {"random": at_random, "optuna": by_optuna, "work": count * 0.02 / 2}
    raise SystemExit(f"there is no program {PROGRAM!r}")


def in_optuna():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    count = {"reports": 64, "many": 10_000}[PROGRAM]

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for i in range(10 if PROGRAM == "reports" else 0):
            trial.report(x * i, i)
        return x

    start = time.perf_counter()
    study.optimize(objective, n_trials=count)
    return {"seconds": time.perf_counter() - start}


if __name__ == "__main__":
    folder = tempfile.mkdtemp(prefix="tune-benchmark-")
    try:
        found = in_optuna() if ENGINE == "optuna" else in_ray(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("RESULT " + json.dumps(found), flush=True)
