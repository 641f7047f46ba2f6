"""Options of tasks, actors and actor methods: Ray's names, defaults and rules, checked at once.

``@remote(...)`` calls ``parse``, ``.options(...)`` calls ``merged``; both give an immutable object,
so a wrong option fails where it is written and never on a node. None stands for "not given" where
the effective value depends on something else (the actor class, the GPU count, a generator).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

from rayjup.base import checks, runtime_env
from rayjup.base.checks import Check
from rayjup.base.runtime_env import RuntimeEnv

_Self = TypeVar("_Self", bound="_Options")

DEFAULT_MAX_RETRIES = 3
ASYNC_MAX_CONCURRENCY = 1000
# A node with accelerators of a type offers 1 of "accelerator_type:X": so little is taken that any
# number of tasks fit, and the resource works as a label.
ACCELERATOR_SHARE = 0.001

_PLACEMENT: dict[str, Check] = {
    "label_selector": checks.optional(checks.label_selector),
    "fallback_strategy": checks.optional(checks.fallbacks),
    "scheduling_strategy": checks.optional(checks.strategy),
    "placement_group": checks.placement_group,
    "placement_group_bundle_index": checks.count(-1, " (-1: any bundle)"),
    "placement_group_capture_child_tasks": checks.optional(checks.boolean),
}
_SHARED: dict[str, Check] = {
    "name": checks.optional(checks.text),
    "num_cpus": checks.optional(checks.quantity),
    "num_gpus": checks.optional(checks.gpu_quantity),
    "memory": checks.optional(checks.quantity),
    "object_store_memory": checks.optional(checks.count(0)),
    "resources": checks.optional(checks.custom_resources),
    "accelerator_type": checks.optional(checks.text),
    "runtime_env": checks.optional(runtime_env.checked),
    "enable_task_events": checks.boolean,
    "_labels": checks.optional(checks.dictionary),
    **_PLACEMENT,
}


@dataclass(frozen=True, slots=True)
class _Options:
    """What the three kinds of options have in common: how they are read."""

    CHECKS: ClassVar[dict[str, Check]] = {}
    WHAT: ClassVar[str] = ""
    ONLY_IN_OPTIONS: ClassVar[frozenset[str]] = frozenset()
    NOT_IN_OPTIONS: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def parse(cls: type[_Self], **kw: Any) -> _Self:
        """Options from the keywords of a decorator.

        Raises
        ------
        ValueError
            For an unknown keyword, a value outside of its range, or two that exclude each other.
        TypeError
            For a value of the wrong type.
        """
        made = cls(**cls._checked(kw, cls.ONLY_IN_OPTIONS))
        made._check_together()
        return made

    def merged(self: _Self, **kw: Any) -> _Self:
        """These options with some replaced: what ``.options(**kw)`` does. Raises as ``parse``."""
        for name in kw:
            if name in self.NOT_IN_OPTIONS:
                raise ValueError(
                    f"Option `{name}` of {self.WHAT} is fixed by the decorator and cannot be "
                    f"changed by `.options()`: give it to `@remote({name}=...)`."
                )
        made = replace(self, **self._checked(kw, frozenset()))
        made._check_together()
        return made

    def given(self) -> dict[str, Any]:
        """The options that differ from their defaults and may be given to ``.options()``, by name."""
        return {
            f.name: v
            for f in fields(self)
            if (v := getattr(self, f.name)) != f.default and f.name not in self.NOT_IN_OPTIONS
        }

    @classmethod
    def _checked(cls, kw: dict[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
        values = {}
        for name, value in kw.items():
            check = cls.CHECKS.get(name)
            if check is None or name in hidden:
                valid = ", ".join(n for n in cls.CHECKS if not n.startswith("_") and n not in hidden)
                raise ValueError(f"Invalid option keyword `{name}` for {cls.WHAT}. Valid ones are: {valid}.")
            values[name] = check(name, value)
        for default in fields(cls):
            # Where None is no value of its own it asks for the default.
            given_none = default.name in values and values[default.name] is None
            if given_none and default.default is not None and default.name != "placement_group":
                values[default.name] = default.default
        return values

    def _check_together(self) -> None:
        """Rules about more than one option."""


def _check_placement(options: TaskOptions | ActorOptions) -> None:
    group_given = options.placement_group not in (None, "default")
    if options.scheduling_strategy is not None and group_given:
        raise ValueError(
            "Options `scheduling_strategy` and `placement_group` exclude each other: give the placement "
            "group as scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group)."
        )
    if options.placement_group_bundle_index >= 0:
        bundles = getattr(options.placement_group, "bundle_specs", None)
        if bundles is None:
            raise ValueError(
                f"Option `placement_group_bundle_index` ({options.placement_group_bundle_index}) needs the "
                "option `placement_group`: give the group whose bundle is meant."
            )
        if options.placement_group_bundle_index >= len(bundles):
            raise ValueError(
                f"Option `placement_group_bundle_index` must be below the number of bundles of the placement "
                f"group ({len(bundles)}), got {options.placement_group_bundle_index}."
            )


def _amounts(options: TaskOptions | ActorOptions, cpus: float) -> dict[str, float]:
    """Resources by name, without those of which nothing is asked."""
    amounts = {
        "CPU": cpus,
        "GPU": options.num_gpus or 0.0,
        "memory": float(round(options.memory or 0)),
        **(options.resources or {}),
    }
    if options.accelerator_type:
        amounts[f"accelerator_type:{options.accelerator_type}"] = ACCELERATOR_SHARE
    return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True, slots=True)
class TaskOptions(_Options):
    """Options of a remote function.

    ``num_returns=None`` means 1, or ``"streaming"`` for a generator function.
    """

    WHAT: ClassVar[str] = "remote functions"
    NOT_IN_OPTIONS: ClassVar[frozenset[str]] = frozenset({"max_calls"})
    CHECKS: ClassVar[dict[str, Check]] = {
        **_SHARED,
        "num_returns": checks.optional(checks.returns),
        "max_calls": checks.optional(checks.count(0, " (0: without limit)")),
        "max_retries": checks.optional(checks.count_or_infinite),
        "retry_exceptions": checks.exception_classes,
        "_generator_backpressure_num_objects": checks.optional(checks.count_or_infinite),
        "_num_objects_per_yield": checks.optional(checks.count(1)),
    }

    name: str | None = None
    num_cpus: float = 1
    num_gpus: float | None = None
    memory: float | None = None
    object_store_memory: int | None = None
    resources: dict[str, float] | None = None
    accelerator_type: str | None = None
    runtime_env: RuntimeEnv | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None
    scheduling_strategy: Any = None
    placement_group: Any = "default"
    placement_group_bundle_index: int = -1
    placement_group_capture_child_tasks: bool | None = None
    num_returns: int | str | None = None
    max_calls: int | None = None
    max_retries: int = DEFAULT_MAX_RETRIES
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    enable_task_events: bool = True
    _labels: dict[str, str] | None = None
    _generator_backpressure_num_objects: int | None = None
    _num_objects_per_yield: int = 1

    def resource_request(self) -> dict[str, float]:
        """What the task holds while it runs: ``{"CPU": 1.0, ...}``, nothing that is 0."""
        return _amounts(self, float(self.num_cpus))

    @property
    def calls_per_process(self) -> int:
        """After how many calls the process is ended (0: never).

        1 for GPU tasks unless said otherwise, because many libraries give GPU memory back only then.
        """
        return (1 if self.num_gpus else 0) if self.max_calls is None else self.max_calls

    def _check_together(self) -> None:
        _check_placement(self)
        if self.object_store_memory is not None:
            raise ValueError(
                "Option `object_store_memory` is for actors only: leave it out for remote functions."
            )


@dataclass(frozen=True, slots=True)
class ActorOptions(_Options):
    """Options of an actor class.

    ``num_cpus=None`` is not 0: an actor of which nothing was said needs one free CPU to be placed
    and holds none while it lives.
    """

    WHAT: ClassVar[str] = "actors"
    NOT_IN_OPTIONS: ClassVar[frozenset[str]] = frozenset({"concurrency_groups"})
    CHECKS: ClassVar[dict[str, Check]] = {
        **_SHARED,
        "concurrency_groups": checks.optional(checks.concurrency_groups),
        "enable_tensor_transport": checks.optional(checks.boolean),
        "lifetime": checks.optional(checks.one_of("detached", "non_detached")),
        "max_concurrency": checks.optional(checks.count(1)),
        "max_restarts": checks.optional(checks.count_or_infinite),
        "max_task_retries": checks.optional(checks.count_or_infinite),
        "max_pending_calls": checks.optional(checks.count_or_infinite),
        "namespace": checks.optional(checks.text),
        "get_if_exists": checks.boolean,
        "allow_out_of_order_execution": checks.optional(checks.boolean),
        "_actor_generator_backpressure_num_objects": checks.optional(checks.count_or_infinite),
    }

    name: str | None = None
    num_cpus: float | None = None
    num_gpus: float | None = None
    memory: float | None = None
    object_store_memory: int | None = None
    resources: dict[str, float] | None = None
    accelerator_type: str | None = None
    runtime_env: RuntimeEnv | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None
    scheduling_strategy: Any = None
    placement_group: Any = "default"
    placement_group_bundle_index: int = -1
    placement_group_capture_child_tasks: bool | None = None
    concurrency_groups: dict[str, int] | None = None
    enable_tensor_transport: bool | None = None
    lifetime: str | None = None
    max_concurrency: int | None = None
    max_restarts: int = 0
    max_task_retries: int = 0
    max_pending_calls: int = -1
    namespace: str | None = None
    get_if_exists: bool = False
    allow_out_of_order_execution: bool | None = None
    enable_task_events: bool = True
    _labels: dict[str, str] | None = None
    _actor_generator_backpressure_num_objects: int | None = None

    def resource_request(self) -> dict[str, float]:
        """What the actor holds as long as it lives: ``{"GPU": 1.0, ...}``, nothing that is 0."""
        if self.num_cpus is None:
            return _amounts(self, 1.0 if self._asks_for_devices() else 0.0)
        return _amounts(self, float(self.num_cpus))

    def placement_request(self) -> dict[str, float]:
        """What has to be free on the node on which the actor is created."""
        if self.num_cpus is None:
            return _amounts(self, 1.0)
        return _amounts(self, float(self.num_cpus))

    def concurrency(self, is_async: bool) -> int:
        """How many methods may run at once; ``is_async``: the class has ``async`` methods."""
        if self.max_concurrency is not None:
            return self.max_concurrency
        return ASYNC_MAX_CONCURRENCY if is_async else 1

    @property
    def detached(self) -> bool:
        """Whether the actor outlives its creator."""
        return self.lifetime == "detached"

    def _asks_for_devices(self) -> bool:
        # As in Ray: naming any resource but memory makes an actor hold its default CPU as well.
        return self.num_gpus is not None or bool(self.resources) or self.accelerator_type is not None

    def _check_together(self) -> None:
        _check_placement(self)
        if self.get_if_exists and self.name is None:
            raise ValueError("Option `get_if_exists` needs the option `name`: the actor is looked up by it.")


@dataclass(frozen=True, slots=True)
class MethodOptions(_Options):
    """Options of one actor method; None is "as the actor says"."""

    WHAT: ClassVar[str] = "actor methods"
    ONLY_IN_OPTIONS: ClassVar[frozenset[str]] = frozenset({"name", "_labels"})
    CHECKS: ClassVar[dict[str, Check]] = {
        "num_returns": checks.optional(checks.returns),
        "concurrency_group": checks.optional(checks.text),
        "max_task_retries": checks.optional(checks.count_or_infinite),
        "retry_exceptions": checks.optional(checks.exception_classes),
        "enable_task_events": checks.optional(checks.boolean),
        "tensor_transport": checks.optional(checks.text),
        "name": checks.optional(checks.text),
        "_generator_backpressure_num_objects": checks.optional(checks.count_or_infinite),
        "_num_objects_per_yield": checks.optional(checks.count(1)),
        "_labels": checks.optional(checks.dictionary),
    }

    num_returns: int | str | None = None
    concurrency_group: str | None = None
    max_task_retries: int | None = None
    retry_exceptions: bool | tuple[type[BaseException], ...] | None = None
    enable_task_events: bool | None = None
    tensor_transport: str | None = None
    name: str | None = None
    _generator_backpressure_num_objects: int | None = None
    _num_objects_per_yield: int | None = None
    _labels: dict[str, str] | None = None
