"""Reinforcement learning: algorithms that learn from environments and from recorded data.

=================  ==========================================================
`algorithms`       the algorithms and their settings
`env`              environments, env runners, episodes
`core`             modules (networks) and learners
`connectors`       the steps between environments, modules and learners
`offline`          recorded data
`callbacks`        what a program has done when something happens
`utils`            replay buffers, metrics, schedules, checkpoints
`agents`           names of Ray 1 (`PPOTrainer` …)
=================  ==========================================================
"""

from rayjup.rllib._lazy import exports

_NAMES = {
    "MultiAgentEnv": "rayjup.rllib.env.multi_agent_env",
    "SampleBatch": "rayjup.rllib.policy.sample_batch",
}

__all__ = [
    "MultiAgentEnv",
    "SampleBatch",
]

__getattr__, __dir__ = exports(__name__, _NAMES)
