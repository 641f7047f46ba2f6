"""Mirrors ``ray.runtime_env.runtime_env``."""

from rayjup.base.runtime_env import RuntimeEnv, RuntimeEnvConfig

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
