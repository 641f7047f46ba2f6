"""RLModule: what maps observations to actions, values, Q-values; and the description to make one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rayjup.rllib.core import DEFAULT_MODULE_ID
from rayjup.rllib.core.rl_module.default_model_config import DefaultModelConfig
from rayjup.rllib.utils.checkpoints import Checkpointable


class RLModule(Checkpointable):
    """Base of modules; those in PyTorch inherit from `TorchRLModule`.

    A subclass makes its networks in `setup` and overrides some of ``_forward``, ``_forward_inference``,
    ``_forward_exploration`` and ``_forward_train`` (the first stands for those that are missing). They take
    a batch (a dict with "obs") and return a dict with "action_dist_inputs", or with "actions".

    Parameters
    ----------
    observation_space, action_space
        Spaces.
    inference_only
        Leave out what only training needs.
    learner_only
        The module lives in learners only (a shared critic, say).
    model_config
        Settings for the networks: a dict, or `DefaultModelConfig`.
    catalog_class
        What chooses the default networks.
    """

    framework: str | None = None
    action_dist_cls: Any = None

    def __init__(
        self,
        config: Any = None,
        *,
        observation_space: Any = None,
        action_space: Any = None,
        inference_only: bool | None = None,
        learner_only: bool = False,
        model_config: Any = None,
        catalog_class: Any = None,
        **kwargs: Any,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.inference_only, self.learner_only = bool(inference_only), learner_only
        self.catalog_class = catalog_class
        self._model_config = model_config
        self.model_config: Any = model_config if model_config is not None else {}
        self.catalog: Any = None
        if catalog_class is not None:
            self.catalog = catalog_class(observation_space, action_space, self._model_settings())
        self.setup()

    def _model_settings(self) -> dict[str, Any]:
        if isinstance(self.model_config, DefaultModelConfig):
            return vars(self.model_config)
        return dict(self.model_config)

    def setup(self) -> None:
        """Make the networks; called once, at the end of the constructor."""

    # ------------------------------------------------------------ forward passes

    def forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Outputs for acting greedily."""
        return self._forward_inference(batch, **kwargs)

    def forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Outputs for acting and exploring."""
        return self._forward_exploration(batch, **kwargs)

    def forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Outputs for the loss."""
        return self._forward_train(batch, **kwargs)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        raise TypeError(f"{type(self).__name__} must define _forward() (or the three of its variants).")

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward(batch, **kwargs)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward(batch, **kwargs)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._forward(batch, **kwargs)

    # ------------------------------------------------------------ distributions, memory

    def get_inference_action_dist_cls(self) -> Any:
        """Distribution class behind `forward_inference`."""
        return self._dist_cls()

    def get_exploration_action_dist_cls(self) -> Any:
        """Distribution class behind `forward_exploration`."""
        return self._dist_cls()

    def get_train_action_dist_cls(self) -> Any:
        """Distribution class behind `forward_train`."""
        return self._dist_cls()

    def _dist_cls(self) -> Any:
        if self.action_dist_cls is None:
            from rayjup.rllib.core.distribution.torch.torch_distribution import distribution_for

            if self.catalog is not None:
                self.action_dist_cls = self.catalog.get_action_dist_cls(self.framework)
            else:
                self.action_dist_cls = distribution_for(self.action_space)[0]
        return self.action_dist_cls

    def get_initial_state(self) -> Any:
        """State before the first step, without batch axis; empty for modules without memory."""
        return {}

    def is_stateful(self) -> bool:
        """True when the module has memory."""
        return bool(self.get_initial_state())

    # ------------------------------------------------------------ saving

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        return (), {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "inference_only": self.inference_only,
            "learner_only": self.learner_only,
            "model_config": self._model_config,
            "catalog_class": self.catalog_class,
        }

    def as_multi_rl_module(self) -> Any:
        """A `MultiRLModule` with this one in it."""
        from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModule

        multi = MultiRLModule()
        multi.add_module(DEFAULT_MODULE_ID, self)
        return multi

    def unwrapped(self) -> Any:
        """The module without wrappers around it."""
        return self


@dataclass
class RLModuleSpec:
    """What a module is made from.

    Examples
    --------
    >>> import gymnasium as gym
    >>> from rayjup.rllib.algorithms.ppo.default_ppo_rl_module import DefaultPPOTorchRLModule
    >>> from rayjup.rllib.core.rl_module import RLModuleSpec
    >>> spec = RLModuleSpec(
    ...     module_class=DefaultPPOTorchRLModule,
    ...     observation_space=gym.spaces.Box(-1, 1, (3,)),
    ...     action_space=gym.spaces.Discrete(2),
    ...     model_config={"fcnet_hiddens": [8]},
    ... )
    >>> spec.build().is_stateful()
    False
    """

    module_class: Any = None
    observation_space: Any = None
    action_space: Any = None
    inference_only: bool = False
    learner_only: bool = False
    model_config: Any = None
    catalog_class: Any = None
    load_state_path: str | None = None

    def build(self) -> Any:
        """The module; with the state of ``load_state_path``, if that is given."""
        if self.module_class is None:
            raise ValueError("RLModuleSpec without module_class: say which module to make.")
        module = self.module_class(
            observation_space=self.observation_space,
            action_space=self.action_space,
            inference_only=self.inference_only,
            learner_only=self.learner_only,
            model_config=self.model_config,
            **({} if self.catalog_class is None else {"catalog_class": self.catalog_class}),
        )
        if self.load_state_path:
            module.restore_from_path(self.load_state_path)
        return module

    @classmethod
    def from_module(cls, module: RLModule) -> RLModuleSpec:
        """The spec that makes such a module."""
        if hasattr(module, "rl_module_specs"):
            raise ValueError("a MultiRLModule comes from MultiRLModuleSpec.from_module().")
        kwargs = module.get_ctor_args_and_kwargs()[1]
        known = {k: v for k, v in kwargs.items() if k in cls.__dataclass_fields__}
        return cls(module_class=type(module), **known)

    def as_multi_rl_module_spec(self) -> Any:
        """A `MultiRLModuleSpec` with this one in it."""
        from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

        return MultiRLModuleSpec(
            rl_module_specs={DEFAULT_MODULE_ID: self}, inference_only=self.inference_only
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields."""
        return dict(vars(self))

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Any:
        """From what `to_dict` returned."""
        if "rl_module_specs" in d:
            from rayjup.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

            return MultiRLModuleSpec.from_dict(d)
        return cls(**d)

    def update(self, other: RLModuleSpec, override: bool = True) -> None:
        """Take the fields that ``other`` has (with ``override=False``: only where this has none)."""
        if not isinstance(other, RLModuleSpec):
            raise ValueError(f"{type(other).__name__} cannot update an RLModuleSpec.")
        for name in self.__dataclass_fields__:
            theirs, mine = getattr(other, name), getattr(self, name)
            if theirs is not None and (override or mine is None or mine is False):
                setattr(self, name, theirs)


def validate_module_id(policy_id: str, error: bool = False) -> bool:
    """Whether a module id can be part of a checkpoint's path; raises if not and ``error``."""
    good = (
        isinstance(policy_id, str) and 0 < len(policy_id) < 256 and not re.search(r'[<>:"/\\|?*]', policy_id)
    )
    if not good and error:
        raise ValueError(f'module id {policy_id!r} must be text without any of <>:"/\\|?*.')
    return good
