"""PPO on CartPole with equal hyperparameters: rayjup, Stable-Baselines3 and RLlib, one after the other.

    python benchmarks/rllib.py --sb3 ENV/bin/python --rllib ENV/bin/python --out benchmarks/results/rllib.md

Every engine runs in a process of its own, samples and learns on the same number of steps, and says how many
of them it made per second (after its first iteration) and how much processor time 1000 steps took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ENVS, STEPS, BATCH, EPOCHS = 8, 128, 256, 10
LR, GAMMA, LAMBDA, CLIP = 1e-3, 0.99, 0.95, 0.2
ROUND = ENVS * STEPS


def cpu() -> float:
    """Processor seconds of this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def rllib_config(config):
    """The hyperparameters in RLlib's words; rayjup's are the same."""
    config = config.environment("CartPole-v1")
    config = config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=ENVS, rollout_fragment_length=STEPS
    )
    config = config.training(
        lr=LR, gamma=GAMMA, lambda_=LAMBDA, clip_param=CLIP, train_batch_size_per_learner=ROUND,
        minibatch_size=BATCH, num_epochs=EPOCHS, use_kl_loss=False, vf_loss_coeff=0.5, vf_clip_param=1e6,
        grad_clip=0.5, entropy_coeff=0.0,
    )  # fmt: skip
    return config.rl_module(
        model_config={"fcnet_hiddens": [64, 64], "fcnet_activation": "tanh", "vf_share_layers": False}
    ).debugging(seed=0)


def train(algo, total: int) -> dict:
    """Iterations of an RLlib-like algorithm."""
    algo.train()
    begun, used = time.perf_counter(), cpu()
    steps = 0
    while steps < total:
        result = algo.train()
        steps += ROUND
    spent, busy = time.perf_counter() - begun, cpu() - used
    mean = result["env_runners"]["episode_return_mean"]
    algo.stop()
    return {"rate": steps / spent, "cpu": 1000 * busy / steps, "mean": mean}


def rayjup(total: int) -> dict:
    """Here."""
    from rayjup.rllib.algorithms.ppo import PPOConfig

    return train(rllib_config(PPOConfig()).build_algo(), total)


def rllib(total: int) -> dict:
    """Ray's RLlib, also without actors."""
    import torch
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    torch.set_num_threads(1)
    config = rllib_config(PPOConfig())
    model = DefaultModelConfig(fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False)
    return train(config.rl_module(model_config=model).build_algo(), total)


def sb3(total: int) -> dict:
    """Stable-Baselines3."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    marks = []

    class Mark(BaseCallback):
        def _on_rollout_start(self):
            marks.append((time.perf_counter(), cpu(), self.num_timesteps))

        def _on_step(self):
            return True

    model = PPO(
        "MlpPolicy", make_vec_env("CartPole-v1", ENVS, seed=0), n_steps=STEPS, batch_size=BATCH,
        n_epochs=EPOCHS,
        learning_rate=LR, gamma=GAMMA, gae_lambda=LAMBDA, clip_range=CLIP, ent_coef=0.0, vf_coef=0.5,
        max_grad_norm=0.5, seed=0, device="cpu",
    )  # fmt: skip
    model.learn(total + ROUND, callback=Mark())
    marks.append((time.perf_counter(), cpu(), model.num_timesteps))
    (t0, c0, n0), (t1, c1, n1) = marks[1], marks[-1]
    mean = sum(e["r"] for e in model.ep_info_buffer) / len(model.ep_info_buffer)
    return {"rate": (n1 - n0) / (t1 - t0), "cpu": 1000 * (c1 - c0) / (n1 - n0), "mean": mean}


def main() -> None:
    """Run all engines, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sb3")
    parser.add_argument("--rllib")
    parser.add_argument("--steps", type=int, default=40 * ROUND)
    parser.add_argument("--out")
    parser.add_argument("--engine", choices=["rayjup", "sb3", "rllib"])
    options = parser.parse_args()
    if options.engine:
        print("RESULT " + json.dumps(globals()[options.engine](options.steps)))
        return
    pythons = {"rayjup": sys.executable, "sb3": options.sb3, "rllib": options.rllib}
    lines = [
        "| engine | steps/s | processor s per 1000 steps | mean return at the end |",
        "|---|--:|--:|--:|",
    ]
    for engine, python in pythons.items():
        if python is None:
            continue
        command = [python, __file__, "--engine", engine, "--steps", str(options.steps)]
        out = subprocess.run(command, capture_output=True, text=True)
        found = [line for line in out.stdout.splitlines() if line.startswith("RESULT ")]
        if not found:
            lines.append(f"| {engine} | failed: {out.stderr.strip().splitlines()[-1:]} | | |")
            continue
        r = json.loads(found[0][7:])
        lines.append(f"| {engine} | {r['rate']:.0f} | {r['cpu']:.3f} | {r['mean']:.0f} |")
        print(lines[-1], flush=True)
    load = ", ".join(f"{value:.0f}" for value in os.getloadavg())
    head = (
        f"# PPO on CartPole-v1\n\n{ENVS} environments x {STEPS} steps, minibatches of {BATCH}, {EPOCHS} "
        f"epochs, two networks of 64 x 64, one process, one thread; {options.steps} steps "
        f"on {os.cpu_count()} cores (load: {load}).\n\n"
    )
    if options.out:
        Path(options.out).write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
