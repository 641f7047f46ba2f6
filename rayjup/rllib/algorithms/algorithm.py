"""Algorithm: env runners, learners and evaluation put together; one `train()` is one iteration.

An algorithm overrides `training_step`: sample, learn, hand the new parameters to the runners.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rayjup.rllib.algorithms import _evaluation, _legacy
from rayjup.rllib.algorithms.algorithm_config import AlgorithmConfig, ConfigError
from rayjup.rllib.callbacks.callbacks import make_callbacks
from rayjup.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_EVAL_ENV_RUNNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_METRICS_LOGGER,
    COMPONENT_RL_MODULE,
    DEFAULT_MODULE_ID,
)
from rayjup.rllib.utils.checkpoints import Checkpointable
from rayjup.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    EVALUATION_RESULTS,
    FAULT_TOLERANCE_STATS,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_TRAINING_STEP_CALLS_PER_ITERATION,
    SAMPLE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
    TRAINING_ITERATION_TIMER,
    TRAINING_STEP_TIMER,
)
from rayjup.rllib.utils.metrics.metrics_logger import MetricsLogger
from rayjup.runs import registry
from rayjup.runs.board import Board
from rayjup.runs.checkpoint import Checkpoint
from rayjup.runs.placement import PlacementGroupFactory
from rayjup.runs.trainable import Trainable, TrainingResult

_log = logging.getLogger(__name__)


class Algorithm(Checkpointable, Trainable):
    """Base of algorithms; made by ``SomeConfig().build_algo()``, or by Tune from a name and a dict.

    Parameters
    ----------
    config
        `AlgorithmConfig`, or a dict of settings.
    env
        The environment, if the config does not say it.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.ppo import PPOConfig
    >>> config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
    >>> algo = config.training(train_batch_size_per_learner=256, num_epochs=2).build_algo()
    >>> result = algo.train()
    >>> result["training_iteration"], result["num_env_steps_sampled_lifetime"]
    (1, 256)
    >>> algo.stop()
    """

    config: Any
    env_runner_group: Any
    eval_env_runner_group: Any
    learner_group: Any
    local_replay_buffer: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make the algorithm known to Tune by its name."""
        super().__init_subclass__(**kwargs)
        registry.register(registry.TRAINABLE, cls.__name__, cls)

    def __init__(
        self, config: Any = None, env: Any = None, logger_creator: Any = None, **kwargs: Any
    ) -> None:
        default = self.get_default_config()
        trial_info = None
        if isinstance(config, dict):
            config = dict(config)
            trial_info = config.pop("__trial_info__", None)
            config = default.update_from_dict(config)
        elif config is None:
            config = default
        if env is not None:
            config.env = env
        self._checked(config)
        self.metrics = MetricsLogger(root=True, stats_cls_lookup=config.custom_stats_cls_lookup)
        self.callbacks = make_callbacks(config)
        self.env_runner_group = self.eval_env_runner_group = self.learner_group = None
        self.offline_data: Any = None
        self.offline_eval_runner_group: Any = None
        self.local_replay_buffer = None
        self.evaluation_metrics: dict[str, Any] = {}
        self._board = Board("rllib", on_request=self._requested)
        self._curve: list[tuple[int, float]] = []
        self._rates: list[float] = []
        self._losses: dict[str, dict[str, list[float]]] = {}
        self._stop_asked = False
        self.evaluation_config: Any = None
        Trainable.__init__(self, config, logger_creator=logger_creator, **kwargs)
        if trial_info is not None:
            self._trial_info = trial_info
            self._logdir = trial_info.trial_dir or self._logdir

    @staticmethod
    def _checked(config: AlgorithmConfig) -> None:
        if config._validate_config:
            config.validate()

    @classmethod
    def get_default_config(cls) -> AlgorithmConfig:
        """The algorithm's config with its defaults."""
        return AlgorithmConfig(algo_class=cls)

    # ------------------------------------------------------------ making

    def setup(self, config: Any) -> None:  # type: ignore[override]
        """Make runners, learners and buffers."""
        import os

        self.config = config
        os.environ.update({k: str(v) for k, v in config.extra_python_environs_for_driver.items()})
        logging.getLogger("rayjup.rllib").setLevel(
            config.log_level if config.log_level != "WARN" else "WARNING"
        )
        _one_thread(config)
        config.freeze()
        object.__setattr__(config, "_is_frozen_by", None)
        spaces = None
        if config.env is not None and not (config.is_offline and not config.evaluation_interval):
            from rayjup.rllib.env.env_runner_group import EnvRunnerGroup

            runner_config = config
            if config.is_offline:  # runners only say the spaces
                runner_config = config.copy(copy_frozen=False)
                runner_config.num_env_runners = 0
            self.env_runner_group = EnvRunnerGroup(
                config=runner_config,
                local_env_runner=config.create_local_env_runner or runner_config.num_env_runners == 0,
            )
            spaces = dict(self.env_runner_group.get_spaces().items())
        elif config.env is not None and config.observation_space is None:
            spaces = _spaces_of_env(config)
        self.learner_group = config.build_learner_group(spaces=spaces)
        self._spaces = spaces
        if config.is_offline:
            from rayjup.rllib.offline.offline_data import OfflineData

            self.offline_data = (config.offline_data_class or OfflineData)(config)
        if config.evaluation_interval or config.evaluation_num_env_runners:
            self._make_eval_runners()
        if self.env_runner_group is not None:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group)
        self._setup_more()
        self.callbacks.on_algorithm_init(algorithm=self, metrics_logger=self.metrics)

    def _setup_more(self) -> None:
        """What an algorithm makes besides (replay buffers)."""

    def _make_eval_runners(self) -> None:
        from rayjup.rllib.env.env_runner_group import EnvRunnerGroup

        self.evaluation_config = self.config.get_evaluation_config_object()
        self.eval_env_runner_group = EnvRunnerGroup(
            config=self.evaluation_config, local_env_runner=self.evaluation_config.num_env_runners == 0
        )

    @staticmethod
    def validate_env(env: Any, env_context: Any) -> None:
        """Raise when an environment does not suit the algorithm; override to check more."""

    # ------------------------------------------------------------ iterations

    def train(self) -> dict[str, Any]:
        """One iteration; its result."""
        return Trainable.train(self)

    def step(self) -> dict[str, Any]:
        """Training steps until the iteration is long enough, and evaluation where it is due."""
        config, begun = self.config, time.perf_counter()
        before = self._steps()
        iteration = self.iteration + 1
        due = bool(config.evaluation_interval) and iteration % config.evaluation_interval == 0
        evaluation: dict[str, Any] = {}
        if due and config.evaluation_parallel_to_training:
            pending = _evaluation.begin(self)
            self._train_long_enough(begun, before)
            evaluation = _evaluation.finish(self, pending)
        else:
            self._train_long_enough(begun, before)
            if due:
                evaluation = self.evaluate()
        if config.offline_evaluation_interval and iteration % config.offline_evaluation_interval == 0:
            evaluation = {**evaluation, **self.evaluate_offline()}
        self._restore_failed()
        self.metrics.log_value((TIMERS, TRAINING_ITERATION_TIMER), time.perf_counter() - begun, window=1)
        result = self._compiled()
        result["training_iteration"] = iteration
        if evaluation:
            result[EVALUATION_RESULTS] = evaluation
        elif self.evaluation_metrics and config.evaluation_interval:
            result[EVALUATION_RESULTS] = self.evaluation_metrics
        result["config"] = config.to_dict()
        result["env_steps_this_iter"] = result.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0) - before[0]
        if self._stop_asked:  # by a watcher; the next train() goes on
            result["done"], self._stop_asked = True, False
        self.callbacks.on_train_result(algorithm=self, metrics_logger=self.metrics, result=result)
        self._publish(result, iteration)
        return result

    def _train_long_enough(self, begun: float, before: tuple[int, int]) -> None:
        config = self.config
        for calls in itertools.count(1):
            with self.metrics.log_time((TIMERS, TRAINING_STEP_TIMER)):
                self.training_step()
            sampled, trained = self._steps()
            if (
                time.perf_counter() - begun >= (config.min_time_s_per_iteration or 0.0)
                and sampled - before[0] >= config.min_sample_timesteps_per_iteration
                and trained - before[1] >= config.min_train_timesteps_per_iteration
            ):
                self.metrics.log_value(NUM_TRAINING_STEP_CALLS_PER_ITERATION, calls, reduce="item")
                return

    def training_step(self) -> None:
        """Sample and learn once; every algorithm has its own."""
        raise TypeError(f"{type(self).__name__} must define training_step().")

    def _steps(self) -> tuple[int, int]:
        """Environment steps sampled, and rows trained on, since the beginning."""
        sampled = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        trained = self.metrics.peek(
            (LEARNER_RESULTS, "__all_modules__", "num_env_steps_trained_lifetime"), default=0
        )
        return int(sampled), int(trained)

    @property
    def timesteps(self) -> dict[str, int]:
        """Lifetime counts, for schedules."""
        return {NUM_ENV_STEPS_SAMPLED_LIFETIME: self._steps()[0]}

    def _compiled(self) -> dict[str, Any]:
        result = self.metrics.compile()
        runners = result.setdefault(ENV_RUNNER_RESULTS, {})
        nan = float("nan")
        for key in (
            EPISODE_RETURN_MEAN, EPISODE_RETURN_MIN, EPISODE_RETURN_MAX, EPISODE_LEN_MEAN, EPISODE_LEN_MIN,
            EPISODE_LEN_MAX,
        ):  # fmt: skip
            if self.env_runner_group is not None:
                runners.setdefault(key, nan)
        for key in (
            "num_env_steps_sampled",
            NUM_ENV_STEPS_SAMPLED_LIFETIME,
            "num_episodes",
            "num_episodes_lifetime",
        ):
            if key in runners:
                runners[key] = int(runners[key])
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in runners:
            result[NUM_ENV_STEPS_SAMPLED_LIFETIME] = runners[NUM_ENV_STEPS_SAMPLED_LIFETIME]
        throughput = runners.pop(f"{NUM_ENV_STEPS_SAMPLED_LIFETIME}_throughput", None)
        if throughput:
            runners[f"{NUM_ENV_STEPS_SAMPLED_LIFETIME}_throughput"] = throughput
        _legacy_result(result, runners)
        group = self.env_runner_group
        result[FAULT_TOLERANCE_STATS] = {
            "num_healthy_workers": group.num_healthy_remote_env_runners() if group is not None else 0,
            "num_remote_worker_restarts": group.num_remote_worker_restarts() if group is not None else 0,
            "num_env_runners_dropped_lifetime": group.num_dropped if group is not None else 0,
        }
        return result

    def log_result(self, result: dict[str, Any]) -> None:
        """Hand a result to loggers."""
        Trainable.log_result(self, result)

    # ------------------------------------------------------------ pieces of training steps

    def sample(self, **arguments: Any) -> list[Any]:
        """Episodes of all runners, until there is a whole batch (``num_timesteps``, if given, of each)."""
        wanted = self.config.total_train_batch_size
        found: list[Any] = []
        steps = 0
        with self.metrics.log_time((TIMERS, SAMPLE_TIMER)):
            while steps < wanted:
                if self.env_runner_group.num_remote_env_runners():
                    self._need_runners()
                episodes, metrics = self.env_runner_group.sample(arguments or None)
                self.metrics.aggregate(metrics, key=ENV_RUNNER_RESULTS)
                found.extend(episodes)
                new = sum(
                    e.agent_steps() if self.config.count_steps_by == "agent_steps" else len(e)
                    for e in episodes
                )
                steps += new
                if arguments:
                    break
                if not new and not self.env_runner_group.num_healthy_env_runners():
                    self._restore_failed(wait=True)
        return found

    def _need_runners(self) -> None:
        if not self.env_runner_group.num_healthy_remote_env_runners():
            self._restore_failed(wait=True)

    def learn(self, **arguments: Any) -> list[dict[str, Any]]:
        """`LearnerGroup.update`, with its metrics joined."""
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            results = self.learner_group.update(timesteps=self.timesteps, **arguments)
        self.aggregate_learners(results)
        return results

    def aggregate_learners(self, results: list[dict[str, Any]]) -> None:
        """Join the learners' metrics; counts of several learners add up."""
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def sync_weights(self) -> None:
        """Give the learners' parameters to the runners, and join the connectors' states."""
        group = self.env_runner_group
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            steps = self._steps()[0]
            group.sync_weights(from_worker_or_learner_group=self.learner_group, global_steps=steps)
            group.sync_env_runner_states(config=self.config)

    def _restore_failed(self, wait: bool = False) -> None:
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None and group._failed_since:
                self.restore_env_runners(group)

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """Make failed runners anew, and give them the parameters; returns their numbers."""
        restored = env_runner_group.probe_unhealthy_env_runners()
        if restored:
            env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, to_worker_indices=restored
            )
            evaluation = env_runner_group is self.eval_env_runner_group
            self.callbacks.on_env_runners_recreated(
                algorithm=self,
                env_runner_group=env_runner_group,
                env_runner_indices=restored,
                is_evaluation=evaluation,
            )
        return restored

    def restore_offline_eval_runners(self, runner_group: Any) -> list[int]:
        """Evaluation on recorded data runs in this process: there is nothing to restore."""
        return []

    # ------------------------------------------------------------ evaluation

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """Play without exploring (as ``evaluation_config`` says); results as of training."""
        if self.eval_env_runner_group is None:
            self._make_eval_runners()
        self.callbacks.on_evaluate_start(algorithm=self, metrics_logger=self.metrics)
        custom = self.config.custom_evaluation_function
        if custom is not None:
            found = custom(self, self.eval_env_runner_group)
            result, _steps, _ = found if isinstance(found, tuple) else (found, 0, 0)
        else:
            result = _evaluation.play(self)
        self.evaluation_metrics = result
        self.callbacks.on_evaluate_end(algorithm=self, metrics_logger=self.metrics, evaluation_metrics=result)
        return result

    def evaluate_offline(self) -> dict[str, Any]:
        """The loss on recorded data, without learning."""
        self.callbacks.on_evaluate_offline_start(algorithm=self, metrics_logger=self.metrics)
        result = _evaluation.offline(self)
        self.callbacks.on_evaluate_offline_end(
            algorithm=self, metrics_logger=self.metrics, evaluation_metrics=result
        )
        return result

    # ------------------------------------------------------------ modules

    @property
    def env_runner(self) -> Any:
        """The runner in this process."""
        return self.env_runner_group.local_env_runner

    @property
    def eval_env_runner(self) -> Any:
        """The evaluation runner in this process."""
        return self.eval_env_runner_group.local_env_runner

    @property
    def workers(self) -> Any:
        """`env_runner_group` under its older name."""
        _legacy.warn_once(
            "Algorithm.workers", "Algorithm.workers is an older spelling: say env_runner_group."
        )
        return self.env_runner_group

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> Any:
        """A module, as the runner in this process has it."""
        runner = self.env_runner_group.local_env_runner if self.env_runner_group is not None else None
        if runner is None:
            if self.learner_group.is_local:
                return self.learner_group._learner.module.get(module_id)
            spec = self.config.get_multi_rl_module_spec(spaces=self._spaces, inference_only=True)
            module = spec.build(module_id)
            module.set_state(self.learner_group.get_weights([module_id], inference_only=True)[module_id])
            return module
        module = runner.module
        return module.get(module_id) if hasattr(module, "foreach_module") else module

    def get_weights(self, policies: list[str] | None = None) -> dict[str, Any]:
        """Parameters by module."""
        return self.learner_group.get_weights(policies)

    def set_weights(self, weights: dict[str, Any]) -> None:
        """Take parameters by module."""
        self.learner_group.set_weights(weights)
        if self.env_runner_group is not None:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group)

    def add_module(
        self,
        module_id: str,
        module_spec: Any,
        *,
        config_overrides: dict | None = None,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: Any = None,
        add_to_learners: bool = True,
        add_to_env_runners: bool = True,
        add_to_eval_env_runners: bool = True,
    ) -> Any:
        """Add a module to learners and runners; returns the spec of all modules."""
        spec = None
        if add_to_learners:
            spec = self.learner_group.add_module(
                module_id=module_id,
                module_spec=module_spec,
                config_overrides=config_overrides,
                new_should_module_be_updated=new_should_module_be_updated,
            )
        self._change_modules(
            "add_module",
            {
                "module_id": module_id,
                "module_spec": module_spec,
                "mapping_fn": new_agent_to_module_mapping_fn,
            },
            add_to_env_runners,
            add_to_eval_env_runners,
        )
        return spec

    def remove_module(
        self,
        module_id: str,
        *,
        new_agent_to_module_mapping_fn: Callable[..., str] | None = None,
        new_should_module_be_updated: Any = None,
        remove_from_learners: bool = True,
        remove_from_env_runners: bool = True,
        remove_from_eval_env_runners: bool = True,
    ) -> Any:
        """Drop a module from learners and runners; returns the spec of what is left."""
        spec = None
        if remove_from_learners:
            spec = self.learner_group.remove_module(
                module_id, new_should_module_be_updated=new_should_module_be_updated
            )
        self._change_modules(
            "remove_module",
            {"module_id": module_id, "mapping_fn": new_agent_to_module_mapping_fn},
            remove_from_env_runners,
            remove_from_eval_env_runners,
        )
        return spec

    def _change_modules(self, method: str, kwargs: dict[str, Any], train: bool, evaluation: bool) -> None:
        for group, wanted in ((self.env_runner_group, train), (self.eval_env_runner_group, evaluation)):
            if group is not None and wanted:
                group.foreach_env_runner(method, kwargs=kwargs)
                group.sync_weights(from_worker_or_learner_group=self.learner_group)

    def compute_single_action(
        self, observation: Any, state: Any = None, explore: bool = False, **kwargs: Any
    ) -> Any:
        """An action for one observation: the older way, without connectors of one's own."""
        _legacy.warn_once(
            "compute_single_action",
            "compute_single_action() is an older spelling: say "
            "algo.get_module().forward_inference({'obs': …}).",
        )
        return _evaluation.single_action(self, observation, state, explore, **kwargs)

    @classmethod
    def get_default_policy_class(cls, config: Any) -> None:
        """None: policies belong to the old stack, modules took their place."""
        return None

    # ------------------------------------------------------------ state and checkpoints

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:  # type: ignore[override]
        """Learners, runners, metrics, counts."""
        wanted = [components] if isinstance(components, str) else components
        unwanted = [not_components] if isinstance(not_components, str) else not_components or []
        state: dict[str, Any] = {
            "algorithm_class": type(self),
            "progress": Trainable_state(self),
            COMPONENT_METRICS_LOGGER: self.metrics.get_state(),
            **self._more_state(),
        }
        for name, part in self.get_checkpointable_components():
            if (wanted is None or any(w.split("/")[0] == name for w in wanted)) and name not in unwanted:
                inner = [w.split("/", 1)[1] for w in wanted or [] if w.startswith(f"{name}/")] or None
                state[name] = part.get_state(inner)
        if wanted is None and COMPONENT_ENV_RUNNER not in unwanted:
            state["sampling"] = {
                name: group.sampling_states()
                for name, group in (
                    (COMPONENT_ENV_RUNNER, self.env_runner_group),
                    (COMPONENT_EVAL_ENV_RUNNER, self.eval_env_runner_group),
                )
                if group is not None
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned."""
        if COMPONENT_LEARNER_GROUP in state:
            self.learner_group.set_state(state[COMPONENT_LEARNER_GROUP])
        if COMPONENT_METRICS_LOGGER in state:
            self.metrics.set_state(state[COMPONENT_METRICS_LOGGER])
        if self.env_runner_group is not None:
            if COMPONENT_ENV_RUNNER in state:
                runner = {k: v for k, v in state[COMPONENT_ENV_RUNNER].items() if k != COMPONENT_RL_MODULE}
                self.env_runner_group._spread(runner, local=True)
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, global_steps=self._steps()[0]
            )
        if "progress" in state:
            self._progress.set_state(state["progress"])
        self._set_more_state(state)
        for name, states in state.get("sampling", {}).items():
            if name == COMPONENT_EVAL_ENV_RUNNER and self.eval_env_runner_group is None:
                self._make_eval_runners()
            group = self.env_runner_group if name == COMPONENT_ENV_RUNNER else self.eval_env_runner_group
            if group is not None:
                group.resume(states)

    def _more_state(self) -> dict[str, Any]:
        return {}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        pass

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """The config."""
        return (), {"config": self.config.copy(copy_frozen=False)}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """Learners and runners."""
        parts: list[tuple[str, Checkpointable]] = []
        if self.env_runner_group is not None and self.env_runner_group.local_env_runner is not None:
            parts.append((COMPONENT_ENV_RUNNER, self.env_runner_group.local_env_runner))
        if self.eval_env_runner_group is not None and self.eval_env_runner_group.local_env_runner is not None:
            parts.append((COMPONENT_EVAL_ENV_RUNNER, self.eval_env_runner_group.local_env_runner))
        parts.append((COMPONENT_LEARNER_GROUP, self.learner_group))
        return parts

    def save_checkpoint(self, checkpoint_dir: str) -> None:  # type: ignore[override]
        """Write a checkpoint into a directory (as Tune asks for)."""
        self.save_to_path(checkpoint_dir, use_msgpack=self.config._use_msgpack_checkpoints)
        if self.config.export_native_model_files:
            self._export_model(["model"], os.path.join(checkpoint_dir, "model"))

    def load_checkpoint(self, checkpoint: str) -> None:  # type: ignore[override]
        """Go on from a directory."""
        self.restore_from_path(checkpoint)

    def save_to_path(self, path: str | Path | None = None, **kwargs: Any) -> str:  # type: ignore[override]
        """Write a checkpoint; see `Checkpointable.save_to_path`."""
        return Checkpointable.save_to_path(self, path, **kwargs)

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Take the state of a checkpoint, or of one of its components."""
        Checkpointable.restore_from_path(self, path, *args, **kwargs)
        if kwargs.get("component") is not None and self.env_runner_group is not None:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group)
        self.callbacks.on_checkpoint_loaded(algorithm=self)

    def save(self, checkpoint_dir: str | None = None) -> TrainingResult:
        """Write a checkpoint; a `TrainingResult` with it."""
        directory = checkpoint_dir or tempfile.mkdtemp(prefix="rllib-")
        self.save_checkpoint(str(directory))
        return TrainingResult(Checkpoint.from_directory(str(directory)), self._last_result or {})

    def restore(self, checkpoint_path: Any) -> None:
        """Go on from what `save` made."""
        if isinstance(checkpoint_path, TrainingResult):
            checkpoint_path = checkpoint_path.checkpoint
        self.restore_from_path(checkpoint_path)

    @classmethod
    def from_checkpoint(cls, path: Any, filesystem: Any = None, **kwargs: Any) -> Any:
        """An algorithm that goes on from a checkpoint; keyword arguments replace settings of its config.

        Parameters
        ----------
        path
            Directory or `Checkpoint`.
        filesystem
            A pyarrow filesystem the path lies on.
        """
        if isinstance(path, TrainingResult):
            path = path.checkpoint
        config = kwargs.get("config")
        if isinstance(config, dict):
            raise ConfigError("from_checkpoint(config=…) takes an AlgorithmConfig.")
        new = Checkpointable.from_checkpoint.__func__(cls, path, filesystem, **kwargs)  # type: ignore[attr-defined]
        new.callbacks.on_checkpoint_loaded(algorithm=new)
        return new

    def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
        """Modules as PyTorch files ("model"), or as checkpoints that need no algorithm ("checkpoint")."""
        import torch

        found = {}
        os.makedirs(export_dir, exist_ok=True)
        for form in export_formats:
            if form == "checkpoint":
                found[form] = self.save_to_path(os.path.join(export_dir, "checkpoint"))
            elif form == "model":
                for module_id, weights in self.get_weights().items():
                    torch.save(
                        {k: torch.as_tensor(v) for k, v in weights.items()},
                        os.path.join(export_dir, f"{module_id}.pt"),
                    )
                found[form] = export_dir
            else:
                raise ValueError(f"export format {form!r}: 'model' or 'checkpoint'.")
        return found

    # ------------------------------------------------------------ Tune

    @classmethod
    def merge_algorithm_configs(
        cls, config1: dict, config2: dict, _allow_unknown_configs: bool | None = None
    ) -> dict[str, Any]:
        """Two dicts of settings, nested ones merged; the second wins."""
        merged = dict(config1)
        for key, value in config2.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = cls.merge_algorithm_configs(merged[key], value)
            else:
                merged[key] = value
        return merged

    @classmethod
    def default_resource_request(cls, config: Any) -> PlacementGroupFactory:
        """One bundle for the algorithm's process, one per runner and learner."""
        if not isinstance(config, AlgorithmConfig):
            config = cls.get_default_config().update_from_dict(
                {k: v for k, v in dict(config).items() if not k.startswith("__")}
            )
        main = {"CPU": config.num_cpus_for_main_process, "GPU": config.num_gpus}
        runner = {"CPU": config.num_cpus_per_env_runner, "GPU": config.num_gpus_per_env_runner}
        learner_cpus = config.num_cpus_per_learner
        learner_cpus = (0 if config.num_gpus_per_learner else 1) if learner_cpus == "auto" else learner_cpus
        learner = {"CPU": learner_cpus, "GPU": config.num_gpus_per_learner}
        runners = 0 if config.is_offline else config.num_env_runners
        evaluation = config.evaluation_num_env_runners if config.evaluation_interval else 0
        bundles = [main, *[runner] * (runners + evaluation), *[learner] * config.num_learners]
        bundles = [{k: v for k, v in b.items() if v} for b in bundles]
        return PlacementGroupFactory(
            [bundles[0], *[b for b in bundles[1:] if b]], strategy=config.placement_strategy
        )

    @classmethod
    def resource_help(cls, config: Any) -> str:
        """What to change when a trial does not find its resources."""
        return "lower num_env_runners, num_learners or evaluation_num_env_runners (0: in its own process)."

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take other settings by being set up anew."""
        self.cleanup()
        config = self.get_default_config().update_from_dict(
            {k: v for k, v in dict(new_config).items() if not k.startswith("__")}
        )
        self._checked(config)
        self.metrics.reset()
        self.setup(config)
        return True

    # ------------------------------------------------------------ watchers, end

    def _publish(self, result: dict[str, Any], iteration: int) -> None:
        """Show watchers how far this is: a few kilobytes, with curves of returns, speed and losses."""
        runners = result.get(ENV_RUNNER_RESULTS, {})
        mean = runners.get(EPISODE_RETURN_MEAN)
        steps = result.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        rate = runners.get(f"{NUM_ENV_STEPS_SAMPLED_LIFETIME}_throughput") or {}
        rate = rate.get("throughput_since_last_reduce") or rate.get("throughput_since_last_restore")
        if mean is not None and mean == mean:
            self._curve.append((steps, mean))
        if rate:
            self._rates.append(rate)
        for module_id, values in result.get(LEARNER_RESULTS, {}).items():
            if isinstance(values, dict):
                for key, value in values.items():
                    if key.endswith("loss") and isinstance(value, float):
                        self._losses.setdefault(module_id, {}).setdefault(key, []).append(value)
        curves: list[list] = [self._curve, self._rates]
        for curve in (*curves, *(c for named in self._losses.values() for c in named.values())):
            if len(curve) > 100:  # a picture needs no more points
                del curve[1:-1:2]
        environment = str(getattr(self.config.env, "__name__", self.config.env))
        self._board.post({
            "name": f"{type(self).__name__}_{environment}",
            "algorithm": type(self).__name__,
            "environment": environment,
            "iteration": iteration,
            "steps": steps,
            "steps_per_s": rate,
            "return_mean": mean if mean == mean else None,
            "curve": list(self._curve),
            "rates": list(self._rates),
            "losses": {m: {k: list(c) for k, c in named.items()} for m, named in self._losses.items()},
        })  # fmt: skip

    def _requested(self, request: dict[str, Any]) -> None:
        if request.get("action") == "stop":
            self._stop_asked = True

    def cleanup(self) -> None:
        """End runners and learners."""
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.stop()
        if self.learner_group is not None:
            self.learner_group.shutdown()
        self._close_more()

    def _close_more(self) -> None:
        pass

    def stop(self) -> None:
        """End runners, learners, and the row on the board."""
        Trainable.stop(self)
        self._board.close("finished")


def Trainable_state(algorithm: Algorithm) -> dict[str, Any]:
    """The counts every trainable keeps."""
    return Trainable.get_state(algorithm)


def _one_thread(config: Any) -> None:
    """Small networks are faster on one thread: more of them wait for each other."""
    import torch

    if config.num_learners == 0 and not (torch.cuda.is_available() and config.num_gpus_per_learner):
        torch.set_num_threads(1)


def _legacy_result(result: dict[str, Any], runners: dict[str, Any]) -> None:
    """Names of results that older programs read."""
    if EPISODE_RETURN_MEAN in runners:
        result["episode_reward_mean"] = runners[EPISODE_RETURN_MEAN]
        result["episode_reward_min"] = runners.get(EPISODE_RETURN_MIN)
        result["episode_reward_max"] = runners.get(EPISODE_RETURN_MAX)
        result["episode_len_mean"] = runners.get(EPISODE_LEN_MEAN)
        result["timesteps_total"] = runners.get(NUM_ENV_STEPS_SAMPLED_LIFETIME)


def _spaces_of_env(config: Any) -> dict[str, Any]:
    from rayjup.rllib.algorithms._modules import spaces_in_env
    from rayjup.rllib.env.env_context import EnvContext
    from rayjup.rllib.env.making import make_one

    env = make_one(config, EnvContext(config.env_config, 0))
    spaces = {key: spaces_in_env(config, env, key) for key in config.policies}
    env.close()
    return spaces
