"""Metrics: what is measured on the way (`metrics_logger`), how values are reduced (`stats`), and the names
of results.
"""

ENV_RUNNER_RESULTS, EVALUATION_RESULTS, LEARNER_RESULTS = "env_runners", "evaluation", "learners"
OFFLINE_EVAL_RUNNER_RESULTS = "offline_eval_runners"
REPLAY_BUFFER_RESULTS, FAULT_TOLERANCE_STATS, TIMERS = "replay_buffer", "fault_tolerance", "timers"
EPISODE_RETURN_MEAN, EPISODE_RETURN_MIN, EPISODE_RETURN_MAX = (
    "episode_return_mean",
    "episode_return_min",
    "episode_return_max",
)
EPISODE_LEN_MEAN, EPISODE_LEN_MIN, EPISODE_LEN_MAX = "episode_len_mean", "episode_len_min", "episode_len_max"
EPISODE_DURATION_SEC_MEAN = "episode_duration_sec_mean"
NUM_EPISODES, NUM_EPISODES_LIFETIME = "num_episodes", "num_episodes_lifetime"
NUM_ENV_STEPS_SAMPLED, NUM_ENV_STEPS_SAMPLED_LIFETIME = (
    "num_env_steps_sampled",
    "num_env_steps_sampled_lifetime",
)
NUM_AGENT_STEPS_SAMPLED = "num_agent_steps_sampled"
NUM_AGENT_STEPS_SAMPLED_LIFETIME = "num_agent_steps_sampled_lifetime"
NUM_MODULE_STEPS_SAMPLED = "num_module_steps_sampled"
NUM_MODULE_STEPS_SAMPLED_LIFETIME = "num_module_steps_sampled_lifetime"
NUM_ENV_STEPS_TRAINED, NUM_ENV_STEPS_TRAINED_LIFETIME = (
    "num_env_steps_trained",
    "num_env_steps_trained_lifetime",
)
NUM_MODULE_STEPS_TRAINED = "num_module_steps_trained"
NUM_MODULE_STEPS_TRAINED_LIFETIME = "num_module_steps_trained_lifetime"
NUM_TRAINABLE_PARAMETERS = "num_trainable_parameters"
SAMPLE_TIMER, LEARNER_UPDATE_TIMER, SYNCH_WORKER_WEIGHTS_TIMER = (
    "env_runner_sampling_timer",
    "learner_update_timer",
    "synch_weights",
)
TRAINING_STEP_TIMER, EVALUATION_ITERATION_TIMER = "training_step", "evaluation_iteration"
TRAINING_ITERATION_TIMER = "training_iteration"
NUM_TRAINING_STEP_CALLS_PER_ITERATION = "num_training_step_calls_per_iteration"


def stats_of_episodes(  # type: ignore[no-untyped-def]
    metrics,
    config,
    steps: int,
    finished: list,
    agent_steps: dict | None = None,
    module_steps: dict | None = None,
) -> None:
    """Log what a runner has sampled: steps (of agents and modules, too), and (return, length) of finished
    episodes.
    """
    window = config.metrics_num_episodes_for_smoothing
    metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
    for key, counts in (
        (NUM_AGENT_STEPS_SAMPLED, agent_steps or {"default_agent": steps}),
        (NUM_MODULE_STEPS_SAMPLED, module_steps or {"default_policy": steps}),
    ):
        for name, count in counts.items():
            metrics.log_value((key, str(name)), count, reduce="sum")
            metrics.log_value((f"{key}_lifetime", str(name)), count, reduce="lifetime_sum")
    metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
    metrics.log_value(NUM_EPISODES, len(finished), reduce="sum")
    metrics.log_value(NUM_EPISODES_LIFETIME, len(finished), reduce="lifetime_sum")
    for total, length in finished:
        if agent_steps is None:  # the only agent and its module
            metrics.log_value(("agent_episode_return_mean", "default_agent"), total, window=window)
            metrics.log_value(("module_episode_return_mean", "default_policy"), total, window=window)
        metrics.log_value(EPISODE_RETURN_MEAN, total, window=window)
        metrics.log_value(EPISODE_RETURN_MIN, total, reduce="min", window=window)
        metrics.log_value(EPISODE_RETURN_MAX, total, reduce="max", window=window)
        metrics.log_value(EPISODE_LEN_MEAN, length, window=window)
        metrics.log_value(EPISODE_LEN_MIN, length, reduce="min", window=window)
        metrics.log_value(EPISODE_LEN_MAX, length, reduce="max", window=window)
