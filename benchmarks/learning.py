"""Do the algorithms learn? Returns, steps and seconds until a threshold, over several seeds.

    python benchmarks/learning.py --out benchmarks/results/learning.md [--only PPO] [--seeds 5]

Every line is a run of its own: the mean of the newest 100 training episodes, or (where it says so) of 10
episodes played without exploring, must reach the threshold.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from pathlib import Path

# algorithm, environment, threshold, most steps, by evaluation, settings besides `tuned=True`
RUNS = [
    ("PPO", "CartPole-v1", 475.0, 150_000, False, {}),
    ("DQN", "CartPole-v1", 450.0, 120_000, False, {}),
    ("IMPALA", "CartPole-v1", 450.0, 400_000, False, {"env_runners": {"num_env_runners": 0}}),
    ("APPO", "CartPole-v1", 450.0, 400_000, False, {"env_runners": {"num_env_runners": 0}}),
    ("SAC", "Pendulum-v1", -250.0, 15_000, True, {}),
    ("TQC", "Pendulum-v1", -250.0, 15_000, True, {}),
]


def run(name: str, env: str, goal: float, most: int, by_evaluation: bool, settings: dict, seed: int) -> dict:
    """One run; what it reached."""
    module = importlib.import_module(f"rayjup.rllib.algorithms.{name.lower()}")
    config = getattr(module, f"{name}Config")().environment(env).training(tuned=True).debugging(seed=seed)
    for section, values in settings.items():
        getattr(config, section)(**values)
    algo = config.build_algo()
    begun, cpu = time.perf_counter(), time.process_time()
    while True:
        result = algo.train()
        steps = result["num_env_steps_sampled_lifetime"]
        mean = result["env_runners"]["episode_return_mean"]
        if by_evaluation and steps % 2000 < 1000:
            mean = algo.evaluate()["env_runners"]["episode_return_mean"]
        if mean >= goal or steps >= most:
            break
    algo.stop()
    return {
        "steps": steps,
        "mean": mean,
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "reached": mean >= goal,
    }


def main() -> None:
    """Run what was asked for; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out")
    parser.add_argument("--only")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    lines = [
        "| algorithm | environment | threshold | seed | reached | mean return | steps | s | CPU s |",
        "|---|---|--:|--:|---|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    for name, env, goal, most, by_evaluation, settings in RUNS:
        if options.only and name not in options.only.split(","):
            continue
        for seed in range(options.seeds):
            r = run(name, env, goal, most, by_evaluation, settings, seed)
            line = (
                f"| {name} | {env} | {goal:g} | {seed} | {'yes' if r['reached'] else 'no'} | {r['mean']:.1f} "
                f"| {r['steps']} | {r['seconds']:.1f} | {r['cpu']:.1f} |"
            )
            lines.append(line)
            print(line, flush=True)
    if options.out:
        head = f"# Learning\n\nOne process on {os.cpu_count()} cores, `training(tuned=True)`, one thread.\n\n"
        Path(options.out).write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
