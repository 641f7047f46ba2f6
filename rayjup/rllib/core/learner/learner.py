"""Learner: from training data to gradients to better modules.

`update` runs: pipeline (episodes → train batch), then for every epoch and minibatch: ``forward_train``,
`compute_losses`, `compute_gradients`, `postprocess_gradients`, `apply_gradients`. Each of them can be
overridden.
"""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence
from typing import Any

from rayjup.rllib.core import ALL_MODULES, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from rayjup.rllib.core.rl_module.apis import SelfSupervisedLossAPI
from rayjup.rllib.core.rl_module.rl_module import RLModule
from rayjup.rllib.utils.checkpoints import Checkpointable
from rayjup.rllib.utils.metrics.metrics_logger import MetricsLogger

DEFAULT_OPTIMIZER = "default_optimizer"


class Learner(Checkpointable, abc.ABC):
    """Base of learners; `TorchLearner` has the parts that PyTorch does.

    Parameters
    ----------
    config
        The `AlgorithmConfig`.
    module_spec
        What its module is made from.
    module
        The module itself, instead.
    rank, world
        Which of how many learners this is.
    """

    framework: str | None = None
    TOTAL_LOSS_KEY = "total_loss"

    def __init__(
        self,
        *,
        config: Any,
        module_spec: Any = None,
        module: Any = None,
        rank: int = 0,
        world: int = 1,
        **kwargs: Any,
    ) -> None:
        self.config = config.copy(copy_frozen=False)
        self._module_spec, self._module_obj = module_spec, module
        self.rank, self.world = rank, world
        self._module: Any = None
        self._learner_connector: Any = None
        self._optimizers: dict[str, Any] = {}  # "module/optimizer" -> optimizer
        self._schedules: dict[str, Any] = {}  # of their learning rates
        self._params: dict[Hashable, Any] = {}
        self._of_optimizer: dict[str, list[Hashable]] = {}
        self._weights_seq_no = 0
        self._steps_trained = 0
        self._is_built = False
        self.metrics = MetricsLogger(stats_cls_lookup=config.custom_stats_cls_lookup)

    # ------------------------------------------------------------ building

    def build(self) -> None:
        """Make module, pipeline and optimizers; a second call does nothing."""
        if self._is_built:
            return
        self._is_built = True
        self._module = self._make_module()
        for module in self._module.values():
            self._check_module(module)
        observation, action = self._input_spaces()
        self._learner_connector = self.config.build_learner_connector(observation, action, device=self.device)
        self.configure_optimizers()

    def _check_module(self, module: RLModule) -> None:
        if not self.rl_module_is_compatible(module):
            missing = [api.__name__ for api in self.rl_module_required_apis() if not isinstance(module, api)]
            raise ValueError(
                f"{type(module).__name__} cannot be trained by {type(self).__name__}: it lacks {missing}."
            )

    def _input_spaces(self) -> tuple[Any, Any]:
        first = next(iter(self._module.values()), None)
        if self.config.is_multi_agent or first is None:
            return None, None
        return first.observation_space, first.action_space

    @abc.abstractmethod
    def _make_module(self) -> Any:
        """The multi-module, on its device."""

    @property
    @abc.abstractmethod
    def device(self) -> Any:
        """Where the module is."""

    @property
    def distributed(self) -> bool:
        """True when there are several learners."""
        return self.world > 1

    @property
    def module(self) -> Any:
        """The `MultiRLModule`."""
        return self._module

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        """What modules must be able to do for this."""
        return []

    def rl_module_is_compatible(self, module: RLModule) -> bool:
        """Whether a module can do that."""
        return all(isinstance(module, api) for api in self.rl_module_required_apis())

    def should_module_be_updated(self, module_id: str, multi_agent_batch: Any = None) -> bool:
        """Whether a module learns (``policies_to_train``)."""
        wanted = self.config.policies_to_train
        if wanted is None:
            return True
        return bool(wanted(module_id, multi_agent_batch)) if callable(wanted) else module_id in wanted

    # ------------------------------------------------------------ optimizers and parameters

    def configure_optimizers(self) -> None:
        """Make the optimizers of all modules that learn."""
        for module_id in list(self._module.keys()):
            if self.should_module_be_updated(module_id):
                self.configure_optimizers_for_module(module_id, self.config.get_config_for_module(module_id))

    @abc.abstractmethod
    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """Register the optimizers of a module."""

    @abc.abstractmethod
    def register_optimizer(
        self, *, module_id: str = ALL_MODULES, optimizer_name: str = DEFAULT_OPTIMIZER, optimizer: Any,
        params: Sequence[Any], lr_or_lr_schedule: Any = None,
    ) -> None:  # fmt: skip
        """Have an optimizer work on some parameters."""

    def get_optimizer(
        self, module_id: str = DEFAULT_MODULE_ID, optimizer_name: str = DEFAULT_OPTIMIZER
    ) -> Any:
        """A registered optimizer."""
        name = f"{module_id}/{optimizer_name}"
        if name not in self._optimizers:
            raise KeyError(f"no optimizer {name!r}: there are {sorted(self._optimizers)}.")
        return self._optimizers[name]

    def get_optimizers_for_module(self, module_id: str = ALL_MODULES) -> list[tuple[str, Any]]:
        """(name, optimizer) of a module, or of all."""
        prefix = "" if module_id == ALL_MODULES else f"{module_id}/"
        return [(name.split("/", 1)[1], o) for name, o in self._optimizers.items() if name.startswith(prefix)]

    def get_param_ref(self, param: Any) -> Hashable:
        """The key of a parameter in gradient dicts: the parameter itself."""
        return param

    @abc.abstractmethod
    def get_parameters(self, module: RLModule) -> Sequence[Any]:
        """A module's parameters."""

    def filter_param_dict_for_optimizer(
        self, param_dict: dict[Hashable, Any], optimizer: Any
    ) -> dict[Hashable, Any]:
        """The part of a gradient dict that belongs to an optimizer."""
        name = next(n for n, o in self._optimizers.items() if o is optimizer)
        return {ref: param_dict[ref] for ref in self._of_optimizer[name] if ref in param_dict}

    # ------------------------------------------------------------ modules

    def add_module(
        self, *, module_id: str, module_spec: Any, config_overrides: dict | None = None,
        new_should_module_be_updated: Any = None,
    ) -> Any:  # fmt: skip
        """Add a module and its optimizers; returns the spec of all."""
        from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

        if config_overrides:
            self.config.algorithm_config_overrides_per_module = {
                **self.config.algorithm_config_overrides_per_module,
                module_id: config_overrides,
            }
        if new_should_module_be_updated is not None:
            self.config.policies_to_train = new_should_module_be_updated
        if isinstance(self.config.policies, dict):
            self.config.policies = {**self.config.policies, module_id: None}
        else:
            self.config.policies = {*self.config.policies, module_id}
        self._module.add_module(module_id, self._on_device(module_spec.build()))
        if self.should_module_be_updated(module_id):
            self.configure_optimizers_for_module(module_id, self.config.get_config_for_module(module_id))
        self._module_added(module_id)
        return MultiRLModuleSpec.from_module(self._module)

    def remove_module(
        self, module_id: str, *, new_should_module_be_updated: Any = None, **kwargs: Any
    ) -> Any:
        """Drop a module and its optimizers; returns the spec of what is left."""
        from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

        self._module.remove_module(module_id)
        for name in [n for n in self._optimizers if n.startswith(f"{module_id}/")]:
            for ref in self._of_optimizer.pop(name):
                self._params.pop(ref, None)
            del self._optimizers[name]
            self._schedules.pop(name, None)
        if new_should_module_be_updated is not None:
            self.config.policies_to_train = new_should_module_be_updated
        left = self.config.policies
        self.config.policies = (
            {k: v for k, v in left.items() if k != module_id}
            if isinstance(left, dict)
            else set(left) - {module_id}
        )
        return MultiRLModuleSpec.from_module(self._module)

    def _on_device(self, module: Any) -> Any:
        return module

    def _module_added(self, module_id: str) -> None:
        """Something more for a new module."""

    # ------------------------------------------------------------ learning

    def compute_losses(self, *, fwd_out: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """Losses by module; a module with a loss of its own (`SelfSupervisedLossAPI`) says it itself."""
        losses = {}
        for module_id in fwd_out:
            config = self.config.get_config_for_module(module_id)
            own = self._module[module_id]
            if isinstance(own, SelfSupervisedLossAPI):
                losses[module_id] = own.compute_self_supervised_loss(
                    learner=self,
                    module_id=module_id,
                    config=config,
                    batch=batch[module_id],
                    fwd_out=fwd_out[module_id],
                )
            else:
                losses[module_id] = self.compute_loss_for_module(
                    module_id=module_id, config=config, batch=batch[module_id], fwd_out=fwd_out[module_id]
                )
        return losses

    @abc.abstractmethod
    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        """The loss of one module on one minibatch."""

    @abc.abstractmethod
    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Hashable, Any]:
        """Gradients by parameter."""

    def postprocess_gradients(self, gradients_dict: dict[Hashable, Any]) -> dict[Hashable, Any]:
        """Clip, module by module."""
        found: dict[Hashable, Any] = {}
        for module_id in self._module:
            own: dict[Hashable, Any] = {}
            for name in [n for n in self._optimizers if n.startswith(f"{module_id}/")]:
                own.update({r: gradients_dict[r] for r in self._of_optimizer[name] if r in gradients_dict})
            if own:
                config = self.config.get_config_for_module(module_id)
                found.update(
                    self.postprocess_gradients_for_module(
                        module_id=module_id, config=config, module_gradients_dict=own
                    )
                )
        return found

    @abc.abstractmethod
    def postprocess_gradients_for_module(
        self, *, module_id: str, config: Any = None, module_gradients_dict: dict[Hashable, Any]
    ) -> dict[Hashable, Any]:
        """Clip one module's gradients (``grad_clip``, ``grad_clip_by``)."""

    @abc.abstractmethod
    def apply_gradients(self, gradients_dict: dict[Hashable, Any]) -> None:
        """Step the optimizers."""

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Called before each `update`."""

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Called after each `update`: learning rates follow their schedules."""
        step = timesteps.get("num_env_steps_sampled_lifetime", 0)
        for name, schedule in self._schedules.items():
            value = schedule.update(step)
            self._set_learning_rate(self._optimizers[name], value)

    def _set_learning_rate(self, optimizer: Any, value: float) -> None:
        raise TypeError(f"{type(self).__name__} has no learning rates.")

    @abc.abstractmethod
    def update(self, batch: Any = None, batches: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Learn from training data; returns new metrics."""

    def apply(self, func: Any, *_args: Any, **_kwargs: Any) -> Any:
        """``func(self, …)``."""
        return func(self, *_args, **_kwargs)

    def shutdown(self) -> None:
        """Leave the group of learners."""

    # ------------------------------------------------------------ state

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Modules, optimizers, counts."""
        wanted = [components] if isinstance(components, str) else components
        unwanted = [not_components] if isinstance(not_components, str) else not_components or []

        def wants(name: str) -> bool:
            return (wanted is None or any(w.split("/")[0] == name for w in wanted)) and name not in unwanted

        state: dict[str, Any] = {
            "should_module_be_updated": self.config.policies_to_train,
            "weights_seq_no": self._weights_seq_no,
            "steps_trained": self._steps_trained,
            **self._more_state(),
        }
        if wants(COMPONENT_RL_MODULE):
            modules = [
                w.split("/")[1] for w in wanted or [] if w.startswith(f"{COMPONENT_RL_MODULE}/")
            ] or None
            state[COMPONENT_RL_MODULE] = self._module.get_state(modules, **kwargs)
        if wants(COMPONENT_OPTIMIZER):
            state[COMPONENT_OPTIMIZER] = self._optimizer_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what `get_state` returned, or parts of it."""
        if COMPONENT_RL_MODULE in state:
            self._module.set_state(state[COMPONENT_RL_MODULE])
        if COMPONENT_OPTIMIZER in state:
            self._set_optimizer_state(state[COMPONENT_OPTIMIZER])
        self._weights_seq_no = state.get("weights_seq_no", self._weights_seq_no)
        self._steps_trained = state.get("steps_trained", self._steps_trained)
        self._set_more_state(state)

    def _more_state(self) -> dict[str, Any]:
        return {}

    def _set_more_state(self, state: dict[str, Any]) -> None:
        pass

    @abc.abstractmethod
    def _optimizer_state(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    def _set_optimizer_state(self, state: dict[str, Any]) -> None: ...

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {
            "config": self.config,
            "module_spec": self._module_spec,
            "module": None,
            "rank": self.rank,
            "world": self.world,
        }

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The modules."""
        return [(COMPONENT_RL_MODULE, self._module)]
