"""The env runner of single agents: a vector of gymnasium environments, and one module for all of them.

There are two ways through it, with equal results. Where both connector pipelines consist of default pieces
and no callback looks at single steps, whole arrays go from the environments into the module and back, and
episodes are cut out of them at the end (`_collect`). Otherwise every step passes through the connectors,
episode by episode (`_step_by_step`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from rayjup.rllib.callbacks.callbacks import make_callbacks, overrides
from rayjup.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
    DEFAULT_AGENT_ID,
    DEFAULT_MODULE_ID,
)
from rayjup.rllib.env import making
from rayjup.rllib.env._rollout import Rollout
from rayjup.rllib.env.env_context import EnvContext
from rayjup.rllib.env.env_runner import EnvRunner
from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode
from rayjup.rllib.env.utils import EnvError
from rayjup.rllib.utils import nested
from rayjup.rllib.utils.checkpoints import Checkpointable
from rayjup.rllib.utils.metrics import stats_of_episodes
from rayjup.rllib.utils.schedules.scheduler import Scheduler

NUM_STEPS = "num_env_steps_sampled_lifetime"


class SingleAgentEnvRunner(EnvRunner, Checkpointable):
    """Samples episodes of one agent.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.ppo import PPOConfig
    >>> from rayjup.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
    >>> config = PPOConfig().environment("CartPole-v1").env_runners(num_envs_per_env_runner=2)
    >>> runner = SingleAgentEnvRunner(config=config)
    >>> sum(len(episode) for episode in runner.sample(num_timesteps=64, random_actions=True))
    64
    >>> runner.stop()
    """

    # What `resuming` keeps.
    PLACE = (
        "env", "_rollout", "_episodes", "_observations", "_needs_reset", "_first_seed", "_done_before",
        "_rng", "_fresh_envs", "_returns",
    )  # fmt: skip

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        seed = config.seed
        self._seed = (
            None if seed is None else seed + self.worker_index * 1000 + 100_000 * config.in_evaluation_
        )
        self._rng = np.random.default_rng(self._seed)
        self.generator = torch.Generator()
        self.generator.manual_seed(int(self._rng.integers(2**31)))
        self.callbacks = make_callbacks(config)
        self.module: Any = None
        self.global_steps = 0  # of all runners: what exploration schedules look at
        self._weights_seq_no = 0
        self.make_env()
        self._make_connectors(None)
        self.make_module()
        self._needs_reset = True
        self._episodes: list[Any] = []
        self._rollout: Rollout | None = None
        # Steps that exploration by ε-greedy is scheduled over, where the algorithm has it.
        epsilon = getattr(config, "epsilon", None) if hasattr(self.module, "explore_epsilon") else None
        self._epsilon = None if epsilon is None else Scheduler(epsilon)

    # ------------------------------------------------------------ making

    def make_env(self) -> None:
        """Make the vector of environments, and seed it."""
        self.close_envs()
        self.env = making.make_vector(self.config, self.worker_index, self.num_workers, self.recreated)
        self.num_envs = self.env.num_envs
        self._autoreset = self.env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._first_seed = self._seed
        if self._seed is not None:  # another one than the environments': chance must not know what comes
            self.env.action_space.seed(int(self._rng.integers(2**31)))
        self._needs_reset = True
        self.callbacks.on_environment_created(
            env_runner=self,
            metrics_logger=self.metrics,
            env=self.env.unwrapped if hasattr(self.env, "unwrapped") else self.env,
            env_context=EnvContext(self.config.env_config, self.worker_index),
        )

    def close_envs(self) -> None:
        """Close the environments, if there are any."""
        if self.env is not None:
            self.env.close()

    def _make_connectors(self, device: Any) -> None:
        self._env_to_module = self.config.build_env_to_module_connector(env=self.env, device=device)
        self._module_to_env = self.config.build_module_to_env_connector(env=self.env)
        per_step = ("on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end")
        self._plain = (
            getattr(self._env_to_module, "is_plain", False)
            and getattr(self._module_to_env, "is_plain", False)
            and not any(overrides(self.callbacks, name) for name in per_step)
        )

    def make_module(self) -> None:
        """Make the module, with what acting needs only."""
        spec = self.config.get_multi_rl_module_spec(
            env=self.env, spaces=self.get_spaces(), inference_only=True
        )
        own = spec.rl_module_specs[DEFAULT_MODULE_ID]
        with torch.random.fork_rng(devices=[]):
            if self._seed is not None:
                torch.manual_seed(self._seed)
            self.module = own.build()
        self.module.eval()
        if self.config.torch_compile_worker:
            settings = self.config.get_torch_compile_worker_config()
            self.module.forward_exploration = torch.compile(self.module.forward_exploration, **settings)
        self.generator_aware = True

    def get_spaces(self) -> dict[str, tuple[Any, Any]]:
        """Spaces of the vector, of one environment, and of the module (behind the connectors)."""
        observation = self._env_to_module.observation_space or self.env.single_observation_space
        return {
            "__env__": (self.env.observation_space, self.env.action_space),
            "__env_single__": (self.env.single_observation_space, self.env.single_action_space),
            DEFAULT_MODULE_ID: (observation, self.env.single_action_space),
        }

    def assert_healthy(self) -> None:
        """Raise when there is no environment or no module."""
        if self.env is None or self.module is None:
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
    ) -> list[SingleAgentEpisode]:
        """Step through the environments.

        Parameters
        ----------
        num_timesteps
            So many steps at least, of all environments together; open episodes come as chunks.
        num_episodes
            So many whole episodes: the first ones that begin, so that short ones are not preferred.
        explore
            Explore; as the config says by default.
        random_actions
            Take random actions instead of the module's.
        force_reset
            Begin new episodes in all environments.

        Returns
        -------
        episodes
            Finished episodes and chunks of open ones.
        """
        self.assert_healthy()
        if num_timesteps is not None and num_episodes is not None:
            raise ValueError("give num_timesteps or num_episodes, not both.")
        if num_timesteps is None and num_episodes is None:
            if self.config.batch_mode == "truncate_episodes":
                num_timesteps = self.config.get_rollout_fragment_length(self.worker_index) * self.num_envs
            else:
                num_episodes = self.num_envs
        explore = self.config.explore if explore is None else explore
        if self._needs_reset or force_reset or num_episodes is not None:
            self._reset()
        if self._plain and self._rollout is not None:
            episodes = self._collect(num_timesteps, num_episodes, explore, random_actions)
        else:
            episodes = self._step_by_step(num_timesteps, num_episodes, explore, random_actions)
        if num_episodes is not None:
            self._needs_reset = True
        self.callbacks.on_sample_end(env_runner=self, metrics_logger=self.metrics, samples=episodes)
        return episodes

    def _reset(self) -> None:
        observations, infos = self.env.reset(seed=self._first_seed)
        self._first_seed = None  # the environments' generators go on from there
        self._needs_reset = False
        self._done_before = np.zeros(self.num_envs, bool)
        if self._plain:
            state = self.module.get_initial_state()
            self._rollout = Rollout(self.num_envs, observations, infos, state)
        else:
            self._observations = observations
            self._episodes = [self._begin(n, observations, infos) for n in range(self.num_envs)]
            self._add_first()

    def _act(self, observations: Any, state: Any, explore: bool) -> tuple[Any, dict[str, Any], Any]:
        """Actions, what else the module says, and the state behind."""
        from rayjup.rllib.connectors.module_to_env.actions import actions_of

        batch: dict[str, Any] = {"obs": _tensors(observations)}
        if state:
            batch["obs"] = nested.map_leaves(lambda leaf: leaf.unsqueeze(1), batch["obs"])
            batch["state_in"] = nested.map_leaves(torch.as_tensor, state)
        if explore:
            outputs = self.module.forward_exploration(batch, t=self.global_steps, **self._exploration())
        else:
            outputs = self.module.forward_inference(batch)
        actions_of(self.module, outputs, explore, self.generator)
        after = outputs.pop("state_out", None)
        arrays = nested.map_leaves(lambda leaf: leaf.numpy(), outputs)
        if state:
            arrays = nested.map_leaves(lambda leaf: leaf[:, 0], arrays)
            after = nested.map_leaves(lambda leaf: leaf.numpy(), after)
        return arrays.pop("actions"), arrays, after

    def _exploration(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"generator": self.generator} if self._generator_wanted() else {}
        if self._epsilon is not None:
            settings["epsilon"] = float(self._epsilon.update(self.global_steps))
        return settings

    def _generator_wanted(self) -> bool:
        return getattr(self.module, "takes_generator", False)

    def _collect(
        self, num_timesteps: int | None, num_episodes: int | None, explore: bool, random_actions: bool
    ) -> list[SingleAgentEpisode]:
        from rayjup.rllib.connectors.module_to_env.actions import for_env

        rollout, config, space = self._rollout, self.config, self.env.single_action_space
        assert rollout is not None
        rollout.begin(num_episodes)
        steps = None if num_timesteps is None else -(-num_timesteps // self.num_envs)
        with torch.inference_mode():
            while not rollout.is_enough(steps, num_episodes):
                if random_actions:
                    outputs: dict[str, Any] = {}
                    actions, after = self.env.action_space.sample(), rollout.state
                    for_step = actions
                else:
                    actions, outputs, after = self._act(rollout.observations, rollout.state, explore)
                    for_step = for_env(space, actions, config.normalize_actions, config.clip_actions)
                observations, rewards, terminated, truncated, infos = self.env.step(for_step)
                resets = rollout.add(
                    actions,
                    outputs,
                    after,
                    observations,
                    rewards,
                    terminated,
                    truncated,
                    infos,
                    self._autoreset,
                )
                if resets is not None:  # an environment that is reset by hand only
                    observations, infos = self.env.reset(options={"reset_mask": resets})
                    rollout.replace(resets, observations)
        episodes, finished = rollout.cut(num_episodes)
        done = sum(len(e) for e in episodes)
        self.global_steps += done * max(1, config.num_env_runners)
        stats_of_episodes(self.metrics, config, done, finished)
        return episodes

    # ------------------------------------------------------------ step by step, through all connectors

    def _begin(self, n: int, observations: Any, infos: Any) -> SingleAgentEpisode:
        episode = SingleAgentEpisode(agent_id=DEFAULT_AGENT_ID, module_id=DEFAULT_MODULE_ID)
        episode.multi_agent_episode_id = None
        self.callbacks.on_episode_created(
            episode=episode,
            env_runner=self,
            metrics_logger=self.metrics,
            env=self.env,
            rl_module=self.module,
            env_index=n,
        )
        episode.add_env_reset(_one(observations, n), _info(infos, n))
        return episode

    def _add_first(self) -> None:
        for n, episode in enumerate(self._episodes):
            self._call("on_episode_start", episode, n)

    def _call(self, name: str, episode: Any, n: int, **more: Any) -> None:
        getattr(self.callbacks, name)(
            episode=episode,
            env_runner=self,
            metrics_logger=self.metrics,
            env=self.env,
            rl_module=self.module,
            env_index=n,
            **more,
        )

    def _step_by_step(
        self, num_timesteps: int | None, num_episodes: int | None, explore: bool, random_actions: bool
    ) -> list[SingleAgentEpisode]:
        done_episodes: list[SingleAgentEpisode] = []
        finished: list[tuple[float, int]] = []
        begun = {e.id_: place for place, e in enumerate(self._episodes)}  # in order of their beginnings
        steps, wanted = 0, num_timesteps or 0
        shared: dict[str, Any] = {}
        with torch.inference_mode():
            batch = self._to_module(explore, shared)
            while (num_episodes is None and steps < wanted) or (
                num_episodes is not None
                and sum(begun[e.id_] < num_episodes for e in done_episodes) < num_episodes
            ):
                if random_actions:
                    sampled = self.env.action_space.sample()
                    outputs = {"actions": [nested.take(sampled, n) for n in range(self.num_envs)]}
                else:
                    if explore:
                        said = self.module.forward_exploration(
                            batch, t=self.global_steps, **self._exploration()
                        )
                    else:
                        said = self.module.forward_inference(batch)
                    outputs = self._module_to_env(
                        rl_module=self.module,
                        batch=said,
                        episodes=self._episodes,
                        explore=explore,
                        shared_data=shared,
                        metrics=self.metrics,
                        generator=self.generator,
                    )
                actions = outputs.pop("actions")
                for_step = _stacked(outputs.pop("actions_for_env", actions))
                stepped = self.env.step(for_step)
                observations, rewards, terminated, truncated, infos = stepped
                resets = np.zeros(self.num_envs, bool)
                for n, episode in enumerate(self._episodes):
                    if self._done_before[n]:  # this step was the reset (autoreset in the next step)
                        self._done_before[n] = False
                        self._episodes[n] = self._begin(n, observations, infos)
                        begun[self._episodes[n].id_] = len(begun)
                        self._fresh.add(n)
                        continue
                    extra = {key: values[n] for key, values in outputs.items()}
                    ended = bool(terminated[n] or truncated[n])
                    same = ended and self._autoreset == AutoresetMode.SAME_STEP
                    last = infos["final_obs"][n] if same else _one(observations, n)
                    info = (
                        _info(infos["final_info"], n) if same and "final_info" in infos else _info(infos, n)
                    )
                    episode.add_env_step(
                        last, _copied(actions[n]), float(rewards[n]), info,
                        terminated=bool(terminated[n]), truncated=bool(truncated[n]),
                        extra_model_outputs=extra,
                    )  # fmt: skip
                    steps += 1
                    resets[n] = ended
                batch = self._after_step(
                    resets, observations, infos, done_episodes, finished, begun, explore, shared
                )
        if num_episodes is not None:
            done_episodes = [e for e in done_episodes if begun[e.id_] < num_episodes]
            finished = [(e.get_return(), len(e)) for e in done_episodes]
            chunks: list[SingleAgentEpisode] = []
        else:
            chunks = [e for e in self._episodes if len(e)]
            self._episodes = [
                e.cut(len_lookback_buffer=self.config.episode_lookback_horizon) if len(e) else e
                for e in self._episodes
            ]
        if self.config.episodes_to_numpy:
            for episode in (*done_episodes, *chunks):
                episode.to_numpy()
        self.global_steps += steps * max(1, self.config.num_env_runners)
        stats_of_episodes(self.metrics, self.config, steps, finished)
        return [*done_episodes, *chunks]

    @property
    def _fresh(self) -> set[int]:
        return self.__dict__.setdefault("_fresh_envs", set())

    def _after_step(
        self, resets: Any, observations: Any, infos: Any, done_episodes: list, finished: list, begun: dict,
        explore: bool, shared: dict,
    ) -> Any:  # fmt: skip
        """Callbacks, new episodes, and the module's next batch."""
        ended = [n for n in range(self.num_envs) if resets[n]]
        for n in range(self.num_envs):
            if n not in self._fresh and len(self._episodes[n]):
                self._call("on_episode_step", self._episodes[n], n)
        if ended:
            # Connectors that write into episodes see the last observations, too.
            self._env_to_module(
                rl_module=self.module,
                batch={},
                episodes=[self._episodes[n] for n in ended],
                explore=explore,
                shared_data={},
                metrics=self.metrics,
            )
        if ended and self._autoreset == AutoresetMode.DISABLED:
            observations, infos = self.env.reset(options={"reset_mask": resets})
        for n in ended:
            episode = self._episodes[n]
            self._call("on_episode_end", episode, n)
            done_episodes.append(episode)
            before = self.__dict__.setdefault("_returns", {}).pop(episode.id_, (0.0, 0))
            finished.append((before[0] + episode.get_return(), before[1] + len(episode)))
            if self._autoreset == AutoresetMode.NEXT_STEP:
                self._done_before[n] = True
            else:
                self._episodes[n] = self._begin(n, observations, infos)
                begun[self._episodes[n].id_] = len(begun)
                self._fresh.add(n)
        for n in sorted(self._fresh):
            self._call("on_episode_start", self._episodes[n], n)
        self._fresh.clear()
        return self._to_module(explore, shared)

    def _to_module(self, explore: bool, shared: dict) -> Any:
        shared.clear()
        batch = self._env_to_module(
            rl_module=self.module,
            batch={},
            episodes=self._episodes,
            explore=explore,
            shared_data=shared,
            metrics=self.metrics,
        )
        return batch

    # ------------------------------------------------------------ state

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Module, connectors, and the lifetime count of steps."""
        state: dict[str, Any] = {NUM_STEPS: self.global_steps, "weights_seq_no": self._weights_seq_no}
        for name, part in self.get_checkpointable_components():
            if self._wants(name, components, not_components):
                more: dict[str, Any] = {"inference_only": True} if name == COMPONENT_RL_MODULE else {}
                state[name] = part.get_state(**more)
        return state

    @staticmethod
    def _wants(name: str, components: Any, not_components: Any) -> bool:
        wanted = [components] if isinstance(components, str) else components
        unwanted = [not_components] if isinstance(not_components, str) else not_components or []
        return (wanted is None or any(w.split("/")[0] == name for w in wanted)) and name not in unwanted

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned, or parts of it."""
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            self.module.set_state(weights.get(DEFAULT_MODULE_ID, weights))
        for name, part in (
            (COMPONENT_ENV_TO_MODULE_CONNECTOR, self._env_to_module),
            (COMPONENT_MODULE_TO_ENV_CONNECTOR, self._module_to_env),
        ):
            if name in state:
                part.set_state(state[name])
        self.global_steps = state.get(NUM_STEPS, self.global_steps)
        self._weights_seq_no = state.get("weights_seq_no", self._weights_seq_no)

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {"config": self.config, "worker_index": self.worker_index}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """Module and connectors."""
        return [
            (COMPONENT_RL_MODULE, self.module),
            (COMPONENT_ENV_TO_MODULE_CONNECTOR, self._env_to_module),
            (COMPONENT_MODULE_TO_ENV_CONNECTOR, self._module_to_env),
        ]


def _tensors(observations: Any) -> Any:
    return nested.map_leaves(torch.from_numpy, observations)


def _one(observations: Any, n: int) -> Any:
    return _copied(nested.take(observations, n))


def _copied(item: Any) -> Any:
    return nested.map_leaves(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, item)


def _stacked(items: Any) -> Any:
    return nested.stack(items) if isinstance(items, list) else items


def _info(infos: dict[str, Any], n: int) -> dict[str, Any]:
    """One environment's part of a vector's infos."""
    found = {}
    for key, values in infos.items():
        if key.startswith("_") or key in ("final_obs", "final_info"):
            continue
        mask = infos.get(f"_{key}")
        if mask is None or mask[n]:
            found[key] = values[n] if not isinstance(values, dict) else _info(values, n)
    return found
