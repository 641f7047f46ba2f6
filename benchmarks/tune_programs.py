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


EPOCHS = 27


def digits(config):
    """A multilayer perceptron over scikit-learn's digits, 27 epochs."""
    import torch
    from ray import tune
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, y = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    x = (x / 16).float()
    order = torch.randperm(len(x))
    train, test = order[:1200], order[1200:]
    layers = [torch.nn.Linear(64, config["width"])]
    for _ in range(config["depth"] - 1):
        layers += [torch.nn.ReLU(), torch.nn.Linear(config["width"], config["width"])]
    net = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Linear(config["width"], 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=config["lr"], momentum=config["momentum"])
    for _ in range(EPOCHS):
        for batch in train[torch.randperm(len(train))].split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            right = (net(x[test]).argmax(1) == y[test]).float().mean()
        tune.report({"accuracy": float(right)})


def slow_reports(config):
    from ray import tune

    for i in range(3):
        time.sleep(1.0)
        tune.report({"i": i})


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
    if PROGRAM == "asha":
        from ray.tune.schedulers import ASHAScheduler

        grid_of = {
            "lr": tune.grid_search([0.001, 0.01, 0.1, 0.5]),
            "momentum": tune.grid_search([0.0, 0.9]),
            "width": tune.grid_search([8, 16, 32, 64]),
            "depth": tune.grid_search([1, 2]),
        }
        common = {"metric": "accuracy", "mode": "max", "storage": storage}
        whole, whole_s = fit(digits, grid_of, **common)
        scheduler = ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=3)
        halved, halved_s = fit(digits, grid_of, scheduler=scheduler, **common)
        epochs = [sum(r.metrics["training_iteration"] for r in grid) for grid in (whole, halved)]
        best = [
            grid.get_best_result(scope="all").metrics_dataframe["accuracy"].max() for grid in (whole, halved)
        ]
        return {
            "seconds": halved_s,
            "grid_seconds": whole_s,
            "epochs_share": epochs[1] / epochs[0],
            "points_lost": 100 * (best[0] - best[1]),
            "grid_best": 100 * best[0],
        }
    if PROGRAM == "concurrent":
        count = 1000
        trainable = tune.with_resources(slow_reports, {"cpu": 1 / 512})
        space = {"x": tune.grid_search(list(range(count)))}
        grid, seconds = fit(trainable, space, storage=storage, max_concurrent_trials=count)
        assert grid.num_terminated == count, grid.num_terminated
        return {"seconds": seconds}
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
