"""The env runner of several agents: multi-agent environments side by side, and the modules that play them.

Modules see all their agents of all environments in one batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rayjup.rllib.algorithms._modules import spaces_in_env
from rayjup.rllib.callbacks.callbacks import make_callbacks
from rayjup.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
)
from rayjup.rllib.env import making
from rayjup.rllib.env.env_context import EnvContext
from rayjup.rllib.env.env_runner import EnvRunner
from rayjup.rllib.env.multi_agent_env import MultiAgentEnv
from rayjup.rllib.env.multi_agent_episode import MultiAgentEpisode
from rayjup.rllib.env.utils import EnvError
from rayjup.rllib.utils.checkpoints import Checkpointable
from rayjup.rllib.utils.metrics import stats_of_episodes
from rayjup.rllib.utils.schedules.scheduler import Scheduler

NUM_STEPS = "num_env_steps_sampled_lifetime"


class MultiAgentEnvRunner(EnvRunner, Checkpointable):
    """Samples episodes of several agents."""

    PLACE = ("envs", "env", "_episodes", "_needs_reset", "_first_seed", "_returns")  # what `resuming` keeps

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        seed = config.seed
        self._seed = (
            None if seed is None else seed + self.worker_index * 1000 + 100_000 * config.in_evaluation_
        )
        self._rng = np.random.default_rng(self._seed)
        self.generator = torch.Generator()
        self.generator.manual_seed(int(self._rng.integers(2**31)))
        self.callbacks = make_callbacks(config)
        self.global_steps = 0
        self._weights_seq_no = 0
        self._mapping = config.policy_mapping_fn
        self.module: Any = None
        self.make_env()
        self._env_to_module = config.build_env_to_module_connector(env=self._space_holder())
        self._module_to_env = config.build_module_to_env_connector(env=self._space_holder())
        self.make_module()
        self._episodes: list[MultiAgentEpisode] = []
        self._returns: dict[str, dict[Any, float]] = {}  # of open episodes' earlier chunks, by agent
        epsilon = getattr(config, "epsilon", None)
        modules: Any = self.module
        explores = any(hasattr(m, "explore_epsilon") for m in modules.values())
        self._epsilon = Scheduler(epsilon) if epsilon is not None and explores else None

    def make_env(self) -> None:
        """Make the environments."""
        self.close_envs()
        base = EnvContext(
            self.config.env_config, self.worker_index, 0, False, self.num_workers, self.recreated
        )
        self.envs = [
            making.make_one(self.config, base.copy_with_overrides(vector_index=i))
            for i in range(self.config.num_envs_per_env_runner)
        ]
        self.num_envs = len(self.envs)
        self.env = self.envs[0]
        if self._seed is not None:
            for env in self.envs:
                for agent in env.possible_agents or env.agents:
                    env.get_action_space(agent).seed(int(self._rng.integers(2**31)))
        if not isinstance(getattr(self.env, "unwrapped", self.env), MultiAgentEnv):
            raise EnvError(
                f"{type(self.env).__name__} is no MultiAgentEnv, but config.multi_agent() asks for one."
            )
        self._needs_reset = True
        self._first_seed = self._seed
        self.callbacks.on_environment_created(
            env_runner=self, metrics_logger=self.metrics, env=self.env, env_context=base
        )

    envs: list[Any] = []

    def close_envs(self) -> None:
        """Close the environments, if there are any."""
        for env in self.envs:
            env.close()

    def _space_holder(self) -> Any:
        """Spaces of all agents, as dict spaces."""
        from gymnasium.spaces import Dict

        agents = list(self.env.possible_agents or self.env.agents)

        class Holder:
            observation_space = Dict({a: self.env.get_observation_space(a) for a in agents})
            action_space = Dict({a: self.env.get_action_space(a) for a in agents})

        return Holder

    def make_module(self) -> None:
        """Make the modules, with what acting needs only."""
        spec = self.config.get_multi_rl_module_spec(
            env=self.env, spaces=self.get_spaces(), inference_only=True
        )
        with torch.random.fork_rng(devices=[]):
            if self._seed is not None:
                torch.manual_seed(self._seed)
            self.module = spec.build()

    def get_spaces(self) -> dict[str, tuple[Any, Any]]:
        """Spaces of the environment, and by module."""
        holder = self._space_holder()
        spaces: dict[str, tuple[Any, Any]] = {
            "__env__": (holder.observation_space, holder.action_space),
            "__env_single__": (holder.observation_space, holder.action_space),
        }
        after = self._env_to_module.observation_space
        changed = getattr(after, "spaces", {}) if after is not None else {}
        for module_id in self.config.policies:
            observation, action = spaces_in_env(self.config, self.env, module_id)
            for agent in self.env.possible_agents or self.env.agents:
                if agent in changed and _maps(self._mapping, agent, module_id):
                    observation = changed[agent]
                    break
            spaces[module_id] = observation, action
        return spaces

    def assert_healthy(self) -> None:
        """Raise when there is no environment or no module."""
        if not self.envs or self.module is None:
            raise EnvError("this env runner was stopped: it has no environment any more.")

    # ------------------------------------------------------------ sampling

    def sample(  # type: ignore[override]
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[MultiAgentEpisode]:
        """Step through the environments; see `SingleAgentEnvRunner.sample`."""
        self.assert_healthy()
        if num_timesteps is not None and num_episodes is not None:
            raise ValueError("give num_timesteps or num_episodes, not both.")
        config = self.config
        if num_timesteps is None and num_episodes is None:
            if config.batch_mode == "truncate_episodes":
                num_timesteps = config.get_rollout_fragment_length(self.worker_index) * self.num_envs
            else:
                num_episodes = self.num_envs
        explore = config.explore if explore is None else explore
        if self._needs_reset or force_reset or num_episodes is not None:
            self._episodes = [self._begin(i) for i in range(self.num_envs)]
            self._returns = {}
            self._needs_reset = False
        done: list[MultiAgentEpisode] = []
        begun = {e.id_: place for place, e in enumerate(self._episodes)}
        steps = 0
        agent_steps: dict[Any, int] = {}
        by_module: dict[str, int] = {}
        with torch.inference_mode():
            while (num_episodes is None and steps < (num_timesteps or 0)) or (
                num_episodes is not None and sum(begun[e.id_] < num_episodes for e in done) < num_episodes
            ):
                actions, extra = self._act(explore, random_actions)
                for i, episode in enumerate(self._episodes):
                    self._step(i, episode, actions[i], extra[i])
                    steps += 1
                    for agent in actions[i]:
                        agent_steps[agent] = agent_steps.get(agent, 0) + 1
                        module_id = episode.module_for(agent)
                        by_module[module_id] = by_module.get(module_id, 0) + 1
                    if episode.is_done:
                        self._call("on_episode_end", episode, i)
                        done.append(episode)
                        self._episodes[i] = self._begin(i)
                        begun[self._episodes[i].id_] = len(begun)
        finished = self._finished([e for e in done if num_episodes is None or begun[e.id_] < num_episodes])
        if num_episodes is not None:
            episodes = [e for e in done if begun[e.id_] < num_episodes]
            self._needs_reset = True
        else:
            chunks = [e for e in self._episodes if len(e)]
            self._episodes = [
                e.cut(len_lookback_buffer=config.episode_lookback_horizon) if len(e) else e
                for e in self._episodes
            ]
            for chunk in chunks:
                before = self._returns.setdefault(chunk.id_, {"__length__": 0})
                before["__length__"] += len(chunk)
                for agent, own in chunk.agent_episodes.items():
                    before[agent] = before.get(agent, 0.0) + own.get_return()
            episodes = [*done, *chunks]
        for episode in episodes:
            episode.to_numpy()
            episode.agent_to_module_mapping_fn = None  # settled, and not always picklable
        self.global_steps += steps * max(1, config.num_env_runners)
        stats_of_episodes(self.metrics, config, steps, finished, agent_steps, by_module)
        self.callbacks.on_sample_end(env_runner=self, metrics_logger=self.metrics, samples=episodes)
        return episodes

    def _begin(self, i: int) -> MultiAgentEpisode:
        episode = MultiAgentEpisode(agent_to_module_mapping_fn=self._mapping)
        self._call("on_episode_created", episode, i)
        seed = None if self._first_seed is None else self._first_seed + i
        if i == self.num_envs - 1:
            self._first_seed = None
        observations, infos = self.envs[i].reset(seed=seed)
        episode.add_env_reset(observations=observations, infos=infos)
        self._call("on_episode_start", episode, i)
        return episode

    def _act(self, explore: bool, random_actions: bool) -> tuple[list[dict], list[dict]]:
        """Actions and extra outputs, by environment and agent."""
        if random_actions:
            chosen = [
                {a: self.envs[i].get_action_space(a).sample() for a in e.get_agents_to_act()}
                for i, e in enumerate(self._episodes)
            ]
            self._for_env = chosen
            return chosen, [{} for _ in chosen]
        shared: dict[str, Any] = {}
        batch = self._env_to_module(
            rl_module=self.module, batch={}, episodes=self._episodes, explore=explore, shared_data=shared,
            metrics=self.metrics,
        )  # fmt: skip
        said = {}
        for module_id, columns in batch.items():
            module = self.module[module_id]
            if explore:
                settings: dict[str, Any] = {"t": self.global_steps}
                if getattr(module, "takes_generator", False):
                    settings["generator"] = self.generator
                if self._epsilon is not None and hasattr(module, "explore_epsilon"):
                    settings["epsilon"] = float(self._epsilon.update(self.global_steps))
                said[module_id] = module.forward_exploration(columns, **settings)
            else:
                said[module_id] = module.forward_inference(columns)
        out = self._module_to_env(
            rl_module=self.module, batch=said, episodes=self._episodes, explore=explore, shared_data=shared,
            metrics=self.metrics, generator=self.generator,
        )  # fmt: skip
        actions = out.pop("actions")
        self._for_env = out.pop("actions_for_env", actions)
        extra: list[dict] = [{agent: {} for agent in row} for row in actions]
        for key, rows in out.items():
            for i, row in enumerate(rows):
                for agent, value in row.items():
                    extra[i][agent][key] = value
        return actions, extra

    def _step(self, i: int, episode: MultiAgentEpisode, actions: dict, extra: dict) -> None:
        for_env = {agent: _plain(action) for agent, action in self._for_env[i].items()}
        observations, rewards, terminateds, truncateds, infos = self.envs[i].step(for_env)
        episode.add_env_step(
            observations,
            actions,
            rewards,
            infos,
            terminateds=terminateds,
            truncateds=truncateds,
            extra_model_outputs=extra,
        )
        self._call("on_episode_step", episode, i)

    def _call(self, name: str, episode: Any, i: int) -> None:
        getattr(self.callbacks, name)(
            episode=episode,
            env_runner=self,
            metrics_logger=self.metrics,
            env=self.envs[i],
            rl_module=self.module,
            env_index=i,
        )

    def _finished(self, done: list[MultiAgentEpisode]) -> list[tuple[float, int]]:
        """(return, length) of whole episodes; agents' and modules' returns are logged on the way."""
        found = []
        window = self.config.metrics_num_episodes_for_smoothing
        for episode in done:
            before = self._returns.pop(episode.id_, {})
            length = len(episode) + before.get("__length__", 0)
            agents = {a for a in (*before, *episode.agent_episodes) if a != "__length__"}
            returns = {}
            for agent in agents:
                own = episode.agent_episodes.get(agent)
                returns[agent] = before.get(agent, 0.0) + (own.get_return() if own is not None else 0.0)
                module_id = episode.module_for(agent)
                for group, key in (
                    ("agent_episode_returns_mean", agent),
                    ("module_episode_returns_mean", module_id),
                ):
                    self.metrics.log_value((group, str(key)), returns[agent], window=window)
            found.append((sum(returns.values()), int(length)))
        return found

    # ------------------------------------------------------------ modules, state

    def add_module(self, module_id: str, module_spec: Any, mapping_fn: Any = None) -> None:
        """Add a module; ``mapping_fn`` maps agents of episodes that begin from now on."""
        spec = module_spec.__class__(**{**vars(module_spec), "inference_only": True})
        self.module.add_module(module_id, spec.build())
        self._map(mapping_fn)

    def remove_module(self, module_id: str, mapping_fn: Any = None) -> None:
        """Drop a module."""
        self._map(mapping_fn)
        self.module.remove_module(module_id)

    def _map(self, mapping_fn: Any) -> None:
        if mapping_fn is not None:
            self._mapping = mapping_fn
            self._needs_reset = True  # open episodes have agents that are mapped already

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Modules, connectors, and the lifetime count of steps."""
        from rayjup.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

        state: dict[str, Any] = {NUM_STEPS: self.global_steps, "weights_seq_no": self._weights_seq_no}
        for name, part in self.get_checkpointable_components():
            if SingleAgentEnvRunner._wants(name, components, not_components):
                state[name] = part.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned, or parts of it."""
        if COMPONENT_RL_MODULE in state:
            self.module.set_state(state[COMPONENT_RL_MODULE])
        if COMPONENT_ENV_TO_MODULE_CONNECTOR in state:
            self._env_to_module.set_state(state[COMPONENT_ENV_TO_MODULE_CONNECTOR])
        if COMPONENT_MODULE_TO_ENV_CONNECTOR in state:
            self._module_to_env.set_state(state[COMPONENT_MODULE_TO_ENV_CONNECTOR])
        self.global_steps = state.get(NUM_STEPS, self.global_steps)
        self._weights_seq_no = state.get("weights_seq_no", self._weights_seq_no)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {"config": self.config, "worker_index": self.worker_index}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """Modules and connectors."""
        return [
            (COMPONENT_RL_MODULE, self.module),
            (COMPONENT_ENV_TO_MODULE_CONNECTOR, self._env_to_module),
            (COMPONENT_MODULE_TO_ENV_CONNECTOR, self._module_to_env),
        ]

    def stop(self) -> None:
        """Close the environments."""
        self.close_envs()
        self.envs, self.env = [], None


def _plain(action: Any) -> Any:
    return action.item() if isinstance(action, np.ndarray) and action.ndim == 0 else action


def _maps(mapping: Any, agent: Any, module_id: str) -> bool:
    try:
        return mapping(agent, None) == module_id
    except (AttributeError, TypeError):  # the mapping looks into the episode
        return True
