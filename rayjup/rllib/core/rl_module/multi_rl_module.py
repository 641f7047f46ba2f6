"""Several modules under their ids."""

from __future__ import annotations

import copy
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from dataclasses import dataclass, field
from typing import Any

from rayjup.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec, validate_module_id
from rayjup.rllib.utils.checkpoints import Checkpointable


class MultiRLModule(RLModule):
    """A dict of modules that is a module itself: batches and outputs are dicts by module id.

    Modules made from ``rl_module_specs`` are built in `setup`; override it to have modules share networks.
    """

    framework = "torch"

    def __init__(
        self,
        config: Any = None,
        *,
        observation_space: Any = None,
        action_space: Any = None,
        inference_only: bool | None = None,
        learner_only: bool | None = None,
        model_config: Any = None,
        rl_module_specs: dict[str, RLModuleSpec] | None = None,
        **kwargs: Any,
    ) -> None:
        self.rl_module_specs = dict(rl_module_specs or {})
        self._rl_modules: dict[str, RLModule] = {}
        super().__init__(
            observation_space=observation_space,
            action_space=action_space,
            inference_only=inference_only,
            learner_only=bool(learner_only),
            model_config=model_config,
        )

    def setup(self) -> None:
        """Build the modules."""
        for module_id, spec in self.rl_module_specs.items():
            if not (self.inference_only and spec.learner_only):
                spec.inference_only = spec.inference_only or self.inference_only
                self._rl_modules[module_id] = spec.build()

    # ------------------------------------------------------------ modules

    def add_module(self, module_id: str, module: RLModule, *, override: bool = False) -> None:
        """Add a module."""
        validate_module_id(module_id, error=True)
        if module_id in self._rl_modules and not override:
            raise ValueError(f"there is a module {module_id!r} already: take override=True to replace it.")
        self._rl_modules[module_id] = module
        self.rl_module_specs[module_id] = RLModuleSpec.from_module(module)

    def remove_module(self, module_id: str, *, raise_err_if_not_found: bool = True) -> None:
        """Drop a module."""
        if module_id not in self._rl_modules and raise_err_if_not_found:
            raise KeyError(f"no module {module_id!r}: there are {sorted(self._rl_modules)}.")
        self._rl_modules.pop(module_id, None)
        self.rl_module_specs.pop(module_id, None)

    def foreach_module(
        self, func: Callable[..., Any], *, return_dict: bool = False, **kwargs: Any
    ) -> list[Any] | dict[str, Any]:
        """``func(module_id, module)`` of all."""
        found = {key: func(key, module, **kwargs) for key, module in list(self._rl_modules.items())}
        return found if return_dict else list(found.values())

    def get(self, module_id: str, default: Any = None) -> Any:
        """The module, or ``default``."""
        return self._rl_modules.get(module_id, default)

    def items(self) -> ItemsView[str, RLModule]:
        """Ids and modules."""
        return self._rl_modules.items()

    def keys(self) -> KeysView[str]:
        """Ids."""
        return self._rl_modules.keys()

    def values(self) -> ValuesView[RLModule]:
        """Modules."""
        return self._rl_modules.values()

    def __getitem__(self, module_id: str) -> Any:
        if module_id not in self._rl_modules:
            raise KeyError(f"no module {module_id!r}: there are {sorted(self._rl_modules)}.")
        return self._rl_modules[module_id]

    def __contains__(self, module_id: object) -> bool:
        return module_id in self._rl_modules

    def __len__(self) -> int:
        return len(self._rl_modules)

    def __iter__(self) -> Any:
        return iter(self._rl_modules)

    def __repr__(self) -> str:
        return f"MultiRLModule({', '.join(f'{k}: {type(m).__name__}' for k, m in self.items())})"

    # ------------------------------------------------------------ as a module

    def forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Outputs for acting greedily, by module id."""
        return {key: self[key].forward_inference(part, **kwargs) for key, part in batch.items()}

    def forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Outputs for acting and exploring, by module id."""
        return {key: self[key].forward_exploration(part, **kwargs) for key, part in batch.items()}

    def forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Outputs for the loss, by module id."""
        return {key: self[key].forward_train(part, **kwargs) for key, part in batch.items() if key in self}

    def get_initial_state(self) -> dict[str, Any]:
        """First states, by module id."""
        return {key: module.get_initial_state() for key, module in self.items()}

    def is_stateful(self) -> bool:
        """True when one of the modules has memory."""
        return any(module.is_stateful() for module in self.values())

    def as_multi_rl_module(self) -> MultiRLModule:
        """Itself."""
        return self

    def get_state(
        self,
        components: Any = None,
        *,
        not_components: Any = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """States by module id."""
        wanted = {components} if isinstance(components, str) else components
        unwanted = {not_components} if isinstance(not_components, str) else set(not_components or ())
        return {
            key: module.get_state(inference_only=inference_only)
            for key, module in self.items()
            if (wanted is None or key in wanted)
            and key not in unwanted
            and not (inference_only and module.learner_only)
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take states by module id; ids this doesn't have are passed over."""
        for key, module in self.items():
            if key in state:
                module.set_state(state[key])

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments of the constructor."""
        args, kwargs = super().get_ctor_args_and_kwargs()
        kwargs.pop("catalog_class")
        return args, {**kwargs, "rl_module_specs": self.rl_module_specs}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """The modules."""
        return list(self.items())


@dataclass
class MultiRLModuleSpec:
    """What a `MultiRLModule` is made from."""

    multi_rl_module_class: Any = MultiRLModule
    observation_space: Any = None
    action_space: Any = None
    inference_only: bool | None = None
    model_config: Any = None
    rl_module_specs: Any = field(default_factory=dict)
    load_state_path: str | None = None
    modules_to_load: Any = None

    def __post_init__(self) -> None:
        if self.rl_module_specs is None:
            self.rl_module_specs = {}

    def __contains__(self, module_id: object) -> bool:
        return module_id in self.rl_module_specs

    def __getitem__(self, module_id: str) -> RLModuleSpec:
        return self.rl_module_specs[module_id]

    def build(self, module_id: str | None = None) -> Any:
        """The multi-module, or one of its modules."""
        if module_id is not None:
            return self.rl_module_specs[module_id].build()
        multi = self.multi_rl_module_class(
            observation_space=self.observation_space,
            action_space=self.action_space,
            inference_only=self.inference_only,
            model_config=self.model_config,
            # Copies: building tells the specs whether they are for inference only.
            rl_module_specs={key: copy.copy(spec) for key, spec in self.rl_module_specs.items()},
        )
        if self.load_state_path:
            for key in self.modules_to_load or list(multi.keys()):
                multi[key].restore_from_path(f"{self.load_state_path}/{key}")
        return multi

    def add_modules(self, module_specs: dict[str, RLModuleSpec], override: bool = True) -> None:
        """Add specs; with ``override=False``, fill in what existing ones leave open."""
        for key, spec in module_specs.items():
            if override or key not in self.rl_module_specs:
                self.rl_module_specs[key] = spec
            else:
                self.rl_module_specs[key].update(spec, override=False)

    def remove_modules(self, module_ids: str | list[str]) -> None:
        """Drop specs."""
        for key in [module_ids] if isinstance(module_ids, str) else module_ids:
            self.rl_module_specs.pop(key, None)

    @classmethod
    def from_module(cls, module: MultiRLModule) -> MultiRLModuleSpec:
        """The spec that makes such a multi-module."""
        return cls(
            multi_rl_module_class=type(module),
            rl_module_specs={key: RLModuleSpec.from_module(m) for key, m in module.items()},
            inference_only=module.inference_only,
        )

    def as_multi_rl_module_spec(self) -> MultiRLModuleSpec:
        """Itself."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """The fields, with those of the modules' specs."""
        specs = {key: spec.to_dict() for key, spec in self.rl_module_specs.items()}
        return {**vars(self), "rl_module_specs": specs}

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> MultiRLModuleSpec:
        """From what `to_dict` returned."""
        specs = {key: RLModuleSpec.from_dict(spec) for key, spec in d["rl_module_specs"].items()}
        return cls(**{**d, "rl_module_specs": specs})

    def update(self, other: Any, override: bool = True) -> None:
        """Take what ``other`` says: for all modules, when it is an `RLModuleSpec`."""
        if isinstance(other, RLModuleSpec):
            for spec in self.rl_module_specs.values():
                spec.update(other, override=override)
        else:
            self.add_modules(other.rl_module_specs, override=override)
