"""The concerns of a configuration, one dataclass each; `AlgorithmConfig` is composed of them.

Names and defaults are Ray's. What an algorithm sets differently stands in its own file: a subclass of
`Training`, and ``DEFAULTS`` for other sections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Schedule = float | list | None  # a number, or [[time step, value], …] with linear ways between


def default_policy_mapping_fn(aid: Any, episode: Any = None, worker: Any = None, **kwargs: Any) -> str:
    """All agents are played by the one module."""
    return "default_policy"


@dataclass
class PythonEnvironment:
    """Environment variables of the processes."""

    extra_python_environs_for_driver: dict = field(default_factory=dict)
    extra_python_environs_for_worker: dict = field(default_factory=dict)


@dataclass
class Resources:
    """What the algorithm's own process needs."""

    num_cpus_for_main_process: float = 1
    num_gpus: float = 0
    placement_strategy: str = "PACK"


@dataclass
class Framework:
    """PyTorch, and its compiler."""

    framework_str: str = "torch"
    torch_compile_learner: bool = False
    torch_compile_learner_what_to_compile: Any = "forward_train"
    torch_compile_learner_dynamo_mode: str | None = None
    torch_compile_learner_dynamo_backend: str = "inductor"
    torch_compile_worker: bool = False
    torch_compile_worker_dynamo_backend: str = "inductor"
    torch_compile_worker_dynamo_mode: str | None = None
    torch_skip_nan_gradients: bool = False


@dataclass
class ApiStack:
    """There is one stack: the new one."""

    enable_rl_module_and_learner: bool = True
    enable_env_runner_and_connector_v2: bool = True


@dataclass
class Environment:
    """The environment, its spaces, and what happens to rewards and actions on the way."""

    env: Any = None
    env_config: dict = field(default_factory=dict)
    observation_space: Any = None
    action_space: Any = None
    render_env: bool = False
    clip_rewards: float | bool | None = None
    normalize_actions: bool = True
    clip_actions: bool = False
    disable_env_checking: bool = False
    is_atari: bool = False
    action_mask_key: str = "action_mask"


@dataclass
class EnvRunners:
    """Sampling: how many runners with how many environments, and how they sample."""

    env_runner_cls: Any = None
    num_env_runners: int = 0
    create_local_env_runner: bool = True
    num_envs_per_env_runner: int = 1
    gym_env_vectorize_mode: Any = "sync"
    num_cpus_per_env_runner: float = 1
    num_gpus_per_env_runner: float = 0
    custom_resources_per_env_runner: dict = field(default_factory=dict)
    validate_env_runners_after_construction: bool = True
    sample_timeout_s: float | None = 60.0
    max_requests_in_flight_per_env_runner: int = 1
    env_to_module_connector: Callable | None = None
    module_to_env_connector: Callable | None = None
    add_default_connectors_to_env_to_module_pipeline: bool = True
    add_default_connectors_to_module_to_env_pipeline: bool = True
    episode_lookback_horizon: int = 1
    merge_env_runner_states: bool | str = "training_only"
    broadcast_env_runner_states: bool = True
    compress_observations: bool = False
    rollout_fragment_length: int | str = 200
    batch_mode: str = "truncate_episodes"
    explore: bool = True
    episodes_to_numpy: bool = True


@dataclass
class Learners:
    """Learning: how many learners, on what."""

    num_learners: int = 0
    num_cpus_per_learner: float | str = "auto"
    num_gpus_per_learner: float = 0
    custom_resources_per_learner: dict = field(default_factory=dict)
    num_aggregator_actors_per_learner: int = 0
    max_requests_in_flight_per_aggregator_actor: int = 3
    local_gpu_idx: int = 0
    max_requests_in_flight_per_learner: int = 3
    learner_class: Any = None
    learner_connector: Callable | None = None
    add_default_connectors_to_learner_pipeline: bool = True
    learner_config_dict: dict = field(default_factory=dict)


@dataclass
class Training:
    """Hyperparameters that all algorithms know."""

    gamma: float = 0.99
    lr: Schedule = 0.001
    grad_clip: float | None = None
    grad_clip_by: str = "global_norm"
    train_batch_size: int = 32
    train_batch_size_per_learner: int | None = None
    num_epochs: int = 1
    minibatch_size: int | None = None
    shuffle_batch_per_epoch: bool = False
    model: dict = field(default_factory=dict)


@dataclass
class Callbacks:
    """What is called when something happens: a class (or several), or single functions."""

    callbacks_class: Any = None
    on_algorithm_init: Any = None
    on_train_result: Any = None
    on_evaluate_start: Any = None
    on_evaluate_end: Any = None
    on_evaluate_offline_start: Any = None
    on_evaluate_offline_end: Any = None
    on_env_runners_recreated: Any = None
    on_offline_eval_runners_recreated: Any = None
    on_checkpoint_loaded: Any = None
    on_environment_created: Any = None
    on_episode_created: Any = None
    on_episode_start: Any = None
    on_episode_step: Any = None
    on_episode_end: Any = None
    on_sample_end: Any = None


@dataclass
class Evaluation:
    """Playing without learning, between iterations or beside them."""

    evaluation_interval: int | None = None
    evaluation_duration: int | str = 10
    evaluation_duration_unit: str = "episodes"
    evaluation_auto_duration_min_env_steps_per_sample: int = 100
    evaluation_auto_duration_max_env_steps_per_sample: int = 2000
    evaluation_sample_timeout_s: float | None = 120.0
    evaluation_parallel_to_training: bool = False
    evaluation_force_reset_envs_before_iteration: bool = True
    evaluation_config: Any = None
    evaluation_num_env_runners: int = 0
    custom_evaluation_function: Callable | None = None
    offline_evaluation_interval: int | None = None
    num_offline_eval_runners: int = 0
    offline_evaluation_type: str = "eval_loss"
    offline_loss_for_module_fn: Callable | None = None
    offline_eval_batch_size_per_runner: int = 256
    dataset_num_iters_per_offline_eval_runner: int = 1
    offline_evaluation_timeout_s: float = 120.0


@dataclass
class OfflineDataSettings:
    """Learning from recorded data, and recording."""

    input_: Any = "sampler"
    offline_data_class: Any = None
    input_read_method: Any = "read_parquet"
    input_read_method_kwargs: dict = field(default_factory=dict)
    input_read_schema: dict = field(default_factory=dict)
    input_read_episodes: bool = False
    input_read_sample_batches: bool = False
    input_read_batch_size: int | None = None
    input_filesystem: Any = None
    input_filesystem_kwargs: dict = field(default_factory=dict)
    input_compress_columns: list = field(default_factory=list)
    materialize_data: bool = True
    materialize_mapped_data: bool = True
    ignore_final_observation: bool = False
    prelearner_class: Any = None
    dataset_num_iters_per_learner: int | None = None
    input_config: dict = field(default_factory=dict)
    actions_in_input_normalized: bool = False
    postprocess_inputs: bool = False
    shuffle_buffer_size: int = 0
    output: str | None = None
    output_config: dict = field(default_factory=dict)
    output_max_rows_per_file: int | None = None
    output_write_remaining_data: bool = False
    output_write_method: str = "write_parquet"
    output_write_method_kwargs: dict = field(default_factory=dict)
    output_filesystem: Any = None
    output_filesystem_kwargs: dict = field(default_factory=dict)
    output_write_episodes: bool = True


@dataclass
class MultiAgent:
    """Which module plays which agent, and which of them learn."""

    policies: Any = field(default_factory=lambda: {"default_policy"})
    policy_mapping_fn: Callable = default_policy_mapping_fn
    policies_to_train: Any = None
    count_steps_by: str = "env_steps"
    algorithm_config_overrides_per_module: dict = field(default_factory=dict)


@dataclass
class Reporting:
    """How long an iteration is, and what its result says."""

    metrics_num_episodes_for_smoothing: int = 100
    min_time_s_per_iteration: float | None = None
    min_train_timesteps_per_iteration: int = 0
    min_sample_timesteps_per_iteration: int = 0
    log_gradients: bool = False
    keep_per_episode_custom_metrics: bool = False
    custom_stats_cls_lookup: dict | None = None


@dataclass
class Checkpointing:
    """What goes into checkpoints."""

    export_native_model_files: bool = False
    checkpoint_trainable_policies_only: bool = False


@dataclass
class Debugging:
    """Random seed, log level."""

    log_level: str = "WARN"
    log_sys_usage: bool = True
    seed: int | None = None


@dataclass
class FaultTolerance:
    """What happens when env runners or environments fail."""

    restart_failed_env_runners: bool = True
    ignore_env_runner_failures: bool = False
    max_num_env_runner_restarts: int = 1000
    delay_between_env_runner_restarts_s: float = 60.0
    restart_failed_sub_environments: bool = False
    num_consecutive_env_runner_failures_tolerance: int = 100
    env_runner_health_probe_timeout_s: float = 30.0
    env_runner_restore_timeout_s: float = 1800.0


@dataclass
class Modules:
    """The RLModules."""

    model_config: Any = field(default_factory=dict)
    rl_module_spec: Any = None


@dataclass
class Experimental:
    """What may change."""

    _validate_config: bool = True
    _use_msgpack_checkpoints: bool = False
    _torch_grad_scaler_class: Any = None
    _torch_lr_scheduler_classes: Any = None


SECTIONS: dict[str, type] = {
    "python_environment": PythonEnvironment,
    "resources": Resources,
    "framework": Framework,
    "api_stack": ApiStack,
    "environment": Environment,
    "env_runners": EnvRunners,
    "learners": Learners,
    "training": Training,
    "callbacks": Callbacks,
    "evaluation": Evaluation,
    "offline_data": OfflineDataSettings,
    "multi_agent": MultiAgent,
    "reporting": Reporting,
    "checkpointing": Checkpointing,
    "debugging": Debugging,
    "fault_tolerance": FaultTolerance,
    "rl_module": Modules,
    "experimental": Experimental,
}
