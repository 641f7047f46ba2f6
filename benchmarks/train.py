"""Training, beside torchrun, XGBoost's own distributed run and Ray Train.

``python benchmarks/train.py [--ray PYTHON] [--out benchmarks/results/train.md] [--quick]``: every part
runs in
processes of its own, one after the other; ``PYTHON`` is the interpreter of an environment with Ray. Inside,
``train.py part NAME ENGINE`` runs one part and prints its figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORKERS = 2
EPOCHS = 4
ROWS, FEATURES, HIDDEN, BATCH = 16_384, 128, 512, 64
XGB_ROWS, XGB_FEATURES, XGB_ROUNDS = 200_000, 30, 60
MODELS = 1000
GIGABYTE = 1 << 30


# ---------------------------------------------------------------- what is trained


def torch_epochs(began: float, prepare: Any) -> dict[str, Any]:
    """Four epochs of a small network; the same on every engine."""
    import torch

    torch.manual_seed(0)
    inputs = torch.randn(ROWS, FEATURES)
    labels = (inputs[:, :1] * 2 - inputs[:, 1:2]).tanh()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, labels), batch_size=BATCH)
    model = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, 1),
    )
    model, loader = prepare(model, loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    first, epochs = 0.0, []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        for batch, label in loader:
            loss = ((model(batch) - label) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            first = first or time.time() - began
        epochs.append(time.perf_counter() - start)
    total = sum(float(p.detach().double().abs().sum()) for p in model.parameters())
    return {"first_step_s": first, "epoch_s": statistics.median(epochs[1:]), "parameters": total}


def torchrun_worker() -> None:
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group("gloo")

    def prepare(model: Any, loader: Any) -> Any:
        sampler = torch.utils.data.DistributedSampler(loader.dataset, shuffle=False)
        divided = torch.utils.data.DataLoader(loader.dataset, batch_size=BATCH, sampler=sampler)
        return DistributedDataParallel(model), divided

    found = torch_epochs(float(os.environ["BEGAN"]), prepare)
    if dist.get_rank() == 0:
        Path(os.environ["FOUND"]).write_text(json.dumps(found))
    dist.destroy_process_group()


def boost(params: dict[str, Any], rank: int, callbacks: list[Any]) -> dict[str, Any]:
    """Sixty rounds on half of the rows."""
    import numpy
    import xgboost

    random = numpy.random.default_rng(rank)
    features = random.normal(size=(XGB_ROWS // WORKERS, XGB_FEATURES)).astype("float32")
    labels = (features[:, 0] + features[:, 1] * features[:, 2] > 0).astype("float32")
    matrix = xgboost.DMatrix(features, labels)
    start = time.perf_counter()
    xgboost.train(
        params, matrix, XGB_ROUNDS, evals=[(matrix, "train")], callbacks=callbacks, verbose_eval=False
    )
    return {"train_s": time.perf_counter() - start}


XGB_PARAMS = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": 6, "nthread": 1}


def xgboost_worker(rank: int, arguments: str) -> None:
    from xgboost.collective import CommunicatorContext

    with CommunicatorContext(**json.loads(arguments), dmlc_task_id=str(rank)):
        found = boost(XGB_PARAMS, rank, [])
    if rank == 0:
        sys.stdout.write(json.dumps(found) + "\n")


# ---------------------------------------------------------------- parts


def load(engine: str) -> Any:
    if engine == "rayjup":
        from rayjup.as_ray import install

        install()  # `import ray` means rayjup from here on
    import ray

    ray.init(num_cpus=WORKERS)
    return ray


def settings(directory: str, workers: int = WORKERS) -> dict[str, Any]:
    import ray.train

    return {
        "scaling_config": ray.train.ScalingConfig(num_workers=workers),
        "run_config": ray.train.RunConfig(storage_path=directory),
    }


def part_torch(engine: str, directory: str) -> dict[str, Any]:
    if engine == "torchrun":
        found = Path(directory, "found.json")
        env = {**os.environ, "BEGAN": str(time.time()), "FOUND": str(found), "OMP_NUM_THREADS": "1"}
        began = time.time()
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={WORKERS}",
        ]
        subprocess.run(
            [*command, __file__, "torchrun-worker"], env=env, check=True, stderr=subprocess.DEVNULL
        )
        return {**json.loads(found.read_text()), "whole_s": time.time() - began}
    load(engine)
    from ray.train.torch import TorchTrainer

    def function(config: dict[str, Any]) -> Any:
        from ray.train.torch import prepare_data_loader, prepare_model

        return config["run"](
            config["began"], lambda model, loader: (prepare_model(model), prepare_data_loader(loader))
        )

    runs = []
    for _ in range(2):
        began = time.time()
        config = {"began": began, "run": torch_epochs}
        result = TorchTrainer(function, train_loop_config=config, **settings(directory)).fit()
        runs.append({**result.return_value, "whole_s": time.time() - began})
    again = runs[1]
    return {
        **runs[0],
        "epoch_s": min(run["epoch_s"] for run in runs),
        "again_first_step_s": again["first_step_s"],
        "again_whole_s": again["whole_s"],
    }


def part_xgboost(engine: str, directory: str) -> dict[str, Any]:
    if engine == "xgboost":
        from xgboost.tracker import RabitTracker

        tracker = RabitTracker(n_workers=WORKERS, host_ip="127.0.0.1", sortby="task")
        tracker.start()
        arguments = json.dumps(tracker.worker_args())
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, "xgboost-worker", str(rank), arguments],
                env=env,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(WORKERS)
        ]
        outputs = [worker.communicate()[0] for worker in workers]
        tracker.wait_for()
        found: dict[str, Any] = json.loads(outputs[0].splitlines()[-1])
        return found
    load(engine)
    from ray.train.xgboost import XGBoostTrainer

    def function(config: dict[str, Any]) -> Any:
        import ray.train
        from ray.train.xgboost import RayTrainReportCallback

        rank = ray.train.get_context().get_world_rank()
        return config["boost"](config["params"], rank, [RayTrainReportCallback()])

    config = {"boost": boost, "params": XGB_PARAMS}
    result = XGBoostTrainer(function, train_loop_config=config, **settings(directory)).fit()
    found = result.return_value
    return found


def part_checkpoint(engine: str, directory: str) -> dict[str, Any]:
    """One rank writes a file of 1 GB and reports it; how long `report` holds training up."""
    load(engine)
    from ray.train.torch import TorchTrainer

    def function() -> Any:
        import tempfile

        import ray.train

        pauses = {}
        for name in ("SYNC", "ASYNC"):
            local = tempfile.mkdtemp(dir=directory)
            with open(os.path.join(local, "model"), "wb") as file:
                for _ in range(64):
                    file.write(os.urandom(1 << 20) * (GIGABYTE >> 26))
            start = time.perf_counter()
            ray.train.report(
                {},
                checkpoint=ray.train.Checkpoint.from_directory(local),
                checkpoint_upload_mode=ray.train.CheckpointUploadMode[name],
                delete_local_checkpoint_after_upload=True,
            )
            pauses[f"{name.lower()}_pause_s"] = time.perf_counter() - start
        return pauses

    return TorchTrainer(function, **settings(directory, workers=1)).fit().return_value  # type: ignore[no-any-return]


def small_model(seed: int) -> float:
    """One of many small models."""
    import numpy
    from sklearn.linear_model import LinearRegression

    random = numpy.random.default_rng(seed)
    features = random.normal(size=(2000, 20))
    labels = features @ random.normal(size=20)
    return float(LinearRegression().fit(features, labels).score(features, labels))


def part_models(engine: str, directory: str) -> dict[str, Any]:
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if engine == "serial":
        small_model(0)
        start = time.perf_counter()
        for seed in range(MODELS):
            small_model(seed)
        return {"models_s": time.perf_counter() - start}
    if engine == "pool":  # what the machine's cores give to processes that have nothing else to do
        with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
            pool.map(small_model, range(20), 1)
            start = time.perf_counter()
            pool.map(small_model, range(MODELS), 25)
            return {"models_s": time.perf_counter() - start}
    ray = load(engine)
    remote = ray.remote(small_model)
    ray.get([remote.remote(seed) for seed in range(20)])
    start = time.perf_counter()
    ray.get([remote.remote(seed) for seed in range(MODELS)])
    return {"models_s": time.perf_counter() - start}


PARTS = {
    "torch": (part_torch, ["torchrun"]),
    "xgboost": (part_xgboost, ["xgboost"]),
    "checkpoint": (part_checkpoint, []),
    "models": (part_models, ["serial", "pool"]),
}


# ---------------------------------------------------------------- the whole


def run_part(python: str, part: str, engine: str, limit_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="rjb-", dir="/tmp") as directory:
        env = {
            **os.environ,
            "TMPDIR": directory,
            "JUPYTER_RUNTIME_DIR": directory,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        if engine == "ray":
            env.pop("PYTHONPATH", None)
        command = [python, __file__, "part", part, engine, directory]
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            return {}
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        sys.stderr.write(f"{part} on {engine} failed:\n{done.stderr[-2000:]}\n")
        return {}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "–"


def rows(found: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    def of(part: str, engine: str, key: str) -> Any:
        return found.get(part, {}).get(engine, {}).get(key)

    lines = ["| | rayjup | peer | Ray Train |", "|---|---|---|---|"]
    for title, part, key, peer in (
        ("`fit()` to the first step, first run, s", "torch", "first_step_s", "torchrun"),
        ("`fit()` to the first step, second run, s", "torch", "again_first_step_s", None),
        ("the whole first run, s", "torch", "whole_s", "torchrun"),
        ("the whole second run, s", "torch", "again_whole_s", None),
        ("one epoch, s", "torch", "epoch_s", "torchrun"),
        ("XGBoost, 60 rounds of 2 × 100 000 rows, s", "xgboost", "train_s", "xgboost"),
        ("pause for a checkpoint of 1 GB, asynchronous, s", "checkpoint", "async_pause_s", None),
        ("pause for a checkpoint of 1 GB, synchronous, s", "checkpoint", "sync_pause_s", None),
        ("1 000 small models, s", "models", "models_s", "serial"),
    ):
        peers = of(part, peer, key) if peer else None
        beside = f"{cell(peers)} ({'one process' if peer == 'serial' else peer})" if peer else "–"
        lines.append(
            f"| {title} | {cell(of(part, 'rayjup', key))} | {beside} | {cell(of(part, 'ray', key))} |"
        )
    ours, theirs = of("torch", "rayjup", "parameters"), of("torch", "torchrun", "parameters")
    if ours and theirs:
        lines.append("")
        lines.append(
            f"Parameters after the same epochs differ by {abs(ours - theirs) / abs(theirs):.1e} (relative)."
        )
    serial, ours = of("models", "serial", "models_s"), of("models", "rayjup", "models_s")
    if serial and ours:
        lines.append(f"Small models: {serial / WORKERS / ours:.2f} of ideal scaling on {WORKERS} processes.")
    if serial and (bare := of("models", "pool", "models_s")):
        ideal = serial / WORKERS / bare
        lines.append(f"A bare pool of {WORKERS} forked processes takes {bare:.3g} s for them: {ideal:.2f}.")
    return lines


def main() -> None:
    if sys.argv[1:2] == ["torchrun-worker"]:
        return torchrun_worker()
    if sys.argv[1:2] == ["xgboost-worker"]:
        return xgboost_worker(int(sys.argv[2]), sys.argv[3])
    if sys.argv[1:2] == ["part"]:
        _, _, part, engine, directory = sys.argv
        sys.stdout.write(json.dumps(PARTS[part][0](engine, directory)) + "\n")
        return None
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray", help="Python of an environment with Ray")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=sorted(PARTS), action="append")
    arguments = parser.parse_args()
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part, (_, peers) in PARTS.items():
        if arguments.part and part not in arguments.part:
            continue
        engines = [(sys.executable, engine) for engine in ("rayjup", *peers)]
        if arguments.ray:
            engines.append((arguments.ray, "ray"))
        for python, engine in engines:
            found.setdefault(part, {})[engine] = run_part(python, part, engine, 300.0)
            sys.stderr.write(f"{part} {engine}: {found[part][engine]}\n")
    load_now = os.getloadavg()[0]
    text = [
        "# Training",
        "",
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {WORKERS} workers; `benchmarks/train.py`. "
        f"Load of the machine at the end: {load_now:.1f}.",
        "",
        *rows(found),
    ]
    sys.stdout.write("\n".join(text) + "\n")
    if arguments.out:
        arguments.out.write_text("\n".join(text) + "\n")
    return None


if __name__ == "__main__":
    main()
