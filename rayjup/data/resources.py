"""Amounts of resources, and what executions may use."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import reduce

_INF = float("inf")
_NAMES = ("cpu", "gpu", "object_store_memory", "memory")


class ExecutionResources:
    """Amounts of resources.

    Parameters
    ----------
    cpu, gpu : float, optional
    object_store_memory, memory : float, optional
        Bytes.

    Examples
    --------
    >>> from rayjup.data import ExecutionResources
    >>> ExecutionResources(cpu=2).add(ExecutionResources(cpu=1, memory=1024))
    ExecutionResources(cpu=3, gpu=0.0, object_store_memory=0.0B, memory=1.0KiB)
    """

    def __init__(
        self,
        cpu: float | None = None,
        gpu: float | None = None,
        object_store_memory: float | None = None,
        memory: float | None = None,
    ) -> None:
        self._cpu, self._gpu = cpu, gpu
        self._object_store_memory, self._memory = object_store_memory, memory

    @property
    def cpu(self) -> float:
        """CPUs."""
        return self._cpu or 0.0

    @property
    def gpu(self) -> float:
        """GPUs."""
        return self._gpu or 0.0

    @property
    def object_store_memory(self) -> float:
        """Bytes of the object store."""
        return self._object_store_memory or 0.0

    @property
    def memory(self) -> float:
        """Bytes of memory."""
        return self._memory or 0.0

    @classmethod
    def from_resource_dict(cls, resource_dict: dict[str, float]) -> ExecutionResources:
        """From names as in ``num_cpus``'s resources: ``CPU``, ``GPU``, ``object_store_memory``,
        ``memory``."""
        get = resource_dict.get
        return cls(get("CPU"), get("GPU"), get("object_store_memory"), get("memory"))

    def to_resource_dict(self) -> dict[str, float]:
        """The reverse of :meth:`from_resource_dict`."""
        return dict(zip(("CPU", "GPU", "object_store_memory", "memory"), self._values(), strict=True))

    @classmethod
    def zero(cls) -> ExecutionResources:
        """Nothing."""
        return cls(0.0, 0.0, 0.0, 0.0)

    @classmethod
    def inf(cls) -> ExecutionResources:
        """No limit."""
        return cls(_INF, _INF, _INF, _INF)

    @classmethod
    def for_limits(
        cls,
        cpu: float | None = None,
        gpu: float | None = None,
        object_store_memory: float | None = None,
        memory: float | None = None,
    ) -> ExecutionResources:
        """Limits; what is not given has none."""
        return cls(*(_INF if v is None else v for v in (cpu, gpu, object_store_memory, memory)))

    def _values(self) -> tuple[float, float, float, float]:
        return self.cpu, self.gpu, self.object_store_memory, self.memory

    def _with(self, other: ExecutionResources, fn: Callable[[float, float], float]) -> ExecutionResources:
        return ExecutionResources(*map(fn, self._values(), other._values()))

    def copy(
        self,
        cpu: float | None = None,
        gpu: float | None = None,
        memory: float | None = None,
        object_store_memory: float | None = None,
    ) -> ExecutionResources:
        """A copy with some values replaced."""
        given = {"cpu": cpu, "gpu": gpu, "memory": memory, "object_store_memory": object_store_memory}
        return ExecutionResources(**{n: getattr(self, n) if given[n] is None else given[n] for n in _NAMES})

    def add(self, other: ExecutionResources) -> ExecutionResources:
        """The sum."""
        return self._with(other, operator.add)

    def subtract(self, other: ExecutionResources) -> ExecutionResources:
        """The difference; may be negative."""
        return self._with(other, operator.sub)

    def max(self, other: ExecutionResources) -> ExecutionResources:
        """The greater one of each."""
        return self._with(other, max)

    def min(self, other: ExecutionResources) -> ExecutionResources:
        """The lesser one of each."""
        return self._with(other, min)

    def scale(self, f: float) -> ExecutionResources:
        """Each times a factor."""
        return ExecutionResources(*(v * f for v in self._values()))

    def floordiv(self, other: ExecutionResources) -> ExecutionResources:
        """How often the other fits, resource by resource."""
        return self._with(other, lambda a, b: _INF if not b else a // b)

    @classmethod
    def combine(
        cls, resources: Iterable[ExecutionResources], fn: Callable[[float, float], float]
    ) -> ExecutionResources | None:
        """All of them folded with a function, resource by resource; None for none."""
        items = list(resources)
        return reduce(lambda a, b: a._with(b, fn), items) if items else None

    @classmethod
    def combine_sum(cls, resources: Iterable[ExecutionResources]) -> ExecutionResources:
        """The sum of all."""
        return cls.combine(resources, operator.add) or cls.zero()

    def satisfies_limit(self, limit: ExecutionResources, *, ignore_object_store_memory: bool = False) -> bool:
        """True if nothing exceeds the limit."""
        return all(
            getattr(self, n) <= getattr(limit, n)
            for n in _NAMES
            if not (ignore_object_store_memory and n == "object_store_memory")
        )

    def is_zero(self) -> bool:
        """True if there is nothing of anything."""
        return not any(self._values())

    def is_non_negative(self) -> bool:
        """True if nothing is negative."""
        return all(v >= 0 for v in self._values())

    def object_store_memory_str(self) -> str:
        """The bytes of the object store, readable."""
        return _readable(self.object_store_memory)

    def memory_str(self) -> str:
        """The bytes of memory, readable."""
        return _readable(self.memory)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExecutionResources) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return (
            f"ExecutionResources(cpu={self.cpu}, gpu={self.gpu}, "
            f"object_store_memory={self.object_store_memory_str()}, memory={self.memory_str()})"
        )


def _readable(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024 or size == _INF:
            return f"{size:.1f}{unit}" if size != _INF else "inf"
        size /= 1024
    return f"{size:.1f}TiB"


class ExecutionOptions:
    """How datasets are executed.

    Parameters
    ----------
    resource_limits : ExecutionResources, optional
        Use no more than these.
    exclude_resources : ExecutionResources, optional
        Leave these to others (training, say).
    preserve_order : bool
        rayjup keeps the order of blocks anyway.
    actor_locality_enabled, verbose_progress, label_selector
        As Ray's.
    """

    def __init__(
        self,
        resource_limits: ExecutionResources | None = None,
        exclude_resources: ExecutionResources | None = None,
        preserve_order: bool = False,
        actor_locality_enabled: bool = True,
        verbose_progress: bool | None = None,
        label_selector: dict[str, str] | None = None,
    ) -> None:
        self._resource_limits = resource_limits or ExecutionResources.inf()
        self._exclude_resources = exclude_resources or ExecutionResources.zero()
        self.preserve_order = preserve_order
        self._actor_locality_enabled = actor_locality_enabled
        self.verbose_progress = True if verbose_progress is None else verbose_progress
        self.label_selector = label_selector

    @property
    def resource_limits(self) -> ExecutionResources:
        """Use no more than these."""
        return self._resource_limits

    @resource_limits.setter
    def resource_limits(self, value: ExecutionResources) -> None:
        self._resource_limits = value

    def is_resource_limits_default(self) -> bool:
        """True if nothing is limited."""
        return self._resource_limits == ExecutionResources.inf()

    @property
    def exclude_resources(self) -> ExecutionResources:
        """Leave these to others."""
        return self._exclude_resources

    @exclude_resources.setter
    def exclude_resources(self, value: ExecutionResources) -> None:
        self._exclude_resources = value

    @property
    def actor_locality_enabled(self) -> bool:
        """Prefer actors on the node where a block lies."""
        return self._actor_locality_enabled

    @actor_locality_enabled.setter
    def actor_locality_enabled(self, value: bool) -> None:
        self._actor_locality_enabled = value

    @property
    def locality_with_output(self) -> bool:
        """Prefer the consumer's node for the last tasks; the scheduler of leases does that by itself."""
        return False

    @locality_with_output.setter
    def locality_with_output(self, value: object) -> None:
        if value:
            import warnings

            warnings.warn(
                "locality_with_output has no effect: leases are granted where the data is.",
                DeprecationWarning,
                stacklevel=2,
            )

    def validate(self) -> None:
        """Complain where limits and exclusions contradict each other."""
        for name in _NAMES:
            if getattr(self._exclude_resources, name) and getattr(self._resource_limits, name) != _INF:
                raise ValueError(
                    f"ExecutionOptions: {name} is both limited and excluded; give one of the two."
                )

    def __repr__(self) -> str:
        return (
            f"ExecutionOptions(resource_limits={self._resource_limits}, "
            f"exclude_resources={self._exclude_resources}, "
            f"preserve_order={self.preserve_order}, actor_locality_enabled={self._actor_locality_enabled}, "
            f"verbose_progress={self.verbose_progress}, label_selector={self.label_selector})"
        )
