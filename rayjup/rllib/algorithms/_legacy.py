"""Older spellings, translated into today's with one warning each. Nothing else in this package knows them.

Three kinds: settings and methods of older Ray versions; settings of Ray that have nothing to set here; and
environments of the old gym interface.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

_warned: set[str] = set()

# Old setting -> (section, today's setting).
RENAMED: dict[str, str] = {
    "num_rollout_workers": "num_env_runners",
    "num_workers": "num_env_runners",
    "num_envs_per_worker": "num_envs_per_env_runner",
    "num_cpus_per_worker": "num_cpus_per_env_runner",
    "num_gpus_per_worker": "num_gpus_per_env_runner",
    "custom_resources_per_worker": "custom_resources_per_env_runner",
    "num_learner_workers": "num_learners",
    "num_cpus_per_learner_worker": "num_cpus_per_learner",
    "num_gpus_per_learner_worker": "num_gpus_per_learner",
    "num_sgd_iter": "num_epochs",
    "sgd_minibatch_size": "minibatch_size",
    "mini_batch_size": "minibatch_size",
    "mini_batch_size_per_learner": "minibatch_size",
    "lambda": "lambda_",
    "input": "input_",
    "framework": "framework_str",
    "callbacks": "callbacks_class",
    "evaluation_num_workers": "evaluation_num_env_runners",
    "ignore_worker_failures": "ignore_env_runner_failures",
    "recreate_failed_workers": "restart_failed_env_runners",
    "model_config_dict": "model_config",
    "min_time_s_per_reporting": "min_time_s_per_iteration",
    "timesteps_per_iteration": "min_sample_timesteps_per_iteration",
    "horizon": "",
    "learner_config": "learner_config_dict",
    "vf_loss": "vf_loss_coeff",
    "target_update_frequency": "target_network_update_freq",
}

# Ray's settings for the old stack, TensorFlow or machinery that does not exist here.
WITHOUT_EFFECT = frozenset(
    [
        "eager_tracing",
        "eager_max_retraces",
        "tf_session_args",
        "local_tf_session_args",
        "torch_ddp_kwargs",
        "_fake_gpus",
        "custom_resources_for_main_process",
        "create_env_on_local_worker",
        "use_env_runner_state_server",
        "env_runner_state_server_max_concurrency",
        "use_worker_filter_stats",
        "update_worker_filter_stats",
        "exploration_config",
        "sample_collector",
        "remote_worker_envs",
        "remote_env_batch_wait_ms",
        "preprocessor_pref",
        "observation_filter",
        "synchronize_filter",
        "enable_tf1_exec_eagerly",
        "sampler_perf_stats_ema_coef",
        "enable_connectors",
        "optimizer",
        "off_policy_estimation_methods",
        "ope_split_batch_by_episode",
        "evaluation_unhealthy_workers_timeout_s",
        "evaluation_error_after_n_consecutive_skips",
        "always_attach_evaluation_results",
        "enable_async_evaluation",
        "policy_map_capacity",
        "policy_states_are_swappable",
        "observation_fn",
        "replay_mode",
        "policy_map_cache",
        "metrics_episode_collection_timeout_s",
        "fake_sampler",
        "num_consecutive_worker_failures_tolerance",
        "worker_health_probe_timeout_s",
        "worker_restore_timeout_s",
        "_enable_rl_module_api",
        "_enable_learner_api",
        "_tf_policy_handles_more_than_one_loss",
        "_disable_preprocessor_api",
        "_disable_action_flattening",
        "_disable_initialize_loss_from_dummy_batch",
        "env_task_fn",
        "action_dist_class",
        "offline_eval_runner_class",
        "offline_eval_rl_module_inference_only",
        "num_cpus_per_offline_eval_runner",
        "num_gpus_per_offline_eval_runner",
        "custom_resources_per_offline_eval_runner",
        "max_requests_in_flight_per_offline_eval_runner",
        "broadcast_offline_eval_runner_states",
        "validate_offline_eval_runners_after_construction",
        "restart_failed_offline_eval_runners",
        "ignore_offline_eval_runner_failures",
        "max_num_offline_eval_runner_restarts",
        "offline_eval_runner_health_probe_timeout_s",
        "offline_eval_runner_restore_timeout_s",
        "map_batches_kwargs",
        "iter_batches_kwargs",
        "prelearner_buffer_class",
        "prelearner_buffer_kwargs",
        "prelearner_module_synch_period",
        "prelearner_use_recorded_module_states",
        "offline_sampling",
        "output_compress_columns",
        "output_max_file_size",
        "max_requests_in_flight_per_sampler_worker",
        "num_gpu_loader_threads",
        "num_multi_gpu_tower_stacks",
        "minibatch_buffer_size",
        "replay_proportion",
        "replay_buffer_num_slots",
        "learner_queue_timeout",
        "timeout_s_sampler_manager",
        "timeout_s_aggregator_manager",
        "num_aggregation_workers",
        "max_requests_in_flight_per_aggregator_worker",
        "optimization_config",
        "use_state_preprocessor",
        "worker_side_prioritization",
        "_use_beta_distribution",
        "_deterministic_loss",
        "hiddens",
        "noisy",
        "sigma0",
        "before_learn_on_batch",
        "adam_epsilon",
        "vf_share_layers",
        "simple_q",
        "num_aggregator_actors_per_learner",
    ]
)


def warn_once(key: str, message: str) -> None:
    """A DeprecationWarning-like note that comes once per process and key."""
    if key not in _warned:
        _warned.add(key)
        warnings.warn(message, FutureWarning, stacklevel=5)


def setting(name: str, fields: dict[str, Any]) -> str | None:
    """Today's name of a setting; None when it has no effect here.

    Parameters
    ----------
    name
        As the program says it.
    fields
        Settings that exist.
    """
    if name in fields:
        return name
    today = RENAMED.get(name)
    if today and today in fields:
        if name not in ("lambda", "input", "framework", "callbacks"):
            warn_once(name, f"{name} is an older spelling: say {today}.")
        return today
    if name in WITHOUT_EFFECT or today == "":
        warn_once(name, f"{name} has no effect in rayjup.rllib.")
        return None
    raise _unknown(name, fields)


def _unknown(name: str, fields: dict[str, Any]) -> Exception:
    import difflib

    near = difflib.get_close_matches(name, fields, 1)
    hint = f"did you mean {near[0]!r}?" if near else "see the section's signature for what there is."
    return TypeError(f"there is no setting {name!r}: {hint}")


def trainer(name: str, algorithm: type) -> type:
    """An old ``PPOTrainer`` as today's algorithm: ``PPOTrainer(config={...}, env=...)``."""

    class Trainer(algorithm):  # type: ignore[misc, valid-type]
        """An algorithm under its name of Ray 1."""

        def __init__(self, config: Any = None, env: Any = None, *args: Any, **kwargs: Any) -> None:
            warn_once(name, f"{name} is an older spelling: say {algorithm.__name__}Config().build_algo().")
            super().__init__(config, env, *args, **kwargs)

    Trainer.__name__ = Trainer.__qualname__ = name
    return Trainer


def modern_env(make: Callable[[], Any]) -> Any:
    """An environment from a maker, with the interface of gymnasium also where it has the one of gym."""
    env = make()
    import inspect

    import gymnasium

    if isinstance(env, gymnasium.vector.VectorEnv):
        return env
    if isinstance(env, gymnasium.Env):
        reset = inspect.signature(type(env).reset).parameters
        takes_seed = "seed" in reset or any(p.kind is p.VAR_KEYWORD for p in reset.values())
        return env if takes_seed else _OldEnv(env)
    if hasattr(env, "reset") and hasattr(env, "step") and hasattr(env, "observation_space"):
        return _OldEnv(env)
    raise TypeError(
        f"{type(env).__name__} is no environment: gymnasium.Env, MultiAgentEnv or one of the old gym is."
    )


def _old_env_class() -> type:
    import gymnasium

    class OldEnv(gymnasium.Env):
        """An environment of the old gym: ``reset() -> obs``, ``step() -> (obs, reward, done, info)``."""

        def __init__(self, env: Any) -> None:
            warn_once(
                f"gym:{type(env).__name__}",
                f"{type(env).__name__} has the interface of the old gym: let reset() take seed and "
                "options and return (obs, info), step() (obs, reward, terminated, truncated, info).",
            )
            self.env = env
            self.observation_space, self.action_space = (
                _space(env.observation_space),
                _space(env.action_space),
            )
            self.metadata = getattr(env, "metadata", {})

        def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
            super().reset(seed=seed)
            if seed is not None and hasattr(self.env, "seed"):
                self.env.seed(seed)
            first = self.env.reset()
            if isinstance(first, tuple) and len(first) == 2 and isinstance(first[1], dict):
                return self._cast(first[0]), first[1]
            return self._cast(first), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
            out = self.env.step(action)
            if len(out) == 5:
                return self._cast(out[0]), *out[1:]
            observation, reward, done, info = out
            truncated = bool(info.get("TimeLimit.truncated", False))
            return self._cast(observation), reward, bool(done) and not truncated, truncated, info

        def _cast(self, observation: Any) -> Any:
            import numpy as np

            dtype = getattr(self.observation_space, "dtype", None)
            return observation if dtype is None else np.asarray(observation, dtype)

        def render(self) -> Any:
            return self.env.render()

        def close(self) -> None:
            if hasattr(self.env, "close"):
                self.env.close()

    return OldEnv


def _OldEnv(env: Any) -> Any:
    return _old_env_class()(env)


def _space(space: Any) -> Any:
    """A space of the old gym as one of gymnasium."""
    import gymnasium.spaces as new

    if isinstance(space, new.Space):
        return space
    kind = type(space).__name__
    if kind == "Discrete":
        return new.Discrete(int(space.n))
    if kind == "Box":
        return new.Box(space.low, space.high, space.shape, space.dtype)
    if kind == "MultiDiscrete":
        return new.MultiDiscrete(space.nvec)
    if kind == "MultiBinary":
        return new.MultiBinary(space.n)
    if kind == "Dict":
        return new.Dict({key: _space(sub) for key, sub in space.spaces.items()})
    if kind == "Tuple":
        return new.Tuple([_space(sub) for sub in space.spaces])
    raise TypeError(f"space {space} of the old gym has no counterpart in gymnasium.")
