"""Do the algorithms learn? Returns, steps and seconds until a threshold, over several seeds.

    python benchmarks/learning.py --out benchmarks/results/learning.md [--only PPO,DQN] [--seeds 5]

Every line is a run of its own: the mean of the newest 100 training episodes, or (where it says so) of 10 or
more episodes played without exploring, must reach the threshold. Algorithms for recorded data get what an
expert, trained here first, has recorded.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """An algorithm on an environment, until a threshold."""

    algorithm: str
    env: str
    goal: float
    most: int  # sampled steps; updates of algorithms for recorded data
    played: int = 0  # episodes played without exploring that must reach the goal; 0: training episodes
    seeds: int = 5
    recorded_by: str = ""  # the expert
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # besides `training(tuned=True)`


LOCAL = {"env_runners": {"num_env_runners": 0}}
RUNS = [
    Run("PPO", "CartPole-v1", 475.0, 150_000),
    Run("DQN", "CartPole-v1", 450.0, 100_000),
    Run("IMPALA", "CartPole-v1", 450.0, 400_000, seeds=3, settings=LOCAL),
    Run("APPO", "CartPole-v1", 450.0, 400_000, seeds=3, settings=LOCAL),
    Run("SAC", "Pendulum-v1", -250.0, 10_000, played=10, seeds=3),
    Run("TQC", "Pendulum-v1", -250.0, 10_000, played=10, seeds=3),
    Run("DreamerV3", "CartPole-v1", 200.0, 8_000, played=10, seeds=1),
    Run("BC", "CartPole-v1", 450.0, 2_000, played=20, seeds=3, recorded_by="PPO"),
    Run("MARWIL", "CartPole-v1", 450.0, 2_000, played=20, seeds=3, recorded_by="PPO"),
    Run("IQL", "CartPole-v1", 450.0, 4_000, played=20, seeds=3, recorded_by="PPO"),
    Run("CQL", "Pendulum-v1", -300.0, 4_000, played=10, seeds=3, recorded_by="SAC"),
]


def config_of(run: Run, seed: int) -> Any:
    """The run's config."""
    module = importlib.import_module(f"rayjup.rllib.algorithms.{run.algorithm.lower()}")
    config = getattr(module, f"{run.algorithm}Config")().environment(run.env)
    config.training(tuned=True).debugging(seed=seed)
    for section, values in run.settings.items():
        getattr(config, section)(**values)
    if run.played:
        config.evaluation(evaluation_duration=run.played)
    return config


def learn(run: Run, seed: int) -> dict:
    """One run; what it reached."""
    config = config_of(run, seed)
    if run.recorded_by:
        config.offline_data(input_=[recorded(run)], dataset_num_iters_per_learner=250)
    algo = config.build_algo()
    begun, cpu = time.perf_counter(), time.process_time()
    done = asked = 0
    while True:
        result = algo.train()
        done = done + 250 if run.recorded_by else result["num_env_steps_sampled_lifetime"]
        mean = result.get("env_runners", {}).get("episode_return_mean", float("nan"))
        if run.played and (run.recorded_by or done >= asked):
            asked = done + 1000
            mean = algo.evaluate()["env_runners"]["episode_return_mean"]
        elif run.played:
            continue
        if mean >= run.goal or done >= run.most:
            break
    algo.stop()
    return {
        "steps": done,
        "mean": mean,
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "reached": bool(mean >= run.goal),
    }


def recorded(run: Run) -> str:
    """A directory with 50 episodes of an expert in the run's environment; made where it is missing."""
    from rayjup.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

    path = Path(tempfile.gettempdir()) / f"rayjup-recorded-{run.env}-{os.getuid()}"
    if path.exists():
        return str(path)
    expert = next(r for r in RUNS if (r.algorithm, r.env) == (run.recorded_by, run.env))
    algo = config_of(expert, seed=100).build_algo()
    while True:
        result = algo.train()
        if expert.played:
            result = algo.evaluate()
        if result["env_runners"]["episode_return_mean"] >= expert.goal:
            break
    config = algo.config.copy(copy_frozen=False).offline_data(output=str(path))
    runner = OfflineSingleAgentEnvRunner(config=config)
    runner.module.set_state(algo.get_weights()["default_policy"])
    runner.sample(num_episodes=50, explore=False)
    runner.stop()
    algo.stop()
    return str(path)


def main() -> None:
    """Run what was asked for; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out")
    parser.add_argument("--only")
    parser.add_argument("--seeds", type=int, help="at most so many per algorithm")
    parser.add_argument("--one", nargs=2, metavar=("ALGORITHM", "SEED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, seed = options.one
        print("RESULT " + json.dumps(learn(next(r for r in RUNS if r.algorithm == name), int(seed))))
        return
    lines = [
        "| algorithm | environment | threshold | seed | reached | mean return | steps | s | CPU s |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    for run in RUNS:
        if options.only and run.algorithm not in options.only.split(","):
            continue
        if run.recorded_by:
            recorded(run)
        for seed in range(min(run.seeds, options.seeds or run.seeds)):
            command = [sys.executable, __file__, "--one", run.algorithm, str(seed)]
            out = subprocess.run(command, capture_output=True, text=True)
            found = [line for line in out.stdout.splitlines() if line.startswith("RESULT ")]
            if not found:
                raise SystemExit(f"{run.algorithm}, seed {seed}: {out.stderr.strip()[-2000:]}")
            r = json.loads(found[0][7:])
            how = f" ({run.played} played)" if run.played else ""
            steps = f"{r['steps']}{' updates' if run.recorded_by else ''}"
            line = (
                f"| {run.algorithm} | {run.env} | {run.goal:g}{how} | {seed} | "
                f"{'yes' if r['reached'] else 'no'} | {r['mean']:.1f} "
                f"| {steps} | {r['seconds']:.1f} | {r['cpu']:.1f} |"
            )
            lines.append(line)
            print(line, flush=True)
    if options.out:
        head = (
            f"# Learning\n\nOne process on {os.cpu_count()} cores, `training(tuned=True)`, one thread. Means "
            "are of the newest 100 training episodes, or of episodes played without exploring.\n\n"
        )
        Path(options.out).write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
