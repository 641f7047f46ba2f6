"""From ``config.env`` to environments: by name, class or function; single ones, and vectors of them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from rayjup.rllib.algorithms import _legacy
from rayjup.rllib.env.env_context import EnvContext
from rayjup.rllib.env.multi_agent_env import MultiAgentEnv
from rayjup.rllib.env.utils import EnvError
from rayjup.runs import registry

_log = logging.getLogger(__name__)


def creator_of(config: Any) -> Callable[[EnvContext], Any]:
    """A function from a context to one environment."""
    env = config.env
    if env is None:
        raise EnvError('no environment: say config.environment("CartPole-v1"), a class, or a function.')
    if isinstance(env, str):
        if registry.contains(registry.ENVIRONMENT, env):
            maker = registry.find(registry.ENVIRONMENT, env)
            return lambda context: maker(context)
        mode = {"render_mode": "rgb_array"} if config.render_env else {}
        return lambda context: gymnasium.make(env, disable_env_checker=True, **{**mode, **context})
    if callable(env):
        return env
    raise EnvError(f"environment {env!r}: a name, a class, or a function of an EnvContext is needed.")


def make_one(config: Any, context: EnvContext) -> Any:
    """One environment, with the interface of gymnasium, or a `MultiAgentEnv`."""
    creator = creator_of(config)
    try:
        env = _legacy.modern_env(lambda: creator(context)) if not _is_multi(config.env) else creator(context)
    except gymnasium.error.Error as error:
        raise EnvError(f"environment {config.env!r} cannot be made: {error}") from error
    if isinstance(env, gymnasium.Env) and config.restart_failed_sub_environments:
        return Restarting(env, functools.partial(creator, context))
    return env


def _is_multi(env: Any) -> bool:
    return isinstance(env, type) and issubclass(env, MultiAgentEnv)


def make_vector(config: Any, worker_index: int, num_workers: int | None, recreated: bool = False) -> Any:
    """The vector of environments of one runner.

    Environments are reset in the same step in which they end, so that no step is spent on resets. A vector
    environment of the user's own keeps its mode.
    """
    base = EnvContext(config.env_config, worker_index, 0, False, num_workers, recreated)
    count, mode = (
        config.num_envs_per_env_runner,
        getattr(config.gym_env_vectorize_mode, "value", config.gym_env_vectorize_mode),
    )
    env = config.env
    by_name = isinstance(env, str) and not registry.contains(registry.ENVIRONMENT, env)
    if by_name and mode in ("vector_entry_point", "vectorize_mode_vector_entry_point"):
        return gymnasium.make_vec(env, count, vectorization_mode="vector_entry_point", **config.env_config)
    first = make_one(config, base)
    if isinstance(first, VectorEnv):
        return first
    if not isinstance(first, gymnasium.Env):
        raise EnvError(
            f"{type(first).__name__} is no gymnasium.Env; a MultiAgentEnv needs config.multi_agent()."
        )
    makers: list[Any] = [functools.partial(_sub_env, config, base, index) for index in range(count)]
    makers[0] = _once(first, makers[0]) if mode == "sync" else makers[0]
    if mode == "sync":
        vector = SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
        vector.env_fns = ()  # they have done their work, and would go into every checkpoint
        return vector
    if mode == "async":
        first.close()
        return AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    raise EnvError(f"gym_env_vectorize_mode {mode!r}: 'sync', 'async' or 'vector_entry_point'.")


def _sub_env(config: Any, base: EnvContext, index: int) -> Any:
    return make_one(config, base.copy_with_overrides(vector_index=index))


def _once(first: Any, maker: Callable[[], Any]) -> Callable[[], Any]:
    """The environment that is there already, and then new ones."""
    there = [first]
    return lambda: there.pop() if there else maker()


class Restarting(gymnasium.Wrapper):
    """An environment that is made anew when it fails; the episode is cut at the last good observation.

    Parameters
    ----------
    env
        The environment.
    maker
        Makes another one.
    """

    def __init__(self, env: Any, maker: Callable[[], Any]) -> None:
        super().__init__(env)
        self._maker = maker
        self.env: Any = env
        self._last: Any = None
        self.restarts = 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        """Reset; once more with a new environment, if that fails."""
        try:
            self._last, infos = self.env.reset(seed=seed, options=options)
        except Exception as error:  # noqa: BLE001  (whatever an environment raises)
            self._anew(error)
            self._last, infos = self.env.reset(seed=seed, options=options)
        return self._last, infos

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        """Step; a failure ends the episode (truncated)."""
        try:
            out = self.env.step(action)
        except Exception as error:  # noqa: BLE001
            self._anew(error)
            return self._last, 0.0, False, True, {"env_failed": repr(error)}
        self._last = out[0]
        return out

    def _anew(self, error: Exception) -> None:
        self.restarts += 1
        _log.warning("%s failed (%r): a new one takes its place.", type(self.env).__name__, error)
        self.env = _legacy.modern_env(self._maker)
