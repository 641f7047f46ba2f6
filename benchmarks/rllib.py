"""PPO on CartPole with equal hyperparameters: rayjup, Stable-Baselines3 and RLlib, one after the other; how
long rollouts with advantages take; how IMPALA gains from a second runner; memory over a long run.

    python benchmarks/rllib.py --sb3 ENV/bin/python --rllib ENV/bin/python --out benchmarks/results/rllib.md

Every measurement runs in a process of its own. PPO samples and learns on the same number of steps, and says
how many of them it made per second (after its first iteration) and how much processor time 1000 steps took.
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


SHAPES = [(16, 128), (64, 512)]
ROLLOUTS = 4


def rollouts_rayjup(_: int) -> dict:
    """Milliseconds per rollout with advantages, by shape: the best of a few."""
    from rayjup.rllib.algorithms.ppo import PPOConfig
    from rayjup.rllib.core.learner.training_data import TrainingData

    found = {}
    for envs, steps in SHAPES:
        config = rllib_config(PPOConfig()).env_runners(
            num_envs_per_env_runner=envs, rollout_fragment_length=steps
        )
        config.training(train_batch_size_per_learner=envs * steps)
        algo = config.build_algo()
        learner, runner = algo.learner_group._learner, algo.env_runner
        times = []
        for _ in range(ROLLOUTS):
            begun = time.perf_counter()
            batch = learner.train_batch(TrainingData(episodes=runner.sample(num_timesteps=envs * steps)))
            times.append(time.perf_counter() - begun)
            columns = batch["default_policy"]
            assert columns["advantages"].isfinite().all()
        found[f"{envs}x{steps}"] = 1000 * min(times)
        algo.stop()
    return found


def rollouts_sb3(_: int) -> dict:
    """The same with Stable-Baselines3."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)

    class Nothing(BaseCallback):
        def _on_step(self):
            return True

    found = {}
    for envs, steps in SHAPES:
        model = PPO(
            "MlpPolicy", make_vec_env("CartPole-v1", envs, seed=0), n_steps=steps, gamma=GAMMA,
            gae_lambda=LAMBDA, seed=0, device="cpu",
        )  # fmt: skip
        _, callback = model._setup_learn(10**9, Nothing())
        callback.on_training_start(locals(), globals())
        times = []
        for _ in range(ROLLOUTS):
            begun = time.perf_counter()
            model.collect_rollouts(model.env, callback, model.rollout_buffer, n_rollout_steps=steps)
            times.append(time.perf_counter() - begun)
        found[f"{envs}x{steps}"] = 1000 * min(times)
    return found


def waiting_env():
    """An environment whose step takes 2 ms, as a simulator in another process would."""
    import gymnasium as gym
    import numpy as np

    class Waiting(gym.Env):
        def __init__(self, config=None):
            self.observation_space = gym.spaces.Box(-1, 1, (8,), np.float32)
            self.action_space = gym.spaces.Discrete(2)
            self.seen = np.zeros(8, np.float32)

        def reset(self, *, seed=None, options=None):
            self.t = 0
            return self.seen, {}

        def step(self, action):
            time.sleep(0.002)
            self.t += 1
            return self.seen, 1.0, self.t == 100, False, {}

    return Waiting


def impala(runners: int) -> dict:
    """Steps per second of IMPALA with so many runners."""
    from rayjup.rllib.algorithms.impala import IMPALAConfig

    config = IMPALAConfig().environment(waiting_env())
    config.env_runners(num_env_runners=runners, rollout_fragment_length=50, num_cpus_per_env_runner=0.5)
    config.learners(num_learners=0).training(train_batch_size_per_learner=200)
    config.reporting(min_time_s_per_iteration=2).rl_module(model_config={"fcnet_hiddens": [32]})
    algo = config.build_algo()
    algo.train()
    begun, before = time.perf_counter(), algo._steps()[0]
    for _ in range(3):
        algo.train()
    rate = (algo._steps()[0] - before) / (time.perf_counter() - begun)
    algo.stop()
    return {"rate": rate}


def memory(seconds: int) -> dict:
    """Resident megabytes of PPO on an environment that costs nothing, after a sixth of the time and at its
    end.
    """
    import gymnasium as gym
    import numpy as np

    from rayjup.rllib.algorithms.ppo import PPOConfig

    class Dummy(gym.Env):
        def __init__(self, config=None):
            self.observation_space = gym.spaces.Box(-1, 1, (64,), np.float32)
            self.action_space = gym.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            self.t = 0
            return np.zeros(64, np.float32), {}

        def step(self, action):
            self.t += 1
            return np.full(64, self.t / 50, np.float32), 1.0, self.t == 50, False, {}

    def resident() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    config = rllib_config(PPOConfig()).environment(Dummy)
    algo = config.build_algo()
    begun, early, iterations = time.perf_counter(), 0.0, 0
    while time.perf_counter() - begun < seconds:
        algo.train()
        iterations += 1
        if not early and time.perf_counter() - begun > seconds / 6:
            early = resident()
    algo.stop()
    return {"early": early, "end": resident(), "steps": iterations * ROUND}


def measure(python: str, engine: str, amount: int) -> dict | str:
    """A measurement in a process of its own; the last line of what went wrong."""
    command = [python, __file__, "--engine", engine, "--steps", str(amount)]
    out = subprocess.run(command, capture_output=True, text=True)
    found = [line for line in out.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(found[0][7:]) if found else str(out.stderr.strip().splitlines()[-1:])


def ppo_table(pythons: dict[str, str | None], steps: int) -> list[str]:
    """PPO by engine."""
    lines = [
        "| engine | steps/s | processor s per 1000 steps | mean return at the end |",
        "|---|--:|--:|--:|",
    ]
    for engine, python in pythons.items():
        if python is None:
            continue
        r = measure(python, engine, steps // 4 if engine == "rllib" else steps)
        if isinstance(r, str):
            lines.append(f"| {engine} | failed: {r} | | |")
        else:
            lines.append(f"| {engine} | {r['rate']:.0f} | {r['cpu']:.3f} | {r['mean']:.0f} |")
        print(lines[-1], flush=True)
    return lines


def rollout_table(sb3_python: str | None) -> list[str]:
    """Rollouts by engine and shape."""
    lines = ["| environments x steps | rayjup, ms | Stable-Baselines3, ms |", "|---|--:|--:|"]
    ours = measure(sys.executable, "rollouts_rayjup", 0)
    theirs = measure(sb3_python, "rollouts_sb3", 0) if sb3_python else {}
    for envs, steps in SHAPES:
        key = f"{envs}x{steps}"
        cells = [
            f"{r[key]:.0f}" if isinstance(r, dict) and key in r else str(r or "") for r in (ours, theirs)
        ]
        lines.append(f"| {key} | {cells[0]} | {cells[1]} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Run everything, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sb3")
    parser.add_argument("--rllib")
    parser.add_argument("--steps", type=int, default=40 * ROUND)
    parser.add_argument("--memory-s", type=int, default=60, help="how long the run for memory is")
    parser.add_argument("--out")
    parser.add_argument(
        "--engine",
        choices=["rayjup", "sb3", "rllib", "rollouts_rayjup", "rollouts_sb3", "impala", "memory"],
    )
    options = parser.parse_args()
    if options.engine:
        print("RESULT " + json.dumps(globals()[options.engine](options.steps)))
        return
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        "# Reinforcement learning\n",
        f"On {os.cpu_count()} cores (load before: {load}).\n",
        "## PPO on CartPole-v1\n",
        f"{ENVS} environments x {STEPS} steps, minibatches of {BATCH}, {EPOCHS} epochs, two networks of 64 x "
        f"64, one process, one thread; {options.steps} steps (RLlib: a quarter of them).\n",
        *ppo_table({"rayjup": sys.executable, "sb3": options.sb3, "rllib": options.rllib}, options.steps),
        "\n## Rollout with advantages, CartPole-v1\n",
        "Network as above; the best of four.\n",
        *rollout_table(options.sb3),
    ]
    lines += ["\n## IMPALA on an environment whose step takes 2 ms\n", "| runners | steps/s |", "|--:|--:|"]
    for runners in (1, 2):
        r = measure(sys.executable, "impala", runners)
        lines.append(f"| {runners} | {r if isinstance(r, str) else round(r['rate'])} |")
        print(lines[-1], flush=True)
    r = measure(sys.executable, "memory", options.memory_s)
    if isinstance(r, str):
        said = r
    else:
        grown = 100 * (r["end"] / r["early"] - 1)
        said = (
            f"PPO on an environment that does nothing, {options.memory_s} s, {r['steps']} steps: "
            f"{r['early']:.0f} MB resident after a sixth, {r['end']:.0f} MB at the end ({grown:+.1f} %)."
        )
    lines += ["\n## Memory\n", said]
    print(said, flush=True)
    if options.out:
        Path(options.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
