"""What one trial or worker group asks for: bundles of resources."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayjup.util.placement_group import PlacementGroup


class ResourceRequest:
    """Bundles of resources that are needed all at once.

    Parameters
    ----------
    bundles
        Dictionaries of resources. The first one, the head bundle, is for the actor that runs the trial and
        may be empty; the others are for what that starts.
    strategy
        How bundles are spread over nodes: ``PACK``, ``SPREAD``, ``STRICT_PACK`` or ``STRICT_SPREAD``.
    """

    def __init__(
        self,
        bundles: list[dict[str, int | float]],
        strategy: str = "PACK",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not bundles:
            raise ValueError(
                f"{type(self).__name__} needs at least one bundle, such as [{{'CPU': 1}}]; "
                "[{}] asks for nothing at all"
            )
        for bundle in bundles:
            if not isinstance(bundle, Mapping):
                raise ValueError(
                    f"{type(self).__name__}: a bundle must be a dictionary of resources, not {bundle!r}"
                )
            for name, amount in bundle.items():
                if not isinstance(amount, (int, float)) or amount < 0:
                    raise ValueError(f"{type(self).__name__}: {name}={amount!r} is no amount of a resource")
        self._head_empty = not any(bundles[0].values())
        self._bundles = [
            {name: float(amount) for name, amount in bundle.items() if amount} for bundle in bundles
        ]
        self._strategy = strategy
        self._args = args
        self._kwargs = kwargs

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Copies of the bundles; an empty head bundle is left out when there are others."""
        bundles = [dict(bundle) for bundle in self._bundles]
        return bundles[1:] if self._head_empty and len(bundles) > 1 else bundles

    @property
    def head_bundle_is_empty(self) -> bool:
        """Whether the trial's own actor needs nothing."""
        return self._head_empty

    @property
    def head_cpus(self) -> float:
        """CPUs of the trial's own actor."""
        return 0.0 if self._head_empty else self._bundles[0].get("CPU", 0.0)

    @property
    def strategy(self) -> str:
        """How bundles are spread over nodes."""
        return self._strategy

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles."""
        total: dict[str, float] = {}
        for bundle in self._bundles:
            for name, amount in bundle.items():
                total[name] = total.get(name, 0.0) + amount
        return total

    def to_placement_group(self) -> PlacementGroup:
        """Reserve the bundles: a new placement group (which may still be waiting)."""
        from rayjup.util.placement_group import placement_group

        return placement_group(self.bundles, self._strategy, *self._args, **self._kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> PlacementGroup:
        """As `to_placement_group`."""
        return self.to_placement_group()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceRequest) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bundles={self._bundles!r}, strategy={self._strategy!r})"

    def _key(self) -> tuple[Any, ...]:
        return (
            self._strategy,
            tuple(tuple(sorted(bundle.items())) for bundle in self._bundles),
            tuple(map(repr, self._args)),
            tuple(sorted((k, repr(v)) for k, v in self._kwargs.items())),
        )


class PlacementGroupFactory(ResourceRequest):
    """What one trial asks for (given to ``tune.with_resources``).

    Examples
    --------
    >>> from rayjup.tune import PlacementGroupFactory
    >>> PlacementGroupFactory([{"CPU": 1}, {"CPU": 2}]).required_resources
    {'CPU': 3.0}
    """


def resource_dict_to_pg_factory(spec: dict[str, float] | None = None) -> PlacementGroupFactory:
    """One bundle of ``{"cpu": 2, "gpu": 1, "custom": 3}``; one CPU when nothing is given."""
    if spec is None:
        return PlacementGroupFactory([{"CPU": 1}])
    spec = dict(spec)
    custom: Any = spec.pop("custom_resources", None)
    spec.update(custom or {})
    extra = [name for name in spec if str(name).startswith("extra_")]
    if extra:
        raise ValueError(
            f"resources {extra} belong to the past: use PlacementGroupFactory([head, bundle, bundle, …]) "
            f"instead"
        )
    names = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU"}
    bundle = {names.get(name, name): amount for name, amount in spec.items() if amount is not None}
    bundle.setdefault("CPU", 0)
    return PlacementGroupFactory([bundle])


def workers_factory(
    trainer_resources: Mapping[str, float], worker_resources: Mapping[str, float], workers: int, strategy: str
) -> PlacementGroupFactory:
    """A head bundle and one bundle per worker."""
    return PlacementGroupFactory(
        [dict(trainer_resources), *(dict(worker_resources) for _ in itertools.repeat(None, workers))],
        strategy=strategy,
    )
