"""Steps of training, as functions."""

from __future__ import annotations

from typing import Any


def synchronous_parallel_sample(
    *,
    worker_set: Any,
    max_agent_steps: int | None = None,
    max_env_steps: int | None = None,
    concat: bool = True,
    sample_timeout_s: float | None = None,
    random_actions: bool = False,
    _uses_new_env_runners: bool = True,
    _return_metrics: bool = False,
) -> Any:
    """Episodes of all runners, until there are so many steps.

    Parameters
    ----------
    worker_set
        The `EnvRunnerGroup`.
    max_agent_steps, max_env_steps
        How many steps are enough; one round of `sample()` without.
    """
    found: list[Any] = []
    metrics: list[Any] = []
    steps = 0
    while True:
        episodes, new = worker_set.sample({"random_actions": random_actions}, sample_timeout_s)
        found.extend(episodes)
        metrics.extend(new)
        steps += sum(e.agent_steps() if max_agent_steps else len(e) for e in episodes)
        if not episodes or steps >= (max_agent_steps or max_env_steps or 0):
            return (found, metrics) if _return_metrics else found
