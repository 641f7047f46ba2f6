"""Modules (networks), learners, and what both speak of.

=================  ==========================================================
`columns`          names of batch columns
`rl_module`        what maps observations to actions and values
`models`           the networks the default modules are made of
`distribution`     action distributions
`learner`          losses, gradients, optimizers; groups of learners
=================  ==========================================================
"""

from rayjup.rllib.core.columns import Columns

DEFAULT_AGENT_ID = "default_agent"
DEFAULT_MODULE_ID = DEFAULT_POLICY_ID = "default_policy"
ALL_MODULES = "__all_modules__"

COMPONENT_ENV_RUNNER = "env_runner"
COMPONENT_ENV_TO_MODULE_CONNECTOR = "env_to_module_connector"
COMPONENT_EVAL_ENV_RUNNER = "eval_env_runner"
COMPONENT_LEARNER = "learner"
COMPONENT_LEARNER_GROUP = "learner_group"
COMPONENT_METRICS_LOGGER = "metrics_logger"
COMPONENT_MODULE_TO_ENV_CONNECTOR = "module_to_env_connector"
COMPONENT_OPTIMIZER = "optimizer"
COMPONENT_RL_MODULE = "rl_module"

__all__ = ["ALL_MODULES", "Columns", "DEFAULT_AGENT_ID", "DEFAULT_MODULE_ID", "DEFAULT_POLICY_ID"]
