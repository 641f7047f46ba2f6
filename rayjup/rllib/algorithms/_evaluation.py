"""Evaluation: playing without learning, on runners of its own; and losses on recorded data."""

from __future__ import annotations

from typing import Any

import numpy as np

from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.utils.metrics import ENV_RUNNER_RESULTS, OFFLINE_EVAL_RUNNER_RESULTS
from rayjup.rllib.utils.metrics.metrics_logger import MetricsLogger


def arguments_of(algorithm: Any) -> list[dict[str, Any]]:
    """What each evaluation runner is asked for: its part of ``evaluation_duration``."""
    config, group = algorithm.config, algorithm.eval_env_runner_group
    count = max(1, group.num_healthy_remote_env_runners())
    explore = algorithm.evaluation_config.explore
    special = config.evaluation_config
    if special is None or "explore" not in (special if isinstance(special, dict) else special.to_dict()):
        explore = False
    common = {"explore": explore, "force_reset": config.evaluation_force_reset_envs_before_iteration}
    duration = config.evaluation_duration
    if duration == "auto":
        steps = config.evaluation_auto_duration_min_env_steps_per_sample
        return [{**common, "num_timesteps": steps}] * count
    unit = "num_episodes" if config.evaluation_duration_unit == "episodes" else "num_timesteps"
    shares = [duration // count + (place < duration % count) for place in range(count)]
    return [{**common, unit: share} for share in shares if share]


def play(algorithm: Any) -> dict[str, Any]:
    """Evaluate now."""
    group = algorithm.eval_env_runner_group
    group.sync_weights(from_worker_or_learner_group=algorithm.learner_group)
    _sync_connectors(algorithm)
    _, metrics = group.sample(arguments_of(algorithm), timeout_s=algorithm.config.evaluation_sample_timeout_s)
    return joined(metrics)


def begin(algorithm: Any) -> Any:
    """Ask the evaluation runners; they play while the algorithm learns."""
    algorithm.callbacks.on_evaluate_start(algorithm=algorithm, metrics_logger=algorithm.metrics)
    group = algorithm.eval_env_runner_group
    group.sync_weights(from_worker_or_learner_group=algorithm.learner_group)
    _sync_connectors(algorithm)
    each = arguments_of(algorithm)
    ids = group.healthy_env_runner_ids()
    return {i: group._actors[i].sample.remote(**kwargs) for i, kwargs in zip(ids, each, strict=False)}


def finish(algorithm: Any, pending: Any) -> dict[str, Any]:
    """The answers to `begin`."""
    group = algorithm.eval_env_runner_group
    found = group._collect(pending, algorithm.config.evaluation_sample_timeout_s)
    result = joined([metrics for _, (_, metrics) in found])
    algorithm.evaluation_metrics = result
    algorithm.callbacks.on_evaluate_end(
        algorithm=algorithm, metrics_logger=algorithm.metrics, evaluation_metrics=result
    )
    return result


def joined(metrics: list[Any]) -> dict[str, Any]:
    """The runners' metrics together, of this evaluation alone."""
    logger = MetricsLogger(root=True)
    logger.aggregate(metrics, key=ENV_RUNNER_RESULTS)
    return logger.reduce(compile=True)


def _sync_connectors(algorithm: Any) -> None:
    """What the connectors have learnt in training also counts in evaluation."""
    runner = algorithm.env_runner_group.local_env_runner if algorithm.env_runner_group is not None else None
    if runner is not None:
        state = {
            name: part
            for name, part in runner.get_state(["env_to_module_connector", "module_to_env_connector"]).items()
            if name.endswith("connector") and part
        }
        if state:
            algorithm.eval_env_runner_group._spread(state, local=True)


def offline(algorithm: Any) -> dict[str, Any]:
    """Losses of the learners on recorded data, without learning."""
    config = algorithm.config
    batches = [
        algorithm.offline_data.sample(config.offline_eval_batch_size_per_runner)
        for _ in range(config.dataset_num_iters_per_offline_eval_runner or 1)
    ]
    own = config.offline_loss_for_module_fn

    def losses(learner: Any) -> dict[str, float]:
        import torch

        from rayjup.rllib.core.learner.training_data import TrainingData

        found: dict[str, list[float]] = {}
        with torch.no_grad():
            for data in batches:
                given = TrainingData(episodes=data) if isinstance(data, list) else TrainingData(batch=data)
                whole = learner.train_batch(given)
                out = {m: learner.module[m].forward_train(columns) for m, columns in whole.items()}
                for m, columns in whole.items():
                    special = learner.config.get_config_for_module(m)
                    compute = own or learner.compute_loss_for_module
                    arguments = {"module_id": m, "config": special, "batch": columns, "fwd_out": out[m]}
                    value = compute(runner=learner, **arguments) if own else compute(**arguments)
                    found.setdefault(m, []).append(float(value))
        learner._logged.clear()
        return {m: float(np.mean(values)) for m, values in found.items()}

    each = algorithm.learner_group.foreach_learner(losses, remote_actor_ids=[0])
    return {OFFLINE_EVAL_RUNNER_RESULTS: {m: {"total_eval_loss": v} for m, v in each[0].items()}}


def single_action(algorithm: Any, observation: Any, state: Any, explore: bool, **kwargs: Any) -> Any:
    """One action for one observation; (action, state, {}) of recurrent modules."""
    import torch

    from rayjup.rllib.connectors.module_to_env.actions import actions_of, for_env
    from rayjup.rllib.utils import nested
    from rayjup.rllib.utils.torch_utils import convert_to_torch_tensor

    module = algorithm.get_module(kwargs.get("policy_id", DEFAULT_MODULE_ID))
    recurrent = module.is_stateful()
    lead = (None, None) if recurrent else (None,)
    batch = {
        "obs": convert_to_torch_tensor(nested.map_leaves(lambda leaf: np.asarray(leaf)[lead], observation))
    }
    if recurrent:
        begin = state or module.get_initial_state()
        batch["state_in"] = nested.map_leaves(lambda leaf: torch.as_tensor(leaf)[None], begin)
    with torch.inference_mode():
        out = module.forward_exploration(batch) if explore else module.forward_inference(batch)
        actions_of(module, out, explore)
    action = nested.map_leaves(lambda leaf: leaf.numpy()[(0,) * len(lead)], out["actions"])
    config = algorithm.config
    action = for_env(module.action_space, action, config.normalize_actions, config.clip_actions)
    if recurrent:
        after = nested.map_leaves(lambda leaf: leaf[0].numpy(), out["state_out"])
        return action, after, {}
    return action
