"""Runtime environments (mirrors ``ray.runtime_env``); see ``docs/runtime_environments.md``."""

from rayjup.base.runtime_env import RuntimeEnv, RuntimeEnvConfig

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
