"""AlgorithmConfig: an algorithm's settings, set by section in a chain of calls.

The settings live in one dataclass per concern (`_sections`). Attributes of the config are those of its
sections: ``config.lr`` is ``config.sections["training"].lr``.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rayjup.rllib.algorithms import _legacy
from rayjup.rllib.algorithms._sections import SECTIONS, default_policy_mapping_fn
from rayjup.rllib.core import DEFAULT_MODULE_ID

Self = TypeVar("Self", bound="AlgorithmConfig")


class _NotProvided:
    def __repr__(self) -> str:
        return "NotProvided"


NotProvided: Any = _NotProvided()


class TorchCompileWhatToCompile(str, enum.Enum):
    """What of a learner is compiled."""

    COMPLETE_UPDATE = "complete_update"
    FORWARD_TRAIN = "forward_train"


class ConfigError(ValueError):
    """Settings that do not fit together."""


class AlgorithmConfig:
    """Settings of an algorithm.

    Parameters
    ----------
    algo_class
        What `build_algo` builds.

    Examples
    --------
    >>> from rayjup.rllib.algorithms.ppo import PPOConfig
    >>> config = PPOConfig().environment("CartPole-v1").training(lr=3e-4, gamma=0.98)
    >>> config.lr, config["gamma"], config.clip_param
    (0.0003, 0.98, 0.3)
    """

    TRAINING: type = SECTIONS["training"]  # the algorithm's own hyperparameters
    DEFAULTS: dict[str, Any] = {}  # what else the algorithm sets differently
    TUNED: dict[str, Any] = {}  # `training(tuned=True)`: settings that learn fast on small problems

    DEFAULT_POLICY_MAPPING_FN = staticmethod(default_policy_mapping_fn)

    @staticmethod
    def DEFAULT_AGENT_TO_MODULE_MAPPING_FN(agent_id: Any, episode: Any) -> str:
        """All agents are played by the one module."""
        return DEFAULT_MODULE_ID

    def __init__(self, algo_class: type | None = None) -> None:
        set_ = object.__setattr__
        set_(self, "_frozen", False)
        set_(self, "algo_class", algo_class)
        set_(self, "_places", {})
        sections = {}
        for name, kind in SECTIONS.items():
            kind = self.TRAINING if name == "training" else kind
            sections[name] = kind()
            self._places.update({f.name: name for f in dataclasses.fields(kind)})
        set_(self, "sections", sections)
        set_(self, "_is_frozen_by", None)
        for name, value in self.DEFAULTS.items():
            setattr(self, name, copy.copy(value))

    # ------------------------------------------------------------ attributes live in sections

    def __getattr__(self, name: str) -> Any:
        places = object.__getattribute__(self, "__dict__").get("_places", {})
        if name in places:
            return getattr(self.sections[places[name]], name)
        today = _legacy.RENAMED.get(name, "")
        if today in places:
            return getattr(self, today)
        raise AttributeError(f"{type(self).__name__} has no setting {name!r}.")

    def __setattr__(self, name: str, value: Any) -> None:
        if self._frozen:
            raise AttributeError(
                f"{type(self).__name__} is frozen (in use by an Algorithm): change a copy()."
            )
        if name in self._places:
            setattr(self.sections[self._places[name]], name, value)
        elif _legacy.RENAMED.get(name) in self._places and not hasattr(type(self), name):
            setattr(self, _legacy.RENAMED[name], value)
        else:
            object.__setattr__(self, name, value)

    def _apply(self: Self, settings: dict[str, Any]) -> Self:
        for name, value in settings.items():
            if value is NotProvided:
                continue
            today = _legacy.setting(name, self._places)
            if today is not None:
                setattr(self, today, value)
        return self

    # ------------------------------------------------------------ sections

    def python_environment(self: Self, **settings: Any) -> Self:
        """Environment variables of the driver's and the runners' processes."""
        return self._apply(settings)

    def resources(self: Self, **settings: Any) -> Self:
        """What the algorithm's own process needs."""
        return self._apply(settings)

    def framework(self: Self, framework: str = NotProvided, **settings: Any) -> Self:
        """PyTorch (``"torch"``), and whether its compiler is used."""
        if framework is not NotProvided:
            if framework != "torch":
                raise ConfigError(f"framework {framework!r}: the networks are PyTorch's, say 'torch'.")
            self.framework_str = framework
        return self._apply(settings)

    def api_stack(
        self: Self,
        enable_rl_module_and_learner: bool = NotProvided,
        enable_env_runner_and_connector_v2: bool = NotProvided,
    ) -> Self:
        """The stack; there is the new one only."""
        if enable_rl_module_and_learner is False or enable_env_runner_and_connector_v2 is False:
            _legacy.warn_once("api_stack", "there is no old API stack in rayjup: the new one is used.")
        return self

    def environment(self: Self, env: Any = NotProvided, **settings: Any) -> Self:
        """The environment: a name, a class, or a function of an `EnvContext`; its settings and spaces."""
        if "env_config" in settings and settings["env_config"] is not NotProvided:
            settings["env_config"] = {**self.env_config, **(settings["env_config"] or {})}
        return self._apply({"env": env, **settings})

    def env_runners(self: Self, **settings: Any) -> Self:
        """Sampling."""
        length = settings.get("rollout_fragment_length", NotProvided)
        if isinstance(length, str) and length != "auto":
            raise ConfigError(f"rollout_fragment_length {length!r}: a number of steps, or 'auto'.")
        return self._apply(settings)

    rollouts = env_runners

    def learners(self: Self, **settings: Any) -> Self:
        """Learning: processes and GPUs."""
        return self._apply(settings)

    def training(self: Self, *, tuned: bool = False, **settings: Any) -> Self:
        """Hyperparameters.

        Parameters
        ----------
        tuned
            Begin with settings that learn fast on small problems instead of Ray's defaults; what is said
            besides them wins.
        **settings
            See the fields of ``config.sections["training"]``.
        """
        if tuned:
            if not self.TUNED:
                raise ConfigError(f"{type(self).__name__} has no tuned settings.")
            for name, value in self.TUNED.items():
                setattr(self, name, copy.copy(value))
        if settings.get("train_batch_size_per_learner", NotProvided) is None:
            settings.pop("train_batch_size_per_learner")
        return self._apply(settings)

    def callbacks(self: Self, callbacks_class: Any = NotProvided, **settings: Any) -> Self:
        """What is called when something happens: a subclass of `RLlibCallback`, several, or single
        functions.
        """
        return self._apply({"callbacks_class": callbacks_class, **settings})

    def evaluation(self: Self, **settings: Any) -> Self:
        """Playing without learning."""
        return self._apply(settings)

    def offline_data(self: Self, **settings: Any) -> Self:
        """Recorded data: to learn from (``input_``), or to write (``output``)."""
        return self._apply(settings)

    def multi_agent(self: Self, **settings: Any) -> Self:
        """Modules (``policies``), who plays whom (``policy_mapping_fn``), and which learn
        (``policies_to_train``).
        """
        policies = settings.get("policies", NotProvided)
        if isinstance(policies, (list, tuple)):
            settings["policies"] = dict.fromkeys(policies)
        return self._apply(settings)

    def reporting(self: Self, **settings: Any) -> Self:
        """Iterations and their results."""
        return self._apply(settings)

    def checkpointing(self: Self, **settings: Any) -> Self:
        """What goes into checkpoints."""
        return self._apply(settings)

    def debugging(self: Self, **settings: Any) -> Self:
        """Random seed, log level."""
        return self._apply(settings)

    def fault_tolerance(self: Self, **settings: Any) -> Self:
        """What happens when runners or environments fail."""
        return self._apply(settings)

    def rl_module(self: Self, **settings: Any) -> Self:
        """The RLModules: settings of the default ones (``model_config``), or others (``rl_module_spec``)."""
        return self._apply(settings)

    def experimental(self: Self, **settings: Any) -> Self:
        """What may change."""
        return self._apply(settings)

    # ------------------------------------------------------------ as a dict

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self, _legacy.RENAMED.get(key, key) or key)
        except AttributeError:
            raise KeyError(f"{type(self).__name__} has no setting {key!r}.") from None

    def __setitem__(self, key: str, value: Any) -> None:
        self._apply({key: value})

    def __contains__(self, key: object) -> bool:
        return key in self._places or _legacy.RENAMED.get(str(key)) in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def get(self, key: str, default: Any = None) -> Any:
        """A setting, or ``default`` where there is none of that name."""
        return self[key] if str(key) in self._places or key in self else default

    def pop(self, key: str, default: Any = None) -> Any:
        """A setting; it goes back to its default."""
        value = self.get(key, default)
        if key in self._places:
            setattr(self, key, getattr(type(self)(), key))
        return value

    def keys(self) -> Any:
        """Names of all settings."""
        return self.to_dict().keys()

    def values(self) -> Any:
        """Values of all settings."""
        return self.to_dict().values()

    def items(self) -> Any:
        """Names and values of all settings."""
        return self.to_dict().items()

    def to_dict(self) -> dict[str, Any]:
        """All settings."""
        flat = {name: copy.copy(getattr(self, name)) for name in self._places}
        own = {k: v for k, v in vars(self).items() if k not in _MACHINERY and not k.startswith("_")}
        return {**own, **flat}

    @classmethod
    def from_dict(cls: type[Self], config_dict: dict[str, Any]) -> Self:
        """A config with the settings of a dict."""
        return cls().update_from_dict(config_dict)

    def update_from_dict(self: Self, config_dict: dict[str, Any]) -> Self:
        """Take settings from a dict; ``env_config`` and ``model_config`` are merged, ``multiagent`` is a
        section.
        """
        for key, value in config_dict.items():
            if key == "multiagent":
                self.multi_agent(**value)
            elif key in ("env_config", "model_config") and isinstance(value, dict):
                before = getattr(self, key)
                setattr(self, key, {**before, **value} if isinstance(before, dict) else value)
            elif key == "callbacks" and value is not None:
                self.callbacks_class = value
            elif key in self._places or key in _legacy.RENAMED or key in _legacy.WITHOUT_EFFECT:
                self._apply({key: value})
            elif key in self.__dict__:
                setattr(self, key, value)
            else:
                _legacy.setting(key, self._places)  # says what is wrong
        return self

    @classmethod
    def overrides(cls, **kwargs: Any) -> dict[str, Any]:
        """A dict of settings for ``evaluation_config`` and the like, checked for misspelling.

        Examples
        --------
        >>> from rayjup.rllib.algorithms.ppo import PPOConfig
        >>> PPOConfig.overrides(explore=False)
        {'explore': False}
        """
        places = cls()._places
        for name in kwargs:
            _legacy.setting(name, places)
        return kwargs

    def copy(self: Self, copy_frozen: bool | None = None) -> Self:
        """A deep copy of the settings; frozen as this one is, or as ``copy_frozen`` says."""
        new = object.__new__(type(self))
        for name, value in self.__dict__.items():
            if name != "sections":
                object.__setattr__(new, name, value)
        sections = {}
        for name, section in self.sections.items():
            sections[name] = type(section)(**{
                f.name: _copied(getattr(section, f.name)) for f in dataclasses.fields(section)
            })  # fmt: skip
        object.__setattr__(new, "sections", sections)
        object.__setattr__(new, "_frozen", self._frozen if copy_frozen is None else copy_frozen)
        return new

    def freeze(self) -> None:
        """No changes from now on."""
        object.__setattr__(self, "_frozen", True)

    def get_state(self) -> dict[str, Any]:
        """Class and settings."""
        return {"class": type(self), "algo_class": self.algo_class, **self.to_dict()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Any:
        """The config `get_state` was called on."""
        state = dict(state)
        new = state.pop("class", cls)()
        object.__setattr__(new, "algo_class", state.pop("algo_class", None))
        for key, value in state.items():
            setattr(new, key, value)
        return new

    def serialize(self) -> dict[str, Any]:
        """The settings in values that JSON knows (others as text)."""
        return {key: _plain(value) for key, value in self.to_dict().items()}

    def __repr__(self) -> str:
        base = type(self)()
        changed = {
            k: getattr(self, k) for k in self._places if repr(getattr(self, k)) != repr(getattr(base, k))
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    # ------------------------------------------------------------ what follows from the settings

    @property
    def is_multi_agent(self) -> bool:
        """True with several modules, or an own mapping of agents to modules."""
        return (
            set(self.policies) != {DEFAULT_MODULE_ID}
            or self.policy_mapping_fn is not default_policy_mapping_fn
        )

    @property
    def is_offline(self) -> bool:
        """True when the algorithm learns from recorded data."""
        return isinstance(self.input_, (list, tuple)) or (
            self.input_ not in ("sampler", None) and not callable(self.input_)
        )

    @property
    def is_online(self) -> bool:
        """True when the algorithm samples."""
        return not self.is_offline

    @property
    def is_atari(self) -> bool:
        """True for environments of the arcade learning environment."""
        if self.sections["environment"].is_atari:
            return True
        return isinstance(self.env, str) and self.env.startswith(("ale_py:", "ALE/"))

    @is_atari.setter
    def is_atari(self, value: bool) -> None:
        self.sections["environment"].is_atari = value

    @property
    def train_batch_size_per_learner(self) -> int:
        """Steps (or rows) per learner and update."""
        own = self.sections["training"].train_batch_size_per_learner
        return own if own is not None else math.ceil(self.train_batch_size / max(1, self.num_learners))

    @train_batch_size_per_learner.setter
    def train_batch_size_per_learner(self, value: int | None) -> None:
        self.sections["training"].train_batch_size_per_learner = value

    @property
    def total_train_batch_size(self) -> int:
        """Steps (or rows) per update, of all learners."""
        return self.train_batch_size_per_learner * max(1, self.num_learners)

    @property
    def model_config(self) -> dict[str, Any]:
        """Settings of the default modules."""
        given = self.sections["rl_module"].model_config
        given = vars(given) if dataclasses.is_dataclass(given) else dict(given or {})
        return {
            "action_mask_key": self.action_mask_key,
            **self._model_config_auto_includes,
            **self.model,
            **given,
        }

    @model_config.setter
    def model_config(self, value: Any) -> None:
        self.sections["rl_module"].model_config = value

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return {}

    @property
    def rl_module_spec(self) -> Any:
        """The module's description: the given one, filled up with defaults."""
        default = self.get_default_rl_module_spec()
        given = self.sections["rl_module"].rl_module_spec
        return default if given is None else given

    @rl_module_spec.setter
    def rl_module_spec(self, value: Any) -> None:
        self.sections["rl_module"].rl_module_spec = value

    @property
    def learner_class(self) -> Any:
        """The given learner class, or the algorithm's."""
        return self.sections["learners"].learner_class or self.get_default_learner_class()

    @learner_class.setter
    def learner_class(self, value: Any) -> None:
        self.sections["learners"].learner_class = value

    @property
    def uses_old_api_stack(self) -> bool:
        """Never."""
        return False

    def get_default_learner_class(self) -> Any:
        """The algorithm's learner class."""
        from rayjup.rllib.core.learner.torch.torch_learner import TorchLearner

        return TorchLearner

    def get_default_rl_module_spec(self) -> Any:
        """The description of the algorithm's usual module."""
        raise ConfigError(
            f"{type(self).__name__} has no module of its own: give rl_module(rl_module_spec=…)."
        )

    def get_torch_compile_worker_config(self) -> dict[str, Any]:
        """Arguments of `torch.compile` for the modules of env runners."""
        return {
            "backend": self.torch_compile_worker_dynamo_backend,
            "mode": self.torch_compile_worker_dynamo_mode,
        }

    def get_rollout_fragment_length(self, worker_index: int = 0) -> int:
        """Steps each environment makes per `sample()`; "auto" is what fills a batch."""
        if self.rollout_fragment_length != "auto":
            return int(self.rollout_fragment_length)
        envs = self.num_envs_per_env_runner * max(1, self.num_env_runners)
        length = self.total_train_batch_size / envs
        if self.num_env_runners == 0 or length == int(length):
            return max(1, math.ceil(length))
        # The first runners make one step more, so that together they make a whole batch.
        rest = self.total_train_batch_size - math.floor(length) * envs
        first = worker_index <= math.ceil(rest / self.num_envs_per_env_runner)
        return max(1, math.ceil(length) if first else math.floor(length))

    def get_config_for_module(self: Self, module_id: str) -> Self:
        """The settings with those that are special for one module."""
        special = self.algorithm_config_overrides_per_module.get(module_id)
        if not special:
            return self
        cache = self.__dict__.setdefault("_per_module", {})
        if module_id not in cache:
            own = self.copy(copy_frozen=False)
            object.__setattr__(own, "_per_module", {})
            own.update_from_dict(special.to_dict() if isinstance(special, AlgorithmConfig) else special)
            cache[module_id] = own
        return cache[module_id]

    def get_evaluation_config_object(self: Self) -> Self | None:
        """The settings for evaluation."""
        own = self.copy(copy_frozen=False)
        own.num_env_runners = self.evaluation_num_env_runners
        own.rollout_fragment_length = (
            1 if own.rollout_fragment_length == "auto" else own.rollout_fragment_length
        )
        special = self.evaluation_config
        if special is not None:
            own.update_from_dict(special.to_dict() if isinstance(special, AlgorithmConfig) else special)
        object.__setattr__(own, "in_evaluation", True)
        return own

    def get_multi_rl_module_spec(
        self,
        *,
        env: Any = None,
        spaces: dict[str, Any] | None = None,
        inference_only: bool = False,
        policy_dict: Any = None,
        single_agent_rl_module_spec: Any = None,
    ) -> Any:
        """Descriptions of all modules, with spaces filled in."""
        from rayjup.rllib.algorithms._modules import multi_rl_module_spec

        return multi_rl_module_spec(self, env, spaces, inference_only, single_agent_rl_module_spec)

    def get_rl_module_spec(
        self, env: Any = None, spaces: Any = None, inference_only: bool | None = None
    ) -> Any:
        """The description of the only module, with spaces filled in."""
        multi = self.get_multi_rl_module_spec(env=env, spaces=spaces, inference_only=bool(inference_only))
        return next(iter(multi.rl_module_specs.values()))

    # ------------------------------------------------------------ validity

    def validate(self) -> None:
        """Raise `ConfigError` when settings do not fit together."""
        _positive(self, "num_envs_per_env_runner", "num_epochs", "train_batch_size")
        for name in ("num_env_runners", "num_learners", "evaluation_num_env_runners"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)}: it cannot be below 0.")
        if self.batch_mode not in ("truncate_episodes", "complete_episodes"):
            raise ConfigError(f"batch_mode {self.batch_mode!r}: 'truncate_episodes' or 'complete_episodes'.")
        if self.grad_clip_by not in ("value", "norm", "global_norm"):
            raise ConfigError(f"grad_clip_by {self.grad_clip_by!r}: 'value', 'norm' or 'global_norm'.")
        if self.evaluation_duration_unit not in ("episodes", "timesteps"):
            raise ConfigError(
                f"evaluation_duration_unit {self.evaluation_duration_unit!r}: 'episodes' or 'timesteps'."
            )
        if self.evaluation_duration == "auto" and not self.evaluation_parallel_to_training:
            raise ConfigError("evaluation_duration='auto' needs evaluation_parallel_to_training=True.")
        if self.evaluation_parallel_to_training and self.evaluation_num_env_runners == 0:
            raise ConfigError(
                "evaluation_parallel_to_training=True needs evaluation_num_env_runners of 1 or more."
            )
        if self.minibatch_size and self.minibatch_size > self.train_batch_size_per_learner:
            raise ConfigError(
                f"minibatch_size={self.minibatch_size} is more than train_batch_size_per_learner="
                f"{self.train_batch_size_per_learner}."
            )
        if self.num_gpus_per_learner and self.num_learners == 0 and self.num_gpus_per_learner > 1:
            raise ConfigError("a local learner (num_learners=0) uses one GPU at most.")
        if not isinstance(self.policies, (dict, set, list, tuple, frozenset)):
            raise ConfigError("policies: a set of module ids, or a dict by module id.")

    def validate_train_batch_size_vs_rollout_fragment_length(self) -> None:
        """Raise when a batch cannot be made of the runners' fragments."""
        if self.rollout_fragment_length == "auto" or self.in_evaluation_:
            return
        per_round = self.num_envs_per_env_runner * max(1, self.num_env_runners) * self.rollout_fragment_length
        if self.batch_mode == "truncate_episodes" and self.total_train_batch_size % per_round:
            raise ConfigError(
                f"a batch of {self.total_train_batch_size} steps is no multiple of {per_round} (runners x "
                "environments x rollout_fragment_length): say rollout_fragment_length='auto'."
            )

    @property
    def in_evaluation_(self) -> bool:
        """True for what `get_evaluation_config_object` returns."""
        return bool(self.__dict__.get("in_evaluation", False))

    # ------------------------------------------------------------ building

    def build_algo(self, env: Any = None, use_copy: bool = True, **kwargs: Any) -> Any:
        """The algorithm with these settings.

        Parameters
        ----------
        env
            The environment, if it was not set.
        use_copy
            Leave this config as it is; otherwise it is the algorithm's own and frozen.
        """
        if self.algo_class is None:
            raise ConfigError("an AlgorithmConfig of no algorithm cannot be built: take PPOConfig().")
        config = self.copy(copy_frozen=False) if use_copy else self
        if env is not None:
            config.env = env
        return self.algo_class(config=config, **kwargs)

    def build(self, env: Any = None, **kwargs: Any) -> Any:
        """`build_algo` under its older name."""
        _legacy.warn_once("config.build", "AlgorithmConfig.build() is an older spelling: say build_algo().")
        return self.build_algo(env, **{k: v for k, v in kwargs.items() if k == "use_copy"})

    def build_learner(self, *, env: Any = None, spaces: Any = None) -> Any:
        """A learner alone, built."""
        spec = self.get_multi_rl_module_spec(env=env, spaces=spaces)
        learner = self.learner_class(config=self, module_spec=spec)
        learner.build()
        return learner

    def build_learner_group(
        self, *, env: Any = None, spaces: Any = None, rl_module_spec: Any = None, placement_group: Any = None
    ) -> Any:
        """The learners."""
        from rayjup.rllib.core.learner.learner_group import LearnerGroup

        spec = rl_module_spec or self.get_multi_rl_module_spec(env=env, spaces=spaces)
        return LearnerGroup(config=self, module_spec=spec)

    def build_env_to_module_connector(self, env: Any = None, spaces: Any = None, device: Any = None) -> Any:
        """The pipeline from episodes to the module's batch, in env runners."""
        from rayjup.rllib.connectors import _defaults

        return _defaults.env_to_module(self, env, spaces, device)

    def build_module_to_env_connector(self, env: Any = None, spaces: Any = None) -> Any:
        """The pipeline from the module's outputs to actions, in env runners."""
        from rayjup.rllib.connectors import _defaults

        return _defaults.module_to_env(self, env, spaces)

    def build_learner_connector(
        self, input_observation_space: Any, input_action_space: Any, device: Any = None
    ) -> Any:
        """The pipeline from episodes to the train batch, in learners."""
        from rayjup.rllib.connectors import _defaults

        return _defaults.learner(self, input_observation_space, input_action_space, device)


class DifferentiableAlgorithmConfig(AlgorithmConfig):
    """Settings of algorithms that learn through updates (meta-learning): with configs of inner learners."""

    differentiable_learner_configs: list[Any]

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class)
        self.differentiable_learner_configs = []

    def learners(self: Self, *, differentiable_learner_configs: Any = NotProvided, **settings: Any) -> Self:
        """Learners, and the configs of the inner ones."""
        if differentiable_learner_configs is not NotProvided:
            self.differentiable_learner_configs = list(differentiable_learner_configs)  # type: ignore[attr-defined]
        return super().learners(**settings)

    def get_differentiable_learner_configs(self) -> list[Any]:
        """The configs of the inner learners."""
        return self.differentiable_learner_configs

    def get_differentiable_learner_classes(self) -> list[Any]:
        """The classes of the inner learners."""
        return [config.learner_class for config in self.differentiable_learner_configs]

    def validate(self) -> None:
        """As of any config; inner learners need their class."""
        super().validate()
        if any(c.learner_class is None for c in self.differentiable_learner_configs):
            raise ConfigError("an inner learner's config without learner_class: say which one.")


_MACHINERY = {"sections", "algo_class", "in_evaluation"}


def _copied(value: Any) -> Any:
    if isinstance(value, (dict, list, set)):
        return copy.copy(value) if not isinstance(value, dict) else {k: _copied(v) for k, v in value.items()}
    return value


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(v) for v in value]
    if inspect.isclass(value) or callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', repr(value))}"
    return str(value)


def _positive(config: AlgorithmConfig, *names: str) -> None:
    for name in names:
        if getattr(config, name) is not None and getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)}: it must be 1 or more.")


def _document(method: Callable, section: type, *positional: str) -> None:
    """Show the section's settings in the method's signature."""
    own = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    own += [
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=NotProvided) for n in positional
    ]
    own += [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=NotProvided, annotation=f.type)
        for f in dataclasses.fields(section)
        if f.name not in positional and f.name != "framework_str"
    ]
    extra = inspect.Parameter("older_spellings", inspect.Parameter.VAR_KEYWORD)
    method.__signature__ = inspect.Signature([*own, extra])  # type: ignore[attr-defined]


_FIRST = {"environment": "env", "framework": "framework", "callbacks": "callbacks_class"}
for _name, _section in SECTIONS.items():
    if _name not in ("api_stack", "training"):
        _document(getattr(AlgorithmConfig, _name), _section, *([_FIRST[_name]] if _name in _FIRST else []))
